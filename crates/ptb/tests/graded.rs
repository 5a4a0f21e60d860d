//! Benchmarks that a language model grades, through the program: a scripted grader that misbehaves in every way, its
//! outages, its cost, and what of it is kept.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ptb_llm::testing::{Act, ChatRequest, GraderServer};
use serde_json::{Value, json};
use support::processes::until;
use support::runs::{json as read_json, only_run};
use support::{Answer, Place, shared, skip, wall};

const KEY: &str = "sk-test-5up3rs3cr3t-5up3rs3cr3t";
const SAMPLES: usize = 20;

/// A place with small data of both graded benchmarks, written for this test.
fn place() -> Place {
    let place = Place::new();
    let (mut health, mut questions, mut replies) = (String::new(), String::new(), String::new());
    for i in 0..SAMPLES {
        let criteria = json!([
            { "criterion": format!("asks since when, {i}"), "points": 5, "tags": ["axis:completeness"] },
            { "criterion": "is kind", "points": 3, "tags": ["axis:communication_quality"] },
            { "criterion": format!("names a medicine, {i}"), "points": -4, "tags": ["axis:accuracy"] },
        ]);
        let prompt = json!([
            { "role": "user", "content": format!("My knee number {i} hurts.") },
            { "role": "assistant", "content": "When you walk?" },
            { "role": "user", "content": "Yes." },
        ]);
        let tags = json!([if i % 2 == 0 { "theme:hedging" } else { "theme:communication" }]);
        let record = json!({ "prompt_id": format!("h{i}"), "prompt": prompt, "rubrics": criteria, "example_tags": tags });
        health.push_str(&format!("{record}\n"));
        questions.push_str(&format!(
            "{}\n",
            json!({ "uid": format!("q{i}"), "prompt": format!("A line on {i}.") })
        ));
        let messages =
            json!([{ "role": "assistant", "content": { "answer": format!("It is {i}.") } }]);
        replies.push_str(&format!("{}\n", json!({ "uid": format!("q{i}"), "messages": messages })));
    }
    place.write("health/healthbench.jsonl", health);
    place.write("arena/question.jsonl", questions);
    place.write("arena/model_answer/Qwen3-1.7B.jsonl", replies);
    place
}

/// What a grader finds, by what it is shown alone.
fn verdict(request: &ChatRequest) -> String {
    let said = request.said("user");
    // Marks are made of the texts, so the sum of bytes is that of what is judged.
    let sum: usize = said.bytes().map(usize::from).sum();
    if said.contains("criteria_met") {
        format!(
            "```json\n{}\n```",
            json!({ "explanation": format!("sum {sum}"), "criteria_met": !sum.is_multiple_of(3) })
        )
    } else {
        let labels = ["A>>B", "A>B", "A=B", "B>A", "B>>A"];
        format!("Both are short. My verdict:\n[[{}]]", labels[sum % labels.len()])
    }
}

/// Answers properly in the end, and before that in every wrong way in turn.
fn misbehaving(request: &ChatRequest) -> Act {
    let limited = || Act::Status(429, vec![("retry-after".into(), "0".into())], "{}".into());
    let ways: [&dyn Fn() -> Act; 17] = [
        &|| Act::Html,
        &|| Act::HalfJson,
        &|| Act::CloseMidBody,
        &|| Act::Hang(Duration::from_millis(50)),
        &|| Act::ErrorIn200,
        &|| Act::EmptyChoices,
        &|| Act::NullContent,
        &|| Act::Refusal("I would rather not".into()),
        &|| Act::Filtered,
        &|| Act::Length("A is".into()),
        &|| Act::error(500, "oh"),
        &|| Act::Status(503, Vec::new(), "<html>busy</html>".into()),
        &limited,
        &|| Act::Text("I cannot say.".into()),
        &|| Act::Text("[[A]] {\"criteria_met\": \"yes\"}".into()),
        &|| Act::Text(String::new()),
        &|| Act::Parts(vec!["no ".into(), "verdict".into()]),
    ];
    match request.before {
        0 => ways[request.number % ways.len()](),
        1 if request.number.is_multiple_of(3) => ways[(request.number / 3) % ways.len()](),
        _ => Act::Text(verdict(request)),
    }
}

