//! The real Inspect lists, opens and agrees with the logs we write. Needs a Python with `inspect_ai` (`PTB_PYTHON`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a step that fails fails the test, and a test that skips says why"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use ptb_core::registry::Role;
use ptb_core::run::Metrics;
use ptb_eval::inspect::{Dataset, Entry, Log, LogError, Revision, write};
use ptb_tasks::metrics::{Formula, SampleScores, aggregate};
use ptb_tasks::prompt::ChatMessage;
use ptb_tasks::score::ToolCall;
use serde_json::{Map, Value, json};
use zip::ZipArchive;

/// One sample of a case, owned.
#[derive(Debug, Clone, Default)]
struct Owned {
    id: String,
    epoch: u32,
    question: String,
    messages: Vec<ChatMessage>,
    choices: Vec<String>,
    target: String,
    completion: String,
    tool_calls: Option<Vec<ToolCall>>,
    truncated: bool,
    score: Option<f64>,
    answer: Option<String>,
    explanation: Option<String>,
    grades: Option<Value>,
    error: Option<String>,
    seconds: Option<f64>,
    metadata: Option<Map<String, Value>>,
}

impl Owned {
    fn new(id: &str, question: &str, target: &str, completion: &str, score: f64) -> Self {
        let shots = "Solved before:\n\nQ: 1 + 1\nANSWER: 2\n".repeat(20);
        let message = |role, content: &str| ChatMessage { role, content: content.to_owned() };
        Self {
            id: id.to_owned(),
            epoch: 1,
            question: question.to_owned(),
            messages: vec![message(Role::System, &shots), message(Role::User, question)],
            target: target.to_owned(),
            completion: completion.to_owned(),
            score: Some(score),
            answer: Some(target.to_owned()),
            seconds: Some(0.25),
            ..Self::default()
        }
    }

    fn failed(id: &str, epoch: u32, error: &str) -> Self {
        let error = Some(error.to_owned());
        Self { epoch, error, answer: None, ..Self::new(id, "What?", "1", "no idea", 0.0) }
    }

    fn entry(&self) -> Entry<'_> {
        Entry {
            id: &self.id,
            epoch: self.epoch,
            question: &self.question,
            messages: (&self.messages).into(),
            choices: &self.choices,
            target: &self.target,
            completion: &self.completion,
            tool_calls: self.tool_calls.as_deref(),
            truncated: self.truncated,
            score: self.score,
            answer: self.answer.as_deref(),
            explanation: self.explanation.as_deref(),
            grades: self.grades.as_ref(),
            error: self.error.as_deref(),
            prompt_tokens: 100,
            completion_tokens: 7,
            seconds: self.seconds,
            metadata: self.metadata.as_ref(),
        }
    }

    fn counts(&self) -> bool {
        self.error.is_none() && self.score.is_some()
    }

    /// What Inspect should read; `id` and `more` are what the log has for the id and beside the metadata.
    fn told(&self, id: &Value, pass_fail: bool, more: Value) -> Value {
        let message = |m: &ChatMessage| json!([m.role, m.content]);
        let mut messages: Vec<Value> = self.messages.iter().map(message).collect();
        messages.push(json!(["assistant", self.completion]));
        let calls = self.tool_calls.iter().flatten().map(|call| match &call.arguments {
            Value::Object(map) => json!([call.name, map, false]),
            Value::String(text) => match serde_json::from_str::<Map<String, Value>>(text) {
                Ok(map) => json!([call.name, map, false]),
                Err(_) => json!([call.name, { "arguments": text }, true]),
            },
            other => json!([call.name, { "arguments": other }, true]),
        });
        let calls: Vec<Value> = calls.collect();
        let score = self.score.filter(|_| self.counts());
        let value = score.map(|score| match score {
            1.0 if pass_fail => json!("C"),
            0.0 if pass_fail => json!("I"),
            score => json!(score),
        });
        let stop = match (self.truncated, calls.is_empty()) {
            (true, _) => "max_tokens",
            (false, false) => "tool_calls",
            _ => "stop",
        };
        let mut metadata = self.metadata.clone().unwrap_or_default();
        metadata.extend(more.as_object().unwrap().clone());
        json!({
            "id": id,
            "epoch": self.epoch,
            "input": if self.question.is_empty() { &self.messages.last().unwrap().content } else { &self.question },
            "choices": if self.choices.is_empty() { Value::Null } else { json!(self.choices) },
            "target": self.target,
            "messages": messages,
            "calls": calls,
            "completion": self.completion,
            "stop": stop,
            "tokens": [100, 7],
            "value": value,
            "answer": self.answer.as_ref().filter(|_| score.is_some()),
            "explanation": self.explanation.as_ref().filter(|_| score.is_some()),
            "grades": self.grades.as_ref().filter(|_| score.is_some()).map(|g| json!({ "grades": g })),
            "metadata": metadata,
            "error": self.error,
        })
    }
}

