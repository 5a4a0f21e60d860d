//! Servers that answer wrongly in every way: each has its class, its message, and a word on trying again.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use ptb_infer::{ChatCall, Client, CompletionRequest, Endpoint, InferError, Prompt};

/// A server that gives each connection the same bytes, then waits for `hold` and closes.
struct Odd {
    dir: tempfile::TempDir,
}

impl Odd {
    fn new(bytes: impl Into<Vec<u8>>, hold: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let bytes = bytes.into();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let bytes = bytes.clone();
                std::thread::spawn(move || answer(stream, &bytes, hold));
            }
        });
        Self { dir }
    }

    fn client(&self) -> Client {
        let endpoint = Endpoint::Unix(self.dir.path().join("s"));
        Client::new(endpoint, Duration::from_millis(800)).unwrap()
    }
}

fn answer(mut stream: UnixStream, bytes: &[u8], hold: Duration) {
    let mut request = [0; 1 << 16];
    let _ = stream.read(&mut request);
    let _ = stream.write_all(bytes);
    std::thread::sleep(hold);
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn ask() -> CompletionRequest {
    CompletionRequest::new(Prompt::Text("1+1=".to_owned()), 4)
}

async fn fault_of(bytes: impl Into<Vec<u8>>) -> InferError {
    Odd::new(bytes, Duration::ZERO).client().complete(&ask()).await.unwrap_err()
}

#[tokio::test]
async fn answers_that_are_none_are_malformed_quoted_and_worth_another_try() {
    let page =
        "<html><head><title>502 Bad Gateway</title></head>\n<body><h1>nginx</h1></body></html>";
    for (body, text) in [
        (page, "it is not JSON (expected value at line 1 column 1): 502 Bad Gateway nginx"),
        (r#"{"choices": [{"text": "2", "#, "it is not JSON (EOF while parsing"),
        ("", "it is not JSON (EOF while parsing a value at line 1 column 0)"),
        ("\u{0}\u{1b}[31m", "it is not JSON"),
        ("[]", "it has no choice with a text"),
        ("{}", "it has no choice with a text"),
        ("null", "it has no choice with a text"),
        (r#"{"choices": []}"#, "it has no choice with a text"),
        (r#"{"choices": [{"text": 5}]}"#, "it has no choice with a text"),
    ] {
        let e = fault_of(http("200 OK", "content-type: text/html\r\n", body)).await;
        assert!(matches!(e, InferError::Malformed { .. }) && e.retryable(), "{body}: {e:?}");
        let said = e.to_string();
        assert!(said.contains(text) && said.contains("hint: "), "{body}: {said}");
        assert!(!said.contains('\u{1b}') && !said.contains('<'), "{said}");
    }
}

#[tokio::test]
async fn an_error_with_status_200_counts_as_what_it_says() {
    let overloaded = r#"{"error": {"message": "overloaded", "type": "server_error", "code": 529}}"#;
    let e = fault_of(http("200 OK", "", overloaded)).await;
    assert!(matches!(&e, InferError::Unavailable { status: Some(529), .. }), "{e:?}");
    let plain = r#"{"error": "cuda error"}"#;
    let e = fault_of(http("200 OK", "", plain)).await;
    assert!(e.retryable() && e.to_string().contains("status 500: cuda error"), "{e}");
    let bad = r#"{"error": {"message": "no such model", "code": 404}}"#;
    let e = fault_of(http("200 OK", "", bad)).await;
    assert!(matches!(&e, InferError::Rejected { status: 404, .. }) && !e.retryable(), "{e:?}");
    let model = r#"{"error": {"message": "nan", "type": "model_fault"}}"#;
    assert!(matches!(fault_of(http("200 OK", "", model)).await, InferError::ModelFault { .. }));
}

#[tokio::test]
async fn refusals_are_told_apart_by_whether_to_come_back() {
    let wait = "retry-after: 3\r\n";
    for (status, headers, after) in [
        ("429 Too Many Requests", wait, Some(Duration::from_secs(3))),
        ("503 Service Unavailable", wait, Some(Duration::from_secs(3))),
        (
            "503 Service Unavailable",
            "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
            Some(Duration::ZERO),
        ),
        ("503 Service Unavailable", "retry-after: soon\r\n", None),
        ("500 Internal Server Error", "", None),
        ("408 Request Timeout", "", None),
    ] {
        let e = fault_of(http(status, headers, "<h1>busy</h1>")).await;
        assert!(e.retryable() && e.retry_after() == after, "{status}: {e:?}");
        assert!(e.to_string().contains("busy") && !e.to_string().contains('<'), "{e}");
    }
    for (status, body, text) in [
        (
            "401 Unauthorized",
            "{}",
            "hint: give the server's key in the environment variable PTB_ENGINE_KEY",
        ),
        ("404 Not Found", "{}", "(http://HOST/v1?chat)"),
        ("400 Bad Request", r#"{"error": {"message": "too long"}}"#, "status 400: too long"),
        ("400 Bad Request", r#"{"detail": "prompt must be a string."}"#, "prompt must be a string"),
        ("401 Unauthorized", r#"{"message": "no key"}"#, "no key"),
        ("404 Not Found", "not here", "not here"),
    ] {
        let e = fault_of(http(status, "", body)).await;
        assert!(matches!(e, InferError::Rejected { .. }) && !e.retryable(), "{status}: {e:?}");
        assert!(e.to_string().contains(text), "{e}");
    }
}

#[tokio::test]
async fn no_message_shows_the_key() {
    let key = "sk-0123456789";
    for (status, headers, body) in [
        ("401 Unauthorized", "", r#"{"error": {"message": "wrong key: sk-0123456789"}}"#),
        ("200 OK", "", r#"{"error": {"message": "wrong key: sk-0123456789", "code": 403}}"#),
        ("503 Service Unavailable", "", "<p>sk-0123456789</p>"),
        ("200 OK", "", "sk-0123456789 is no JSON"),
        ("302 Found", "location: http://other/?key=sk-0123456789\r\n", ""),
    ] {
        let server = Odd::new(http(status, headers, body), Duration::ZERO);
        let client = server.client().with_key(Some(key.to_owned()));
        let e = client.complete(&ask()).await.unwrap_err();
        assert!(e.to_string().contains("***"), "{status}: {e}");
        assert!(!format!("{e} {e:?} {client:?}").contains(key), "{status}: {e:?}");
    }
}

#[tokio::test]
async fn connections_that_break_or_hang_are_unavailable() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"choices\": [{\"te";
    for bytes in [cut, "", "HTTP/1.1 200", "\u{16}\u{3}\u{1} not http at all\r\n\r\n"] {
        let e = fault_of(bytes).await;
        assert!(matches!(e, InferError::Unavailable { .. }) && e.retryable(), "{bytes:?}: {e:?}");
    }
    for bytes in [cut, ""] {
        let begin = Instant::now();
        let odd = Odd::new(bytes, Duration::from_secs(20));
        let e = odd.client().complete(&ask()).await.unwrap_err();
        assert!(e.retryable() && e.to_string().contains("gave no answer within"), "{e}");
        assert!(begin.elapsed() < Duration::from_secs(10), "it waited {:?}", begin.elapsed());
    }
    let gone = Endpoint::Unix("/nonexistent/socket".into());
    let e = Client::new(gone, Duration::from_secs(1)).unwrap().complete(&ask()).await.unwrap_err();
    assert!(e.retryable() && e.to_string().contains("/nonexistent/socket"), "{e}");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let odd = Odd::new(head + &chunk.repeat(66), Duration::ZERO);
    let endpoint = Endpoint::Unix(odd.dir.path().join("s"));
    let client = Client::new(endpoint, Duration::from_secs(60)).unwrap();
    let e = client.complete(&ask()).await.unwrap_err();
    assert!(e.to_string().contains("longer than 4210688 bytes"), "{e}");
}

#[tokio::test]
async fn tool_calls_and_answers_without_a_text_are_read() {
    let body = r#"{"choices": [{"message": {"role": "assistant", "content": null, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}]},
        "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 5, "completion_tokens": 9}, "error": null}"#;
    let odd = Odd::new(http("200 OK", "", body), Duration::ZERO);
    let answer = odd.client().chat(&ChatCall::default()).await.unwrap();
    assert_eq!((answer.text.as_str(), answer.completion_tokens), ("", 9));
    assert_eq!(answer.tool_calls[0]["function"]["name"], "add");
    let ids = r#"{"choices": [{"text": "2", "finish_reason": "stop", "token_ids": [50, 7]}]}"#;
    let odd = Odd::new(http("200 OK", "", ids), Duration::ZERO);
    let answer = odd.client().complete(&ask()).await.unwrap();
    assert_eq!(answer.token_ids, Some(vec![50, 7]));
    let odd = Odd::new(http("200 OK", "", &ids.replace("50", "-1")), Duration::ZERO);
    assert_eq!(odd.client().complete(&ask()).await.unwrap().token_ids, None);
}
