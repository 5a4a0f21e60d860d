//! `ptb score` on files that are wrong, hostile or merely large: a message that names the line, or a score; never
//! much memory, never much time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that tells how long things took")]

mod support;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Answer, Place, program};

/// Two questions whose answers are 2 and 3.
const DATA: &str = "{\"question\": \"1+1?\", \"answer\": \"#### 2\"}\n{\"question\": \"1+2?\", \"answer\": \"#### 3\"}\n";
const GOOD: &str = "{\"id\": \"1\", \"completion\": \"ANSWER: 2\"}\n{\"id\": \"2\", \"completion\": \"ANSWER: 3\"}\n";

fn score(place: &Place, data: &[u8], completions: &[u8], more: &[&str]) -> Answer {
    place.write("test.jsonl", data);
    place.write("completions.jsonl", completions);
    let args = ["score", "gsm8k", "--completions", "completions.jsonl", "--data", "test.jsonl"];
    place.output(&[&args, more].concat())
}

fn metrics(answer: &Answer) -> Value {
    assert_eq!(answer.code, 0, "{}", answer.shown());
    serde_json::from_str(answer.err.lines().last().unwrap()).unwrap()
}

fn assert_refused(what: &str, answer: &Answer, words: &[&str]) {
    assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{what}: {}", answer.shown());
    let text = answer.err.split_whitespace().filter(|w| *w != "|").collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(text.contains(word), "{what}: no `{word}` in: {}", answer.err);
    }
    assert!(text.len() < 1000, "{what}: {text}");
}

#[test]
fn completions_that_are_wrong_are_named_by_their_line() {
    let place = Place::new();
    let one = GOOD.lines().next().unwrap();
    let second = |line: &str| [one.as_bytes(), b"\n", line.as_bytes(), b"\n"].concat();
    let deep = format!("{{\"id\": \"2\", \"completion\": \"3\", \"x\": {}", "[".repeat(100_000));
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        (
            "truncated",
            GOOD.as_bytes()[..GOOD.len() - 8].to_vec(),
            &["completions.jsonl:2", "it ends in the middle of a text"],
        ),
        (
            "no completion",
            second("{\"id\": \"2\", \"text\": \"3\"}"),
            &["completions.jsonl:2", "no `completion`"],
        ),
        (
            "a number",
            second("{\"id\": \"2\", \"completion\": 3}"),
            &["`completion` holds a number, not a string"],
        ),
        ("a null", second("{\"id\": \"2\", \"completion\": null}"), &["`completion` holds null"]),
        ("a list", second("[\"2\", \"3\"]"), &["the line holds a list, not an object"]),
        ("twice", second(one), &["completions.jsonl:2", "sample `1` has a completion already"]),
        (
            "unknown",
            second("{\"id\": \"3\", \"completion\": \"\"}"),
            &["`3` is not a sample of gsm8k"],
        ),
        ("a list as id", second("{\"id\": [], \"completion\": \"\"}"), &["`id` holds a list"]),
        (
            "missing",
            one.as_bytes().to_vec(),
            &["1 of 2 samples of gsm8k have no completion (2)", "--partial"],
        ),
        ("nothing", Vec::new(), &["2 of 2 samples of gsm8k have no completion (1, 2)"]),
        (
            "no text",
            [one.as_bytes(), b"\n{\"id\": \"2\", \"completion\": \"\xff\xfe\"}"].concat(),
            &["completions.jsonl:2", "not UTF-8"],
        ),
        ("deep", second(&deep), &["completions.jsonl:2", "recursion limit"]),
        (
            "NaN",
            second("{\"id\": NaN, \"completion\": \"3\"}"),
            &["completions.jsonl:2", "not JSON"],
        ),
        (
            "a huge id",
            second(&format!("{{\"id\": \"{}\", \"completion\": \"3\"}}", "9".repeat(1 << 20))),
            &["is not a sample of gsm8k"],
        ),
        (
            "control characters",
            second("{\"id\": \"\\u001b[2J\", \"completion\": \"3\"}"),
            &["is not a sample of gsm8k"],
        ),
        (
            "calls",
            second("{\"id\": \"2\", \"tool_calls\": [{\"nam\": 1}]}"),
            &["`tool_calls` is not a list of objects", "write \"tool_calls\": [{\"name\""],
        ),
    ];
    for (what, completions, words) in cases {
        assert_refused(what, &score(&place, DATA.as_bytes(), completions, &[]), words);
    }
}

#[test]
fn data_that_are_wrong_are_named_by_their_line() {
    let place = Place::new();
    let one = DATA.lines().next().unwrap();
    let second = |line: &str| [one.as_bytes(), b"\n", line.as_bytes(), b"\n"].concat();
    let cases: &[(&str, Vec<u8>, &[&str])] = &[
        (
            "truncated",
            DATA.as_bytes()[..DATA.len() - 8].to_vec(),
            &["test.jsonl:2", "it ends in the middle of a text"],
        ),
        (
            "other columns",
            second("{\"q\": \"1?\", \"a\": \"#### 1\"}"),
            &["test.jsonl:2", "question"],
        ),
        ("no answer", second("{\"question\": \"1?\"}"), &["test.jsonl:2", "answer"]),
        (
            "no number",
            second("{\"question\": \"1?\", \"answer\": \"#### many\"}"),
            &["test.jsonl:2"],
        ),
        (
            "twice",
            second("{\"id\": \"1\", \"question\": \"?\", \"answer\": \"#### 1\"}"),
            &["test.jsonl:2", "`1`"],
        ),
        (
            "no text",
            [one.as_bytes(), b"\n{\"question\": \"\xff\", \"answer\": \"#### 1\"}"].concat(),
            &["test.jsonl:2", "not UTF-8"],
        ),
        ("deep", second(&"[".repeat(100_000)), &["test.jsonl:2", "recursion limit"]),
        ("nothing", Vec::new(), &["test.jsonl", "no records"]),
    ];
    for (what, data, words) in cases {
        assert_refused(what, &score(&place, data, GOOD.as_bytes(), &[]), words);
    }
}

