//! Clients that flood, hang, vanish and send garbage, against the real server. Each attack is also run
//! with the bound that stops it taken away, where it must work: else the test would show nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::*;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::StatusCode;
use ptb_core::cell::Feedback;
use ptb_gateway::*;
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(3600);

fn house(bounds: Bounds) -> House {
    House::with(Feedback::Score, Script::Score(1.0), bounds, |_| {})
}

/// A thousand, or what the hard limit on open files allows: both ends are in this process.
fn many_connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(1000, |files| 1000.min(files.saturating_sub(200) as usize / 3))
}

/// Tests that measure memory, or use much of it, run one at a time.
static MEMORY: Mutex<()> = Mutex::new(());

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Connections that send the beginning of a request and then hang.
fn hang(socket: &Path, count: usize) -> Vec<UnixStream> {
    (0..count)
        .map(|_| {
            let mut stream = connect(socket);
            let _ = stream.write_all(b"GET /v1/clock HTTP/1.1\r\nx: ");
            stream
        })
        .collect()
}

/// How many of the streams were turned away with 503.
fn turned_away(streams: &mut [UnixStream]) -> usize {
    let mut count = 0;
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
        let mut block = [0; 64];
        if stream.read(&mut block).is_ok_and(|n| block[..n].starts_with(b"HTTP/1.1 503")) {
            count += 1;
        }
    }
    count
}

#[test]
fn the_doors_answer_and_name_what_is_near() {
    let house = house(Bounds::default());
    let clock = ask(&house.socket(), "GET", "/v1/clock", "");
    let told = r#"{"hours":1.5,"consumed_seconds":61,"remaining_seconds":5339,"remaining":"1:28"}"#;
    assert_eq!((clock.status, clock.body.trim_end()), (200, told));
    let cases = [
        ("GET", "/v1/clocks", 404, "did you mean /v1/clock?"),
        ("GET", "/", 404, "the doors are /v1/clock, /v1/engine/release, /v1/evaluate"),
        ("POST", "/v1/clock", 405, "use GET"),
        ("GET", "/v1/evaluate", 405, "use POST"),
        ("POST", "/v1/evaluate", 400, r#"send {"model_path": "final_model"}"#),
    ];
    for (method, path, status, hint) in cases {
        let answer = ask(&house.socket(), method, path, "");
        assert_eq!((answer.status, answer.last()["hint"].as_str()), (status, Some(hint)), "{path}");
    }
}

#[test]
fn a_thousand_hanging_connections_keep_nobody_out() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let many = many_connections();
    let safe = house(Bounds { patience: Duration::from_millis(100), ..Bounds::default() });
    let before = resident_bytes();
    let mut hanging = hang(&safe.socket(), many);
    eventually("the clock is served", || safe.clock_is_served());
    let away = turned_away(&mut hanging);
    assert!(away >= many / 2, "{away} of {many} were turned away");
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more are resident");
    // Without giving way, those who hang keep everybody out.
    let weak = house(Bounds { patience: LONG, head_time: LONG, ..Bounds::default() });
    let _hanging = hang(&weak.socket(), 64);
    for _ in 0..50 {
        assert!(!weak.clock_is_served());
    }
    // Without the bound on connections, nobody is turned away: all are held.
    let weak = house(Bounds { connections: 100_000, head_time: LONG, ..Bounds::default() });
    let mut hanging = hang(&weak.socket(), many);
    assert!(weak.clock_is_served());
    assert_eq!(turned_away(&mut hanging), 0);
}

#[test]
fn a_head_that_never_ends_is_cut() {
    let drip = |bounds: Bounds| {
        let house = house(bounds);
        let mut stream = connect(&house.socket());
        let mut sent = 0;
        // One byte every 10 ms for a second at most.
        stream.write_all(b"GET /v1/clock HTTP/1.1\r\nx: ").unwrap();
        while sent < 100 && stream.write_all(b"a").is_ok() {
            sent += 1;
            std::thread::sleep(Duration::from_millis(10));
        }
        sent
    };
    let bounds = Bounds { head_time: Duration::from_millis(200), ..Bounds::default() };
    assert!(drip(bounds) < 80);
    assert_eq!(drip(Bounds { head_time: LONG, ..bounds }), 100);
}

#[test]
fn a_body_that_never_comes_is_cut() {
    let half = b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"mod";
    let safe = house(Bounds { body_time: Duration::from_millis(100), ..Bounds::default() });
    assert_eq!(exchange(&safe.socket(), half).unwrap().status, 408);
    let weak = house(Bounds { body_time: LONG, ..Bounds::default() });
    let mut stream = connect(&weak.socket());
    stream.write_all(half).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
}

/// Tells the size of what was sent to it.
struct Scales {
    max: usize,
}

impl Door for Scales {
    fn path(&self) -> &str {
        "/scales"
    }
    fn max_body(&self) -> usize {
        self.max
    }
    fn call(&self, request: Request) -> BoxFuture<'_, Response> {
        let size = request.body().len();
        async move { json_reply(StatusCode::OK, &size) }.boxed()
    }
}