/// Metrics by the same functions as an evaluation's.
fn metrics(benchmark: &str, samples: &[Owned]) -> Metrics {
    let mut ids: Vec<&str> = Vec::new();
    for sample in samples {
        if !ids.contains(&sample.id.as_str()) {
            ids.push(&sample.id);
        }
    }
    let of = |id: &str| -> Vec<f64> {
        samples.iter().filter(|s| s.id == id && s.counts()).filter_map(|s| s.score).collect()
    };
    let scores: Vec<SampleScores> =
        ids.iter().enumerate().map(|(index, id)| SampleScores { index, scores: of(id) }).collect();
    let estimate = aggregate(Formula::Mean, &scores).unwrap();
    let epochs: BTreeSet<u32> = samples.iter().map(|s| s.epoch).collect();
    let seeds = epochs.iter().map(|epoch| {
        let n = samples.iter().filter(|s| s.epoch == *epoch && s.counts()).count();
        json!({ "seed": 40 + epoch, "accuracy": 0.5, "n": n })
    });
    let metrics = json!({
        "benchmark": benchmark,
        "accuracy": estimate.accuracy,
        "stderr": estimate.stderr,
        "n": estimate.n,
        "errors": samples.iter().filter(|s| s.error.is_some()).count(),
        "truncated": 0, "unparsed": 0, "prompt_tokens": 0, "completion_tokens": 0,
        "complete": true,
        "seeds": seeds.collect::<Vec<_>>(),
        "weights_sha256": "aa", "data_sha256": "bb",
        "sampling": {
            "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": null, "repetition_penalty": 1.05,
            "max_tokens": 256, "stop": ["\nQ:"], "chat_template": "qwen3", "tokenizer": "base",
        },
    });
    serde_json::from_value(metrics).unwrap()
}

fn write_log(
    path: &Path,
    metrics: &Metrics,
    pass_fail: bool,
    samples: &[Owned],
) -> Result<(), LogError> {
    let ids: Vec<&str> = samples.iter().filter(|s| s.epoch == 1).map(|s| s.id.as_str()).collect();
    let metadata = json!({ "weights_sha256": "aa", "edition": "2026.1", "nested": { "chat_template": "qwen3" } });
    let log = Log {
        metrics,
        title: "A benchmark",
        run_id: "run-1",
        model: "mini",
        engine: "builtin",
        created: "2026-11-21T08:36:06Z".parse().unwrap(),
        started: "2026-11-21T08:36:07.5Z".parse().unwrap(),
        completed: "2026-11-21T08:40:00Z".parse().unwrap(),
        dataset: Dataset { name: "data", location: Some("data.jsonl"), ids: &ids, shuffled: false },
        scorer: "numeric",
        pass_fail,
        packages: &[("ptb", "0.1.0")],
        revision: Some(Revision { origin: "https://example.org/x", commit: "abc", dirty: true }),
        metadata: metadata.as_object().unwrap(),
    };
    write(path, &log, samples.iter().map(Owned::entry))
}

