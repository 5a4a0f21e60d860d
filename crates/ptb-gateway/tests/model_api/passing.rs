//! What passes: each protocol, streams chunk by chunk, usage and cost.

use std::sync::Arc;

use ptb_gateway::Service;
use serde_json::json;
use tokio::sync::Notify;

use crate::provider::{Answer, Provider, Step};
use crate::support::{
    ANTHROPIC_COST, Api, OPUS, anthropic_events, event, messages, of_kind, until,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_chunk_by_chunk_and_unchanged() {
    let go = Arc::new(Notify::new());
    let (held, events) = (Arc::clone(&go), anthropic_events());
    let whole = events.concat();
    let provider = Provider::start(move |_| {
        let mut steps = Vec::new();
        // Split in the middle of lines.
        for piece in events.concat().as_bytes().chunks(61) {
            steps.push(Step::Send(String::from_utf8_lossy(piece).into_owned()));
        }
        steps.insert(1, Step::Await(Arc::clone(&held)));
        Answer::stream(steps)
    })
    .await;
    let api = Api::new(&provider);
    let mut response = api.post("/v1/messages?beta=true", &messages("hi")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
    // The first chunk is here while the provider still waits for the test.
    let mut got = response.chunk().await.unwrap().unwrap().to_vec();
    assert!(!got.is_empty() && got.len() < whole.len());
    assert_eq!(*api.running.service().borrow(), Service::Up);
    go.notify_one();
    while let Some(chunk) = response.chunk().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert_eq!(String::from_utf8(got).unwrap(), whole);
    assert_eq!(provider.seen()[0].path, "/v1/messages?beta=true");

    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.requests, totals.generations, totals.failed, totals.cut), (1, 1, 0, 0));
    let tokens = totals.tokens;
    assert_eq!((tokens.input, tokens.cached_input, tokens.output), (1150, 1000, 77));
    assert_eq!((tokens.cache_write_5m, tokens.cache_write_1h), (20, 30));
    assert!((totals.cost_usd.unwrap() - ANTHROPIC_COST).abs() < 1e-12);
    assert_eq!(totals.models["claude-opus-4-6-20260101"].requests, 1);
    let answer = of_kind(&record, "response")[0];
    assert_eq!(answer["end"], "complete");
    assert_eq!(answer["usage"]["input"], 1150);
    assert!(answer["first_byte_s"].as_f64().unwrap() <= answer["duration_s"].as_f64().unwrap());
    assert_eq!(answer["body"]["$sse"].as_array().unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_passes_and_is_counted_alike() {
    let provider = Provider::start(|seen| {
        let stream = seen.body.contains("\"stream\":true") || seen.path.contains("stream");
        match seen.path.split('?').next().unwrap() {
            "/v1/responses" => {
                let usage = json!({"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60},
                    "output_tokens": 50, "output_tokens_details": {"reasoning_tokens": 40}});
                let done = json!({"model": "gpt-5-2025-08-07", "status": "completed", "usage": usage});
                match stream {
                    true => Answer::events(&[
                        event(&json!({"type": "response.created", "response": {"usage": null}})),
                        event(&json!({"type": "response.completed", "response": done})),
                    ]),
                    false => Answer::json(200, &done.to_string()),
                }
            }
            "/v1/chat/completions" => {
                let usage = json!({"prompt_tokens": 100, "completion_tokens": 50,
                    "prompt_tokens_details": {"cached_tokens": 60},
                    "completion_tokens_details": {"reasoning_tokens": 40}});
                let piece = json!({"model": "gpt-5", "choices": [{"delta": {}, "finish_reason": "stop"}]});
                let last = json!({"model": "gpt-5", "choices": [], "usage": usage});
                let one = json!({"model": "gpt-5", "choices": [{"finish_reason": "stop"}], "usage": usage});
                match stream {
                    true => Answer::events(&[
                        format!("data: {piece}\n\n"),
                        format!("data: {last}\n\ndata: [DONE]\n\n"),
                    ]),
                    false => Answer::json(200, &one.to_string()),
                }
            }
            path if path.ends_with("enerateContent") => {
                let last = json!({"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini-2.5-pro",
                    "usageMetadata": {"promptTokenCount": 100, "cachedContentTokenCount": 60,
                        "candidatesTokenCount": 10, "thoughtsTokenCount": 40}});
                match stream && seen.path.ends_with("alt=sse") {
                    true => Answer::events(&[format!("data: {last}\r\n\r\n")]),
                    false => Answer::json(200, &last.to_string()),
                }
            }
            path if path.ends_with("ount_tokens") || path.ends_with("countTokens") => {
                Answer::json(200, r#"{"input_tokens": 10}"#)
            }
            path if path.contains("/models") => Answer::json(200, r#"{"data": []}"#),
            _ => Answer::json(404, "{}"),
        }
    })
    .await;
    let api = Api::new(&provider);
    let openai =
        |stream: bool| json!({"model": "gpt-5", "stream": stream, "input": "x", "messages": []});
    let google = json!({"contents": [{"parts": [{"text": "x"}]}]});
    for (path, body) in [
        ("/v1/responses", openai(true)),
        ("/v1/responses", openai(false)),
        ("/v1/chat/completions", openai(true)),
        ("/v1/chat/completions", openai(false)),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse", google.clone()),
        ("/v1beta/models/gemini-2.5-pro:generateContent", google.clone()),
    ] {
        let before = api.running.totals().tokens;
        let (status, text) = api.ask(path, &body).await;
        assert_eq!(status, 200, "{path}: {text}");
        let now = api.running.totals().tokens;
        let more = [
            now.input - before.input,
            now.cached_input - before.cached_input,
            now.output - before.output,
            now.reasoning - before.reasoning,
        ];
        assert_eq!(more, [100, 60, 50, 40], "{path}");
    }
    for (path, body) in [
        ("/v1/messages/count_tokens", json!({"model": OPUS, "messages": []})),
        ("/v1beta/models/gemini-2.5-pro:countTokens", google),
    ] {
        assert_eq!(api.ask(path, &body).await.0, 200, "{path}");
    }
    let models = api.client.get(api.url("/v1/models?limit=5&key=x")).send().await.unwrap();
    assert_eq!(models.text().await.unwrap(), r#"{"data": []}"#);
    assert_eq!(provider.seen().last().unwrap().path, "/v1/models?limit=5");
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.requests, totals.generations, totals.refused), (9, 6, 0));
    // 40 fresh and 60 cached of the prompt, 50 generated: four at GPT-5's price, two at Gemini 2.5 Pro's, which is the same.
    let one = (40.0 * 1.25 + 60.0 * 0.125 + 50.0 * 10.0) / 1e6;
    assert!((totals.cost_usd.unwrap() - 6.0 * one).abs() < 1e-12);
    assert_eq!(of_kind(&record, "response").len(), 9);
    let protocols: Vec<&str> =
        of_kind(&record, "request").iter().map(|line| line["protocol"].as_str().unwrap()).collect();
    assert_eq!(
        protocols,
        [
            "responses",
            "responses",
            "chat",
            "chat",
            "gemini",
            "gemini",
            "anthropic",
            "gemini",
            "anthropic"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_ends_the_providers_work() {
    let provider = Provider::start(|_| {
        let mut steps: Vec<Step> = anthropic_events().into_iter().take(3).map(Step::Send).collect();
        steps.push(Step::Hang);
        Answer::stream(steps)
    })
    .await;
    let api = Api::new(&provider);
    let mut response = api.post("/v1/messages", &messages("hi")).send().await.unwrap();
    let mut got = Vec::new();
    while got != anthropic_events()[..3].concat().as_bytes() {
        got.extend_from_slice(&response.chunk().await.unwrap().unwrap());
    }
    assert_eq!(provider.dropped(), 0);
    drop(response);
    until("the provider's request to be dropped", || provider.dropped() == 1).await;
    until("the books to be closed", || api.running.totals().cut == 1).await;
    let (totals, record, _) = api.stop().await;
    // What the beginning told is counted; what was generated since is estimated, for limits alone.
    assert_eq!((totals.tokens.input, totals.tokens.output), (1150, 1));
    assert!(totals.estimated_tokens >= 2 && totals.uncounted == 0);
    let answer = of_kind(&record, "response")[0];
    assert_eq!((&answer["end"], &answer["cut_by"]), (&json!("cut"), &json!("client")));
    assert_eq!(answer["body"]["$sse"].as_array().unwrap().len(), 3);
}
