//! `ptb eval` against servers that are no servers: each is told in one message, with its address and what to do,
//! within seconds; and what was answered before is never asked for again.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that tells how long things took")]

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::server::{Asked, Server, Then, answer, completion, whole};
use support::{Answer, Place};

/// What a server does in place of answering.
type Bad = fn(&mut TcpStream) -> std::io::Result<Then>;

const JSON: &[&str] = &["content-type: application/json"];
const PAGE: &str =
    "<!doctype html><html><head><title>Welcome</title></head><body>to nginx!</body></html>";
/// Time of a request in these tests, in seconds.
const REQUEST: &str = "2";

fn eval(place: &Place, url: &str, out: &str) -> Answer {
    let args = ["eval", "arithmetic", "--model", "mini", "--model-path", "base", "--limit", "40"];
    let more = ["--engine", url, "--out", out, "--request-timeout", REQUEST];
    let more = [&more[..], &["--max-connections", "4"]].concat();
    place.output(&[&args[..], &more[..]].concat())
}

/// One message, with the server's address and a hint.
fn assert_told(what: &str, server: &Server, answer: &Answer, words: &[&str]) {
    assert_eq!((answer.code, answer.out.as_str()), (3, ""), "{what}: {}", answer.shown());
    assert_eq!(answer.err.matches("  x ").count(), 1, "{what}: {}", answer.err);
    // Messages are wrapped to the terminal's width.
    let words_of =
        |text: &str| text.replace('|', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words_of(&answer.err);
    for word in words.iter().copied().chain([server.url.as_str(), "help: "]) {
        assert!(text.contains(word), "{what}: no `{word}` in: {}", answer.err);
    }
    assert!(text.len() < 1500, "{what}: {text}");
}

fn stay_silent(stream: &mut TcpStream) -> std::io::Result<Then> {
    // Until the client leaves.
    std::io::copy(stream, &mut std::io::sink())?;
    Ok(Then::Close)
}

fn head(stream: &mut TcpStream, length: usize) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")
}

