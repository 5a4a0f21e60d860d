//! A scripted server, and an evaluation of a small random model against it.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]
#![allow(dead_code, reason = "no test uses all of it")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, extract::State};
use ptb_core::registry::{Asking, Registry};
use ptb_eval::{EvalError, EvalSpec, Evaluation, Given, Prepared};
use ptb_infer::{Engine, Running, ServeSpec, Url};
use ptb_model::{Links, RandomModel, random_model};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// What the server does with its n-th request, from 0.
pub(crate) type Script = dyn Fn(usize, &Value) -> Response + Send + Sync;

pub(crate) struct Server {
    script: Box<Script>,
    pub(crate) bodies: Mutex<Vec<Value>>,
}

async fn answer(State(server): State<Arc<Server>>, Json(body): Json<Value>) -> Response {
    let number = {
        let mut bodies = server.bodies.lock().unwrap();
        bodies.push(body.clone());
        bodies.len() - 1
    };
    (server.script)(number, &body)
}

/// Starts the server on loopback; it ends with the test's runtime.
pub(crate) async fn serve(
    script: impl Fn(usize, &Value) -> Response + Send + Sync + 'static,
) -> (Arc<Server>, Running) {
    serve_at("", script).await
}

/// As [`serve`], with `manner` behind its address.
pub(crate) async fn serve_at(
    manner: &str,
    script: impl Fn(usize, &Value) -> Response + Send + Sync + 'static,
) -> (Arc<Server>, Running) {
    let server = Arc::new(Server { script: Box::new(script), bodies: Mutex::default() });
    let models = || async { Json(json!({ "data": [{ "id": "m" }] })) };
    let app = Router::new()
        .route("/v1/completions", post(answer))
        .route("/v1/chat/completions", post(answer))
        .route("/v1/models", get(models))
        .with_state(Arc::clone(&server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1{manner}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let engine = Url::parse(&url).unwrap().start(&ServeSpec::new("nowhere")).await.unwrap();
    (server, engine)
}

pub(crate) fn completion(text: &str) -> Response {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 3 });
    Json(json!({ "choices": [{ "text": text, "finish_reason": "stop" }], "usage": usage }))
        .into_response()
}

/// The first `limit` questions of `arithmetic` under two seeds.
pub(crate) fn spec(home: &Path, limit: usize) -> EvalSpec {
    let registry = Registry::load(&[]).unwrap();
    let model = home.join("model");
    if !model.exists() {
        random_model(&model, &RandomModel::mini(1)).unwrap();
    }
    let tiny = registry.model("tiny").unwrap();
    EvalSpec {
        benchmark: registry.benchmark("arithmetic").unwrap().clone(),
        data: None,
        chat_template: registry.chat_template("qwen3").unwrap().value.clone(),
        chat: tiny.value.chat.clone(),
        grading: None,
        asking: Asking::default(),
        model_dir: model.clone(),
        links: Links::Inside,
        tokenizer_dir: Some(model),
        seeds: vec![1, 2],
        limit: Some(limit),
        max_tokens: 16,
        max_connections: 4,
        out: home.join("eval"),
    }
}

pub(crate) async fn evaluate(
    spec: EvalSpec,
    engine: Option<&Running>,
) -> Result<Evaluation, EvalError> {
    let mut engine = Given(engine);
    Prepared::new(spec)?.evaluate(&mut engine, &|_| {}, &CancellationToken::new()).await
}
