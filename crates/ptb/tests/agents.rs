//! Agents of every kind of trouble, each a run of one experiment: what counts, and why, as a table.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use support::processes::assert_gone;
use support::runs::{assert_each_sample_once, json, only_run, score};
use support::{Answer, Place, wall};

/// Copies the base model to `final_model`, with settings that no other model has.
const SUBMIT: &str = "mkdir -p final_model && cp -rL \"$PTB_BASE_MODEL\"/. final_model/\n";

/// One agent alone: the answer of `ptb run` and its run directory.
fn one(place: &Place, script: &str, more: &str) -> (Answer, PathBuf) {
    place.agent("agent", script);
    place.experiment("e", &["agent"], more);
    let answer = place.output(&["run", "e.toml"]);
    let run = only_run(&place.path().join("results"), "e");
    assert_gone(place.marker(), &[], Duration::from_secs(5));
    (answer, run)
}

/// What is expected of one agent.
struct Expected {
    code: i32,
    mark: Option<&'static str>,
    end: &'static str,
    /// A part of the reason.
    reason: &'static str,
}

/// How it ended, without the fields.
fn end_word(run: &std::path::Path) -> String {
    let end = json(&run.join("solve.json"))["end"].clone();
    let key = end.as_object().and_then(|fields| fields.keys().next().cloned());
    key.or(end.as_str().map(str::to_owned)).expect("an end")
}

fn check(script: &str, expected: &Expected) -> Option<(Place, PathBuf)> {
    check_with(script, "", expected)
}

fn check_with(script: &str, more: &str, expected: &Expected) -> Option<(Place, PathBuf)> {
    if !wall() {
        return None;
    }
    let place = Place::new();
    let (answer, run) = one(&place, script, more);
    assert_eq!(answer.code, expected.code, "{}", answer.shown());
    let score = score(&run);
    assert_eq!(score["mark"].as_str(), expected.mark, "{score:#}");
    assert_eq!(score["counts"], if expected.mark.is_some() { "base" } else { "own" });
    assert_eq!(end_word(&run), expected.end);
    let reason = score["reason"].as_str().unwrap();
    assert!(reason.contains(expected.reason), "{reason}");
    match expected.mark {
        None => assert_each_sample_once(&run, 8),
        Some(symbol) => assert!(answer.err.contains(&format!("({symbol} ")), "{}", answer.err),
    }
    Some((place, run))
}

fn output(run: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("attempts/1/output.jsonl")).unwrap();
    text.lines().map(|l| serde_json::from_str(l).expect("each line is JSON")).collect()
}

#[test]
fn nothing_submitted() {
    let expected =
        Expected { code: 1, mark: Some("*"), end: "finished", reason: "there is no final_model" };
    check("echo done", &expected);
    let failed = Expected { end: "failed", ..expected };
    let Some((_place, run)) = check("echo oops >&2; exit 7", &failed) else { return };
    let solve = json(&run.join("solve.json"));
    assert_eq!((&solve["code"], &solve["end"]["failed"]["code"]), (&7.into(), &7.into()));
    let lines = output(&run);
    assert_eq!((&lines[0]["stream"], &lines[0]["text"]), (&"err".into(), &"oops".into()));
}

#[test]
fn broken_models_are_named_by_their_fault() {
    let expected = |reason| Expected { code: 1, mark: Some("†"), end: "finished", reason };
    let cut =
        "head -c 1000000 \"$PTB_BASE_MODEL/model.safetensors\" > final_model/model.safetensors";
    check(&format!("{SUBMIT}{cut}"), &expected("model.safetensors"));
    check(&format!("{SUBMIT}rm final_model/config.json"), &expected("config.json"));
    let lie = r#"sed -i 's/"num_hidden_layers": 4/"num_hidden_layers": 400000000/' final_model/config.json"#;
    check(&format!("{SUBMIT}{lie}"), &expected("config.json"));
    check("echo text > final_model", &expected("final_model"));
}