/// Ids with which others had trouble, and completions no less.
fn hostile() -> Vec<Owned> {
    let completion = "\0\u{1}\u{1b}[31m\u{7f}\u{85}\u{2028}\u{feff}\u{fffe}\u{10ffff}</script>\\u0000 attachment://x \r\n";
    let ids = [
        "HumanEval/12",
        "../../etc/passwd",
        "a\0b",
        "a\nb",
        "a_b",
        "x_epoch_1",
        "x",
        "..",
        "%2e%2e",
        "Ünï ☃",
        "a\\b",
        " ",
        "#?&=+;",
        "C:\\x",
        "'\"",
        "1",
        "01",
    ];
    let mut samples: Vec<Owned> = ids
        .iter()
        .map(|id| Owned {
            seconds: None,
            ..Owned::new(id, completion, completion, completion, 0.5)
        })
        .collect();
    samples.push(Owned::new(&"long/".repeat(20_000), "q", "t", "c", 1.0));
    samples.push(Owned {
        answer: Some("é ".repeat(2000)),
        explanation: Some("word ".repeat(1000)),
        ..Owned::new(
            "large",
            &"Q".repeat(6000),
            &"T".repeat(6000),
            &completion.repeat(40_000),
            0.25,
        )
    });
    samples
}

/// The cases by name, with whether scores are pass or fail.
fn cases() -> BTreeMap<&'static str, (bool, Vec<Owned>)> {
    let number = |n: u32| {
        let (target, right) = ((n * 3).to_string(), !n.is_multiple_of(3));
        let said = if right { n * 3 } else { n };
        let question = format!("What is three times {n}?");
        let sample = Owned::new(
            &n.to_string(),
            &question,
            &target,
            &format!("ANSWER: {said}"),
            f64::from(u8::from(right)),
        );
        Owned { answer: Some(said.to_string()), truncated: n == 4, ..sample }
    };
    let choice = |n: u32| {
        Owned {
        choices: ["one", "two", "three", "four"].map(str::to_owned).to_vec(),
        explanation: (n == 2).then(|| "it says B".to_owned()),
        metadata: json!({ "subject": "counting", "seed": n, "long": "x".repeat(3000), "deep": [{ "a": null }] }).as_object().cloned(),
        ..Owned::new(&format!("rec{n:02}"), "How many?", "B", "ANSWER: B", f64::from(n % 2))
    }
    };
    let call = |arguments: Value| ToolCall { name: "area".to_owned(), arguments };
    let call = |n: usize, arguments: Value| Owned {
        question: String::new(),
        tool_calls: Some(vec![call(arguments.clone()), call(arguments)]),
        grades: (n == 1).then(|| json!([{ "criterion": "c", "verdict": "met", "points": 0.5 }])),
        ..Owned::new(
            &format!("simple_{n}/a"),
            "The area of a square?",
            "[]",
            "",
            1.0 / (n as f64 + 2.0),
        )
    };
    let epochs = |n: u32, epoch: u32| match (n + epoch) % 5 {
        0 => Owned::failed(&format!("e{n}"), epoch, "the grader is away: HTTP 503"),
        k => Owned {
            epoch,
            ..Owned::new(&format!("e{n}"), "What?", "1", "1", f64::from(u8::from(k < 3)))
        },
    };
    let calls = [
        json!({ "side": 3, "unit": "m", "of": { "x": [1, 2.5, null] } }),
        json!("{\"side\": 3}"),
        json!("side = 3"),
        json!([1]),
    ];
    BTreeMap::from([
        ("numbers", (true, (1..=12).map(number).collect())),
        ("choices", (true, (1..=5).map(choice).collect())),
        ("calls", (false, calls.into_iter().enumerate().map(|(n, c)| call(n, c)).collect())),
        (
            "epochs",
            (true, (1..=3).flat_map(|epoch| (0..7).map(move |n| epochs(n, epoch))).collect()),
        ),
        ("hostile", (false, hostile())),
    ])
}

/// The Python that has Inspect; none, told or failed, where there is none.
fn python() -> Option<String> {
    let python = std::env::var("PTB_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let import = Command::new(&python).args(["-c", "import inspect_ai"]).output();
    if import.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    let why = "there is no Python with inspect_ai (PTB_PYTHON)";
    assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none_or(|v| v != "1"), "required: {why}");
    eprintln!("skipped: {why}");
    None
}

