//! The record: whole, without repetition, readable whatever happened, and what looks foreign in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::provider::{Answer, Provider};
use crate::support::{Api, OPUS, anthropic_events, messages, of_kind, text, until};

/// A body with its parts put back in.
fn whole(body: &Value, parts: &BTreeMap<String, Value>) -> Value {
    match body {
        Value::Object(fields) => match fields.get("$part").and_then(Value::as_str) {
            Some(id) => parts[id].clone(),
            None => fields.iter().map(|(k, v)| (k.clone(), whole(v, parts))).collect(),
        },
        Value::Array(list) => list.iter().map(|v| whole(v, parts)).collect(),
        other => other.clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_exchange_can_be_put_together_again() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    let mut conversation = Vec::new();
    let mut asked = Vec::new();
    for turn in 0..6 {
        conversation.push(
            json!({"role": "user", "content": format!("turn {turn} {}", "long ".repeat(200))}),
        );
        let mut body = messages("x");
        body["messages"] = json!(conversation);
        assert_eq!(api.ask("/v1/messages", &body).await.0, 200);
        asked.push(body);
    }
    let (_, record, _) = api.stop().await;
    let parts: BTreeMap<String, Value> = of_kind(&record, "part")
        .iter()
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line["value"].clone()))
        .collect();
    // System prompt, one tool, six messages: each once.
    assert_eq!((parts.len(), of_kind(&record, "part").len()), (8, 8));
    let requests = of_kind(&record, "request");
    for (n, (request, body)) in requests.iter().zip(&asked).enumerate() {
        assert_eq!(&whole(&request["body"], &parts), body);
        assert_eq!(request["number"], n as u64 + 1);
        assert_eq!(
            (&request["method"], &request["path"]),
            (&json!("POST"), &json!("/v1/messages"))
        );
        assert_eq!(request["headers"]["user-agent"], "claude-cli/2.1 (external)");
    }
    let answers = of_kind(&record, "response");
    assert_eq!((requests.len(), answers.len()), (6, 6));
    let sse = answers[5]["body"]["$sse"].as_array().unwrap();
    let again: String = sse
        .iter()
        .map(|e| format!("event: {}\ndata: {}\n\n", e["event"].as_str().unwrap(), e["data"]))
        .collect();
    assert_eq!(again, anthropic_events().concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_can_be_read_before_the_end() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    let path = api.folder.path().join("api.jsonl.zst");
    // As after a kill: the frame has no end, the lines are there.
    let read = || {
        use std::io::BufRead;
        let file = std::fs::File::open(&path).unwrap();
        let reader = std::io::BufReader::new(zstd::stream::read::Decoder::new(file).unwrap());
        reader.lines().map_while(Result::ok).filter(|l| l.contains("\"kind\":\"response\"")).count()
    };
    until("the record's lines", || read() == 1).await;
    let (_, record, _) = api.stop().await;
    assert_eq!(of_kind(&record, "response").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_masked_before_anything_is_written() {
    let provider = Provider::start(|_| {
        let mut events = anthropic_events();
        events[2] = events[2].replace("hello", "hunter2-hunter2");
        Answer::events(&events)
    })
    .await;
    let api = Api::with(&provider, |setup| {
        setup.mask = Arc::new(|line| {
            String::from_utf8(line).unwrap().replace("hunter2-hunter2", "[masked]").into_bytes()
        });
    });
    let (_, answer) = api.ask("/v1/messages", &messages("my word is hunter2-hunter2")).await;
    assert!(answer.contains("hunter2-hunter2"), "the mask is for the disk alone");
    let (_, _, folder) = api.stop().await;
    let record = text(&folder.path().join("api.jsonl.zst"));
    assert!(!record.contains("hunter2") && record.matches("[masked]").count() == 2, "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_the_scaffolds_are_told() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    for text in ["one", "two"] {
        assert_eq!(api.ask("/v1/messages", &messages(text)).await.0, 200);
    }
    let own = json!({"model": OPUS, "max_tokens": 5, "messages": [{"role": "user", "content": "answer this test question"}]});
    let curl = api.client.post(api.url("/v1/messages")).header("user-agent", "curl/8.5.0");
    assert_eq!(curl.body(own.to_string()).send().await.unwrap().status(), 200);
    let (totals, ..) = api.stop().await;
    assert_eq!((totals.foreign_requests, totals.foreign.len()), (1, 1));
    let foreign = &totals.foreign[0];
    assert_eq!(foreign.number, 3);
    let reasons = foreign.reasons.join("; ");
    for reason in ["user-agent `curl/8.5.0`", "system prompt none", "no tools"] {
        assert!(reasons.contains(reason), "{reasons}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_passed_on() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| setup.bounds.record_bytes = 1);
    assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    let mut refused = false;
    for _ in 0..200 {
        let (status, text) = api.ask("/v1/messages", &messages("x")).await;
        if status == 400 {
            assert!(text.contains("the record of this run is full"), "{text}");
            refused = true;
            break;
        }
    }
    assert!(refused);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_books_have_the_form_of_a_file() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    let (totals, ..) = api.stop().await;
    let json = serde_json::to_value(&totals).unwrap();
    assert_eq!(
        (&json["schema"], &json["requests"], &json["tokens"]["cache_write_1h"]),
        (&json!(1), &json!(1), &json!(30))
    );
    let back: ptb_gateway::ApiTotals = serde_json::from_value(json).unwrap();
    assert_eq!(back, totals);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_on_with_the_next_number() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let first = Api::new(&provider);
    for _ in 0..2 {
        assert_eq!(first.ask("/v1/messages", &messages("x")).await.0, 200);
    }
    let (_, _, folder) = first.stop().await;
    let path = folder.path().join("api.jsonl.zst");
    let second = Api::with(&provider, |setup| setup.record = path.clone());
    assert_eq!(second.ask("/v1/messages", &messages("x")).await.0, 200);
    second.running.stop().await;
    let record = crate::support::lines(&path);
    let numbers: Vec<_> = of_kind(&record, "request").iter().map(|l| l["number"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_all_on_record() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    let texts: Vec<String> = (0..100).map(|n| format!("question {n}")).collect();
    let asked = texts.iter().map(|text| async {
        let (status, answer) = api.ask("/v1/messages", &messages(text)).await;
        assert_eq!((status, answer), (200, anthropic_events().concat()));
    });
    futures::future::join_all(asked).await;
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.requests, totals.tokens.output), (100, 7700));
    let numbers = |kind| {
        let mut all: Vec<u64> =
            of_kind(&record, kind).iter().map(|l| l["number"].as_u64().unwrap()).collect();
        all.sort_unstable();
        all
    };
    let want: Vec<u64> = (1..=100).collect();
    assert_eq!((numbers("request"), numbers("response")), (want.clone(), want));
}