fn forever(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Then> {
    loop {
        stream.write_all(bytes)?;
    }
}

/// Each from the first request on.
const STRANGERS: &[(&str, Bad, &[&str])] = &[
    (
        "a page",
        |s| whole(s, "200 OK", &["content-type: text/html"], PAGE),
        &[
            "malformed: it is not JSON",
            "Welcome to nginx!",
            "the address is the root of an OpenAI-compatible API",
        ],
    ),
    (
        "half a JSON",
        |s| whole(s, "200 OK", JSON, &completion("ANSWER: 7")[..40]),
        &["it is not JSON (EOF while parsing"],
    ),
    ("nothing", |s| whole(s, "200 OK", JSON, ""), &["it is not JSON (EOF while parsing"]),
    (
        "an error that is no error",
        |s| {
            whole(s, "200 OK", JSON, r#"{"error": {"message": "no \u001b[31mmodel\u0007 loaded"}}"#)
        },
        &["status 500", "model", "loaded"],
    ),
    (
        "closed in the middle",
        |s| {
            head(s, 500)?;
            s.write_all(b"{\"choices\": [")?;
            Ok(Then::Close)
        },
        &["failed to get an answer", "check that the server runs"],
    ),
    ("closed at once", |_| Ok(Then::Close), &["failed to get an answer"]),
    (
        "no HTTP",
        |s| {
            s.write_all(b"SSH-2.0-OpenSSH_9.6\r\n")?;
            Ok(Then::Close)
        },
        &["failed to get an answer"],
    ),
    ("silence", stay_silent, &["gave no answer within 2 s", "stuck", "it may be slow"]),
    (
        "a head alone",
        |s| {
            head(s, 500)?;
            stay_silent(s)
        },
        &["gave no answer within 2 s"],
    ),
    (
        "a byte now and then",
        |s| {
            head(s, 500)?;
            loop {
                s.write_all(b" ")?;
                std::thread::sleep(Duration::from_millis(200));
            }
        },
        &["gave no answer within 2 s"],
    ),
    (
        "an answer without end",
        |s| {
            s.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"choices\": [{\"text\": \"")?;
            forever(s, &[b'a'; 1 << 16])
        },
        &["it is longer than", "bytes", "aaaa"],
    ),
    (
        "headers without end",
        |s| {
            s.write_all(b"HTTP/1.1 200 OK\r\n")?;
            forever(s, b"x-more: of the same\r\n")
        },
        &["failed to get an answer"],
    ),
    (
        "a redirect to itself",
        |s| whole(s, "307 Temporary Redirect", &["location: /v1/completions"], ""),
        &[
            "sends the request elsewhere (status 307, to /v1/completions)",
            "name the address that it leads to",
        ],
    ),
    (
        "too long a content-length",
        |s| {
            let text = completion("ANSWER: 7");
            head(s, text.len() + 1)?;
            s.write_all(text.as_bytes())?;
            Ok(Then::Close)
        },
        &["failed to get an answer"],
    ),
    (
        "too short a content-length",
        |s| {
            let text = completion("ANSWER: 7");
            head(s, text.len() - 9)?;
            s.write_all(text.as_bytes())?;
            Ok(Then::Keep)
        },
        &["it is not JSON"],
    ),
    (
        "a bomb",
        |s| whole(s, "200 OK", &["content-encoding: gzip"], b"\x1f\x8b\x08\0\0\0\0\0"),
        &["it is compressed (gzip)"],
    ),
    (
        "bytes that are no text",
        |s| whole(s, "200 OK", JSON, b"{\"choices\": [{\"text\": \"\xff\xfe\"}]}"),
        &["it is not JSON (invalid unicode"],
    ),
    (
        "no choices",
        |s| whole(s, "200 OK", JSON, r#"{"choices": []}"#),
        &["it has no choice with a text"],
    ),
    (
        "a null",
        |s| whole(s, "200 OK", JSON, r#"{"choices": [{"text": null}]}"#),
        &["it has no choice with a text"],
    ),
    (
        "a number",
        |s| whole(s, "200 OK", JSON, r#"{"choices": [{"text": NaN}]}"#),
        &["it is not JSON (expected value"],
    ),
    (
        "a well of brackets",
        |s| whole(s, "200 OK", JSON, "[".repeat(100_000)),
        &["it is not JSON (recursion limit exceeded"],
    ),
];

#[test]
fn strangers_are_told_within_seconds() {
    let place = Place::new();
    let one = |(what, bad, words): &'static (&str, Bad, &[&str])| {
        let server = Server::start(|_, stream| bad(stream));
        let begin = Instant::now();
        let answer = eval(&place, &server.url, what);
        let took = begin.elapsed();
        assert_told(what, &server, &answer, words);
        let requests = server.asked().len();
        assert!(requests <= 4, "{what}: {requests} requests");
        // One time-out, or pauses that add up to less than two seconds; and the program, beside others.
        assert!(took < Duration::from_secs(15), "{what}: {took:?}");
        eprintln!("{what}: {requests} requests in {took:.1?}");
    };
    // They mostly wait.
    std::thread::scope(|scope| STRANGERS.iter().for_each(|s| drop(scope.spawn(move || one(s)))));
}

#[test]
fn a_page_at_the_address_itself_is_told_as_well() {
    let place = Place::new();
    let server = Server::with_models(PAGE, |_, s| whole(s, "200 OK", &[], PAGE));
    let answer = eval(&place, &server.url, "out");
    assert_told(
        "a page",
        &server,
        &answer,
        &["it is not JSON", "Welcome to nginx!", "http://HOST/v1"],
    );
    let nobody = "http://127.0.0.1:1/v1";
    let answer = eval(&place, nobody, "out");
    assert_eq!(answer.code, 3, "{}", answer.shown());
    assert!(answer.err.contains(nobody) && answer.err.contains("help: "), "{}", answer.err);
}

/// Servers that answer some questions and then none.
#[test]
fn what_was_answered_before_a_server_went_bad_is_kept() {
    let place = Place::new();
    let cases: [(&str, Bad, &[&str]); 4] = [
        (
            "busy",
            |s| whole(s, "503 Service Unavailable", &["retry-after: 0"], "full"),
            &["status 503: full"],
        ),
        (
            "refusing",
            |s| whole(s, "402 Payment Required", &[], "no credit"),
            &["status 402: no credit"],
        ),
        (
            "leaving",
            |s| whole(s, "302 Found", &["location: http://elsewhere/"], ""),
            &["to http://elsewhere/"],
        ),
        ("silent", stay_silent, &["gave no answer within 2 s"]),
    ];
    for (what, bad, words) in cases {
        let turned = Server::start(move |asked: &Asked, stream| match asked.number {
            0..20 => answer(stream, asked),
            _ => bad(stream),
        });
        let begin = Instant::now();
        assert_told(what, &turned, &eval(&place, &turned.url, what), words);
        eprintln!("{what}: {:.1?}", begin.elapsed());
        let samples = place.path().join(what).join("42/samples.jsonl");
        let kept = fs::read_to_string(&samples).unwrap().lines().count();
        // Of four in flight one fails, and three may be dropped for it.
        assert!((16..20).contains(&kept), "{what}: {kept} kept");
        let good = Server::good(Duration::ZERO);
        let done = eval(&place, &good.url, what);
        assert_eq!(done.code, 0, "{}", done.shown());
        assert_eq!(good.seeds().len(), 40 - kept, "{what}");
    }
}

/// Counts are the server's word; those that cannot be are no counts, and nothing is lost for them.
#[test]
fn token_counts_that_cannot_be_are_not_counted() {
    let place = Place::new();
    let server = Server::start(|asked, stream| {
        let count = match asked.number % 3 {
            0 => "-5",
            1 => "18446744073709551615",
            _ => "1e300",
        };
        let body =
            completion("ANSWER: 7").replace("10", count).replace(":3}", &format!(":{count}}}"));
        whole(stream, "200 OK", JSON, body)
    });
    let done = eval(&place, &server.url, "out");
    assert_eq!(done.code, 0, "{}", done.shown());
    let metrics = support::runs::json(&place.path().join("out/metrics.json"));
    let tokens = metrics["completion_tokens"].as_u64().unwrap();
    assert!(tokens > 0 && tokens.is_multiple_of(u32::MAX.into()), "{tokens}");
}
