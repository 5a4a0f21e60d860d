//! The outside contract: what users script against. Help texts and messages are under snapshot; with `--json`
//! stdout is JSON alone; exit codes are those of the table in `ptb --help`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use serde_json::Value;
use support::runs::{json, only_run, runs, score};
use support::{Answer, Place, wall};

/// Every subcommand there is.
const COMMANDS: [&str; 14] = [
    "run",
    "report",
    "show",
    "trace",
    "install",
    "list",
    "eval",
    "score",
    "contamination",
    "lineage",
    "fingerprint",
    "render",
    "serve-model",
    "random-model",
];

fn snapshot(name: &str, answer: &Answer) {
    let filters = vec![
        (r"-[0-9a-f]{8}\b", "-ID"),
        (r"\([0-9a-f]{8}\)", "(ID)"),
        (r"\b(\d+:)?\d+:\d\d of", "TIME of"),
        // Lines that only a slow machine sees.
        (r"(?m)^\S+: (prepare|solve|judge|record|evaluate, \d.*)\n", ""),
        (r"\b[0-9a-f]{64}\b", "SHA256"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
        (r"process \d+ on \S+", "process PID on HOST"),
    ];
    insta::with_settings!({ filters => filters, omit_expression => true }, {
        insta::assert_snapshot!(name, answer.shown());
    });
}

#[test]
fn help_teaches() {
    let place = Place::new();
    let top = place.output(&["--help"]);
    for command in COMMANDS {
        assert!(top.out.contains(&format!("\n  {command} ")), "{command} is not in {}", top.out);
        snapshot(&format!("help_{command}"), &place.output(&[command, "--help"]));
    }
    let listed = top.out.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   ")).count();
    // Commands, three options, and the four first steps.
    assert_eq!(listed, COMMANDS.len() + 3 + 4, "a command without a test: {}", top.out);
    snapshot("help", &top);
    assert!(place.output(&["--version"]).out.starts_with("ptb 0."));
}

#[test]
fn bad_usage_ends_with_2_and_says_what_to_do() {
    let place = Place::new();
    place.write("list.jsonl", "{\"id\": \"1\", \"completion\": \"x\"}\n");
    place.write("messages.json", "[{\"role\": \"user\"}");
    let cases: [(&str, &[&str]); 16] = [
        ("nothing", &[]),
        ("unknown_command", &["rum"]),
        ("list_unknown_kind", &["list", "tasks"]),
        ("run_no_file", &["run", "missing.toml"]),
        ("run_bad_sandbox", &["run", "e.toml", "--sandbox", "jail", "--registry", "registry"]),
        ("report_nothing", &["report", "missing"]),
        ("show_nothing", &["show", "missing"]),
        ("score_unknown_benchmark", &["score", "gsm8", "--completions", "list.jsonl"]),
        ("score_no_run", &["score", "missing"]),
        ("render_unknown_model", &["render", "--model", "mimi", "--messages", "messages.json"]),
        ("render_bad_json", &["render", "--model", "mini", "--messages", "messages.json"]),
        ("eval_no_model", &["eval", "arithmetic", "--model", "mini", "--model-path", "missing"]),
        ("contamination_no_path", &["contamination", "arithmetic", "missing"]),
        ("contamination_unknown", &["contamination", "gsm8", "list.jsonl"]),
        ("lineage_no_base", &["lineage", "base", "--base", "missing"]),
        (
            "eval_limit_0",
            &["eval", "arithmetic", "--model", "mini", "--model-path", "base", "--limit", "0"],
        ),
    ];
    place.experiment("e", &["base"], "");
    for (name, args) in cases {
        let answer = place.output(args);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{args:?}: {}", answer.shown());
        snapshot(&format!("bad_{name}"), &answer);
    }
    assert!(!place.path().join("results").exists(), "bad usage made a results folder");
}

#[test]
fn lists_name_what_experiments_can_name() {
    let place = Place::new();
    for (kind, expected) in
        [("benchmarks", "gsm8k"), ("models", "mini"), ("agents", "instruct"), ("editions", "main")]
    {
        let plain = place.output(&["list", kind]);
        let parsed: Value =
            serde_json::from_str(&place.output(&["list", kind, "--json"]).out).unwrap();
        let ids: Vec<&str> = parsed["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["id"].as_str().unwrap())
            .collect();
        let firsts: Vec<&str> =
            plain.out.lines().map(|l| l.split_whitespace().next().unwrap()).collect();
        assert_eq!(ids, firsts);
        assert!(ids.contains(&expected), "{ids:?}");
        assert_eq!((plain.code, plain.err.as_str()), (0, ""));
    }
}

#[test]
fn test_items_in_files_are_told_by_line_and_end_with_1() {
    let place = Place::new();
    let question = "A baker packs 12 loaves into each of 7 crates before sunrise, then sells 31 loaves at the market. \
                    How many loaves are left?";
    place.write(
        "test.jsonl",
        format!("{{\"question\": \"{question}\", \"answer\": \"#### 53\"}}\n"),
    );
    place.write(
        "found/a.jsonl",
        format!("{{\"text\": \"nothing of it\"}}\n{{\"text\": \"Q: {question}\"}}\n"),
    );
    place.write("clean/b.md", "The baker sells bread at the market.\n");
    let scan = |paths: &[&str]| {
        place.output(
            &[&["contamination", "gsm8k", "--data", "test.jsonl", "--json"], paths].concat(),
        )
    };
    let found = scan(&["found", "clean"]);
    let line: Value = serde_json::from_str(&found.out).expect("one line of JSON");
    assert_eq!(
        (found.code, line["file"].as_str(), line["line"].as_u64()),
        (1, Some("found/a.jsonl"), Some(2))
    );
    assert_eq!(line["items"], serde_json::json!([{"id": "1", "kind": "verbatim", "score": 1.0}]));
    let summary: Value = serde_json::from_str(found.err.lines().last().unwrap()).unwrap();
    assert_eq!((summary["files"].as_u64(), summary["flagged"].as_u64()), (Some(2), Some(1)));
    let clean = scan(&["clean"]);
    assert_eq!((clean.code, clean.out.as_str()), (0, ""));
}

#[test]
fn lineage_tells_a_base_from_a_copy() {
    let place = Place::new();
    let same = place.output(&["lineage", "base", "--base", "base", "--json"]);
    let told: Value = serde_json::from_str(&same.out).expect("stdout is JSON alone");
    assert_eq!((same.code, told["decision"].as_str()), (0, Some("unchanged")));
    assert!(
        told["alpha"].is_null() && told["per_tensor"].as_array().is_some_and(|t| !t.is_empty())
    );
    let print = place.output(&["fingerprint", "base"]);
    let print: Value = serde_json::from_str(&print.out).expect("stdout is JSON alone");
    assert_eq!(
        print["tensors"].as_object().map(|t| t.len()),
        told["per_tensor"].as_array().map(Vec::len)
    );
}

/// `ptb list ... | head -1`, made certain: the reader closes the pipe before most has been written.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = Place::new();
    for n in 0..2000 {
        let text = fs::read_to_string(place.path().join("registry/models/mini.toml")).unwrap();
        place.write(&format!("registry/models/m{n}.toml"), text);
    }
    for json in [&["list", "models"][..], &["list", "models", "--json"]] {
        let mut child =
            place.ptb(json).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty());
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
    }
}

