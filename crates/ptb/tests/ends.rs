//! How attempts end, and what they use: real processes behind the wall, each a run of one experiment.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use scripted_api::{Fault, Script, ScriptedApi, Turn};
use serde_json::{Value, json};
use support::processes::{assert_gone, signal, until};
use support::runs::{json, only_run, runs, score};
use support::{Answer, Place, skip, wall};

const SUBMIT: &str = "mkdir -p final_model && cp -rL \"$PTB_BASE_MODEL\"/. final_model/\n";

/// An agent that is a file: a script, how it goes on if it does, and further tables.
fn agent(place: &Place, script: &str, resume: Option<&str>, more: &str) {
    place.write("solve.sh", script);
    let line = |script: &str| format!("[\"bash\", \"-c\", {}, \"{{prompt}}\"]", json!(script));
    let resume = resume.map(|script| format!("resume = {}\n", line(script))).unwrap_or_default();
    let text = format!("name = \"A\"\ncommand = {}\n{resume}{more}", line(script));
    place.write("registry/agents/a.toml", text);
}

/// A run of it, with these options and hours.
fn experiment(place: &Place, options: &str, hours: f64) {
    place.write(
        "e.toml",
        format!(
            "agents = [{{ scaffold = \"a\"{options} }}]\nmodels = [\"mini\"]\nbenchmarks = [\"arithmetic\"]\n\
             hours = {hours}\n[evaluate]\nlimit = 8\nmax_tokens = 8\n"
        ),
    );
}

/// Runs it; nothing of it is left.
fn run(place: &Place) -> (Answer, PathBuf) {
    let answer = Answer::of(place, place.run("e", &[]));
    assert_gone(place.marker(), &[], Duration::from_secs(5));
    (answer, only_run(&place.path().join("results"), "e"))
}

/// How the last attempt ended.
fn end(run: &Path, attempt: u32) -> Value {
    json(&run.join(format!("attempts/{attempt}/end.json")))["end"].clone()
}

fn telemetry(run: &Path) -> Value {
    json(&run.join("attempts/1/telemetry.json"))
}

fn lines(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("attempts/1/telemetry.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(run: &Path) -> String {
    fs::read_to_string(run.join("events.jsonl")).unwrap()
}

/// One that waits for nothing is ended, and what it left counts.
#[test]
fn one_that_stands_still_is_ended() {
    if !wall() {
        return;
    }
    let place = Place::new();
    agent(&place, &format!("{SUBMIT}sleep 600"), None, "");
    experiment(&place, ", standstill = 0.05", 0.2);
    let (answer, run) = run(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let expected = json!({"standstill": {"minutes": 0.05, "times": 1}});
    assert_eq!(end(&run, 1), expected);
    assert_eq!(json(&run.join("solve.json"))["end"], expected);
    assert_eq!(json(&run.join("run.json"))["solve_end"], expected);
    assert_eq!(score(&run)["counts"], "own");
    assert!(events(&run).contains("ended: standstill (0.05 min"), "{}", events(&run));
    let told = telemetry(&run);
    assert!(told["longest_idle"].as_f64().unwrap() >= 3.0, "{told:#}");
    assert!(told["gpus"].is_null() && told["gpus_absent"] == "the run has no GPU", "{told:#}");
    let shown = place.output(&["show", run.to_str().unwrap()]);
    assert!(shown.out.contains("standstill (0.05 min without anything"), "{}", shown.out);
    assert!(shown.out.contains("nothing happened for 0:0"), "{}", shown.out);
    let all: Value =
        serde_json::from_str(&place.output(&["show", run.to_str().unwrap(), "--json"]).out)
            .unwrap();
    assert_eq!((&all["solve_end"], &all["telemetry"]["samples"]), (&expected, &told["samples"]));
}

/// Silence is no standstill: a processor works, or the harness evaluates.
#[test]
fn silent_work_is_no_standstill() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let script = format!(
        "{SUBMIT}ptb-sft solve --steps 40 --evaluate-limit 40 > /dev/null 2>&1\n\
         ptb-door evaluate --model-path final_model --limit 400 > /dev/null\n\
         end=$((SECONDS + 6)); while [ $SECONDS -lt $end ]; do :; done"
    );
    agent(&place, &script, None, "");
    // Two seconds and a half.
    experiment(&place, ", standstill = 0.041666", 0.2);
    let (answer, run) = run(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 1), "finished");
    let told = telemetry(&run);
    assert!(told["cpu_seconds"].as_f64().unwrap() > 1.0, "{told:#}");
    assert!(told["cpu_cores"]["max"].as_f64().unwrap() > 0.1, "{told:#}");
    assert!(told["seconds"].as_f64().unwrap() > 6.0, "{told:#}");
    assert!(told["longest_idle"].as_f64().unwrap() < 2.5, "{told:#}");
    let lines = lines(&run);
    assert_eq!(lines.len() as u64, told["samples"].as_u64().unwrap());
    assert!(lines.iter().all(|line| line["schema"] == 1 && line["launch"] == 1));
    let named = |line: &Value| line["processes"]["busiest"][0]["name"] == "bash";
    assert!(lines.iter().any(named), "{lines:#?}");
}

