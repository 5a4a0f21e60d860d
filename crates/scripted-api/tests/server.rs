//! The server from outside: keys, faults in every protocol, books.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use scripted_api::{Conversation, Credential, Fault, Protocol, Script, ScriptedApi, Service, Turn};
use serde_json::{Value, json};

const ALL: [Protocol; 4] =
    [Protocol::Messages, Protocol::Responses, Protocol::Chat, Protocol::Gemini];

/// What came back. A body that broke off has what had come.
#[derive(Debug)]
struct Got {
    status: u16,
    retry_after: Option<String>,
    body: String,
    broken: bool,
}

/// Asks on a connection of its own; none where it was closed without a reply.
async fn ask(api: &ScriptedApi, method: &str, path: &str, key: &str, body: &Value) -> Option<Got> {
    let socket = tokio::net::TcpStream::connect(api.address()).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "script")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let mut response = sender.send_request(request).await.ok()?;
    let header = |name: &str| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
    let (status, retry_after) = (response.status().as_u16(), header("retry-after"));
    let (mut bytes, mut broken) = (Vec::new(), false);
    while let Some(frame) = response.body_mut().frame().await {
        match frame {
            Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
            Err(_) => {
                broken = true;
                break;
            }
        }
    }
    Some(Got { status, retry_after, body: String::from_utf8(bytes).unwrap(), broken })
}

/// A first request: path and body.
fn first(protocol: Protocol) -> (&'static str, Value) {
    let user = json!([{"role": "user", "content": "hello"}]);
    let shell = json!({"type": "object", "properties": {"command": {"type": "string"}}});
    match protocol {
        Protocol::Messages => (
            "/v1/messages",
            json!({"model": "m", "stream": true, "messages": user,
                "tools": [{"name": "Bash", "input_schema": shell}]}),
        ),
        Protocol::Responses => (
            "/v1/responses",
            json!({"model": "m", "stream": true, "input": user,
                "tools": [{"type": "function", "name": "shell_command", "parameters": shell}]}),
        ),
        Protocol::Chat => (
            "/v1/chat/completions",
            json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "messages": user,
                "tools": [{"type": "function", "function": {"name": "bash", "parameters": shell}}]}),
        ),
        Protocol::Gemini => (
            "/v1beta/models/m:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}],
                "tools": [{"functionDeclarations": [{"name": "run_shell_command", "parameters": shell}]}]}),
        ),
    }
}

async fn post(api: &ScriptedApi, protocol: Protocol) -> Option<Got> {
    let (path, body) = first(protocol);
    ask(api, "POST", path, "key", &body).await
}

fn words() -> Script {
    Script::turns([Turn::text("a reply of several words, so that it has a middle")])
}

#[tokio::test]
async fn each_fault_is_told_in_the_protocols_own_words() {
    // Statuses in the order of ALL, and what the type or status of the error is.
    let table: [(Fault, [u16; 4], [&str; 4]); 6] = [
        (
            Fault::RateLimited(Some(7)),
            [429; 4],
            [
                "rate_limit_error",
                "rate_limit_exceeded",
                "rate_limit_exceeded",
                "RESOURCE_EXHAUSTED",
            ],
        ),
        (Fault::Internal, [500; 4], ["api_error", "server_error", "server_error", "INTERNAL"]),
        (
            Fault::Overloaded,
            [529, 503, 503, 503],
            ["overloaded_error", "server_error", "server_error", "UNAVAILABLE"],
        ),
        (
            Fault::CreditGone,
            [400, 429, 429, 429],
            [
                "invalid_request_error",
                "insufficient_quota",
                "insufficient_quota",
                "RESOURCE_EXHAUSTED",
            ],
        ),
        (
            Fault::KeyRevoked,
            [401, 401, 401, 400],
            ["authentication_error", "invalid_api_key", "invalid_api_key", "INVALID_ARGUMENT"],
        ),
        (
            Fault::Refused(402, "billing_error".to_owned(), "no".to_owned()),
            [402; 4],
            ["billing_error"; 4],
        ),
    ];
    for (fault, statuses, kinds) in table {
        let api = ScriptedApi::start(words());
        for (index, protocol) in ALL.into_iter().enumerate() {
            api.fail_next(1, fault.clone());
            let got = post(&api, protocol).await.unwrap();
            assert_eq!(got.status, statuses[index], "{fault:?} {protocol:?}");
            let error = &serde_json::from_str::<Value>(&got.body).unwrap()["error"];
            let place = ["type", "code", "code", "status"][index];
            assert_eq!(error[place], kinds[index], "{error}");
            let seven = matches!(fault, Fault::RateLimited(_)).then(|| "7".to_owned());
            assert_eq!(got.retry_after, seven);
            assert_eq!(post(&api, protocol).await.unwrap().status, 200, "the next one is well");
        }
        let ledger = api.ledger();
        let failed = ledger.entries.iter().filter(|entry| entry.fault == Some(fault.name()));
        assert_eq!(failed.filter(|entry| entry.tokens.is_none()).count(), 4);
        assert_eq!(ledger.turns().count(), 4);
    }
}

