//! A scripted server of chat completions on loopback, which misbehaves as it is told. For tests alone.
#![expect(clippy::expect_used, reason = "support of tests: one that cannot go on shall say where")]

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::Usage;

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Its number, from 0.
    pub number: usize,
    /// How many requests with the same messages came before.
    pub before: usize,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
}

impl ChatRequest {
    /// All that was said in one role (`system`, `user`, `assistant`), joined by empty lines.
    pub fn said(&self, role: &str) -> String {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        let said = messages.filter(|m| m["role"] == role).filter_map(|m| m["content"].as_str());
        said.collect::<Vec<_>>().join("\n\n")
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Replies, with counts of tokens made up from lengths (a token for every four bytes).
    Text(String),
    /// Replies, with these counts of tokens.
    Counted(String, Usage),
    /// Replies with a list of parts as content.
    Parts(Vec<String>),
    /// Replies with status 200 and this body.
    Json(Value),
    /// Replies with a status, headers and a body.
    Status(u16, Vec<(String, String)>, String),
    /// A proxy's page, with status 200.
    Html,
    /// The first half of a reply, and a proper end.
    HalfJson,
    /// The first half of a reply; then the connection breaks.
    CloseMidBody,
    /// Says nothing for so long, then breaks the connection.
    Hang(Duration),
    /// After so long does something else.
    After(Duration, Box<Act>),
    /// Status 200 with an `error` in the body.
    ErrorIn200,
    /// A reply without choices.
    EmptyChoices,
    /// A reply whose content is null.
    NullContent,
    /// A refusal in place of content.
    Refusal(String),
    /// No text, with `content_filter`.
    Filtered,
    /// A text cut at the limit.
    Length(String),
    /// A body of so many bytes.
    Huge(usize),
    /// Sends elsewhere.
    Redirect(String),
}

impl Act {
    /// Replies with a status and an error's message, as OpenAI words it.
    pub fn error(status: u16, message: &str) -> Self {
        Self::Status(status, Vec::new(), json!({"error": {"message": message}}).to_string())
    }
}

type Script = dyn Fn(&ChatRequest) -> Act + Send + Sync;

/// The server. It runs in a thread of its own and ends when it is dropped.
pub struct GraderServer {
    address: SocketAddr,
    desk: Arc<Desk>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// What all connections share.
struct Desk {
    script: Box<Script>,
    log: Mutex<Log>,
    now: AtomicUsize,
    most: AtomicUsize,
    models: AtomicU16,
}

#[derive(Default)]
struct Log {
    requests: Vec<ChatRequest>,
    seen: HashMap<String, usize>,
}

impl Desk {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GraderServer {
    /// Starts a server that does what `script` says.
    ///
    /// # Panics
    /// When there is no socket on loopback.
    pub fn start(script: impl Fn(&ChatRequest) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket on loopback");
        let address = listener.local_addr().expect("its address");
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (script, models) = (Box::new(script), AtomicU16::new(404));
        let desk = Arc::new(Desk { script, log: Mutex::default(), now, most, models });
        let running = Mutex::new(Some(run(listener, Arc::clone(&desk))));
        Self { address, desk, running }
    }

    /// The root of its API.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What the list of models is answered with from now on: a status, with an empty object. 404 at first.
    #[must_use]
    pub fn with_models(self, status: u16) -> Self {
        self.desk.models.store(status, Ordering::SeqCst);
        self
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.desk.log().requests.clone()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.desk.log().requests.len()
    }

    /// Requests that are in the server's hands.
    pub fn at_once(&self) -> usize {
        self.desk.now.load(Ordering::SeqCst)
    }

    /// Most requests that were in the server's hands at once.
    pub fn most_at_once(&self) -> usize {
        self.desk.most.load(Ordering::SeqCst)
    }

    /// Breaks all connections and takes no more, until [`Self::restart`].
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread }) = running {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }

    /// Serves again, on the same port.
    ///
    /// # Panics
    /// When somebody else has taken the port meanwhile.
    pub fn restart(&self) {
        self.stop();
        let listener = TcpListener::bind(self.address).expect("the same port again");
        let running = run(listener, Arc::clone(&self.desk));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }
}

impl Drop for GraderServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for GraderServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraderServer").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A thread with a runtime of its own: when it ends, all its connections break.
fn run(listener: TcpListener, desk: Arc<Desk>) -> Running {
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            listener.set_nonblocking(true).expect("a socket that does not block");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            let app = Router::new()
                .route("/v1/chat/completions", post(answer))
                .route("/v1/models", get(models))
                .layer(DefaultBodyLimit::disable())
                .with_state(desk);
            tokio::select! {
                _ = stopped => {}
                _ = axum::serve(listener, app) => {}
            }
        });
    });
    Running { stop, thread }
}