/// Who can go on is told so, three times, and with each launch in the same session.
#[test]
fn one_that_can_go_on_is_told_three_times() {
    if !wall() {
        return;
    }
    let place = Place::new();
    let resume = "echo \"$0\" >> words.txt; sleep 600";
    agent(&place, &format!("{SUBMIT}sleep 600"), Some(resume), "");
    experiment(&place, ", standstill = 0.02", 0.2);
    let (answer, run) = run(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 1), json!({"standstill": {"minutes": 0.02, "times": 4}}));
    let words = fs::read_to_string(run.join("workspace/words.txt")).unwrap();
    assert_eq!(words.matches("nothing had happened for long").count(), 3, "{words}");
    assert!(words.contains("of your time remain"), "{words}");
    assert_eq!(telemetry(&run)["launches"], 4);
    assert_eq!(events(&run).matches("stood still").count(), 4, "{}", events(&run));
}

/// An agent with a model behind the scripted API: a Python program that asks, so often, and fails when it is refused.
fn asker(place: &Place, api: &ScriptedApi, times: u32, options: &str) {
    let ask = "import json, os, sys, time, urllib.request\n\
         for n in range(int(sys.argv[1])):\n\
         \x20   body = json.dumps({'model': 'gpt-5.2', 'messages': [{'role': 'user', 'content': 'hello'}]}).encode()\n\
         \x20   request = urllib.request.Request(os.environ['API'] + '/v1/chat/completions', body,\n\
         \x20       {'content-type': 'application/json', 'authorization': 'Bearer dummy'})\n\
         \x20   answer = urllib.request.urlopen(request).read()\n\
         \x20   print(answer[:40], flush=True)\n\
         \x20   if b'Sleep.' in answer: time.sleep(600)\n";
    let script =
        format!("{SUBMIT}cat > ask.py <<'END'\n{ask}END\npython3 ask.py {times} || exit 3");
    let more = "[api]\nupstream = \"https://api.openai.com\"\nprotocols = [\"chat\"]\n\
                [api.auth.api]\nkeys = [\"ASKER_KEY\"]\nheader = \"bearer\"\nenv = { API = \"{api}\" }\n";
    agent(place, &script, None, more);
    let url = api.url();
    experiment(place, &format!(", model = \"gpt-5.2\", endpoint = \"{url}\"{options}"), 0.2);
}

fn asked(place: &Place) -> (Answer, PathBuf) {
    let output = place.run_command("e", &[]).env("ASKER_KEY", "sk-0123456789abcdefghij").output();
    (Answer::of(place, output.unwrap()), only_run(&place.path().join("results"), "e"))
}

fn talker() -> ScriptedApi {
    ScriptedApi::start(Script::by_all(|_| Turn::text("Well.")))
}

#[test]
fn a_limit_that_refused_the_last_requests_is_the_end() {
    if !wall() {
        return;
    }
    let (place, api) = (Place::new(), talker());
    asker(&place, &api, 10_000, ", token_limit = 20000");
    let (answer, run) = asked(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let end = end(&run, 1);
    assert_eq!(end["limit"]["limit"], "tokens", "{end}");
    let message = end["limit"]["message"].as_str().unwrap();
    assert!(message.starts_with("the token limit of this run is reached"), "{message}");
    assert_eq!(json(&run.join("attempts/1/end.json"))["code"], 3);
    let shown = place.output(&["show", run.to_str().unwrap()]);
    assert!(shown.out.contains("token limit: the token limit of this run"), "{}", shown.out);
}

/// A harness that is killed has its books, and they count in the next attempt; what was left of the first is kept.
#[test]
fn the_books_of_a_killed_harness_count() {
    const ASKED: usize = 20;
    if !wall() {
        return;
    }
    let place = Place::new();
    let count = AtomicUsize::new(0);
    let api = ScriptedApi::start(Script::by_all(move |_| match count.fetch_add(1, Relaxed) {
        ASKED => Turn::text("Sleep."),
        _ => Turn::text("Well."),
    }));
    asker(&place, &api, 10_000, ", token_limit = 20000");
    let mut command = place.run_command("e", &[]);
    command.env("ASKER_KEY", "sk-0123456789abcdefghij");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let results = place.path().join("results");
    let books = |run: &Path, n: u32| -> Option<Value> {
        let text = fs::read(run.join(format!("attempts/{n}/usage.json"))).ok()?;
        serde_json::from_slice(&text).ok()
    };
    until("the books are written", Duration::from_secs(90), || {
        let run = runs(&results, "e").into_iter().next();
        run.and_then(|run| books(&run, 1)).is_some_and(|b| b["generations"] == ASKED + 1)
    });
    signal(&child, Signal::KILL);
    child.wait_with_output().unwrap();
    let (answer, run) = asked(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 1), "interrupted");
    assert_eq!(end(&run, 2)["limit"]["limit"], "tokens");
    let used = |n: u32| books(&run, n).unwrap()["tokens"].clone();
    let all =
        |tokens: &Value| tokens["input"].as_u64().unwrap() + tokens["output"].as_u64().unwrap();
    let (first, second) = (used(1), used(2));
    assert!(all(&first) > 0 && all(&first) + all(&second) <= 20_000, "{first} {second}");
    let left = run.join("attempts/1");
    for name in ["telemetry.json", "trajectory.json", "transcript.md", "workspace/ask.py"] {
        assert!(left.join(name).is_file(), "{name}");
    }
    for name in [".reserve", "task", "snapshots"] {
        assert!(!left.join(name).exists(), "{name}");
    }
}

