//! Clients that mean no good.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::provider::{Answer, Provider, Step};
use crate::support::{Api, OPUS, anthropic_events, messages, of_kind, until};

/// Sends bytes and reads one answer with a known length, or all until the end.
fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = Vec::new();
    let mut buffer = [0; 65536];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn raw_request(address: SocketAddr, bytes: Vec<u8>) -> String {
    tokio::task::spawn_blocking(move || raw(address, &bytes)).await.unwrap()
}

fn post(target: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_ours_whatever_a_request_says() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    let body = messages("x").to_string();
    for (bytes, status) in [
        (post("http://evil.example/v1/messages", "", &body), 400),
        (post("/v1/../v1/messages", "", &body), 404),
        (post("//v1/messages", "", &body), 404),
        (post("/v1/messages%2f..", "", &body), 404),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec(), 400),
        (b"GET /v1/responses HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n".to_vec(), 426),
        // Two lengths, or a length and chunks, are no request at all.
        (b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n123456".to_vec(), 400),
        (b"\x16\x03\x01\x02\x00\x01\x00".to_vec(), 400),
    ] {
        let answer = raw_request(api.address(), bytes.clone()).await;
        let want = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&want), "{}: {answer}", String::from_utf8_lossy(&bytes));
    }
    assert!(provider.seen().is_empty());
    // A Host header and forwarding headers go nowhere.
    let headers = "x-forwarded-host: evil.example\r\nx-http-method-override: DELETE\r\n";
    let answer = raw_request(api.address(), post("/v1/messages", headers, &body)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = provider.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/messages"));
    assert!(!format!("{seen:?}").contains("evil") && !format!("{seen:?}").contains("DELETE"));
    // A second request hidden behind the first one's chunks is read as what it is: another request, to us.
    let mut hidden =
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    hidden.extend(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes());
    hidden.extend(b"GET /v1/files HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = raw_request(api.address(), hidden).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("HTTP/1.1 404 "), "{answer}");
    assert_eq!(provider.seen().len(), 2);
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_serves_many_requests() {
    let provider =
        Provider::start(|_| Answer::json(200, r#"{"usage": {"output_tokens": 7}}"#)).await;
    let api = Api::with(&provider, |setup| setup.bounds.connections = 1);
    let body = messages("x").to_string();
    let one = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let last = String::from_utf8(post("/v1/messages", "", &body)).unwrap();
    let answer = raw_request(api.address(), format!("{one}{one}{last}").into_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(api.stop().await.0.tokens.output, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_and_read_only_when_plain() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| setup.bounds.body_bytes = 100_000);
    let large = "x".repeat(100_001);
    let big = api.client.post(api.url("/v1/messages")).body(large.clone());
    assert_eq!(big.send().await.unwrap().status(), 413);
    let body = messages("packed").to_string();
    let packed = |text: &str| zstd::stream::encode_all(text.as_bytes(), 3).unwrap();
    let send = |encoding: &'static str, bytes: Vec<u8>| {
        let request = api.client.post(api.url("/v1/messages")).header("content-encoding", encoding);
        async move { request.body(bytes).send().await.unwrap().status().as_u16() }
    };
    assert_eq!(send("zstd", packed(&body)).await, 200);
    let seen = provider.seen().pop().unwrap();
    assert_eq!((seen.body.as_str(), seen.header("content-encoding")), (body.as_str(), None));
    // A bomb, rubbish, and forms that are not read.
    assert_eq!(send("zstd", packed(&"x".repeat(50 << 20))).await, 413);
    assert_eq!(send("zstd", b"rubbish".to_vec()).await, 400);
    assert_eq!(send("gzip", body.clone().into_bytes()).await, 415);
    assert_eq!(send("identity", body.into_bytes()).await, 200);
    for bad in [
        format!(
            "{{\"model\": \"{OPUS}\", \"messages\": {}{}}}",
            "[".repeat(40_000),
            "]".repeat(40_000)
        ),
        "[]".to_owned(),
        String::new(),
        format!("{{\"model\": \"{OPUS}\", \"messages\": [{}0]}}", "0,".repeat(40_000))
            .replace("0,0,", "1,"),
    ] {
        let status =
            api.client.post(api.url("/v1/messages")).body(bad.clone()).send().await.unwrap();
        let few = bad.contains("1,");
        assert_eq!(status.status(), if few { 200 } else { 400 });
    }
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.generations, totals.refused), (3, 7));
    assert_eq!(of_kind(&record, "request").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_bodies_is_shared_and_comes_back() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| setup.bounds.memory = 300_000);
    // A body that never comes to its end holds its room, once it has come so far; another does not fit beside it.
    let mut slow = None;
    let body = messages(&"y".repeat(100_000));
    let mut busy = false;
    for _ in 0..100 {
        let head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 250001\r\n\r\n";
        let stream = slow.insert(TcpStream::connect(api.address()).unwrap());
        stream.write_all(&[&head[..], &[b'x'; 250_000]].concat()).unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        let (status, text) = api.ask("/v1/messages", &body).await;
        if status == 503 {
            assert!(text.contains("overloaded_error"), "{text}");
            busy = true;
            break;
        }
    }
    assert!(busy);
    drop(slow);
    let mut served = false;
    for _ in 0..200 {
        if api.ask("/v1/messages", &body).await.0 == 200 {
            served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(served, "the room came back");
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_give_way() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| {
        setup.bounds.connections = 4;
        setup.bounds.patience = Duration::from_millis(50);
        setup.bounds.body_time = Duration::from_millis(300);
    });
    let mut slow = Vec::new();
    for head in [
        "P",
        "POST /v1/messages HTTP/1.1\r\nhost:",
        "",
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx",
    ] {
        let mut stream = TcpStream::connect(api.address()).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        slow.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..3 {
        let body = messages("x").to_string();
        let answer = raw_request(api.address(), post("/v1/messages", "", &body)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    // The one that had begun a body was told, if it had not to give way.
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_comes_is_not_waited_for() {
    let provider = Provider::start(|_| Answer::json(200, "{}")).await;
    let api = Api::with(&provider, |setup| setup.bounds.body_time = Duration::from_millis(100));
    let begun = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nx".to_vec();
    let answer = raw_request(api.address(), begun).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("timeout_error"), "{answer}");
    assert_eq!(api.stop().await.0.refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_does_not_fill_the_disk() {
    let provider = Provider::start(|_| Answer::json(200, "{}")).await;
    let api = Api::with(&provider, |setup| setup.bounds.refusals = 5);
    for _ in 0..20 {
        assert_eq!(api.ask("/v1/files", &json!({})).await.0, 404);
    }
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.requests, totals.refused), (20, 20));
    assert_eq!((of_kind(&record, "request").len(), of_kind(&record, "response").len()), (5, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_never_ends_the_server() {
    let provider = Provider::start(|_| Answer::json(200, "{}")).await;
    let api = Api::new(&provider);
    let mut state = 1u64;
    for _ in 0..60 {
        let bytes: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u8
            })
            .collect();
        let mut whole = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 300\r\n\r\n".to_vec();
        whole.extend(&bytes);
        let answer = raw_request(api.address(), whole).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let error: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(error["error"]["type"], "invalid_request_error");
    }
    until("all refusals", || api.running.totals().refused == 60).await;
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packed_bodies_take_room_before_they_are_unpacked() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::with(&provider, |setup| setup.bounds.memory = 4 << 20);
    let bomb = zstd::stream::encode_all(&vec![b' '; 60 << 20][..], 3).unwrap();
    let send = |bytes: Vec<u8>| {
        let url = api.url("/v1/messages");
        let request = api.client.post(url).header("content-encoding", "zstd").body(bytes);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let all = futures::future::join_all((0..20).map(|_| send(bomb.clone()))).await;
    assert_eq!(all, [503; 20], "none has room for its 60 MiB");
    let honest = messages(&"y".repeat(1 << 20)).to_string();
    let packed = zstd::stream::encode_all(honest.as_bytes(), 3).unwrap();
    assert_eq!(send(packed).await, 200);
    assert_eq!(provider.seen()[0].body.len(), honest.len());
    api.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_an_end_take_no_more_than_the_room() {
    // Each of ten has 2 MiB and a bill; the record has room for 4 MiB.
    let ping = format!("data: {{\"type\": \"ping\", \"x\": \"{}\"}}\n\n", "z".repeat(32 << 10));
    let all = ping.repeat(64) + &anthropic_events().concat();
    let (go, length) = (Arc::new(Notify::new()), all.len());
    let held = Arc::clone(&go);
    let provider = Provider::start(move |_| {
        let (first, last) = all.split_at(all.len() - 10);
        let steps = [
            Step::Send(first.to_owned()),
            Step::Await(Arc::clone(&held)),
            Step::Send(last.to_owned()),
        ];
        Answer::stream(steps.into())
    })
    .await;
    let api = Api::with(&provider, |setup| setup.bounds.memory = 4 << 20);
    let body = messages("x");
    let asked = (0..10).map(|_| api.ask("/v1/messages", &body));
    let all_came = async {
        // All of them have come as far as their last bytes.
        until("the streams", || api.running.traffic().bytes() >= 10 * (length as u64 - 100)).await;
        (0..10).for_each(|_| go.notify_one());
        for _ in 0..200 {
            go.notify_waiters();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(asked), all_came);
    assert!(answers.iter().all(|(status, text)| *status == 200 && text.len() == length));
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.uncounted, totals.cut, totals.tokens.output), (0, 0, 770));
    let answers = of_kind(&record, "response");
    let truncated = answers.iter().filter(|line| line["truncated"] == true).count();
    assert!((8..=10).contains(&truncated), "{truncated}");
    for line in answers {
        let kept = line["body"].to_string().len();
        assert!(kept > 200 << 10, "{kept}");
        assert_eq!(line["usage"]["output"], 77);
    }
}