fn eval(place: &Place, benchmark: &str, url: &str, out: &str, more: &[&str]) -> Command {
    let data = if benchmark == "healthbench" { "health" } else { "arena" };
    let mut command =
        place.ptb(&["eval", benchmark, "--model", "mini", "--model-path", "base", "--data", data]);
    command.args([
        "--max-tokens",
        "8",
        "--registry",
        "registry",
        "--grader",
        url,
        "--out",
        out,
        "--json",
    ]);
    command.args(more).env("PTB_GRADER_KEY", KEY);
    command
}

fn answer(place: &Place, command: &mut Command) -> Answer {
    Answer::of(place, command.output().unwrap())
}

fn file(place: &Place, out: &str, name: &str) -> String {
    fs::read_to_string(place.path().join(out).join(name)).unwrap()
}

/// Fails where the key stands in a file below a folder.
fn assert_no_key(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            assert_no_key(&path);
        } else if let Ok(bytes) = fs::read(&path) {
            let found = bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(!found, "the key is in {}", path.display());
        }
    }
}

#[test]
fn graders_that_misbehave_change_nothing() {
    let place = place();
    for (benchmark, verdicts) in [("healthbench", 3 * SAMPLES), ("arenahardwriting", 2 * SAMPLES)] {
        let kind = GraderServer::start(|request| Act::Text(verdict(request)));
        let calm = answer(
            &place,
            &mut eval(&place, benchmark, &kind.url(), &format!("{benchmark}-a"), &[]),
        );
        assert_eq!((calm.code, kind.count()), (0, verdicts), "{}", calm.shown());
        assert_eq!(kind.requests()[0].authorization, Some(format!("Bearer {KEY}")));
        let wild = GraderServer::start(misbehaving);
        let out = format!("{benchmark}-b");
        let disturbed = answer(&place, &mut eval(&place, benchmark, &wild.url(), &out, &[]));
        assert_eq!(disturbed.code, 0, "{}", disturbed.shown());
        assert!(wild.count() > verdicts, "{}", wild.count());
        for name in ["metrics.json", "42/samples.jsonl"] {
            assert_eq!(
                file(&place, &format!("{benchmark}-a"), name),
                file(&place, &out, name),
                "{name}"
            );
        }
        let metrics: Value = serde_json::from_str(&calm.out).unwrap();
        assert_eq!(
            (&metrics["n"], &metrics["errors"], &metrics["complete"]),
            (&json!(SAMPLES), &json!(0), &json!(true))
        );
        let accuracy = metrics["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.0 && accuracy < 1.0, "{metrics}");
        assert_eq!(metrics["grader"]["model"], "gpt-5-mini");
        if benchmark == "healthbench" {
            assert_eq!(metrics["breakdowns"]["theme"].as_object().unwrap().len(), 2, "{metrics}");
            assert_eq!(metrics["breakdowns"]["axis"].as_object().unwrap().len(), 2, "{metrics}");
        }
        again(&place, benchmark, &wild, &out, &metrics);
        let provenance: Value =
            serde_json::from_str(&file(&place, &out, "provenance.json")).unwrap();
        let totals = &provenance["grading"][0]["totals"];
        assert_eq!(
            (&totals["answers"], &totals["cached"]),
            (&json!(verdicts), &json!(0)),
            "{totals}"
        );
        assert!(
            totals["cost"].as_f64().unwrap() > 0.0 && totals["retries"].as_u64() > Some(0),
            "{totals}"
        );
    }
    assert_no_key(place.path());
}

/// Evaluated again nothing is asked for, and scored again the metrics are the same to the last digit.
fn again(place: &Place, benchmark: &str, server: &GraderServer, out: &str, metrics: &Value) {
    let before = server.count();
    let rerun = answer(place, &mut eval(place, benchmark, &server.url(), out, &[]));
    assert_eq!((rerun.code, server.count()), (0, before), "{}", rerun.shown());
    assert_eq!(serde_json::from_str::<Value>(&rerun.out).unwrap(), *metrics);
    let data = if benchmark == "healthbench" { "health" } else { "arena" };
    let scored = place.output(&["score", out, "--data", data, "--json"]);
    assert_eq!(scored.code, 0, "{}", scored.shown());
    let told: Value = serde_json::from_str(scored.err.lines().last().unwrap()).unwrap();
    let mut kept: Value = serde_json::from_str(&file(place, out, "metrics.json")).unwrap();
    kept.as_object_mut().unwrap().remove("schema");
    assert_eq!(told, kept);
    // The records, as lines for `ptb score --completions`, come to the same.
    let records = place.path().join(out).join("42/samples.jsonl");
    let lines =
        ["score", benchmark, "--data", data, "--json", "--completions", records.to_str().unwrap()];
    let lines = place.output(&lines);
    let told: Value = serde_json::from_str(lines.err.lines().last().unwrap()).unwrap();
    for number in ["accuracy", "stderr", "n", "errors"] {
        assert_eq!(told[number], kept[number], "{}", lines.shown());
    }
}

#[test]
fn an_outage_ends_as_the_providers_failure_and_the_same_command_goes_on() {
    let place = place();
    let up = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&up);
    let server =
        GraderServer::start(move |request| match request.number < 10 || well.load(Relaxed) {
            true => Act::Text(verdict(request)),
            false => Act::error(503, "down for maintenance"),
        });
    let more = ["--grader-patience", "2", "--max-connections", "2"];
    let cut = answer(&place, &mut eval(&place, "healthbench", &server.url(), "out", &more));
    assert_eq!(cut.code, 4, "{}", cut.shown());
    assert!(cut.err.contains("down for maintenance") && cut.err.contains("hint"), "{}", cut.err);
    assert!(!place.path().join("out/metrics.json").exists());
    up.store(true, Relaxed);
    let before = server.count();
    let on = answer(&place, &mut eval(&place, "healthbench", &server.url(), "out", &more));
    assert_eq!((on.code, server.count() - before), (0, 3 * SAMPLES - 10), "{}", on.shown());
}

