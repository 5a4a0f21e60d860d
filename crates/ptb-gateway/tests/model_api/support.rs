//! A model API in front of a scripted provider, and answers in each protocol.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ptb_gateway::{
    ApiBounds, ApiTotals, Credential, GatewayError, Limits, ModelApi, ModelApiSetup, Models,
    RunningModelApi, ServerTools,
};
use ptb_llm::protocol::Protocol;
use ptb_llm::{Key, Prices};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::provider::Provider;

pub(crate) const KEY: &str = "sk-real-0123456789abcdef";
pub(crate) const OPUS: &str = "claude-opus-4-6";

/// A model API and where it writes.
pub(crate) struct Api {
    pub(crate) running: RunningModelApi,
    pub(crate) folder: TempDir,
    pub(crate) client: reqwest::Client,
}

pub(crate) fn setup(upstream: &str, folder: &Path) -> ModelApiSetup {
    ModelApiSetup {
        upstream: upstream.to_owned(),
        protocols: vec![Protocol::Anthropic, Protocol::Responses, Protocol::Chat, Protocol::Gemini],
        credential: Credential::ApiKey(Key::new(KEY).unwrap()),
        models: Models {
            main: OPUS.to_owned(),
            aux: vec!["gpt-5".to_owned(), "gemini-2.5-pro".to_owned()],
        },
        limits: Limits::default(),
        server_tools: ServerTools::Allow,
        prices: Prices::built_in().unwrap(),
        record: folder.join("api.jsonl.zst"),
        network: folder.join("network.jsonl"),
        mask: Arc::new(|line| line),
        covers_key: true,
        bounds: ApiBounds::default(),
    }
}

impl Api {
    pub(crate) fn new(provider: &Provider) -> Self {
        Self::with(provider, |_| {})
    }

    pub(crate) fn with(provider: &Provider, change: impl FnOnce(&mut ModelApiSetup)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = setup(&provider.url(), folder.path());
        change(&mut setup);
        let running = serve(setup).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { running, folder, client }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Posts a body as a scaffold does.
    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.client
            .post(self.url(path))
            .header("x-api-key", "dummy")
            .header("user-agent", "claude-cli/2.1 (external)")
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Posts and reads the whole answer.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> (u16, String) {
        let response = self.post(path, body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Ends it; what it counted, and the record's lines.
    pub(crate) async fn stop(self) -> (ApiTotals, Vec<Value>, TempDir) {
        let totals = self.running.stop().await;
        let record = lines(&self.folder.path().join("api.jsonl.zst"));
        (totals, record, self.folder)
    }
}

pub(crate) fn serve(setup: ModelApiSetup) -> Result<RunningModelApi, GatewayError> {
    install_tls();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    ModelApi::serve(listener, setup, &CancellationToken::new())
}

fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The lines of a compressed record.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).unwrap();
    let reader = BufReader::new(zstd::stream::read::Decoder::new(file).unwrap());
    reader.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// All that a record holds, as text.
pub(crate) fn text(path: &PathBuf) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::stream::read::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// The lines of a kind.
pub(crate) fn of_kind<'a>(record: &'a [Value], kind: &str) -> Vec<&'a Value> {
    record.iter().filter(|line| line["kind"] == kind).collect()
}

/// Waits for something that comes soon.
pub(crate) async fn until(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if there() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

/// A request in Anthropic's form.
pub(crate) fn messages(text: &str) -> Value {
    json!({
        "model": OPUS, "max_tokens": 100, "stream": true,
        "system": [{"type": "text", "text": "You are a scaffold."}],
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": text}],
    })
}

pub(crate) fn event(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or("none"))
}

/// The events of an Anthropic answer: 1150 tokens of prompt (1000 read, 20 and 30 written), 77 generated.
pub(crate) fn anthropic_events() -> Vec<String> {
    [
        json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-opus-4-6-20260101", "usage": {
            "input_tokens": 100, "cache_creation_input_tokens": 50, "cache_read_input_tokens": 1000,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            "output_tokens": 1, "service_tier": "standard"}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 77}}),
        json!({"type": "message_stop"}),
    ]
    .iter()
    .map(event)
    .collect()
}

/// What [`anthropic_events`] cost at Opus 4.6's list price: 5, 0.50, 6.25, 10 and 25 USD a million.
pub(crate) const ANTHROPIC_COST: f64 =
    (100.0 * 5.0 + 1000.0 * 0.5 + 20.0 * 6.25 + 30.0 * 10.0 + 77.0 * 25.0) / 1e6;
