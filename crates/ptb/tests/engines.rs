//! `ptb eval` and `ptb run` with other projects' servers behind them: vLLM (`PTB_VLLM`) and transformers
//! (`PTB_TRANSFORMERS`). They are asked what the built-in engine is asked, and answer alike.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use support::runs::runs;
use support::{Answer, Place, processes, skip, wall};

/// How an engine's program is named; none where it is not.
fn program(variable: &str) -> Option<OsString> {
    let program = std::env::var_os(variable);
    if program.is_none() {
        skip(&format!("{variable} names no program"));
    }
    program
}

fn tiny(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(kind)
}

/// A model that takes the likeliest token each time.
fn greedy(place: &Place, from: &Path) -> PathBuf {
    let to = place.path().join("greedy");
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let path = to.join("generation_config.json");
    let mut own: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    own["temperature"] = json!(0.0);
    own["do_sample"] = json!(false);
    fs::write(path, own.to_string()).unwrap();
    to
}

/// What the engine wrote, by question.
fn completions(out: &Path) -> Vec<Value> {
    let seed =
        fs::read_dir(out).unwrap().filter_map(Result::ok).find(|e| e.path().is_dir()).unwrap();
    let text = fs::read_to_string(seed.path().join("samples.jsonl")).unwrap();
    let record = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let lines = text.lines().map(record);
    lines.map(|r| json!([r["id"], r["completion"], r["score"], r["prompt_tokens"]])).collect()
}

fn eval(place: &Place, model: &Path, engine: &str, out: &str) -> Answer {
    let model = model.to_str().unwrap();
    let args = [
        "eval",
        "arithmetic",
        "--model",
        "tiny",
        "--model-path",
        model,
        "--limit",
        "16",
        "--out",
        out,
        "--engine",
        engine,
        "--json",
    ];
    let mut command = place.ptb(&args);
    for name in ["PTB_VLLM", "PTB_TRANSFORMERS"] {
        command.envs(std::env::var_os(name).map(|program| (name, program)));
    }
    Answer::of(place, command.output().unwrap())
}

fn agrees(engine: &str) {
    let place = Place::new();
    let model = greedy(&place, &tiny("tiny-instruct"));
    let metrics: Vec<Value> = ["builtin", engine]
        .iter()
        .map(|engine| {
            let answer = eval(&place, &model, engine, engine);
            assert_eq!(answer.code, 0, "{}", answer.shown());
            serde_json::from_str(&answer.out).expect("metrics")
        })
        .collect();
    let (ours, theirs) =
        (completions(&place.path().join("builtin")), completions(&place.path().join(engine)));
    assert_eq!((ours.len(), theirs.len()), (16, 16));
    let same = ours.iter().zip(&theirs).filter(|(a, b)| a == b).count();
    // They compute in the weights' bfloat16 and the built-in engine in float32, so near ties may fall otherwise.
    assert!(same >= 13, "{same} of 16\n{ours:?}\n{theirs:?}");
    for field in ["n", "errors", "truncated", "prompt_tokens", "weights_sha256", "sampling"] {
        assert_eq!(metrics[0][field], metrics[1][field], "{field}");
    }
    assert!(metrics[0]["accuracy"].as_f64().unwrap() > 0.2, "{}", metrics[0]);
    processes::assert_gone(place.marker(), &[], Duration::from_secs(10));
    // All is there: no engine is asked for.
    let mut again = place.ptb(&[
        "eval",
        "arithmetic",
        "--model",
        "tiny",
        "--model-path",
        model.to_str().unwrap(),
        "--limit",
        "16",
        "--out",
        engine,
        "--engine",
        engine,
        "--json",
    ]);
    again.env("PTB_VLLM", "/nowhere/vllm").env("PTB_TRANSFORMERS", "/nowhere/transformers");
    let again = Answer::of(&place, again.output().unwrap());
    assert_eq!(
        (again.code, serde_json::from_str::<Value>(&again.out).unwrap()),
        (0, metrics[1].clone())
    );
}

/// A model that the server cannot serve is the model's fault, and the message says what to do.
fn refuses(engine: &str) {
    let place = Place::new();
    let model = greedy(&place, &tiny("tiny-base"));
    let path = model.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["intermediate_size"] = json!(96);
    fs::write(path, config.to_string()).unwrap();
    let answer = eval(&place, &model, engine, "out");
    assert_eq!(answer.code, 2, "{}", answer.shown());
    let told: Value =
        serde_json::from_str(answer.err.trim().lines().last().unwrap()).expect("an error as JSON");
    assert!(told["error"].as_str().unwrap().contains("the weights cannot be loaded"), "{told}");
    assert!(told["hint"].as_str().unwrap().contains("config.json"), "{told}");
    processes::assert_gone(place.marker(), &[], Duration::from_secs(10));
}

#[test]
fn vllm_gives_what_the_built_in_engine_gives() {
    if program("PTB_VLLM").is_some() {
        agrees("vllm");
    }
}

#[test]
fn transformers_gives_what_the_built_in_engine_gives() {
    if program("PTB_TRANSFORMERS").is_some() {
        agrees("transformers");
    }
}

#[test]
fn a_model_that_transformers_cannot_serve() {
    if program("PTB_TRANSFORMERS").is_some() {
        refuses("transformers");
    }
}

/// A run whose evaluations, at the door and at the end, are transformers'.
#[test]
fn a_run_with_transformers() {
    let Some(program) = program("PTB_TRANSFORMERS") else { return };
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("asks", "cp -r \"$PTB_BASE_MODEL\" final_model && python3 evaluate.py --limit 2");
    place.experiment("served", &["base", "asks"], "engine = \"transformers\"");
    let mut run = place.run_command("served", &["--json"]);
    let answer = Answer::of(&place, run.env("PTB_TRANSFORMERS", program).output().unwrap());
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let found = runs(&place.path().join("results"), "served");
    assert_eq!(found.len(), 2);
    for run in found {
        let metrics = fs::read(run.join("eval/final/metrics.json")).unwrap();
        let metrics: Value = serde_json::from_slice(&metrics).unwrap();
        assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(8), &json!(0)));
        let made = fs::read(run.join("eval/final/provenance.json")).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        assert_eq!(made["engines"][0]["engine"], "transformers", "{made}");
        assert!(made["engines"][0]["launched"]["versions"]["torch"].is_string(), "{made}");
    }
    processes::assert_gone(place.marker(), &[], Duration::from_secs(10));
}