#[test]
fn an_evaluation_waits_for_a_grader_that_comes_back() {
    let place = place();
    let server = GraderServer::start(|request| Act::Text(verdict(request)));
    server.stop();
    let mut child = eval(&place, "healthbench", &server.url(), "out", &["--max-connections", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("all completions to be there", Duration::from_secs(120), || {
        fs::read_to_string(place.path().join("out/42/samples.jsonl"))
            .is_ok_and(|text| text.lines().count() == SAMPLES)
    });
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it does not wait");
    server.restart();
    let done = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!((done.code, server.count()), (0, 3 * SAMPLES), "{}", done.shown());
}

/// Silence, and the wish to be left alone for years, are outages: the user's patience ends them.
#[test]
fn patience_ends_with_graders_that_hang_or_put_off() {
    let place = place();
    let acts = [
        Act::Hang(Duration::from_secs(60)),
        Act::Status(429, vec![("retry-after".into(), "99999999".into())], "{}".into()),
    ];
    for act in acts {
        let server = GraderServer::start(move |_| act.clone());
        let more = ["--grader-patience", "2", "--limit", "2"];
        let cut = answer(&place, &mut eval(&place, "healthbench", &server.url(), "out", &more));
        assert_eq!(cut.code, 4, "{}", cut.shown());
    }
}

#[test]
fn keys_credit_and_limits_are_told_apart() {
    let place = place();
    for (status, body, code, message) in [
        (401, r#"{"error": {"message": "bad key sk-te...cr3t"}}"#, 4, "PTB_GRADER_KEY"),
        (402, r#"{"error": {"message": "no money"}}"#, 4, "out of credit"),
        (
            429,
            r#"{"error": {"message": "quota", "code": "insufficient_quota"}}"#,
            4,
            "out of credit",
        ),
        (404, r#"{"error": {"message": "no model gpt-5-mini"}}"#, 4, "rejects the request"),
    ] {
        let server = GraderServer::start(move |_| Act::Status(status, Vec::new(), body.into()));
        let told = answer(&place, &mut eval(&place, "healthbench", &server.url(), "out", &[]));
        assert_eq!(told.code, code, "{}", told.shown());
        assert!(told.err.contains(message) && told.err.contains("hint"), "{}", told.err);
        assert!(!told.err.contains(KEY) && server.count() <= 32, "{}", told.err);
    }
    let server = GraderServer::start(|request| Act::Text(verdict(request)));
    let spent = answer(
        &place,
        &mut eval(&place, "healthbench", &server.url(), "out", &["--grader-limit", "0.00001"]),
    );
    assert_eq!(spent.code, 4, "{}", spent.shown());
    assert!(spent.err.contains("the spending limit is reached"), "{}", spent.err);
    // What an earlier sitting spent counts.
    let wide = answer(
        &place,
        &mut eval(&place, "healthbench", &server.url(), "twice", &["--grader-limit", "9"]),
    );
    assert_eq!(wide.code, 0, "{}", wide.shown());
    fs::remove_file(place.path().join("twice/grades.jsonl")).unwrap();
    let before = server.count();
    for (out, asks) in [("twice", false), ("fresh", true)] {
        let mut tight =
            eval(&place, "healthbench", &server.url(), out, &["--grader-limit", "0.036"]);
        assert_eq!(answer(&place, &mut tight).code, 4);
        assert_eq!(server.count() > before, asks, "{out}");
    }
    let model = ["--grader-limit", "1", "--grader-model", "nobody-knows"];
    let unknown = answer(&place, &mut eval(&place, "healthbench", &server.url(), "out", &model));
    assert_eq!(unknown.code, 2, "{}", unknown.shown());
    let mut keyless = place.ptb(&[
        "eval",
        "healthbench",
        "--model",
        "mini",
        "--model-path",
        "base",
        "--data",
        "health",
    ]);
    let keyless = answer(&place, keyless.args(["--registry", "registry"]));
    assert_eq!(keyless.code, 5, "{}", keyless.shown());
    assert!(keyless.err.contains("PTB_GRADER_KEY"), "{}", keyless.err);
    let needless = [
        "eval",
        "arithmetic",
        "--model",
        "mini",
        "--model-path",
        "base",
        "--registry",
        "registry",
        "--grader",
        "http://127.0.0.1:1/v1",
    ];
    let needless = place.output(&needless);
    assert_eq!(needless.code, 2, "{}", needless.shown());
    assert_no_key(place.path());
}

#[test]
fn a_reply_that_no_grader_judges_is_left_out_and_many_are_no_evaluation() {
    let place = place();
    let mute = |numbers: &'static [usize]| {
        GraderServer::start(move |request| {
            let said = request.said("user");
            let of = |i: &usize| said.contains(&format!("My knee number {i} hurts."));
            match numbers.iter().any(of) {
                true => Act::Text("No comment.".into()),
                false => Act::Text(verdict(request)),
            }
        })
    };
    let one = mute(&[7]);
    let told = answer(&place, &mut eval(&place, "healthbench", &one.url(), "one", &[]));
    assert_eq!(told.code, 0, "{}", told.shown());
    let metrics: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(SAMPLES - 1), &json!(1)));
    let many = mute(&[7, 8, 9]);
    let told = answer(&place, &mut eval(&place, "healthbench", &many.url(), "many", &[]));
    assert_eq!(told.code, 4, "{}", told.shown());
    assert!(told.err.contains("3 of 20 samples have no grade"), "{}", told.err);
    // Asked again, only what has no verdict is: four times about the reply, four times about an empty one.
    let before = many.count();
    answer(&place, &mut eval(&place, "healthbench", &many.url(), "many", &[]));
    assert_eq!(many.count() - before, 3 * 3 * (4 + 4));
}

/// A reply that a server rejects, or that a filter on the way forbids, is at fault when an empty one is judged.
#[test]
fn a_reply_that_keeps_the_grader_from_a_verdict_is_not_left_out() {
    let place = place();
    for (benchmark, status, body) in [
        (
            "healthbench",
            400,
            r#"{"error": {"message": "too long", "code": "context_length_exceeded"}}"#,
        ),
        ("healthbench", 403, "<html>You have been blocked</html>"),
        ("arenahardwriting", 400, "{}"),
    ] {
        // A key that was refused before any reply would be the key's fault. Hostile ones are put off until others were
        // answered, and then once more, so that those answers have arrived.
        let answered = AtomicUsize::new(0);
        let put_off = Mutex::new(HashSet::new());
        let server = GraderServer::start(move |request| {
            let said = request.said("user");
            let empty = said.contains("assistant>>\n\n<</")
                || said.contains("reply A>>\n\n<</")
                || said.contains("reply B>>\n\n<</");
            let hostile = ["number 3 hurts", "number 4 hurts", "line on 3.", "line on 4."];
            match !empty && hostile.iter().any(|h| said.contains(h)) {
                true if answered.load(Relaxed) < 4
                    || put_off.lock().unwrap().insert(said.clone()) =>
                {
                    Act::error(503, "busy")
                }
                true => Act::Status(status, Vec::new(), body.into()),
                false => {
                    answered.fetch_add(1, Relaxed);
                    Act::Text(verdict(request))
                }
            }
        });
        let out = format!("{benchmark}-{status}");
        let told = answer(&place, &mut eval(&place, benchmark, &server.url(), &out, &[]));
        assert_eq!(told.code, 0, "{}", told.shown());
        let metrics: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(SAMPLES), &json!(0)), "{metrics}");
        let records = file(&place, &out, "42/samples.jsonl");
        let records = records.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        let hit: Vec<Value> = records
            .filter(|r| ["h3", "h4", "q3", "q4"].contains(&r["id"].as_str().unwrap()))
            .collect();
        assert_eq!(hit.len(), 2);
        for record in hit {
            let verdicts: Vec<&Value> =
                record["grades"].as_array().unwrap().iter().map(|g| &g["verdict"]).collect();
            match benchmark {
                "healthbench" => {
                    assert_eq!(json!(verdicts), json!([false, false, true]), "{record}")
                }
                _ => assert_eq!(
                    (json!(verdicts), &record["score"]),
                    (json!(["A>B", "B>A"]), &json!(0.0)),
                    "{record}"
                ),
            }
        }
    }
}

