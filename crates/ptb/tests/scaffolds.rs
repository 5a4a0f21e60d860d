//! Whole runs of the real command-line agents behind the wall, driven by a model API that plays a script.
//!
//! `PTB_AGENT_CACHE` names a folder that serves as `PTB_CACHE`: npm fills it when it is empty.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use scripted_api::{Fault, Script, ScriptedApi, Turn};
use serde_json::Value;
use support::Answer;
use support::agents::{KEY, Trial, assert_books, has, texts};
use support::processes::until;
use support::runs::{json, only_run, runs, score};

/// Reads the prompt, trains, looks at the clock, evaluates, and ends.
fn worker() -> Script {
    Script::turns([
        Turn::run("cat timer.sh; ls; env | sort > seen.txt; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline >> seen.txt 2>/dev/null; true")
            .saying("I look around.")
            .thinking("What is here?"),
        Turn::run("ptb-sft solve --steps 60 --evaluate-limit 20"),
        Turn::run("bash timer.sh; python3 evaluate.py --model-path final_model --limit 20"),
        Turn::text("final_model is trained and evaluated."),
    ])
}

/// The key as it is, in hexadecimal, and in base64 wherever in a longer text it stands.
fn forms() -> Vec<String> {
    use base64::prelude::{BASE64_STANDARD, Engine};
    let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
    // What is before and behind it changes the outermost characters alone.
    let inner = |before: usize| {
        let text = BASE64_STANDARD.encode(format!("{}{KEY}", "x".repeat(before)));
        text[4..text.len() - 4].to_owned()
    };
    [KEY.to_owned(), hex].into_iter().chain((0..3).map(inner)).collect()
}

fn assert_no_key(run: &Path) {
    for (path, text) in texts(run) {
        for form in forms() {
            assert!(!has(&text, &form), "the key is in {} as {form}", path.display());
        }
    }
}

fn works(agent: &str) {
    let api = ScriptedApi::start(worker());
    api.expect_key(KEY);
    let Some(trial) = Trial::new(agent, &api.url(), "", 0.2) else { return };
    let (answer, run) = trial.run();
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let score = score(&run);
    assert_eq!(
        (&score["counts"], &score["mark"]),
        (&Value::from("own"), &Value::Null),
        "{score:#}"
    );
    assert_eq!(json(&run.join("solve.json"))["end"], "finished");
    let attempt = run.join("attempts/1");
    assert_books(&run, &api);
    // Codex asks again while a long command goes on, which is no turn of the script.
    let turns: BTreeSet<usize> = api.ledger().turns().map(|entry| entry.turn).collect();
    assert_eq!(turns, BTreeSet::from([0, 1, 2, 3]));

    let trajectory = json(&attempt.join("trajectory.json"));
    let steps = trajectory["steps"].as_array().unwrap();
    let calls: usize = steps.iter().map(|s| s["tool_calls"].as_array().map_or(0, Vec::len)).sum();
    assert!(calls >= 3, "{trajectory:#}");
    assert_eq!(trajectory["agent"]["name"], agent);
    let version = json(&run.join("run.json"))["provenance"]["versions"][agent].clone();
    assert!(version.as_str().is_some_and(|v| v.split('.').count() == 3), "{version}");
    let transcript = fs::read_to_string(attempt.join("transcript.md")).unwrap();
    for words in ["I look around.", "ptb-sft solve --steps 60", "final_model is trained"] {
        assert!(transcript.contains(words), "{words}: {transcript}");
    }
    let evaluations = fs::read_to_string(attempt.join("evaluations.jsonl")).unwrap();
    assert!(evaluations.lines().count() >= 1, "{evaluations}");

    let seen = fs::read(run.join("workspace/seen.txt")).unwrap();
    assert!(has(&seen, "PTB_BASE_MODEL") && !has(&seen, KEY));
    assert_no_key(&run);
    // What is done needs no key.
    let again = Answer::of(&trial.place, trial.command().env_remove(trial.key).output().unwrap());
    assert!(again.code == 0 && again.shown().contains("done before"), "{}", again.shown());
    let told = trial.place.output(&["trace", run.to_str().unwrap()]);
    assert!(told.code == 0 && told.out.contains("ptb-sft solve --steps 60"), "{}", told.shown());
}

#[test]
fn claude_trains_and_is_scored() {
    works("claude");
}

#[test]
fn codex_trains_and_is_scored() {
    works("codex");
}

#[test]
fn gemini_trains_and_is_scored() {
    works("gemini");
}

#[test]
fn opencode_trains_and_is_scored() {
    works("opencode");
}

/// An agent that ends early is told to use its time, in the same session.
#[test]
fn one_that_stops_early_goes_on() {
    let api = ScriptedApi::start(Script::turns([
        Turn::run("cp -r \"$PTB_BASE_MODEL\" final_model"),
        Turn::text("Enough."),
        Turn::run("echo more > more.txt"),
        Turn::text("Now it is enough."),
        Turn::run("while true; do sleep 1; done"),
    ]));
    let Some(trial) = Trial::new("claude", &api.url(), ", reprompt = 0.1", 0.018) else { return };
    let (answer, run) = trial.run();
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert!(run.join("workspace/more.txt").is_file(), "{}", answer.shown());
    assert_eq!(json(&run.join("solve.json"))["end"], "deadline");
    let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap();
    let body = last.body.to_string();
    assert!(body.contains("Enough.") && body.contains("There is time left"), "{body}");
    let events = fs::read_to_string(run.join("events.jsonl")).unwrap();
    assert!(events.contains("goes on: There is time left"), "{events}");
}

