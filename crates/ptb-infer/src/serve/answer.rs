//! Answers and errors in OpenAI's form.

use std::sync::Arc;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::batch::{Event, Failure, Finish, SubmitError};

/// Seconds after which a refused client may try again.
const RETRY_AFTER: &str = "1";

/// An error for the client.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self { status, kind, message: message.into() }
    }

    pub(super) fn stopped() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the engine has stopped")
    }

    pub(super) fn json(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind, "code": self.status.as_u16(),
        }})
    }
}

impl From<SubmitError> for ApiError {
    fn from(e: SubmitError) -> Self {
        match e {
            SubmitError::Refused(refusal) => Self::bad(refusal.to_string()),
            busy @ SubmitError::Busy(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", busy.to_string())
            }
            SubmitError::Stopped => Self::stopped(),
        }
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, crate::MODEL_FAULT, failure.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.json())).into_response();
        let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        if busy.contains(&self.status) {
            let value = HeaderValue::from_static(RETRY_AFTER);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }
}

/// Which of the two interfaces an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Completion,
    Chat,
}

/// What every answer to one request repeats.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) created: u64,
    /// The prompt, to be returned when asked for.
    pub(super) prompt: Arc<[u32]>,
    pub(super) return_token_ids: bool,
}

fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

impl Head {
    fn base(&self, streamed: bool) -> Value {
        let object = match (self.kind, streamed) {
            (Kind::Completion, _) => "text_completion",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model })
    }

    fn usage(&self, completion: usize) -> Value {
        let prompt = self.prompt.len();
        json!({
            "prompt_tokens": prompt, "completion_tokens": completion,
            "total_tokens": prompt + completion,
        })
    }

    /// The whole answer.
    pub(super) fn whole(&self, tokens: &[u32], text: &str, finish: Finish) -> Value {
        let mut choice =
            json!({ "index": 0, "finish_reason": finish_name(finish), "logprobs": null });
        match self.kind {
            Kind::Completion => choice["text"] = json!(text),
            Kind::Chat => choice["message"] = json!({ "role": "assistant", "content": text }),
        }
        if self.return_token_ids {
            choice["token_ids"] = json!(tokens);
            choice["prompt_token_ids"] = json!(*self.prompt);
        }
        let mut answer = self.base(false);
        answer["choices"] = json!([choice]);
        answer["usage"] = self.usage(tokens.len());
        answer
    }

    /// One event of a streamed answer.
    pub(super) fn piece(&self, event: &Event) -> Value {
        let choice = |text: &str, finish: Value| match self.kind {
            Kind::Completion => json!({ "index": 0, "text": text, "finish_reason": finish }),
            Kind::Chat => {
                json!({ "index": 0, "delta": { "content": text }, "finish_reason": finish })
            }
        };
        let mut answer = self.base(true);
        match event {
            Event::Text(text) => answer["choices"] = json!([choice(text, Value::Null)]),
            Event::Done { tokens, finish, .. } => {
                answer["choices"] = json!([choice("", json!(finish_name(*finish)))]);
                answer["usage"] = self.usage(tokens.len());
            }
            Event::Failed(failure) => answer = ApiError::from(*failure).json(),
        }
        answer
    }
}