#[test]
fn odd_completions_are_wrong_answers_and_odd_files_are_read() {
    let place = Place::new();
    let told = |completions: &[u8]| {
        let m = metrics(&score(&place, DATA.as_bytes(), completions, &[]));
        (
            m["accuracy"].as_f64().unwrap(),
            m["unparsed"].as_u64().unwrap(),
            m["errors"].as_u64().unwrap(),
        )
    };
    assert_eq!(told(GOOD.as_bytes()), (1.0, 0, 0));
    let foreign = format!("\u{feff}{}\r\n", GOOD.replace('\n', "\r\n\r\n"));
    assert_eq!(told(foreign.as_bytes()), (1.0, 0, 0));
    let both = |text: &str| {
        format!("{}\n{}\n", json!({ "completion": text }), json!({ "completion": text }))
    };
    for (text, unparsed) in
        [("", 2), (" \n", 2), ("ANSWER: NaN", 2), ("ANSWER: inf", 2), ("\u{0}\u{1b}[2J", 2)]
    {
        assert_eq!(told(both(text).as_bytes()), (0.0, unparsed, 0), "{text:?}");
    }
    // Numbers that no float holds are numbers still, and wrong.
    for text in [format!("ANSWER: {}", "9".repeat(100_000)), "ANSWER: 1e999999999".to_owned()] {
        let (accuracy, _, errors) = told(both(&text).as_bytes());
        assert_eq!((accuracy, errors), (0.0, 0));
    }
}

/// A program that may have so many MiB of address space.
fn within(place: &Place, mib: u64, args: &[&str]) -> Command {
    let mut command = place.ptb(&[]);
    let env: Vec<_> =
        command.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    command = Command::new("/bin/bash");
    command.args(["-c", "ulimit -v $1 && shift && exec \"$@\"", "bash", &(mib * 1024).to_string()]);
    command.arg(program()).args(args).current_dir(place.path()).env_clear().stdin(Stdio::null());
    command.envs(env.into_iter().filter_map(|(k, v)| Some((k, v?))));
    command
}

fn sample(benchmark: &str) -> String {
    let registry = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../registry/benchmarks");
    registry.join(benchmark).join("sample.jsonl").display().to_string()
}

/// What 50 MB are made of that a scorer of each kind may stumble over.
const LARGE: [(&str, &str, &[&str]); 4] = [
    ("aime2025", "s0", &["a", "\\boxed{", "1,"]),
    ("gpqamain", "sample-1", &["a", "ANSWER: A ", "\\boxed{"]),
    ("humaneval", "Sample/0", &["a", "```python\n", "    "]),
    ("bfcl", "sample_0", &["a", "<tool_call>", "```tool_code\n", "["]),
];

/// One completion of 50 MB, for each kind of scorer.
#[test]
fn completions_of_50_mb_are_graded_in_seconds_and_in_bounds() {
    let place = Place::new();
    for (benchmark, id, pieces) in LARGE {
        let data = sample(benchmark);
        for piece in pieces {
            let text = piece.repeat(50_000_000 / piece.len());
            place.write("completions.jsonl", json!({ "id": id, "completion": text }).to_string());
            drop(text);
            let args = [
                "score",
                benchmark,
                "--completions",
                "completions.jsonl",
                "--data",
                &data,
                "--partial",
            ];
            let begin = Instant::now();
            let answer = Answer::of(&place, within(&place, 4096, &args).output().unwrap());
            let took = begin.elapsed();
            eprintln!("{benchmark} {piece:?}: {took:.1?}");
            if answer.code == 5 {
                return support::skip("programs cannot be run here (see `ptb score humaneval`)");
            }
            let m = metrics(&answer);
            assert_eq!((m["accuracy"].as_f64(), m["errors"].as_u64()), (Some(0.0), Some(0)), "{m}");
            assert!(took < Duration::from_secs(30), "{benchmark} {piece:?}: {took:?}");
        }
    }
}

#[test]
fn a_million_lines_are_graded_in_bounds() {
    let place = Place::new();
    let lines = 1_000_000;
    let write = |name: &str, line: &dyn Fn(usize) -> String| {
        let mut file = BufWriter::new(File::create(place.path().join(name)).unwrap());
        (1..=lines).for_each(|n| writeln!(file, "{}", line(n)).unwrap());
        file.flush().unwrap();
    };
    write("test.jsonl", &|n| format!("{{\"question\": \"?\", \"answer\": \"#### {n}\"}}"));
    write("completions.jsonl", &|n| format!("{{\"completion\": \"ANSWER: {}\"}}", n / 2 * 2));
    let args = ["score", "gsm8k", "--completions", "completions.jsonl", "--data", "test.jsonl"];
    let begin = Instant::now();
    let answer = Answer::of(&place, within(&place, 6144, &args).output().unwrap());
    eprintln!("a million lines: {:.1?}", begin.elapsed());
    let m = metrics(&answer);
    assert_eq!((m["n"].as_u64(), m["accuracy"].as_f64()), (Some(1_000_000), Some(0.5)), "{m}");
    assert!(begin.elapsed() < Duration::from_secs(120));
}