/// Hours of an agent's work would be in vain.
#[test]
fn a_run_asks_whether_the_key_is_let_in_before_it_begins() {
    let place = place();
    let server = GraderServer::start(misbehaving).with_models(401);
    place.write(
        "graded.toml",
        format!(
            "name = \"graded\"\nagents = [\"base\"]\nmodels = [\"mini\"]\nbenchmarks = [\"healthbench\"]\nhours = 0.1\n\
             [data]\nhealthbench = \"health\"\n[grader]\nurl = {:?}\nmodel = \"gpt-5-nano\"\n[evaluate]\nmax_tokens = 8\n",
            server.url()
        ),
    );
    let mut command = place.run_command("graded", &["--registry", "registry"]);
    let told = answer(&place, command.env("PTB_GRADER_KEY", KEY));
    assert_eq!(told.code, 4, "{}", told.shown());
    assert!(told.err.contains("refuses the key (status 401)"), "{}", told.err);
    assert!(!place.path().join("results/graded/runs").exists(), "nothing was begun");
    assert_no_key(place.path());
}

#[test]
fn a_prompt_of_ones_own_is_told_and_recorded() {
    let place = place();
    place.write(
        "mine.toml",
        "description = \"mine\"\n[[messages]]\nrole = \"user\"\ncontent = \"criteria_met? {{ criterion }} of {{ messages[-1].content }}\"\n",
    );
    let server = GraderServer::start(|request| Act::Text(verdict(request)));
    let told = answer(
        &place,
        &mut eval(&place, "healthbench", &server.url(), "out", &["--grader-prompt", "mine.toml"]),
    );
    assert_eq!(told.code, 0, "{}", told.shown());
    let metrics: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(metrics["grader"]["prompt"], "mine.toml");
    assert!(server.requests()[0].said("user").starts_with("criteria_met? "));
    place.write(
        "mine.toml",
        "description = \"mine\"\n[[messages]]\nrole = \"user\"\ncontent = \"{{ criterium }}\"\n",
    );
    fs::remove_dir_all(place.path().join("out")).unwrap();
    let told = answer(
        &place,
        &mut eval(&place, "healthbench", &server.url(), "out", &["--grader-prompt", "mine.toml"]),
    );
    assert_eq!(told.code, 2, "{}", told.shown());
    assert!(told.err.contains("mine.toml") && told.err.contains("`criterion`"), "{}", told.err);
    assert!(!place.path().join("out/42").exists(), "it is told before any work");
}

