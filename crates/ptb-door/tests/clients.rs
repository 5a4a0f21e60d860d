//! Both clients of the doors, the program and `evaluate.py`, against the real server: what one does the
//! other does, exit codes and output alike.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failed test panics"
)]

#[path = "../../ptb-gateway/tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;

use common::{House, Script, eventually};
use ptb_core::cell::Feedback;
use ptb_gateway::{Bounds, FaultKind, inside};
use serde_json::{Value, json};

const DOOR: &str = env!("CARGO_BIN_EXE_ptb-door");

/// The first Python that starts; without one a test is skipped, or fails where all is required.
fn python() -> Option<&'static str> {
    let works = |name: &&str| {
        let mut probe = Command::new(name);
        probe.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let found = ["/usr/bin/python3", "python3"].into_iter().find(works);
    if found.is_none() {
        assert!(
            std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"),
            "there is no python3"
        );
        println!("skipped in part: there is no python3");
    }
    found
}

/// The clients to test, as commands that take the flags of an evaluation.
fn clients(dir: &Path) -> Vec<Vec<String>> {
    let script = dir.join("evaluate.py");
    std::fs::write(&script, inside::EVALUATE_PY).unwrap();
    let mut clients = vec![vec![DOOR.to_owned(), "evaluate".to_owned()]];
    clients.extend(python().map(|p| vec![p.to_owned(), script.to_str().unwrap().to_owned()]));
    clients
}

/// A house whose workspace has the same path on both sides of the (here missing) wall.
fn house(feedback: Feedback, script: Script, bounds: Bounds) -> House {
    House::with(feedback, script, bounds, |setup| {
        setup.workspace.inside = setup.workspace.host.clone();
    })
}

fn command(client: &[String], socket: &Path, work: &Path) -> Command {
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).env("PTB_DOOR_SOCKET", socket).current_dir(work);
    command.env("PYTHONDONTWRITEBYTECODE", "1").stdin(Stdio::null());
    command
}

fn run(client: &[String], house: &House, flags: &[&str]) -> Output {
    command(client, &house.socket(), &house.work()).args(flags).output().unwrap()
}

fn told(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn metrics_samples_and_notes() {
    let house = house(Feedback::Samples, Script::Score(0.5), Bounds::default());
    std::fs::write(house.work().join("final_model/train.py"), "x").unwrap();
    let shown = json!({
        "benchmark": "arithmetic", "accuracy": 0.5, "stderr": 0.1, "n": 2, "errors": 0, "truncated": 0,
        "unparsed": 1, "prompt_tokens": 20, "completion_tokens": 10, "complete": true,
        "sampling": {"temperature": 0.6},
    });
    for client in clients(house.dir.path()) {
        let flags = [
            "--model-path",
            "final_model",
            "--limit",
            "7",
            "--max-tokens",
            "64",
            "--max-connections",
            "3",
            "--gpu-memory-utilization",
            "0.3",
            "--json-output-file",
            "m.json",
            "--samples-output-file",
            "s.jsonl",
            "--templates-dir",
            "templates",
        ];
        let output = run(&client, &house, &flags);
        let (code, stderr) = told(&output);
        assert_eq!(code, 0, "{client:?}: {stderr}");
        let metrics: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(metrics, shown);
        assert_eq!(std::fs::read(house.work().join("m.json")).unwrap(), output.stdout);
        for part in [
            "note: templates_dir is ignored",
            "left out: train.py",
            "generating 10/10",
            "snapshot of",
        ] {
            assert!(stderr.contains(part), "{client:?}: {part} in {stderr}");
        }
        let samples = std::fs::read_to_string(house.work().join("s.jsonl")).unwrap();
        assert!(samples.bytes().all(|b| b == b'\n' || (0x20..0x7f).contains(&b)), "{samples}");
        let samples: Vec<Value> =
            samples.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(samples[1]["completion"], "completion 2 \u{1b}[31m\u{9b}");
        assert_eq!(samples.len(), 2);
        let seen = house.evaluator.seen.lock().unwrap().pop().unwrap();
        let numbers =
            (seen.limit, seen.max_tokens, seen.max_connections, seen.gpu_memory_utilization);
        assert_eq!(numbers, (Some(7), Some(64), Some(3), Some(0.3)));
        // With nothing but defaults the model is final_model, and the samples are offered.
        let (code, stderr) = told(&run(&client, &house, &[]));
        assert!(
            code == 0 && stderr.contains("2 samples can be had with --samples-output-file"),
            "{stderr}"
        );
    }
}

#[test]
fn faults_have_their_exit_codes_and_hints() {
    let house = house(Feedback::Score, Script::Score(0.5), Bounds::default());
    std::os::unix::fs::symlink("final_model", house.work().join("linked")).unwrap();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["--model-path", "nothing"], 2, "nothing\nhint: save the model there first\n"),
        (
            &["--model-path", "linked"],
            2,
            "which is not followed\nhint: put the files themselves there",
        ),
        (&["--model-path", "/etc"], 2, "error: model_path /etc is not below"),
        (&["--limit", "0"], 2, "error: limit is 0\nhint: give at least 1"),
        (&["--limit", "many"], 2, ""),
        (&["--limits"], 2, ""),
        (&["--gpu-memory-utilization", "7"], 2, "hint: give a share such as 0.3\n"),
        (&["--json-output-file", "no/such/folder"], 3, "error: "),
    ];
    for client in clients(house.dir.path()) {
        for (flags, code, text) in cases {
            let (found, stderr) = told(&run(&client, &house, flags));
            assert!(
                found == code && stderr.contains(text),
                "{client:?} {flags:?}: {found} {stderr}"
            );
        }
        for (script, code, text) in [
            (Script::Fail(FaultKind::Model), 2, "/final_model/config.json is bad\nhint: a hint\n"),
            (
                Script::Fail(FaultKind::Harness),
                3,
                "error: the evaluation failed, by no fault of the model\n",
            ),
        ] {
            house.evaluator.set(script);
            let (found, stderr) = told(&run(&client, &house, &[]));
            assert!(
                found == code && stderr.contains(text),
                "{client:?} {script:?}: {found} {stderr}"
            );
        }
        house.evaluator.set(Script::Score(0.5));
    }
}