/// A whole experiment from outside: text, JSON, and again.
#[test]
fn an_experiment_is_run_once_and_told_in_both_forms() {
    let place = Place::new();
    place.experiment("e", &["base", "instruct"], "");
    let first = place.output(&["run", "e.toml"]);
    assert_eq!(first.code, 0, "{}", first.shown());
    snapshot("run", &first);
    let run = &runs(&place.path().join("results"), "e")[0];
    let before = fs::read(run.join("run.json")).unwrap();
    snapshot("run_again", &place.output(&["run", "e.toml"]));
    assert_eq!(fs::read(run.join("run.json")).unwrap(), before, "nothing is run twice");

    let again = place.output(&["run", "e.toml", "--json"]);
    let told: Value = serde_json::from_str(&again.out).expect("stdout is JSON alone");
    assert_eq!(again.err, "");
    assert_eq!((told["schema"].as_u64(), told["exit_code"].as_u64()), (Some(1), Some(0)));
    for (told, run) in
        told["runs"].as_array().unwrap().iter().zip(runs(&place.path().join("results"), "e"))
    {
        let mut kept = score(&run);
        kept.as_object_mut().unwrap().remove("schema");
        assert_eq!((&told["state"], &told["score"]), (&"already".into(), &kept));
    }
    let report = place.output(&["report", "results/e", "--format", "json"]);
    let report: Value = serde_json::from_str(&report.out).expect("stdout is JSON alone");
    for part in ["rows", "benchmarks", "notes"] {
        assert_eq!(report[part], told["report"][part]);
    }
    for format in ["table", "md", "csv"] {
        let answer = place.output(&["report", "results/e", "--format", format]);
        assert_eq!((answer.code, answer.err.as_str()), (0, ""));
        assert!(answer.out.contains("arithmetic") && answer.out.contains("instruct"));
    }
    let name = run.file_name().unwrap().to_str().unwrap();
    let shown = place.output(&["show", &format!("results/e/runs/{name}"), "--json"]);
    serde_json::from_str::<Value>(&shown.out).expect("stdout is JSON alone");
    let by_name = place.output(&["show", name, "--json"]);
    assert_eq!((by_name.code, by_name.out), (0, shown.out));
}