#[test]
fn a_provider_that_fails_ends_an_attempt_and_the_next_goes_on() {
    if !wall() {
        return;
    }
    let (place, api) = (Place::new(), talker());
    asker(&place, &api, 1, "");
    api.fail(Fault::CreditGone);
    let (answer, run) = asked(&place);
    assert_eq!(answer.code, 4, "{}", answer.shown());
    let end_of_first = end(&run, 1);
    assert_eq!(end_of_first["provider"]["fault"], "credit", "{end_of_first}");
    assert!(!end_of_first["provider"]["message"].as_str().unwrap().is_empty());
    assert!(events(&run).contains("ended: provider (no credit): "), "{}", events(&run));
    assert!(run.join("attempts/1/telemetry.json").is_file());
    api.heal();
    let (answer, run) = asked(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 2), "finished");
}

/// An API that takes a request and never answers.
#[test]
fn waiting_for_an_answer_that_never_comes_is_a_standstill() {
    if !wall() {
        return;
    }
    let (place, api) = (Place::new(), talker());
    asker(&place, &api, 2, ", standstill = 0.05");
    api.fail(Fault::Hang(Duration::from_secs(120)));
    let (answer, run) = asked(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 1)["standstill"]["times"], 1);
}

#[test]
fn a_signal_of_its_own_is_told() {
    if !wall() {
        return;
    }
    let place = Place::new();
    agent(&place, &format!("{SUBMIT}kill -9 $$"), None, "");
    experiment(&place, "", 0.02);
    let (answer, run) = run(&place);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert_eq!(end(&run, 1), json!({"killed": {"signal": 9}}));
}

/// A run that is interrupted leaves what was measured.
#[test]
fn an_interrupted_run_keeps_its_telemetry() {
    if !wall() {
        return;
    }
    let place = Place::new();
    agent(&place, &format!("{SUBMIT}sleep 600"), None, "");
    experiment(&place, "", 0.2);
    let child = place.start("e", &[]);
    let results = place.path().join("results");
    until("a first sample", Duration::from_secs(60), || {
        runs(&results, "e").first().is_some_and(|run| {
            fs::read_to_string(run.join("attempts/1/telemetry.jsonl"))
                .is_ok_and(|t| t.contains('\n'))
        })
    });
    signal(&child, Signal::INT);
    let answer = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!(answer.code, 130, "{}", answer.shown());
    let run = only_run(&results, "e");
    assert!(telemetry(&run)["samples"].as_u64() >= Some(1));
    assert!(!run.join("attempts/1/end.json").exists());
}

/// A control group with little memory, removed in the end.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let name = format!("ptb-test-ends-{}", std::process::id());
        let (parent, limit) = match root.join("memory").is_dir() {
            true => (root.join("memory"), "memory.limit_in_bytes"),
            false => (root.to_owned(), "memory.max"),
        };
        let group = Self(parent.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The kernel ends what takes too much memory: that is told where the agent fails by it, and not where it gets over it.
#[test]
fn want_of_memory_is_told() {
    if !wall() {
        return;
    }
    let Some(group) = Group::new(768 << 20) else {
        return skip("no control group with a memory limit can be made here");
    };
    let place = Place::new();
    place.agent("fails", &format!("{SUBMIT}head -c 4G /dev/zero | tail -c 3G > /dev/null"));
    place.agent("copes", &format!("{SUBMIT}head -c 4G /dev/zero | tail -c 3G > /dev/null; true"));
    for (name, expected) in
        [("fails", json!({"out-of-memory": {"kills": 1}})), ("copes", json!("finished"))]
    {
        place.experiment(name, &[name], "");
        let ptb = place.run_command(name, &[]);
        let mut command = Command::new("/bin/sh");
        let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", enter]).arg(&group.0).arg(ptb.get_program()).args(ptb.get_args());
        command.current_dir(place.path()).env_clear();
        command.envs(ptb.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command.stdin(Stdio::null());
        let answer = Answer::of(&place, command.output().unwrap());
        let run = only_run(&place.path().join("results"), name);
        assert_eq!(end(&run, 1), expected, "{}", answer.shown());
        assert_eq!(answer.code, 0, "{}", answer.shown());
    }
}