/// Without its provider an agent waits, and goes on in its session when that is back; the time is not counted.
#[test]
fn an_outage_is_waited_out() {
    let api = ScriptedApi::start(Script::turns([
        Turn::run("cp -r \"$PTB_BASE_MODEL\" final_model").saying("First."),
        Turn::run("echo after > after.txt").saying("And then."),
        Turn::text("Finished."),
    ]));
    // Refused at once, so that the scaffold gives up quickly.
    api.fail_from_turn(1, Fault::KeyRevoked);
    let Some(trial) = Trial::new("codex", &api.url(), "", 0.1) else { return };
    let child = trial.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let results = trial.place.path().join("results");
    until("the run waits for the provider", Duration::from_secs(120), || {
        runs(&results, "e").first().is_some_and(|run| {
            let events = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
            events.contains("the provider fails")
        })
    });
    api.heal();
    let answer = Answer::of(&trial.place, child.wait_with_output().unwrap());
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let run = only_run(&results, "e");
    assert!(run.join("workspace/after.txt").is_file(), "{}", answer.shown());
    assert_eq!(json(&run.join("solve.json"))["end"], "finished");
    let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap().body.to_string();
    assert!(last.contains("First.") && last.contains("is back"), "{last}");
    assert_books(&run, &api);
    let shown = trial.place.output(&["show", run.to_str().unwrap()]);
    assert!(shown.out.contains("without service given back"), "{}", shown.out);
}

/// A CLI whose provider takes a request and never answers stands still, though its own loops go round; it is told so, and
/// goes on in its session.
fn stands_still(agent: &str) {
    let api = ScriptedApi::start(Script::turns([
        Turn::run("cp -r \"$PTB_BASE_MODEL\" final_model").saying("First."),
        Turn::text("Finished."),
    ]));
    api.fail_from_turn(1, Fault::Hang(Duration::from_secs(600)));
    let Some(trial) = Trial::new(agent, &api.url(), ", standstill = 0.2", 0.2) else { return };
    let child = trial.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let results = trial.place.path().join("results");
    let events = |run: &Path| fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    until("the agent stands still", Duration::from_secs(180), || {
        runs(&results, "e").first().is_some_and(|run| events(run).contains("stood still"))
    });
    api.heal();
    let answer = Answer::of(&trial.place, child.wait_with_output().unwrap());
    let run = only_run(&results, "e");
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(json(&run.join("solve.json"))["end"], "finished");
    let attempt = run.join("attempts/1");
    let told = json(&attempt.join("telemetry.json"));
    assert_eq!(told["launches"], 2, "{told:#}");
    assert!(told["longest_idle"].as_f64().unwrap() >= 12.0, "{told:#}");
    assert_eq!(events(&run).matches("stood still").count(), 1, "{}", events(&run));
    let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap().body.to_string();
    assert!(last.contains("First.") && last.contains("nothing had happened for long"), "{last}");
}

#[test]
fn claude_that_waits_stands_still() {
    stands_still("claude");
}

#[test]
fn codex_that_waits_stands_still() {
    stands_still("codex");
}

#[test]
fn gemini_that_waits_stands_still() {
    stands_still("gemini");
}

#[test]
fn opencode_that_waits_stands_still() {
    stands_still("opencode");
}

/// What the provider does not serve costs the agent nothing: the same command goes on in the same workspace.
#[test]
fn credit_that_is_gone_pauses_the_run() {
    let api = ScriptedApi::start(Script::turns([
        Turn::run("echo first > first.txt; cp -r \"$PTB_BASE_MODEL\" final_model"),
        Turn::text("Finished."),
    ]));
    let Some(trial) = Trial::new("codex", &api.url(), "", 0.1) else { return };
    // A scaffold that cannot go on with a session.
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../registry/agents/codex.toml"
    ));
    let text = text.unwrap();
    let (before, rest) = text.split_once("resume = [").unwrap();
    let after = rest.split_once("\n]\n").unwrap().1;
    trial.place.write("registry/agents/codex.toml", format!("{before}{after}"));
    api.fail_from_turn(1, Fault::CreditGone);
    let (answer, run) = trial.run();
    assert_eq!(answer.code, 4, "{}", answer.shown());
    assert!(run.join("attempts/1/task/first.txt").is_file());
    let end = json(&run.join("attempts/1/end.json"))["end"].clone();
    assert_eq!(end["provider"]["fault"], "credit", "{end}");
    assert!(answer.shown().contains("the agent's provider"), "{}", answer.shown());
    api.heal();
    let again = Answer::of(&trial.place, trial.command().output().unwrap());
    assert_eq!(again.code, 0, "{}", again.shown());
    assert!(run.join("workspace/first.txt").is_file());
    assert_no_key(&run);
}
