//! The provider's failures: told, timed, and passed on as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ptb_gateway::{Probe, Service};
use ptb_llm::protocol::ProviderFault;
use serde_json::json;

use crate::provider::{Answer, Provider, Step};
use crate::support::{Api, anthropic_events, messages, of_kind, serve, setup};

/// A provider that goes through answers, one a request.
async fn provider(answers: Vec<fn() -> Answer>) -> Provider {
    let next = AtomicUsize::new(0);
    Provider::start(move |seen| match seen.method.as_str() {
        "GET" => Answer::json(200, "{}"),
        _ => answers[next.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1)](),
    })
    .await
}

fn good() -> Answer {
    Answer::events(&anthropic_events())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_passed_on_and_told_by_kind() {
    use ProviderFault::{Credit, Key, Outage};
    let answers: Vec<fn() -> Answer> = vec![
        good,
        || {
            let mut answer = Answer::json(
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            );
            answer.headers.push(("retry-after", "7".to_owned()));
            answer
        },
        || Answer::json(500, "<html>"),
        good,
        || {
            Answer::json(
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
            )
        },
        good,
        || {
            Answer::json(
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
            )
        },
        good,
        || {
            Answer::json(
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens"}}"#,
            )
        },
    ];
    let provider = provider(answers).await;
    let api = Api::new(&provider);
    let watch = api.running.service();
    let mut seen = Vec::new();
    for n in 0..9 {
        let response = api.post("/v1/messages", &messages("x")).send().await.unwrap();
        let status = response.status().as_u16();
        if status == 529 {
            assert_eq!(response.headers()["retry-after"], "7");
        }
        let text = response.text().await.unwrap();
        assert!(n != 2 || text == "<html>");
        let kind = match &*watch.borrow() {
            Service::Down { kind, .. } => Some(*kind),
            Service::Up => None,
            Service::Unused => panic!("something was asked"),
        };
        seen.push((status, kind));
    }
    let want = [
        (200, None),
        (529, Some(Outage)),
        (500, Some(Outage)),
        (200, None),
        (401, Some(Key)),
        (200, None),
        (400, Some(Credit)),
        (200, None),
        // A request that is wrong says nothing about the provider.
        (400, None),
    ];
    assert_eq!(seen, want);
    let outages = api.running.outages();
    let told: Vec<_> = outages.iter().map(|o| (o.kind, o.requests.clone())).collect();
    assert_eq!(told, [(Outage, vec![2, 3]), (Key, vec![5]), (Credit, vec![7])]);
    assert!(outages.iter().all(|o| o.end.unwrap() >= o.start));
    assert!(outages.windows(2).all(|w| w[0].end.unwrap() <= w[1].start));
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.failed, totals.generations, totals.uncounted), (5, 9, 0));
    assert!(totals.models["claude-opus-4-6-20260101"].requests == 4 && totals.estimated_usd == 0.0);
    let ends: Vec<_> =
        of_kind(&record, "response").iter().map(|line| line["end"].clone()).collect();
    assert_eq!(ends.iter().filter(|end| **end == "failed").count(), 5);
    assert_eq!(of_kind(&record, "response")[2]["body"], json!({"$text": "<html>"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_stream_is_cut_for_the_client_too() {
    let answers: Vec<fn() -> Answer> = vec![
        || {
            let mut steps: Vec<Step> =
                anthropic_events().into_iter().take(3).map(Step::Send).collect();
            steps.push(Step::Sleep(std::time::Duration::from_millis(20)));
            steps.push(Step::Break);
            Answer::stream(steps)
        },
        // It ends well as HTTP goes, but the model had not come to its end.
        || Answer::events(&anthropic_events()[..3]),
        || {
            Answer::events(&[
            anthropic_events()[0].clone(),
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n".to_owned(),
        ])
        },
        good,
    ];
    let provider = provider(answers).await;
    let api = Api::new(&provider);
    let broken = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert!(broken.text().await.is_err(), "the client must see that it broke off");
    for _ in 0..2 {
        assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    }
    let Service::Down { since, kind, message } = api.running.service().borrow().clone() else {
        panic!("not down");
    };
    assert_eq!((kind, message.as_str()), (ProviderFault::Outage, "Overloaded"));
    let open = api.running.outages();
    assert_eq!((open.len(), open[0].start), (1, since), "answers that break off end no outage");
    assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    assert!(api.running.outages()[0].end.is_some());
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.cut, totals.failed), (2, 1));
    let answers = of_kind(&record, "response");
    assert_eq!((&answers[0]["end"], &answers[0]["cut_by"]), (&json!("cut"), &json!("provider")));
    assert_eq!(answers[1]["cut_by"], "provider");
    assert_eq!(answers[2]["end"], "failed");
    // What was told of the tokens counts.
    assert_eq!(totals.tokens.input, 4 * 1150);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_not_there_is_an_outage_until_it_is_back() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let running = serve(setup(&format!("http://{address}"), folder.path())).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v1/messages", running.address());
    let response = client.post(&url).body(messages("x").to_string()).send().await.unwrap();
    assert_eq!(response.status(), 502);
    let text = response.text().await.unwrap();
    assert!(text.contains("api_error") && text.contains("cannot be reached"), "{text}");
    assert!(matches!(running.probe().await, Probe::Down { kind: ProviderFault::Outage, .. }));
    assert!(matches!(&*running.service().borrow(), Service::Down { .. }));
    // It comes back at the same place.
    let back = tokio::net::TcpListener::bind(address).await.unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = back.accept().await.unwrap();
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut buffer = [0; 4096];
            let n = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..n].starts_with(b"GET /v1/models HTTP/1.1\r\n"));
            count.fetch_add(1, Ordering::Relaxed);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
                .await
                .unwrap();
        }
    });
    assert_eq!(running.probe().await, Probe::Up);
    assert_eq!((&*running.service().borrow(), served.load(Ordering::Relaxed)), (&Service::Up, 1));
    assert!(running.outages()[0].end.is_some());
    task.abort();
    let totals = running.stop().await;
    assert_eq!((totals.failed, totals.uncounted), (1, 0), "what was never sent cost nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_cannot_see_credit() {
    let provider = provider(vec![|| {
        Answer::json(429, r#"{"error":{"message":"quota","code":"insufficient_quota"}}"#)
    }])
    .await;
    let api = Api::new(&provider);
    assert_eq!(
        api.ask("/v1/chat/completions", &json!({"model": "gpt-5", "messages": []})).await.0,
        429
    );
    assert_eq!(api.running.probe().await, Probe::Reachable);
    let down = api.running.service().borrow().clone();
    assert!(matches!(down, Service::Down { kind: ProviderFault::Credit, .. }), "{down:?}");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_falls_silent_is_not_waited_for() {
    let provider = Provider::start(|_| {
        Answer::stream(vec![Step::Send(anthropic_events()[0].clone()), Step::Hang])
    })
    .await;
    let api = Api::with(&provider, |setup| {
        setup.bounds.silence = std::time::Duration::from_millis(200);
    });
    let broken = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert!(broken.text().await.is_err());
    let down = api.running.service().borrow().clone();
    assert!(matches!(down, Service::Down { kind: ProviderFault::Outage, .. }), "{down:?}");
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.cut, totals.tokens.input), (1, 1150));
    assert_eq!(of_kind(&record, "response")[0]["cut_by"], "provider");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_is_on_record() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let running = serve(setup(&format!("http://{address}"), folder.path())).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/v1/messages", running.address());
    let asked = tokio::spawn(client.post(url).body(messages("x").to_string()).send());
    // The provider has the request and says nothing.
    let (mut stream, _) = listener.accept().await.unwrap();
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 1 << 16];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    asked.abort();
    // It sees the connection end.
    while stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
    crate::support::until("the books to be closed", || running.totals().cut == 1).await;
    let totals = running.stop().await;
    assert_eq!((totals.uncounted, totals.failed), (1, 0));
    let record = crate::support::lines(&folder.path().join("api.jsonl.zst"));
    let answer = of_kind(&record, "response")[0];
    assert_eq!((&answer["status"], &answer["cut_by"]), (&json!(499), &json!("client")));
    assert!(answer["first_byte_s"].is_null() && answer["body"].is_null());
}
