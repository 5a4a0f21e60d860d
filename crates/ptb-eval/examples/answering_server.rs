//! A server for measurements: answers every completion and chat after a fixed time with the same words, so that what
//! is measured is whoever asks. `answering_server MILLISECONDS` prints its address and runs until it is ended.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for measurements")]

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

const WORDS: &str =
    "There are 3 boxes with 6 pens each, which makes 3 * 6 = 18 pens.\n\nANSWER: 18";

async fn completion(State(wait): State<Duration>, body: Bytes) -> Response {
    // Whoever sends token ids is told to send text: then all clients send the same bytes.
    if body.windows(10).any(|w| w == b"\"prompt\":[") {
        let error = json!({ "error": { "message": "prompt must be a string" } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    tokio::time::sleep(wait).await;
    let usage = json!({ "prompt_tokens": 1500, "completion_tokens": 30, "total_tokens": 1530 });
    let choice = json!({ "index": 0, "text": WORDS, "finish_reason": "stop" });
    Json(json!({ "id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage }))
        .into_response()
}

async fn chat(State(wait): State<Duration>, _: Bytes) -> Response {
    tokio::time::sleep(wait).await;
    let usage = json!({ "prompt_tokens": 1500, "completion_tokens": 30, "total_tokens": 1530 });
    let message = json!({ "role": "assistant", "content": WORDS });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    Json(json!({ "id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage }))
        .into_response()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let wait = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(50);
    let models =
        || async { Json(json!({ "object": "list", "data": [{ "id": "m", "object": "model" }] })) };
    let app = Router::new()
        .route("/v1/completions", post(completion))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .with_state(Duration::from_millis(wait));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("http://{}/v1", listener.local_addr().unwrap());
    axum::serve(listener, app).await.unwrap();
}
