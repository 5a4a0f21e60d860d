//! Runs that are disturbed from outside: signals, a second `ptb run`, a full disk. One message, the contract's
//! exit code, nothing lost, nothing left running.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::processes::{assert_gone, below, signal, until};
use support::runs::{assert_each_sample_once, json, only_run, results_of, runs, stage_state};
use support::{Answer, Place, wall};

const PATIENCE: Duration = Duration::from_secs(30);

/// Copies the base model; sleeps first, but for the second attempt.
const SLEEPY: &str = "cp -rL \"$PTB_BASE_MODEL\" final_model\nsleep 300";
const QUICK: &str = "cp -rL \"$PTB_BASE_MODEL\" final_model";

fn started(place: &Place, stage: &str, more: &[&str]) -> Child {
    let child = place.start("e", more);
    let results = place.path().join("results");
    let running = || {
        let runs = runs(&results, "e");
        runs.iter().any(|run| stage_state(run, stage).as_deref() == Some("running"))
    };
    until(&format!("{stage} is running"), PATIENCE, running);
    child
}

/// SIGINT, SIGTERM, SIGHUP while an agent works behind the wall.
#[test]
fn stopped_while_the_agent_works() {
    if !wall() {
        return;
    }
    for (name, which) in [("int", Signal::INT), ("term", Signal::TERM), ("hup", Signal::HUP)] {
        let place = Place::new();
        place.agent("agent", SLEEPY);
        place.experiment("e", &["agent"], "hours = 0.0015");
        let child = started(&place, "solve", &[]);
        let run = only_run(&place.path().join("results"), "e");
        let model = run.join("attempts/1/task/final_model/model.safetensors");
        until("the agent has begun", PATIENCE, || model.is_file());
        let known = below(child.id());
        assert!(known.len() >= 3, "helper, its inside, the agent: {known:?}");
        signal(&child, which);
        let answer = Answer::of(&place, child.wait_with_output().unwrap());
        assert_eq!(answer.code, 130, "{name}: {}", answer.shown());
        assert!(answer.err.contains(": solve stopped"), "{}", answer.err);
        assert_gone(place.marker(), &known, Duration::from_secs(5));
        assert_eq!(stage_state(&run, "solve").as_deref(), Some("failed"));
        // The same command goes on: another attempt, which its deadline ends. The first is kept.
        let again = place.output(&["run", "e.toml"]);
        assert_eq!(again.code, 0, "{}", again.shown());
        assert_eq!(json(&run.join("run.json"))["attempts"], 2);
        assert!(run.join("attempts/1/output.jsonl").is_file());
        assert_each_sample_once(&run, 8);
    }
}

/// The same while the final evaluation runs: what is answered is kept, and not asked again.
#[test]
fn stopped_while_evaluating() {
    for (name, which) in [("int", Signal::INT), ("term", Signal::TERM), ("hup", Signal::HUP)] {
        let place = Place::new();
        place.experiment("e", &["base"], "");
        let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
        place.write(
            "e.toml",
            text.replace("limit = 8", "limit = 200").replace("max_tokens = 8", "max_tokens = 48"),
        );
        let undisturbed = place.output(&["run", "e.toml", "--results", "undisturbed"]);
        assert_eq!(undisturbed.code, 0, "{}", undisturbed.shown());
        let child = started(&place, "evaluate", &[]);
        let run = only_run(&place.path().join("results"), "e");
        let samples = run.join("eval/final/42/samples.jsonl");
        let answered = || fs::read_to_string(&samples).map_or(0, |t| t.lines().count());
        until("some samples are answered", PATIENCE, || answered() > 0);
        let known = below(child.id());
        assert_eq!(known.len(), 1, "the engine: {known:?}");
        signal(&child, which);
        let answer = Answer::of(&place, child.wait_with_output().unwrap());
        assert_eq!(answer.code, 130, "{name}: {}", answer.shown());
        assert_gone(place.marker(), &known, Duration::from_secs(5));
        let kept = fs::read_to_string(&samples).unwrap();
        assert!((1..200).contains(&kept.lines().count()), "{name}: {} lines", kept.lines().count());
        let again = place.output(&["run", "e.toml"]);
        assert_eq!(again.code, 0, "{}", again.shown());
        assert_each_sample_once(&run, 200);
        let now = fs::read_to_string(&samples).unwrap();
        let (kept, now) = (said(&kept), said(&now));
        assert!(kept.iter().all(|answer| now.contains(answer)), "what was answered is kept");
        assert_eq!(results_of(&run), results_of(&only_run(&place.path().join("undisturbed"), "e")));
    }
}