#[test]
fn another_network_is_judged() {
    let script = format!(
        "{SUBMIT}sed -i 's/\"num_hidden_layers\": 4/\"num_hidden_layers\": 3/' final_model/config.json"
    );
    let reason = "another network than the base model: 3 layers instead of 4";
    check(&script, &Expected { code: 1, mark: Some("‡"), end: "finished", reason });
}

#[test]
fn the_instruct_model_is_judged() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("agent", "cp -rL /srv/instruct final_model");
    place.experiment("e", &["agent"], "");
    let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
    let bind = "[[binds]]\nhost = \"instruct\"\ninside = \"/srv/instruct\"\n";
    place.write("e.toml", format!("{text}{bind}"));
    let answer = place.output(&["run", "e.toml"]);
    let score = score(&only_run(&place.path().join("results"), "e"));
    assert_eq!((answer.code, score["mark"].as_str()), (1, Some("‡")), "{score} {}", answer.shown());
    assert!(score["reason"].as_str().unwrap().contains("official instruct model"), "{score}");
}

/// The deadline comes while the model is written over: what was whole at the last evaluation counts.
#[test]
fn half_written_at_the_deadline() {
    let script = format!(
        "{SUBMIT}ptb-door evaluate --model-path final_model --limit 2\n\
         head -c 1000000 \"$PTB_BASE_MODEL/model.safetensors\" > final_model/model.safetensors\nsleep 600"
    );
    let expected = Expected { code: 0, mark: None, end: "deadline", reason: "" };
    let Some((place, run)) = check_with(&script, "hours = 0.002", &expected) else { return };
    let score = score(&run);
    let fault = score["submission"]["snapshot"]["fault"].as_str().unwrap();
    assert!(fault.contains("model.safetensors"), "{score}");
    let shown = place.output(&["show", run.to_str().unwrap()]);
    assert!(shown.out.contains("snapshot"), "the snapshot is told: {}", shown.out);
    let kept = fs::read(run.join("final_model/model.safetensors")).unwrap();
    assert_eq!(kept, fs::read(place.path().join("base/model.safetensors")).unwrap());
}

/// Ignores TERM, forks, and would go on for ten minutes: ended at the deadline, after the grace.
#[test]
fn ignoring_the_deadline() {
    let script = format!(
        "trap '' TERM INT HUP\n{SUBMIT}for i in 1 2 3; do (setsid bash -c \"trap '' TERM HUP; exec -a {marker} sleep 600\" &); done\n\
         while true; do sleep 1; done",
        marker = "MARKER-of-the-stubborn"
    );
    let expected = Expected { code: 0, mark: None, end: "deadline", reason: "no fact" };
    if check_with(&script, "hours = 0.001", &expected).is_some() {
        assert_gone("MARKER-of-the-stubborn", &[], Duration::from_secs(5));
    }
}

#[test]
fn leaving_daemons_behind() {
    let script = format!(
        "{SUBMIT}(setsid bash -c \"trap '' TERM HUP; exec -a MARKER-of-the-daemon sleep 600\" > /dev/null 2>&1 &)"
    );
    let expected = Expected { code: 0, mark: None, end: "finished", reason: "no fact" };
    if check(&script, &expected).is_some() {
        assert_gone("MARKER-of-the-daemon", &[], Duration::from_secs(5));
    }
}