#[test]
fn faults_are_json_where_json_is_asked_for() {
    let place = Place::new();
    place.experiment("e", &["bass"], "");
    for args in [
        &["run", "e.toml", "--json"][..],
        &["show", "missing", "--json"],
        &["score", "missing", "--json"],
    ] {
        let answer = place.output(args);
        let told: Value =
            serde_json::from_str(answer.err.trim()).expect("the fault is one JSON object");
        assert_eq!((answer.code, answer.out.as_str(), told["code"].as_u64()), (2, "", Some(2)));
        assert!(told["error"].as_str().is_some_and(|e| !e.is_empty()), "{told}");
    }
}

#[test]
fn an_evaluation_goes_on_where_it_stopped_and_starts_no_engine_for_what_is_there() {
    let place = Place::new();
    let eval = |more: &[&str]| {
        let args = [
            "eval",
            "arithmetic",
            "--model",
            "mini",
            "--model-path",
            "base",
            "--max-tokens",
            "4",
            "--json",
        ];
        place.output(&[&args, more].concat())
    };
    let kept = ["--out", "kept", "--limit", "6", "--json-output-file", "m.json"];
    let first = eval(&kept);
    assert_eq!(first.code, 0, "{}", first.shown());
    let metrics: Value = serde_json::from_str(&first.out).expect("stdout is JSON alone");
    assert_eq!(metrics["n"].as_u64(), Some(6));
    for name in ["accuracy", "stderr", "n", "errors"] {
        assert!(metrics[name].is_number(), "{name}: {metrics}");
    }
    assert_eq!(json(&place.path().join("m.json")), metrics, "a bare name is a file here");
    assert_eq!(json(&place.path().join("kept/metrics.json")), metrics);

    // Nobody listens at this address: whatever asks it for a completion fails.
    let nobody = ["--engine", "http://127.0.0.1:9"];
    let again = eval(&[&kept[..], &nobody].concat());
    assert_eq!((again.code, &again.out), (0, &first.out), "{}", again.shown());
    // Another seed makes other completions.
    let other = eval(&[&kept[..], &nobody, &["--seed", "7"]].concat());
    assert_eq!((other.code, other.out.as_str()), (3, ""), "{}", other.shown());
    let lines = || fs::read_to_string(place.path().join("kept/42/samples.jsonl")).unwrap();
    let before = lines();
    let more = eval(&["--out", "kept", "--limit", "9"]);
    assert_eq!(more.code, 0, "{}", more.shown());
    assert!(lines().starts_with(&before) && lines().lines().count() == 9, "what was there is kept");
}

#[test]
fn a_run_scored_again_equals_its_metrics() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("copy", "cp -rL \"$PTB_BASE_MODEL\" final_model");
    place.experiment("e", &["copy"], "");
    let ran = place.output(&["run", "e.toml"]);
    assert_eq!(ran.code, 0, "{}", ran.shown());
    let run = only_run(&place.path().join("results"), "e");
    let mut kept = json(&run.join("eval/final/metrics.json"));
    kept.as_object_mut().unwrap().remove("schema");
    let scored = place.output(&["score", run.to_str().unwrap(), "--json"]);
    assert_eq!(scored.code, 0, "{}", scored.shown());
    let last: Value = serde_json::from_str(scored.err.lines().last().unwrap()).unwrap();
    assert_eq!(last, kept);
    let lines: Vec<Value> = scored.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.len(), 8);
    assert!(lines.iter().all(|l| l["id"].is_string() && l["score"].is_number()));
    snapshot("show", &place.output(&["show", run.to_str().unwrap()]));
}