/// Runs a program of Inspect's Python to its end; its standard output.
fn run(python: &str, args: &[&str]) -> String {
    let output =
        Command::new(python).args(args).env("INSPECT_DISABLE_TELEMETRY", "1").output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn inspect_reads_what_was_evaluated() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let cases = cases();
    for (name, (pass_fail, samples)) in &cases {
        let path = home.path().join(name).join("log.eval");
        write_log(&path, &metrics(name, samples), *pass_fail, samples).unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_inspect_logs.py");
    let folder = home.path().to_str().unwrap();
    let report: Value = serde_json::from_str(&run(&python, &[script, folder])).unwrap();
    for (name, (pass_fail, samples)) in &cases {
        check_log(name, &report["logs"][name], *pass_fail, samples);
    }
    // Inspect's own scorer over our log comes to the same.
    let numbers = metrics("numbers", &cases["numbers"].1);
    assert_eq!(report["rescored"]["accuracy"], numbers.accuracy);
    assert!((report["rescored"]["stderr"].as_f64().unwrap() - numbers.stderr).abs() < 1e-15);
}

fn check_log(name: &str, report: &Value, pass_fail: bool, samples: &[Owned]) {
    let metrics = metrics(name, samples);
    let (failed, scored) = (
        samples.iter().filter(|s| s.error.is_some()).count(),
        samples.iter().filter(|s| s.counts()).count(),
    );
    let (total, epochs) = (samples.len(), metrics.seeds.len());
    assert_eq!(report["task"], name);
    assert_eq!((&report["status"], &report["model"]), (&json!("success"), &json!("builtin/mini")));
    assert_eq!(report["dataset"]["samples"], total / epochs);
    assert_eq!(report["created"], "2026-11-21T08:36:06+00:00");
    assert_eq!(report["usage"], json!({ "builtin/mini": 107 * total }));
    assert_eq!(report["counts"], json!([total, total - failed, scored, total - scored]), "{name}");
    assert_eq!(report["config"]["extra_body"], json!({ "repetition_penalty": 1.05 }));
    assert_eq!(report["config"]["stop_seqs"], json!(["\nQ:"]));
    let reductions = if epochs == 1 { json!([["numeric", scored]]) } else { json!([]) };
    assert_eq!(report["reductions"], reductions);

    // The header says what we measured, to the last digit; Inspect's metrics over the samples come to the same.
    for (name, ours) in [("accuracy", metrics.accuracy), ("stderr", metrics.stderr)] {
        assert_eq!(report["metrics"][name].as_str().unwrap().parse(), Ok(ours));
    }
    assert_eq!(report["metrics"].as_object().unwrap().len(), 2);
    let near = |value: &Value, ours: f64| (value.as_f64().unwrap() - ours).abs() < 1e-15;
    for key in ["recomputed", "by_hand"] {
        assert!(near(&report[key]["accuracy"], metrics.accuracy), "{name}: {report}");
        assert!(near(&report[key]["stderr"], metrics.stderr), "{name}: {}", report[key]);
    }
    assert!(near(&report["by_hand"]["mean"], metrics.accuracy));

    // A cut text differs in its white space alone, which Inspect collapses.
    let cut = match name {
        "choices" => json!(["metadata"]),
        "hostile" => json!(["input", "scores", "metadata"]),
        _ => json!([]),
    };
    for differing in report["summaries_differ"].as_array().unwrap() {
        assert!(cut.as_array().unwrap().contains(&differing[1]), "{name}: {differing}");
    }

    let mut told: BTreeMap<(String, u64), Value> = BTreeMap::new();
    for sample in report["samples"].as_array().unwrap() {
        let id = sample["metadata"]["id"].as_str().map(str::to_owned);
        let id = id.unwrap_or_else(|| {
            sample["id"].as_str().map_or_else(|| sample["id"].to_string(), str::to_owned)
        });
        told.insert((id, sample["epoch"].as_u64().unwrap()), sample.clone());
    }
    assert_eq!(told.len(), total);
    for sample in samples {
        let read = &told[&(sample.id.clone(), u64::from(sample.epoch))];
        let more = match (read["metadata"].get("id"), epochs) {
            (Some(id), _) => json!({ "id": id }),
            (None, 1) => json!({}),
            _ => json!({ "sample_id": sample.id }),
        };
        let hard = sample.id.contains(['\0', '\n'])
            || sample.id.split('/').any(|p| p == "..")
            || sample.id.len() > 1024;
        assert_eq!(more.get("id").is_some(), hard, "{:?}", sample.id);
        let id = match name {
            "numbers" => json!(sample.id.parse::<u32>().unwrap()),
            _ if hard => read["id"].clone(),
            _ => json!(sample.id),
        };
        assert_eq!(*read, sample.told(&id, pass_fail, more), "{name} {:?}", sample.id);
    }
}

#[test]
fn inspects_command_line_opens_a_log() {
    let Some(python) = python() else { return };
    let home = tempfile::tempdir().unwrap();
    let (_, samples) = &cases()["choices"];
    let path = home.path().join("eval/final/42/log.eval");
    write_log(&path, &metrics("choices", samples), true, samples).unwrap();
    let (folder, path) = (home.path().to_str().unwrap(), path.to_str().unwrap());
    let json = |args: &[&str]| -> Value {
        let args: Vec<&str> =
            ["-m", "inspect_ai", "log"].into_iter().chain(args.iter().copied()).collect();
        serde_json::from_str(&run(&python, &args)).unwrap()
    };
    let list = json(&["list", "--json", "--log-dir", folder]);
    assert_eq!((&list[0]["task"], list.as_array().unwrap().len()), (&json!("choices"), 1));
    let dump = json(&["dump", path]);
    assert_eq!(dump["samples"].as_array().unwrap().len(), 5);
    assert_eq!(dump["samples"][1]["scores"]["numeric"]["explanation"], "it says B");
    let header = json(&["dump", "--header-only", path]);
    assert!(header.get("samples").is_none_or(Value::is_null));
    let headers = json(&["headers", path]);
    assert_eq!(headers[0]["results"], header["results"]);
    assert!(json(&["schema"])["components"]["schemas"]["EvalLog"].is_object());
}

#[test]
fn another_formula_is_not_passed_off_as_the_mean() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("log.eval");
    let (_, samples) = &cases()["numbers"];
    let metrics = Metrics { accuracy: 0.25, ..metrics("numbers", samples) };
    write_log(&path, &metrics, true, samples).unwrap();
    let header = read(&path, "header.json");
    let values = &header["results"]["scores"][0]["metrics"];
    assert_eq!(
        (&values["accuracy"]["value"], &values["mean"]["value"]),
        (&json!(0.25), &json!(8.0 / 12.0))
    );
    let computed = &header["eval"]["scorers"][0]["metrics"];
    assert_eq!(*computed, json!([{ "name": "inspect_ai/mean", "options": {} }]));
}