#[tokio::test]
async fn a_reply_breaks_off_where_it_is_told_to() {
    for protocol in ALL {
        let api = ScriptedApi::start(words());
        let whole = post(&api, protocol).await.unwrap();
        assert!(!whole.broken);

        api.fail_next(1, Fault::CutStream);
        let cut = post(&api, protocol).await.unwrap();
        assert!(cut.broken && !cut.body.is_empty() && cut.body.len() < whole.body.len(), "{cut:?}");

        api.fail_next(1, Fault::ErrorInStream);
        let error = post(&api, protocol).await.unwrap();
        assert!(!error.broken && error.body.contains("\"error\""), "{error:?}");

        api.fail_next(1, Fault::Closed);
        assert!(post(&api, protocol).await.is_none());

        let began = Instant::now();
        api.fail_next(1, Fault::Hang(Duration::from_millis(200)));
        assert!(post(&api, protocol).await.is_none());
        assert!(began.elapsed() >= Duration::from_millis(200));

        let entries = api.ledger().entries;
        let books: Vec<(Option<u16>, usize)> =
            entries.iter().map(|e| (e.status, e.bytes_out)).collect();
        let lengths = [whole.body.len(), cut.body.len(), error.body.len(), 0, 0];
        let statuses = [Some(200), Some(200), Some(200), None, None];
        assert_eq!(books, statuses.into_iter().zip(lengths).collect::<Vec<_>>(), "{protocol:?}");
        // Of a broken reply the books have what it had told: in two protocols that is something.
        let tells_early = matches!(protocol, Protocol::Messages | Protocol::Gemini);
        assert_eq!(entries[1].tokens.is_some(), tells_early, "{protocol:?}");
        assert!(entries[1].tokens.is_none_or(|t| t.output < entries[0].tokens.unwrap().output));
    }
}

#[tokio::test]
async fn a_wrong_key_goes_no_further() {
    let api = ScriptedApi::start(words());
    api.expect_key("right");
    let (path, body) = first(Protocol::Chat);
    assert_eq!(ask(&api, "POST", path, "dummy", &body).await.unwrap().status, 401);
    assert_eq!(ask(&api, "POST", path, "right", &body).await.unwrap().status, 200);
    assert_eq!(ask(&api, "GET", "/v1/models", "dummy", &Value::Null).await.unwrap().status, 401);
    let credentials: Vec<Credential> = api.ledger().entries.iter().map(|e| e.credential).collect();
    assert_eq!(credentials, [Credential::Wrong, Credential::Right, Credential::Wrong]);
    assert_eq!(api.requests()[0].key(), Some("dummy"));
}

#[tokio::test]
async fn a_failing_turn_comes_when_it_has_failed_often_enough() {
    let turn = Turn::text("at last").failing(2, Fault::Overloaded);
    let api = ScriptedApi::start(Script::turns([turn]));
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(post(&api, Protocol::Messages).await.unwrap().status);
    }
    assert_eq!(statuses, [529, 529, 200]);

    api.fail_from_turn(0, Fault::Internal);
    assert_eq!(post(&api, Protocol::Messages).await.unwrap().status, 500);
    let (path, mut aside) = first(Protocol::Messages);
    aside["tools"] = json!([]);
    let errand = ask(&api, "POST", path, "key", &aside).await.unwrap();
    assert_eq!(errand.status, 200, "errands go on");
    api.fail_from_turn(1, Fault::Internal);
    api.heal();
    assert_eq!(post(&api, Protocol::Messages).await.unwrap().status, 200);
}

#[tokio::test]
async fn errands_and_counts_are_answered_beside_the_script() {
    let api = ScriptedApi::start(Script::turns([Turn::run("ls"), Turn::text("done")]));
    let schema = json!({"type": "object", "properties": {"title": {"type": "string"}}});
    let errand = json!({"model": "small", "messages": [{"role": "user", "content": "a title"}],
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
    let got = ask(&api, "POST", "/v1/chat/completions", "key", &errand).await.unwrap();
    let reply: Value = serde_json::from_str(&got.body).unwrap();
    let content = reply["choices"][0]["message"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(content).unwrap(), json!({"title": "scripted"}));

    let (_, body) = first(Protocol::Messages);
    let count = ask(&api, "POST", "/v1/messages/count_tokens", "key", &body).await.unwrap();
    let counted = serde_json::from_str::<Value>(&count.body).unwrap()["input_tokens"].as_u64();
    assert!(post(&api, Protocol::Messages).await.unwrap().body.contains("tool_use"));
    let ledger = api.ledger();
    let tokens = ledger.turns().next().unwrap().tokens.unwrap();
    assert_eq!(counted, Some(tokens.all_input()), "the count is what is told afterwards");
    let services: Vec<Service> = ledger.entries.iter().map(|entry| entry.service).collect();
    assert_eq!(services, [Service::Reply, Service::CountTokens, Service::Reply]);

    api.list_models(["one", "two"]);
    let list = ask(&api, "GET", "/v1/models", "key", &Value::Null).await.unwrap().body;
    assert_eq!(serde_json::from_str::<Value>(&list).unwrap()["data"][1]["id"], "two");
}

#[tokio::test]
async fn it_stops_and_starts_again_with_its_books() {
    let seen = |c: &Conversation| Turn::text(format!("try {}", c.before));
    let api = ScriptedApi::start(Script::by(seen));
    assert!(post(&api, Protocol::Chat).await.unwrap().body.contains("try 0"));
    api.stop();
    assert!(post(&api, Protocol::Chat).await.is_none());
    api.restart();
    // The words come in pieces: the number alone is one.
    assert!(post(&api, Protocol::Chat).await.unwrap().body.contains("try 1"));
    assert_eq!(api.ledger().entries.len(), 2);
}

#[tokio::test]
async fn what_a_client_does_not_wait_for_is_not_in_the_books() {
    let words = "many words ".repeat(50);
    let slow = Turn::text(&words).slowly(Duration::ZERO, Duration::from_millis(100));
    let api = ScriptedApi::start(Script::turns([slow]));
    let left = tokio::time::timeout(Duration::from_millis(350), post(&api, Protocol::Chat)).await;
    assert!(left.is_err());
    let entry = api.ledger().entries.remove(0);
    assert!(entry.bytes_out > 0 && entry.tokens.is_none(), "{entry:?}");
}
