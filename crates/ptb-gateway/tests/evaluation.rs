//! The evaluation door as a client meets it: what is told at each level, who gets a turn, what is
//! recorded, and what happens to clients and evaluators that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod common;

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use ptb_core::cell::Feedback;
use ptb_gateway::*;
use serde_json::{Value, json};

const UNREAD: &str = "the replies to earlier evaluations have not been read";
const FINAL: &str = r#"{"model_path":"final_model"}"#;

#[test]
fn the_level_says_what_is_told() {
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let expected = [
        (Feedback::Score, None),
        (Feedback::Samples, Some(vec!["id", "prompt", "completion"])),
        (Feedback::Open, Some(vec!["id", "prompt", "completion", "verdict", "target", "answer"])),
    ];
    for (level, sample_keys) in expected {
        let house = House::new(level, Script::Score(0.5));
        let answer = evaluate(&house.socket(), FINAL);
        let mut events = vec!["accepted", "snapshot", "progress"];
        events.extend(sample_keys.as_ref().map(|_| "sample"));
        events.push("result");
        assert_eq!(answer.events(), events, "{level:?}");
        let samples: Vec<Value> =
            answer.lines().into_iter().filter(|l| l["event"] == "sample").collect();
        assert_eq!(samples.len(), if sample_keys.is_some() { 2 } else { 0 });
        if let Some(sample_keys) = sample_keys {
            assert_eq!(keys(&samples[0]["sample"]), sample_keys);
        }
        let metrics = &answer.last()["metrics"];
        assert_eq!((&metrics["accuracy"], &metrics["stderr"]), (&json!(0.5), &json!(0.1)));
        let open = level == Feedback::Open;
        for word in ["secret-target", "secret-data-hash", "verdict", "4242"] {
            assert_eq!(answer.body.contains(word), open, "{word} at {level:?}");
        }
    }
}

#[test]
fn requests_are_passed_on_and_recorded_with_their_snapshot() {
    let house = House::new(Feedback::Score, Script::Score(0.25));
    let asked = r#"{"model_path":"/home/agent/task/./x/../final_model","limit":7,"max_tokens":64,
        "max_connections":3,"gpu_memory_utilization":0.5,"templates_dir":"t"}"#;
    let answer = evaluate(&house.socket(), asked);
    let lines = answer.lines();
    assert!(lines[0]["notes"][0].as_str().unwrap().starts_with("templates_dir is ignored"));
    let seen = house.evaluator.seen.lock().unwrap().pop().unwrap();
    let ModelSource::Snapshot { path, sha256 } = seen.model else { panic!("{seen:?}") };
    assert_eq!(lines[1]["sha256"], json!(sha256));
    assert!(path.starts_with(house.dir.path().join("snapshots")));
    let numbers = (seen.limit, seen.max_tokens, seen.max_connections, seen.gpu_memory_utilization);
    assert_eq!(numbers, (Some(7), Some(64), Some(3), Some(0.5)));
    let records = house.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].consumed_seconds, 61);
    assert_eq!(records[0].snapshot_sha256.as_deref(), Some(sha256.as_str()));
    assert_eq!(records[0].request.limit, Some(7));
    let EvaluationEnd::Scored(score) = &records[0].end else { panic!("{records:?}") };
    assert_eq!((score.accuracy, score.n), (0.25, 2));
    assert_eq!(house.snapshots.best().unwrap().record.score, Some(0.25));
}