#[test]
fn a_log_is_there_whole_or_not_at_all() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("log.eval");
    let (_, samples) = &cases()["numbers"];
    let metrics = metrics("numbers", samples);
    write_log(&path, &metrics, true, samples).unwrap();
    let bytes = fs::read(&path).unwrap();
    // The same input gives the same bytes.
    write_log(&path, &metrics, true, samples).unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
    // Metrics of other samples, or a sample that comes twice, leave what was there.
    let e = write_log(&path, &metrics, true, &samples[1..]).unwrap_err();
    assert!(matches!(e, LogError::OtherSamples { scored: 11, expected: 12, .. }), "{e}");
    let mut twice = samples.clone();
    twice[1] = twice[0].clone();
    let e = write_log(&path, &metrics, true, &twice).unwrap_err();
    assert!(
        matches!(&e, LogError::Twice { member, .. } if member == "samples/1_epoch_1.json"),
        "{e}"
    );
    assert!(fs::read(&path).unwrap() == bytes);
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}

#[test]
fn numbers_that_json_has_not_make_no_log_unreadable() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("log.eval");
    let mut samples = cases()["numbers"].1.clone();
    let metrics = Metrics { stderr: f64::NAN, ..metrics("numbers", &samples) };
    samples.push(Owned::new("13", "q", "t", "c", f64::INFINITY));
    write_log(&path, &metrics, true, &samples).unwrap();
    assert!(read(&path, "samples/13_epoch_1.json").get("scores").is_none());
    let header = read(&path, "header.json");
    let values = header["results"]["scores"][0]["metrics"].as_object().unwrap();
    assert_eq!(values.keys().collect::<Vec<_>>(), ["accuracy"]);
}

fn read(path: &Path, member: &str) -> Value {
    let mut archive = ZipArchive::new(File::open(path).unwrap()).unwrap();
    serde_json::from_reader(archive.by_name(member).unwrap()).unwrap()
}