/// A closed terminal takes stderr with it: the signal comes, and messages can go nowhere.
#[test]
fn a_closed_terminal() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
    place.write(
        "e.toml",
        text.replace("limit = 8", "limit = 300").replace("max_tokens = 8", "max_tokens = 48"),
    );
    let mut child = started(&place, "evaluate", &[]);
    drop((child.stdout.take(), child.stderr.take()));
    signal(&child, Signal::HUP);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_gone(place.marker(), &[], Duration::from_secs(5));
    assert_eq!(place.output(&["run", "e.toml"]).code, 0);
    assert_each_sample_once(&only_run(&place.path().join("results"), "e"), 300);
}

/// An agent that ignores TERM has its grace; a second signal does not wait for it.
#[test]
fn a_second_signal_ends_at_once() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let trap = "trap '' TERM HUP INT\n";
    place.agent("agent", &format!("{trap}touch begun; while true; do sleep 1; done"));
    place.experiment("e", &["agent"], "");
    let child = started(&place, "solve", &[]);
    let run = only_run(&place.path().join("results"), "e");
    until("the agent has begun", PATIENCE, || run.join("attempts/1/task/begun").is_file());
    let known = below(child.id());
    signal(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::INT);
    let answer = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!(answer.code, 130, "{}", answer.shown());
    assert_gone(place.marker(), &known, Duration::from_secs(5));
}

/// Two `ptb run` on one experiment: each run is done once, and whoever finds one taken says by whom
/// and waits for it.
#[test]
fn two_at_once() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("one", &format!("sleep 2; {QUICK}"));
    place.agent("two", &format!("sleep 2; {QUICK}"));
    place.experiment("e", &["one", "two"], "");
    let first = started(&place, "solve", &[]);
    let holder = format!("is held by process {}", first.id());
    let second = place.start("e", &[]);
    let (first, second) = (first.wait_with_output().unwrap(), second.wait_with_output().unwrap());
    let (first, second) = (Answer::of(&place, first), Answer::of(&place, second));
    assert_eq!((first.code, second.code), (0, 0), "{} {}", first.shown(), second.shown());
    assert!(second.err.contains(&holder), "{}", second.err);
    let again = place.output(&["run", "e.toml"]);
    assert_eq!(again.code, 0, "{}", again.shown());
    assert!(
        again.err.contains("runs: 2 done before"),
        "both were done between them: {}",
        again.err
    );
    for run in runs(&place.path().join("results"), "e") {
        assert_eq!(json(&run.join("run.json"))["attempts"], 1, "no run is done twice");
        assert_each_sample_once(&run, 8);
    }
    assert_gone(place.marker(), &[], Duration::from_secs(5));
}

/// A solve that was cut goes on in its workspace, with what was left of its time.
#[test]
fn a_cut_solve_is_continued() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent(
        "agent",
        &format!("echo start >> starts; [ -e final_model ] && exit; {QUICK}; sleep 300"),
    );
    place.experiment("e", &["agent"], "hours = 0.01");
    let mut child = started(&place, "solve", &[]);
    let run = only_run(&place.path().join("results"), "e");
    let model = run.join("attempts/1/task/final_model/tokenizer.json");
    until("the agent has begun", PATIENCE, || model.is_file());
    // Long enough for the clock to be written down.
    std::thread::sleep(Duration::from_secs(7));
    child.kill().unwrap();
    child.wait().unwrap();
    let again = place.output(&["run", "e.toml", "--continue-solve"]);
    assert_eq!(again.code, 0, "{}", again.shown());
    assert_eq!(fs::read_to_string(run.join("workspace/starts")).unwrap(), "start\nstart\n");
    let seconds = json(&run.join("solve.json"))["seconds"].as_f64().unwrap();
    assert!(seconds > 4.0, "the time of the cut attempt counts: {seconds}");
    assert_eq!(json(&run.join("run.json"))["attempts"], 2);
}

