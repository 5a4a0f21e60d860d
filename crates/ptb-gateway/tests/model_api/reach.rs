//! How requests reach out through the provider: told, and taken out where the policy says so.

use ptb_gateway::ServerTools;
use serde_json::{Value, json};

use crate::provider::{Answer, Provider};
use crate::support::{Api, OPUS, anthropic_events, event, of_kind};

fn network(folder: &tempfile::TempDir) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.path().join("network.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn searching() -> Vec<String> {
    let mut events = anthropic_events();
    let search = [
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "name": "web_search", "input": {}}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"query\": \"gsm8k te"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "st set\"}"}}),
        json!({"type": "content_block_stop", "index": 1}),
    ];
    events.splice(4..4, search.iter().map(event));
    events
}

fn with_search() -> Value {
    json!({
        "model": OPUS, "max_tokens": 100, "stream": true,
        "tools": [{"name": "Bash", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
        "messages": [{"role": "user", "content": "x"}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_the_provider_are_recorded() {
    let provider = Provider::start(|_| Answer::events(&searching())).await;
    let api = Api::new(&provider);
    for _ in 0..2 {
        assert_eq!(api.ask("/v1/messages", &with_search()).await.0, 200);
    }
    let image = json!({"model": OPUS, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}]}]});
    assert_eq!(api.ask("/v1/messages", &image).await.0, 200);
    let (totals, record, folder) = api.stop().await;
    assert_eq!(totals.server_tools["web_search"], 3);
    let told: Vec<_> = network(&folder)
        .into_iter()
        .map(|e| {
            assert_eq!((&e["schema"], &e["kind"]), (&json!(1), &json!("server_tool")));
            (
                e["tool"].clone(),
                e["query"].clone(),
                e["url"].clone(),
                e["number"].clone(),
                e["declared"].clone(),
            )
        })
        .collect();
    let null = Value::Null;
    let used = |n: u64| {
        (json!("web_search"), json!("gsm8k test set"), null.clone(), json!(n), null.clone())
    };
    let declared =
        (json!("web_search_20250305"), null.clone(), null.clone(), json!(1), json!(true));
    let fetch =
        (json!("fetch"), null.clone(), json!("https://example.org/a.png"), json!(3), json!(true));
    assert_eq!(told, [declared, used(1), used(2), fetch, used(3)]);
    assert!(of_kind(&record, "request")[0].get("stripped").is_none());
    assert!(provider.seen()[0].body.contains("web_search_20250305"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_the_provider_are_taken_out_by_policy() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| setup.server_tools = ServerTools::Strip);
    assert_eq!(api.ask("/v1/messages", &with_search()).await.0, 200);
    let sent: Value = serde_json::from_str(&provider.seen()[0].body).unwrap();
    assert_eq!(sent["tools"], json!([{"name": "Bash", "input_schema": {}}]));
    assert_eq!(sent["messages"], with_search()["messages"]);
    let image = json!({"model": "gpt-5", "input": [{"type": "message", "role": "user", "content": [
        {"type": "input_image", "image_url": "https://example.org/a.png"}]}]});
    let (status, text) = api.ask("/v1/responses", &image).await;
    assert!(status == 400 && text.contains("may not fetch https://example.org/a.png"), "{text}");
    assert_eq!(provider.seen().len(), 1);
    let (totals, record, folder) = api.stop().await;
    assert_eq!(totals.refused, 1);
    let asked = of_kind(&record, "request");
    assert_eq!(asked[0]["stripped"], json!(["web_search_20250305"]));
    // The record keeps what was asked, not what was sent.
    assert_eq!(asked[0]["body"]["tools"].as_array().unwrap().len(), 2);
    assert_eq!(network(&folder).len(), 2);
}