/// Sends chunks of a mebibyte until the server has enough; how many were taken, and the answer.
fn pour(max: usize, mebibytes: usize) -> (usize, Answer) {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("door.sock");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let _running = runtime.block_on(async {
        Gateway::serve(&socket, vec![Arc::new(Scales { max })], &CancellationToken::new()).unwrap()
    });
    let mut stream = connect(&socket);
    let head = "POST /scales HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut chunk = b"100000\r\n".to_vec();
    chunk.resize(chunk.len() + (1 << 20), b'x');
    chunk.extend_from_slice(b"\r\n");
    let taken = (0..mebibytes).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let _ = stream.write_all(b"0\r\n\r\n");
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    (taken, Answer::parse(&raw).unwrap())
}

#[test]
fn a_gigabyte_is_refused_after_its_first_bytes() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let before = resident_bytes();
    let (taken, answer) = pour(64 << 10, 1024);
    assert!(taken <= 2, "{taken} MiB were taken");
    assert_eq!((answer.status, answer.last()["kind"].as_str()), (413, Some("input")));
    assert!(resident_bytes().saturating_sub(before) < 32 << 20);
    // A door that asks for much gets it.
    let (taken, answer) = pour(64 << 20, 48);
    assert_eq!((taken, answer.status, answer.body.trim()), (48, 200, "50331648"));
    // A size that is announced is refused before a byte of it is read.
    let house = house(Bounds::default());
    let announced = b"POST /v1/evaluate HTTP/1.1\r\nhost: x\r\ncontent-length: 1073741824\r\n\r\n";
    assert_eq!(exchange(&house.socket(), announced).unwrap().status, 413);
}

#[test]
fn garbage_in_many_forms_harms_nobody() {
    let house = house(Bounds::default());
    let many_lines = format!("GET /v1/clock HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long_line = format!("GET /v1/clock HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
    let long_path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "z".repeat(60_000));
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let deep = request("POST", "/v1/evaluate", &deep);
    let mut garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        b"\r\n\r\n\r\n\r\n".to_vec(),
        b"GET /v1/clock HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"POST /v1/evaluate HTTP/1.1\r\ncontent-length: -5\r\n\r\n".to_vec(),
        b"POST /v1/evaluate HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
            .to_vec(),
        b"POST /v1/evaluate HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"
            .to_vec(),
        b"POST /v1/evaluate HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n{}x"
            .to_vec(),
        b"CONNECT evil:443 HTTP/1.1\r\n\r\n".to_vec(),
        b"GET http://evil/v1/clock HTTP/1.1\r\nhost: evil\r\n\r\n".to_vec(),
    ];
    garbage.extend([many_lines, long_line, long_path, deep].map(String::into_bytes));
    // Every beginning of a real request, from clients that vanish.
    let real = request("POST", "/v1/evaluate", r#"{"model_path":"nothing"}"#).into_bytes();
    garbage.extend((0..real.len()).map(|n| real[..n].to_vec()));
    // Bytes without order, always the same ones.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    garbage.extend((0..200).map(|n| {
        let mut bytes: Vec<u8> = real.clone();
        for _ in 0..=n % 7 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            bytes[at] = (state >> 24) as u8;
        }
        bytes
    }));
    for bytes in &garbage {
        let mut stream = connect(&house.socket());
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        if let Some(answer) = Answer::parse(&raw) {
            // Changed bytes may still be a good request for the clock or a model that is not there.
            assert!(
                answer.status != 500,
                "{}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(99)])
            );
        }
    }
    eventually("the clock is served", || house.clock_is_served());
    // Nothing of it is left behind: all places are free again.
    eventually("an honest client has its evaluation", || {
        evaluate(&house.socket(), r#"{"model_path":"final_model"}"#).last()["event"] == "result"
    });
}

#[test]
fn stopping_ends_open_connections_and_removes_the_right_to_connect() {
    let mut house = house(Bounds::default());
    let mut hanging = hang(&house.socket(), 3);
    let mut evaluating = connect(&house.socket());
    house.evaluator.set(Script::Hang);
    let body = r#"{"model_path":"final_model"}"#;
    evaluating.write_all(request("POST", "/v1/evaluate", body).as_bytes()).unwrap();
    let running = |house: &House| house.evaluator.running.load(std::sync::atomic::Ordering::SeqCst);
    eventually("it runs", || running(&house) == 1);
    house.runtime.block_on(house.running.take().unwrap().stop());
    eventually("the evaluation is cancelled", || running(&house) == 0);
    for stream in hanging.iter_mut().chain([&mut evaluating]) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(UnixStream::connect(house.socket()).is_err());
}

#[test]
fn two_doors_of_one_path_are_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let doors: Vec<Arc<dyn Door>> = vec![Arc::new(Scales { max: 1 }), Arc::new(Scales { max: 2 })];
    let serve = Gateway::serve(&dir.path().join("s"), doors, &CancellationToken::new());
    let message = serve.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("/scales") && message.contains("hint:"), "{message}");
}