/// Runs a script where it may mount: its own namespaces.
fn with_mounts(place: &Place, script: &str) -> Option<Answer> {
    let flags = if rustix::process::geteuid().is_root() { "-m" } else { "-Urm" };
    let probe =
        Command::new("unshare").args([flags, "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|o| o.status.success()) {
        support::skip("this machine allows no small disk (unshare and a tmpfs)");
        return None;
    }
    let mut command = Command::new("unshare");
    let from = place.ptb(&[]);
    command
        .args([flags, "bash", "-c", script])
        .current_dir(place.path())
        .env_clear()
        .stdin(Stdio::null());
    command.envs(from.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PTB", support::program());
    // Root of such a namespace has no other user to give to an agent; an ordinary user needs none.
    let ordinary = "unshare -U --map-user=1000 --map-group=1000";
    command.env("AS", if flags == "-m" { "" } else { ordinary });
    Some(Answer::of(place, command.output().unwrap()))
}

/// The disk of the results is full at one point after another; with room again, the same command ends with
/// the same bytes.
#[test]
fn a_full_disk() {
    let place = Place::new();
    place.experiment("e", &["base"], "");
    let text = fs::read_to_string(place.path().join("e.toml")).unwrap();
    place.write("e.toml", text.replace("limit = 8", "limit = 40"));
    let undisturbed = place.output(&["run", "e.toml", "--results", "undisturbed"]);
    assert_eq!(undisturbed.code, 0, "{}", undisturbed.shown());
    fs::create_dir(place.path().join("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=8m none small || exit 77
        for blocks in 2 4 6 8 10 12 16 20 24 28 32; do
            dd if=/dev/zero of=small/filler bs=4096 2> /dev/null
            truncate -s -$((blocks * 4096)) small/filler
            $AS "$PTB" run e.toml --results small/results > out 2> err
            echo "$blocks: $? $(grep -c 'No space left on device' err) $(grep -ci panic err)"
            rm small/filler
            $AS "$PTB" run e.toml --results small/results > out 2> err || { cat err; exit 1; }
            mv small/results kept-$blocks
        done
    "#;
    let Some(answer) = with_mounts(&place, script) else { return };
    assert_eq!(answer.code, 0, "{}", answer.shown());
    eprintln!("{}", answer.out);
    let expected = results_of(&only_run(&place.path().join("undisturbed"), "e"));
    let mut full = 0;
    for line in answer.out.lines() {
        let (blocks, rest) = line.split_once(": ").unwrap();
        assert!(["3 1 0", "3 2 0", "0 0 0"].contains(&rest), "exit, messages, panics with {line}");
        full += usize::from(rest.starts_with('3'));
        let run = only_run(&place.path().join(format!("kept-{blocks}")), "e");
        assert_eq!(results_of(&run), expected, "with {blocks} blocks at first");
    }
    assert!(full >= 4, "the disk was hardly ever full:\n{}", answer.out);
}

/// An agent is not started where its submission would find no room.
#[test]
fn a_small_disk() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("agent", QUICK);
    place.experiment("e", &["agent"], "");
    fs::create_dir(place.path().join("small")).unwrap();
    let script =
        "mount -t tmpfs -o size=100m none small && $AS \"$PTB\" run e.toml --results small/results";
    let Some(answer) = with_mounts(&place, script) else { return };
    assert_eq!((answer.code, answer.out.as_str()), (5, ""), "{}", answer.shown());
    assert!(
        answer.err.contains("has 99 MiB free") && answer.err.contains("make room"),
        "{}",
        answer.err
    );
}

/// The disk fills up while an agent works: our failure, not the agent's.
#[test]
fn a_disk_that_fills_up_while_the_agent_works() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("agent", &format!("touch begun\nsleep 5\n{QUICK}"));
    place.experiment("e", &["agent"], "");
    fs::create_dir(place.path().join("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=700m none small || exit 77
        $AS "$PTB" run e.toml --results small/results > out 2> err & pid=$!
        for i in $(seq 300); do ls small/results/e/runs/*/attempts/1/task/begun > /dev/null 2>&1 && break; sleep 0.1; done
        dd if=/dev/zero of=small/filler bs=4096 > /dev/null 2>&1
        wait $pid; echo "$?"; cat err
        rm small/filler
        $AS "$PTB" run e.toml --results small/results > out 2> err || { cat err; exit 1; }
        cp -r small/results results
    "#;
    let Some(answer) = with_mounts(&place, script) else { return };
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let words = "filled up while the agent worked (";
    assert!(answer.out.starts_with("3\n") && answer.out.contains(words), "{}", answer.shown());
    let run = only_run(&place.path().join("results"), "e");
    assert_eq!(json(&run.join("scores/main.json"))["mark"], Value::Null);
    assert_eq!(json(&run.join("run.json"))["attempts"], 2);
    assert!(run.join("attempts/1/output.jsonl").is_file());
    assert_gone(place.marker(), &[], Duration::from_secs(5));
}

/// The disk has no room for the submission when the agent is done: its work is not done again.
#[test]
fn a_disk_without_room_for_the_submission() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("agent", &format!("touch begun\nsleep 3\n{QUICK}"));
    place.experiment("e", &["agent"], "");
    fs::create_dir(place.path().join("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=700m none small || exit 77
        $AS "$PTB" run e.toml --results small/results > out 2> err & pid=$!
        for i in $(seq 300); do ls small/results/e/runs/*/attempts/1/task/begun > /dev/null 2>&1 && break; sleep 0.1; done
        head -c 600M /dev/zero > small/filler
        wait $pid; echo "$?"; cat err
        rm small/filler
        $AS "$PTB" run e.toml --results small/results > out 2> err || { cat err; exit 1; }
        cp -r small/results results
    "#;
    let Some(answer) = with_mounts(&place, script) else { return };
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert!(
        answer.out.starts_with("3\n") && answer.out.contains("cannot keep a snapshot"),
        "{}",
        answer.shown()
    );
    let run = only_run(&place.path().join("results"), "e");
    assert_eq!(json(&run.join("scores/main.json"))["submission"], "final");
    assert_eq!(json(&run.join("run.json"))["attempts"], 1);
    assert_each_sample_once(&run, 8);
}

/// An agent that fills the disk has itself to blame: with room again, its work is judged as it stands.
#[test]
fn an_agent_that_fills_the_disk() {
    if !wall() {
        return;
    }
    let place = Place::new();
    place.agent("agent", &format!("cat /dev/zero > filler\n{QUICK}\ntrue"));
    place.experiment("e", &["agent"], "");
    fs::create_dir(place.path().join("small")).unwrap();
    let script = r#"
        mount -t tmpfs -o size=700m none small || exit 77
        $AS "$PTB" run e.toml --results small/results > out 2> err; echo "$?"; cat err
        rm small/results/e/runs/*/attempts/1/task/filler
        $AS "$PTB" run e.toml --results small/results > out 2> err; echo "then $?"; cat err
        cp -r small/results results
    "#;
    let Some(answer) = with_mounts(&place, script) else { return };
    let told =
        (answer.out.starts_with("3\n"), answer.out.contains("cannot keep a snapshot of the model"));
    assert_eq!((told, answer.out.contains("then 1\n")), ((true, true), true), "{}", answer.shown());
    let run = only_run(&place.path().join("results"), "e");
    assert_eq!(json(&run.join("scores/main.json"))["mark"], "†", "{}", answer.shown());
    assert_eq!(json(&run.join("run.json"))["attempts"], 1);
}

/// What makes an answer, of each line; grades come at the end.
fn said(samples: &str) -> Vec<(Value, Value, Value)> {
    let answer = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        (record["id"].clone(), record["key"].clone(), record["completion"].clone())
    };
    samples.lines().map(answer).collect()
}