/// The whole of both benchmarks as they are, few samples of them, with real data.
#[test]
fn real_data_are_asked_and_graded() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let server = GraderServer::start(|request| Act::Text(verdict(request)));
    for (benchmark, folder) in [("healthbench", "healthbench"), ("arenahardwriting", "arenahard")] {
        let data = shared.join("data").join(folder);
        let mut command = place.ptb(&[
            "eval",
            benchmark,
            "--model",
            "mini",
            "--model-path",
            "base",
            "--json",
            "--limit",
            "3",
        ]);
        command.args([
            "--max-tokens",
            "8",
            "--registry",
            "registry",
            "--grader",
            &server.url(),
            "--data",
        ]);
        let told = answer(&place, command.arg(data));
        assert_eq!(told.code, 0, "{}", told.shown());
        let metrics: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(3), &json!(0)), "{metrics}");
    }
}

/// A whole run: the agent evaluates through the door, the final model is graded, no key is near the agent, and the
/// run's completions and grades come to the same metrics again.
#[test]
fn a_run_is_graded_outside_the_wall() {
    if !wall() {
        return skip("no wall can be built here");
    }
    let place = place();
    place.agent(
        "curious",
        "python3 evaluate.py --model-path \"$PTB_BASE_MODEL\" --limit 4 >answer.txt 2>&1\n\
         env >seen.txt; cat /proc/*/environ >>seen.txt 2>/dev/null; cat /proc/*/cmdline >>seen.txt 2>/dev/null\n\
         cp -r \"$PTB_BASE_MODEL\" final_model",
    );
    let server = GraderServer::start(misbehaving);
    place.write(
        "graded.toml",
        format!(
            "name = \"graded\"\nagents = [\"curious\"]\nmodels = [\"mini\"]\nbenchmarks = [\"healthbench\"]\nhours = 0.1\n\
             [data]\nhealthbench = \"health\"\n[grader]\nurl = {:?}\nmodel = \"gpt-5-nano\"\n[evaluate]\nmax_tokens = 8\n",
            server.url()
        ),
    );
    let mut command = place.run_command("graded", &["--registry", "registry", "--json"]);
    let told = answer(&place, command.env("PTB_GRADER_KEY", KEY));
    assert!([0, 1].contains(&told.code), "{}", told.shown());
    let run = only_run(&place.path().join("results"), "graded");
    let metrics: Value = read_json(&run.join("eval/final/metrics.json"));
    assert_eq!(
        (&metrics["n"], &metrics["grader"]["model"]),
        (&json!(SAMPLES), &json!("gpt-5-nano")),
        "{metrics}"
    );
    let seen: Vec<PathBuf> =
        ["seen.txt", "answer.txt"].map(|name| run.join("workspace").join(name)).into();
    assert!(seen.iter().all(|path| path.is_file()), "{}", told.shown());
    assert!(
        fs::read_to_string(&seen[1]).unwrap().contains("accuracy"),
        "{:?}",
        fs::read_to_string(&seen[1])
    );
    assert_no_key(place.path());
    let scored = place.output(&["score", run.to_str().unwrap(), "--registry", "registry"]);
    let again: Value = serde_json::from_str(scored.err.lines().last().unwrap()).expect("metrics");
    let mut kept = metrics;
    kept.as_object_mut().unwrap().remove("schema");
    assert_eq!(again, kept);
}