/// Fifty megabytes in lines, one line without end, bytes that are no text, terminal commands: all recorded, none
/// of it on the user's terminal (which [`Answer`] checks).
#[test]
fn printing_without_end() {
    let script = format!(
        "{SUBMIT}yes 0123456789012345678901234567890123456789012345678 | head -c 50000000\n\
         head -c 3000000 /dev/zero | tr '\\0' x; echo\n\
         printf 'bad \\xff\\xfe bytes\\n'; printf '\\033]0;title\\007\\033[2J\\033[31mred\\n'; printf 'no newline'"
    );
    let expected = Expected { code: 0, mark: None, end: "finished", reason: "no fact" };
    let Some((place, run)) = check(&script, &expected) else { return };
    let lines = output(&run);
    let texts: Vec<&str> = lines.iter().map(|l| l["text"].as_str().unwrap()).collect();
    assert_eq!(texts.iter().filter(|t| t.len() == 49 && t.starts_with("0123")).count(), 1_000_000);
    let long: usize = texts.iter().filter(|t| t.starts_with("xxx")).map(|t| t.len()).sum();
    assert_eq!(long, 3_000_000);
    let last = &texts[texts.len() - 3..];
    assert_eq!(
        last,
        ["bad \u{fffd}\u{fffd} bytes", "\u{1b}]0;title\u{7}\u{1b}[2J\u{1b}[31mred", "no newline"]
    );
    let shown = place.output(&["show", run.to_str().unwrap()]);
    assert_eq!(shown.code, 0);
}

/// Links out of the workspace, fifos, and names that no text can hold, beside and inside of the model.
#[test]
fn special_files_in_the_submission() {
    let reason = "model.safetensors";
    let linked = format!(
        "{SUBMIT}ln -sf \"$PTB_BASE_MODEL/model.safetensors\" final_model/model.safetensors"
    );
    check(&linked, &Expected { code: 1, mark: Some("†"), end: "finished", reason });
    let fifo =
        format!("{SUBMIT}rm final_model/model.safetensors; mkfifo final_model/model.safetensors");
    check(&fifo, &Expected { code: 1, mark: Some("†"), end: "finished", reason });
    check(
        "ln -s / final_model",
        &Expected { code: 1, mark: Some("†"), end: "finished", reason: "final_model" },
    );

    // A whole model with such things beside it counts; they are left out.
    let beside = format!(
        "{SUBMIT}ln -s /etc/passwd notes; ln -s . round; mkfifo pipe; : > \"$(printf 'bad\\377name')\"; mkdir -m 000 shut"
    );
    let Some((_place, run)) =
        check(&beside, &Expected { code: 0, mark: None, end: "finished", reason: "no fact" })
    else {
        return;
    };
    let manifest = json(&run.join("manifest.json"));
    let kind = |path: &str| {
        let items = manifest["items"].as_array().unwrap();
        items.iter().find(|i| i["path"] == path).map(|i| i["kind"].as_str().unwrap().to_owned())
    };
    for (path, expected) in [
        ("notes", "link"),
        ("round", "link"),
        ("pipe", "special"),
        ("bad\\xffname", "file"),
        ("shut", "folder"),
    ] {
        assert_eq!(kind(path).as_deref(), Some(expected), "{path}");
    }
    assert!(!run.join("workspace/notes").exists() && !run.join("workspace/pipe").exists());
}

/// Files and folders that nobody may read: for an ordinary user who runs the harness they are in the way, and
/// are the agent's doing all the same.
#[test]
fn files_that_nobody_may_read() {
    let fine = Expected { code: 0, mark: None, end: "finished", reason: "no fact" };
    let inside = format!("{SUBMIT}chmod 000 final_model/model.safetensors final_model");
    check(&inside, &fine);
    let around =
        format!("{SUBMIT}mkdir -p a/b && echo x > a/b/c && chmod 000 a/b/c a/b a; chmod 000 .");
    let Some((_place, run)) = check(&around, &fine) else { return };
    assert_eq!(fs::read_to_string(run.join("workspace/a/b/c")).unwrap(), "x\n");
    assert!(!run.join("attempts/1/task").exists());
    // An evaluation of what cannot be read is refused with a reason, and the run goes on.
    let evaluated = format!(
        "{SUBMIT}chmod 000 final_model/config.json; ptb-door evaluate --model-path final_model --limit 2; echo \"code $?\"; chmod 644 final_model/config.json"
    );
    let Some((_place, run)) = check(&evaluated, &fine) else { return };
    let told: Vec<Value> = output(&run);
    if !rustix::process::geteuid().is_root() {
        assert!(
            told.iter().any(|l| l["text"].as_str().is_some_and(|t| t.contains("config.json"))),
            "{told:?}"
        );
    }
}