/// A request in the server's hands.
struct InHands<'a>(&'a Desk);

impl<'a> InHands<'a> {
    fn new(desk: &'a Desk) -> Self {
        let now = desk.now.fetch_add(1, Ordering::SeqCst) + 1;
        desk.most.fetch_max(now, Ordering::SeqCst);
        Self(desk)
    }
}

impl Drop for InHands<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn models(State(desk): State<Arc<Desk>>) -> Response<Body> {
    let mut response = Response::new(Body::from("{}"));
    *response.status_mut() =
        StatusCode::from_u16(desk.models.load(Ordering::SeqCst)).expect("a status");
    response
}

async fn answer(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let _in_hands = InHands::new(&desk);
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let authorization =
        headers.get("authorization").map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let request = {
        let mut log = desk.log();
        let seen = log.seen.entry(body["messages"].to_string()).or_default();
        let before = *seen;
        *seen += 1;
        let request = ChatRequest { number: log.requests.len(), before, authorization, body };
        log.requests.push(request.clone());
        request
    };
    let mut act = (desk.script)(&request);
    while let Act::After(wait, then) = act {
        tokio::time::sleep(wait).await;
        act = *then;
    }
    if let Act::Hang(time) = act {
        tokio::time::sleep(time).await;
    }
    response(&request, act)
}

fn response(request: &ChatRequest, act: Act) -> Response<Body> {
    let page =
        "<html><head><title>502 Bad Gateway</title></head><body><h1>nginx</h1></body></html>";
    let whole = || reply(request, "the answer is 42", "stop", None).to_string();
    let half = || whole().split_at(whole().len() / 2).0.to_owned();
    match act {
        Act::Text(text) => ok(&reply(request, &text, "stop", None)),
        Act::Counted(text, usage) => ok(&reply(request, &text, "stop", Some(usage))),
        Act::Parts(parts) => {
            let mut reply = reply(request, &parts.concat(), "stop", None);
            let part = |text: &String| json!({"type": "text", "text": text});
            reply["choices"][0]["message"]["content"] = parts.iter().map(part).collect();
            ok(&reply)
        }
        Act::Json(json) => ok(&json),
        Act::Status(status, headers, body) => with(status, &headers, body),
        Act::Html => with(200, &[("content-type".to_owned(), "text/html".to_owned())], page),
        Act::HalfJson => with(200, &[], half()),
        Act::CloseMidBody => broken(half(), whole().len()),
        Act::Hang(_) | Act::After(..) => broken(String::new(), 100),
        Act::ErrorIn200 => ok(&json!({"error": {"message": "the engine died", "code": 500}})),
        Act::EmptyChoices => {
            let mut reply = reply(request, "", "stop", None);
            reply["choices"] = json!([]);
            ok(&reply)
        }
        Act::NullContent | Act::Filtered => {
            let finish = if matches!(act, Act::Filtered) { "content_filter" } else { "stop" };
            let mut reply = reply(request, "", finish, None);
            reply["choices"][0]["message"]["content"] = Value::Null;
            ok(&reply)
        }
        Act::Refusal(refusal) => {
            let mut reply = reply(request, "", "stop", None);
            let message = json!({"role": "assistant", "content": null, "refusal": refusal});
            reply["choices"][0]["message"] = message;
            ok(&reply)
        }
        Act::Length(text) => ok(&reply(request, &text, "length", None)),
        Act::Huge(bytes) => with(200, &[], "x".repeat(bytes)),
        Act::Redirect(to) => with(302, &[("location".to_owned(), to)], ""),
    }
}

fn reply(request: &ChatRequest, text: &str, finish: &str, usage: Option<Usage>) -> Value {
    let tokens = |text: &str| text.len().div_ceil(4) as u64;
    let input = tokens(&request.body["messages"].to_string());
    let made_up = Usage { input, cached_input: 0, output: tokens(text), reasoning: 0 };
    let usage = usage.unwrap_or(made_up);
    json!({
        "id": format!("chatcmpl-{}", request.number),
        "object": "chat.completion",
        "model": request.body["model"],
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": finish,
        }],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "prompt_tokens_details": {"cached_tokens": usage.cached_input},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        },
    })
}

fn ok(json: &Value) -> Response<Body> {
    with(200, &[("content-type".to_owned(), "application/json".to_owned())], json.to_string())
}

fn with(status: u16, headers: &[(String, String)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body.into()).expect("a script's status and headers")
}

/// Promises more than it says, and breaks the connection.
fn broken(said: String, promised: usize) -> Response<Body> {
    let parts = [Ok(said), Err(io::Error::other("broken by the script"))];
    let body = Body::from_stream(futures::stream::iter(parts));
    with(200, &[("content-length".to_owned(), promised.to_string())], body)
}