#[test]
fn a_second_client_is_told_that_the_door_is_busy_and_a_killed_one_frees_it() {
    let house = house(Feedback::Score, Script::Hang, Bounds::default());
    for client in clients(house.dir.path()) {
        let running = || house.evaluator.running.load(Ordering::SeqCst);
        let mut first = command(&client, &house.socket(), &house.work());
        let mut first = first.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        eventually("the first runs", || running() == 1);
        let (code, stderr) = told(&run(&client, &house, &[]));
        assert!(code == 3 && stderr.starts_with("error: an evaluation is under way"), "{stderr}");
        let release = told(&run(&[DOOR.to_owned(), "release".to_owned()], &house, &[]));
        assert!(release.0 == 3 && release.1.contains("uses the engine"), "{release:?}");
        first.kill().unwrap();
        first.wait().unwrap();
        eventually("the first is cancelled", || running() == 0);
        let release = || run(&[DOOR.to_owned(), "release".to_owned()], &house, &[]);
        eventually("the engine is given up", || release().status.success());
    }
}

#[test]
fn the_time_is_told_by_the_program_and_by_the_script() {
    let house = house(Feedback::Score, Script::Score(0.5), Bounds::default());
    let out = |words: &[&str]| {
        let client: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        let bin = Path::new(DOOR).parent().unwrap().to_str().unwrap();
        let mut command = command(&client, &house.socket(), &house.work());
        let output = command.env("PATH", format!("{bin}:/usr/bin:/bin")).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    std::fs::write(house.work().join("timer.sh"), inside::TIMER_SH).unwrap();
    assert_eq!(out(&[DOOR, "time"]), "1:28\n");
    assert_eq!(out(&["sh", "timer.sh"]), "1:28\n");
    let clock: Value = serde_json::from_str(&out(&["sh", "timer.sh", "--json"])).unwrap();
    assert_eq!(
        clock,
        json!({"hours": 1.5, "consumed_seconds": 61, "remaining_seconds": 5339, "remaining": "1:28"})
    );
    for help in ["--help", "help"] {
        assert!(out(&[DOOR, help]).contains("ptb-door evaluate [FLAGS]"));
    }
    assert!(out(&[DOOR, "evaluate", "--help"]).contains("--gpu-memory-utilization"));
}

#[test]
fn no_door_and_a_full_house_are_said_clearly() {
    let full =
        house(Feedback::Score, Script::Score(0.5), Bounds { connections: 0, ..Bounds::default() });
    for client in clients(full.dir.path()) {
        let (code, stderr) = told(&run(&client, &full, &[]));
        assert_eq!(
            (code, stderr.lines().next()),
            (3, Some("error: the door has too many connections"))
        );
        let missing = full.dir.path().join("nothing.sock");
        let output = command(&client, &missing, &full.work()).output().unwrap();
        let (code, stderr) = told(&output);
        assert!(
            code == 3 && stderr.contains("cannot reach the door") && stderr.contains("hint:"),
            "{stderr}"
        );
    }
}

/// A server that answers one client with these bytes, and reads its request first.
fn answer_once(dir: &Path, bytes: Vec<u8>) -> PathBuf {
    let socket = dir.join(format!("fake-{}.sock", bytes.len()));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&bytes);
    });
    socket
}

#[test]
fn what_comes_from_the_other_side_is_neither_obeyed_nor_trusted() {
    let evil = "\u{1b}]0;owned\u{7}\r\u{9b}31m\u{202e}";
    let reply = |lines: &[Value]| {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let result = json!({"event": "result", "metrics": {"accuracy": 1.0, "note": evil}});
    let cases = [
        (reply(&[json!({"event": "error", "kind": "model", "message": evil, "hint": evil})]), 2),
        (
            reply(&[
                json!({"event": "accepted", "notes": [evil]}),
                json!({"event": "progress", "stage": evil}),
                result,
            ]),
            0,
        ),
        (reply(&[json!({"event": "snapshot", "sha256": evil, "left_out": [evil, 5]})]), 3),
        (reply(&[json!({"event": "error"})]), 3),
        (reply(&[json!({"event": 5}), json!({"event": "progress", "done": "x"})]), 3),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"event\":\"accepted\"}\n".to_vec(), 3),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nxxxx\n".to_vec(), 3),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(), 3),
        (vec![0xff; 300_000], 3),
        (Vec::new(), 3),
    ];
    let dir = tempfile::tempdir().unwrap();
    for client in clients(dir.path()) {
        for (bytes, code) in &cases {
            let socket = answer_once(dir.path(), bytes.clone());
            let output = command(&client, &socket, dir.path()).output().unwrap();
            let (found, stderr) = told(&output);
            assert_eq!(
                found,
                *code,
                "{client:?} {:?}: {stderr}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(99)])
            );
            assert!(!stderr.contains("Traceback") && !stderr.contains("panicked"), "{stderr}");
            let stdout = String::from_utf8(output.stdout).unwrap();
            let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!stderr.contains(obeyed) && !stdout.contains(obeyed), "{stderr:?} {stdout:?}");
        }
    }
}