#[test]
fn the_base_model_is_evaluated_where_it_lies() {
    let house = House::new(Feedback::Score, Script::Score(0.25));
    let answer = evaluate(&house.socket(), r#"{"model_path":"/models/../models/base/"}"#);
    assert_eq!(answer.events(), ["accepted", "progress", "result"]);
    let seen = house.evaluator.seen.lock().unwrap().pop().unwrap();
    let path = house.dir.path().join("base");
    assert_eq!(seen.model, ModelSource::Known { name: "base".to_owned(), path });
    assert_eq!(house.records()[0].known.as_deref(), Some("base"));
    assert!(house.snapshots.last_whole().is_none());
}

#[test]
fn one_at_a_time_and_the_second_is_told_at_once() {
    let house = House::new(Feedback::Score, Script::Hang);
    let mut first = connect(&house.socket());
    first.write_all(request("POST", "/v1/evaluate", FINAL).as_bytes()).unwrap();
    eventually("the first runs", || house.evaluator.running.load(Ordering::SeqCst) == 1);
    for path in ["/v1/evaluate", "/v1/engine/release"] {
        let second = ask(&house.socket(), "POST", path, FINAL);
        assert_eq!((second.status, second.last()["kind"].as_str()), (409, Some("busy")), "{path}");
    }
    assert!(house.clock_is_served());
    assert_eq!(house.evaluator.released.load(Ordering::SeqCst), 0);
    drop(first);
    eventually("the first is cancelled", || house.evaluator.running.load(Ordering::SeqCst) == 0);
    eventually("it is recorded", || house.records().len() == 1);
    let EvaluationEnd::Failed(fault) = &house.records()[0].end else { panic!() };
    assert_eq!(fault.kind, FaultKind::Cancelled);
    let release = || ask(&house.socket(), "POST", "/v1/engine/release", "").status == 200;
    eventually("the engine is given up", release);
    assert_eq!(house.evaluator.released.load(Ordering::SeqCst), 1);
    house.evaluator.set(Script::Score(1.0));
    eventually("the next has its turn", || {
        evaluate(&house.socket(), FINAL).last()["event"] == "result"
    });
}

#[test]
fn a_quiet_evaluation_says_that_it_is_alive() {
    let soon = |setup: &mut EvaluationSetup| setup.keep_alive = Duration::from_millis(20);
    let house = House::with(Feedback::Score, Script::Slow(500), Bounds::default(), soon);
    let alive = |answer: Answer| answer.lines().iter().filter(|l| l["event"] == "alive").count();
    assert!(alive(evaluate(&house.socket(), FINAL)) >= 3);
    // Without it there is nothing to tell a quiet evaluation from a dead one.
    let house = House::new(Feedback::Score, Script::Slow(500));
    assert_eq!(alive(evaluate(&house.socket(), FINAL)), 0);
}

#[test]
fn faults_are_told_by_kind_and_never_with_paths_of_the_host() {
    let expected = [
        (
            Script::Fail(FaultKind::Model),
            "model",
            "/home/agent/task/final_model/config.json is bad",
        ),
        (
            Script::Fail(FaultKind::Harness),
            "harness",
            "the evaluation failed, by no fault of the model",
        ),
        (Script::Panic, "harness", "the evaluation failed, by no fault of the model"),
        (
            Script::Fail(FaultKind::Cancelled),
            "cancelled",
            "/home/agent/task/final_model/config.json is bad",
        ),
    ];
    for (script, kind, message) in expected {
        let house = House::new(Feedback::Open, script);
        let answer = evaluate(&house.socket(), FINAL);
        let last = answer.last();
        assert_eq!((last["kind"].as_str(), last["message"].as_str()), (Some(kind), Some(message)));
        let ends = answer
            .lines()
            .iter()
            .filter(|l| l["event"] == "error" || l["event"] == "result")
            .count();
        assert_eq!(ends, 1);
        assert!(!answer.body.contains(house.dir.path().to_str().unwrap()), "{}", answer.body);
        // The record has the whole truth.
        let EvaluationEnd::Failed(fault) = &house.records()[0].end else { panic!() };
        let full =
            if script == Script::Panic { "panic" } else { house.dir.path().to_str().unwrap() };
        assert!(fault.message.contains(full), "{fault:?}");
        house.evaluator.set(Script::Score(1.0));
        assert_eq!(evaluate(&house.socket(), FINAL).last()["event"], "result");
    }
}

#[test]
fn bad_models_are_the_models_fault() {
    let house = House::new(Feedback::Score, Script::Score(1.0));
    std::fs::create_dir(house.work().join("empty")).unwrap();
    std::fs::create_dir(house.work().join("half")).unwrap();
    std::fs::write(house.work().join("half/config.json"), "{}").unwrap();
    let expected = [
        ("nothing", "model", "there is no directory /home/agent/task/nothing"),
        ("empty", "model", "/home/agent/task/empty holds no model files"),
        (
            "half",
            "model",
            "/home/agent/task/half is no whole model: /home/agent/task/half/model.safetensors is missing",
        ),
        (
            "final_model/config.json",
            "model",
            "/home/agent/task/final_model/config.json is no directory",
        ),
        ("../../../etc", "input", "model_path ../../../etc is not below /home/agent/task"),
        ("/etc", "input", "model_path /etc is not below /home/agent/task"),
        (
            "/home/agent/task2",
            "input",
            "model_path /home/agent/task2 is not below /home/agent/task",
        ),
    ];
    for (path, kind, message) in expected {
        let last = evaluate(&house.socket(), &json!({"model_path": path}).to_string()).last();
        assert_eq!((last["kind"].as_str(), last["message"].as_str()), (Some(kind), Some(message)));
    }
    assert_eq!(house.evaluator.started.load(Ordering::SeqCst), 0);
}

#[test]
fn an_evaluator_that_is_deaf_to_cancelling_is_dropped() {
    let soon = |setup: &mut EvaluationSetup| setup.cancel_grace = Duration::from_millis(50);
    let house = House::with(Feedback::Score, Script::Deaf, Bounds::default(), soon);
    let mut client = connect(&house.socket());
    client.write_all(request("POST", "/v1/evaluate", FINAL).as_bytes()).unwrap();
    eventually("it runs", || house.evaluator.running.load(Ordering::SeqCst) == 1);
    drop(client);
    eventually("it is dropped", || house.evaluator.running.load(Ordering::SeqCst) == 0);
}

#[test]
fn closing_cancels_and_lets_nobody_begin() {
    let house = House::new(Feedback::Score, Script::Hang);
    let mut client = connect(&house.socket());
    client.write_all(request("POST", "/v1/evaluate", FINAL).as_bytes()).unwrap();
    eventually("it runs", || house.evaluator.running.load(Ordering::SeqCst) == 1);
    house.runtime.block_on(house.evaluation.close());
    assert_eq!(house.evaluator.running.load(Ordering::SeqCst), 0);
    let mut raw = Vec::new();
    client.read_to_end(&mut raw).unwrap();
    assert_eq!(Answer::parse(&raw).unwrap().last()["kind"], "cancelled");
    let after = evaluate(&house.socket(), FINAL);
    assert_eq!((after.status, after.last()["kind"].as_str()), (409, Some("over")));
}

#[test]
fn asking_without_end_does_not_fill_the_log() {
    let long = json!({"model_path": "x".repeat(4000)}).to_string();
    let flood = |pace: Duration| {
        let set = |setup: &mut EvaluationSetup| setup.pace = pace;
        let house = House::with(Feedback::Score, Script::Score(1.0), Bounds::default(), set);
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_millis(1000) {
            assert_eq!(evaluate(&house.socket(), &long).last()["kind"], "model");
        }
        let size = std::fs::metadata(house.dir.path().join("attempts/1/evaluations.jsonl"));
        (house.records().len(), size.unwrap().len() as usize / house.records().len())
    };
    let (lines, bytes_a_line) = flood(Duration::from_millis(250));
    assert!(lines <= 5 && bytes_a_line < 2000, "{lines} lines of {bytes_a_line} bytes");
    assert!(flood(Duration::ZERO).0 > 5);
}

/// Sends a request whose reply does not fit into the socket, reads nothing until `ready`, then all.
fn read_late(house: &House, ready: impl FnOnce()) -> String {
    let mut stalled = connect(&house.socket());
    stalled.write_all(request("POST", "/v1/evaluate", FINAL).as_bytes()).unwrap();
    eventually("its evaluation has ended", || house.records().len() == 1);
    ready();
    let mut raw = Vec::new();
    let _ = stalled.read_to_end(&mut raw);
    String::from_utf8(raw).unwrap()
}

#[test]
fn a_client_that_reads_nothing_neither_holds_the_turn_nor_the_door() {
    let bounds = Bounds { stall_time: Duration::from_millis(200), ..Bounds::default() };
    let house = House::with(Feedback::Samples, Script::Big(64), bounds, |_| {});
    let cut = read_late(&house, || {
        house.evaluator.set(Script::Score(1.0));
        // Its turn is free while its reply still stands.
        eventually("the next has its turn", || evaluate(&house.socket(), FINAL).status == 200);
        std::thread::sleep(Duration::from_millis(600));
    });
    assert!(cut.starts_with("HTTP/1.1 200 OK\r\n") && !cut.contains("\"result\""), "{}", cut.len());
    // Without the bound the reply stands for as long as the client likes.
    let house = House::new(Feedback::Samples, Script::Big(64));
    let whole = read_late(&house, || std::thread::sleep(Duration::from_millis(600)));
    assert!(whole.contains("\"result\"") && whole.len() > 64 * (64 << 10), "{}", whole.len());
}

#[test]
fn replies_that_nobody_reads_are_bounded() {
    let house = House::new(Feedback::Samples, Script::Big(64));
    let mut stalled = Vec::new();
    for n in 1..=4 {
        eventually("the turn is free", || {
            let mut client = connect(&house.socket());
            client.write_all(request("POST", "/v1/evaluate", FINAL).as_bytes()).unwrap();
            let mut status = [0; 12];
            client.read_exact(&mut status).unwrap();
            let accepted = status.ends_with(b"200");
            stalled.extend(accepted.then_some(client));
            accepted
        });
        eventually("it has ended", || house.records().len() == n);
    }
    let refused = || evaluate(&house.socket(), FINAL).last()["message"] == UNREAD;
    eventually("the fifth is refused", refused);
    // One that is read, and one that vanishes, make room.
    let _ = stalled[0].read_to_end(&mut Vec::new());
    eventually("there is room", || !refused());
    drop(stalled);
    eventually("all is as before", || evaluate(&house.socket(), FINAL).last()["event"] == "result");
}
