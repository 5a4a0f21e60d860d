//! The routes: read a request, put it into the batch, wait for its answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use futures::stream;
use ptb_model::{Sampling, Tokenizer};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::answer::{ApiError, Head, Kind};
use super::body::{ChatBody, Common, CompletionBody, Prompt};
use super::load::Loaded;
use super::{ChatRenderer, ChatRequest, ServeOptions};
use crate::batch::{Event, Job, Request, Scheduler};

/// A body must have arrived in this time.
const BODY_TIME: Duration = Duration::from_secs(30);
/// OpenAI's default for completions; chats may use the rest of the context.
const DEFAULT_TOKENS: u64 = 16;

/// What the routes share.
pub(super) struct Service {
    scheduler: Scheduler,
    tokenizer: Arc<Tokenizer>,
    sampling: Sampling,
    renderer: Option<Arc<dyn ChatRenderer>>,
    model: String,
    facts: String,
    max_body: usize,
    created: u64,
    requests: AtomicU64,
}

impl Service {
    pub(super) fn new(
        loaded: Loaded,
        model: String,
        renderer: Option<Arc<dyn ChatRenderer>>,
        options: &ServeOptions,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            scheduler: loaded.scheduler,
            tokenizer: loaded.tokenizer,
            sampling: loaded.sampling,
            renderer,
            model,
            facts: loaded.facts,
            max_body: options.max_body,
            created: now.as_secs(),
            requests: AtomicU64::new(0),
        }
    }
}

type Shared = State<Arc<Service>>;

pub(super) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .route("/v1/models", get(models))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not_found", "no such route") })
        .with_state(service)
}

async fn models(State(service): Shared) -> Json<Value> {
    Json(json!({ "object": "list", "data": [{
        "id": service.model, "object": "model", "created": service.created, "owned_by": "ptb",
        "max_model_len": service.scheduler.context(), "description": service.facts,
    }]}))
}

async fn completions(State(service): Shared, body: Body) -> Result<Response, ApiError> {
    let body = service.body(body).await?;
    let common: Common = fields(&body)?;
    let own: CompletionBody = fields(&body)?;
    let prompt = match Prompt::read(own.prompt).map_err(ApiError::bad)? {
        Prompt::Tokens(ids) => ids,
        Prompt::Text(text) => service.encode(text, own.add_special_tokens.unwrap_or(true)).await?,
    };
    let max_tokens = common.max_tokens.unwrap_or(DEFAULT_TOKENS);
    service.answer(Kind::Completion, common, prompt, max_tokens).await
}

async fn chat(State(service): Shared, body: Body) -> Result<Response, ApiError> {
    let body = service.body(body).await?;
    let common: Common = fields(&body)?;
    let own: ChatBody = fields(&body)?;
    let Some(renderer) = service.renderer.clone() else {
        return Err(ApiError::bad(
            "this server has no chat template; hint: send the rendered prompt to /v1/completions",
        ));
    };
    let request = ChatRequest {
        messages: own.messages,
        tools: own.tools.unwrap_or_default(),
        kwargs: own.chat_template_kwargs.unwrap_or_default(),
    };
    let text = blocking(move || renderer.render(&request)).await?.map_err(ApiError::bad)?;
    let prompt = service.encode(text, false).await?;
    let rest = service.scheduler.context().saturating_sub(prompt.len()).max(1) as u64;
    let max_tokens = own.max_completion_tokens.or(common.max_tokens).unwrap_or(rest);
    service.answer(Kind::Chat, common, prompt, max_tokens).await
}

/// Rendering and encoding long texts must not hold up the other connections.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(f).await.map_err(|_| ApiError::stopped())
}

fn fields<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::bad(format!("the body is not valid: {e}")))
}

impl Service {
    async fn body(&self, body: Body) -> Result<axum::body::Bytes, ApiError> {
        match tokio::time::timeout(BODY_TIME, to_bytes(body, self.max_body)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(_)) => Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_request_error",
                format!("the body ended early or is longer than {} bytes", self.max_body),
            )),
            Err(_) => Err(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "invalid_request_error",
                format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
            )),
        }
    }

    async fn encode(&self, text: String, add_special: bool) -> Result<Vec<u32>, ApiError> {
        let tokenizer = Arc::clone(&self.tokenizer);
        let ids = blocking(move || tokenizer.encode(&text, add_special)).await?;
        ids.map_err(|e| ApiError::bad(format!("the prompt cannot be tokenized: {e}")))
    }

    async fn answer(
        &self,
        kind: Kind,
        common: Common,
        prompt: Vec<u32>,
        max_tokens: u64,
    ) -> Result<Response, ApiError> {
        common.check().map_err(ApiError::bad)?;
        let prompt: Arc<[u32]> = prompt.into();
        let request = Request {
            max_tokens: usize::try_from(max_tokens).unwrap_or(usize::MAX),
            sampling: common.sampling(self.sampling).map_err(ApiError::bad)?,
            // Without a seed every request gets its own.
            seed: common.seed.map_or_else(rand::random, i64::cast_unsigned),
            stop: common.stops().map_err(ApiError::bad)?,
            ignore_eos: common.ignore_eos,
            skip_special: common.skip_special_tokens.unwrap_or(true),
            stream: common.stream,
            prompt: Arc::clone(&prompt),
        };
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let head = Head {
            kind,
            id: format!("cmpl-{number}"),
            model: self.model.clone(),
            created: self.created,
            prompt,
            return_token_ids: common.return_token_ids,
        };
        let (sender, events) = unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let pending = Pending { events, _cancel: Cancel(Arc::clone(&cancelled)) };
        self.scheduler.submit(Job { request, events: sender, cancelled })?;
        if common.stream { Ok(streamed(head, pending)) } else { whole(head, pending).await }
    }
}

/// A request in the batch; dropping it, as happens when its client goes, takes it out.
struct Pending {
    events: UnboundedReceiver<Event>,
    _cancel: Cancel,
}

struct Cancel(Arc<AtomicBool>);

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn whole(head: Head, mut pending: Pending) -> Result<Response, ApiError> {
    loop {
        match pending.events.recv().await {
            Some(Event::Text(_)) => {}
            Some(Event::Done { tokens, text, finish }) => {
                return Ok(Json(head.whole(&tokens, &text, finish)).into_response());
            }
            Some(Event::Failed(failure)) => return Err(failure.into()),
            None => return Err(ApiError::stopped()),
        }
    }
}

/// Server-sent events: pieces, the end, `[DONE]`.
fn streamed(head: Head, pending: Pending) -> Response {
    let pieces = stream::unfold(Some((head, pending)), |state| async {
        let (head, mut pending) = state?;
        let event = pending.events.recv().await;
        let last = !matches!(event, Some(Event::Text(_)));
        let piece = match event {
            Some(event) => head.piece(&event),
            None => ApiError::stopped().json(),
        };
        let end = if last { "data: [DONE]\n\n" } else { "" };
        let text = format!("data: {piece}\n\n{end}");
        Some((Ok::<_, Infallible>(text), (!last).then_some((head, pending))))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(pieces)).into_response()
}
