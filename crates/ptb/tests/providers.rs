//! What providers do to whole runs: they refuse, break off, have no money left. The agents are the real ones.
//!
//! What must hold: workspace and session are kept, the agent goes on when its provider is back, the time without service
//! is not charged and told, the score is right, and the books are the provider's own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;
use scripted_api::{Conversation, Fault, Script, ScriptedApi, Turn};
use serde_json::Value;
use support::Answer;
use support::agents::{KEY, Trial, assert_books};
use support::processes::signal;
use support::runs::{json, only_run, score};

const ALL: [&str; 4] = ["claude", "codex", "gemini", "opencode"];

/// Each scaffold's file changed so that it tries again once, where it can be told, instead of for minutes.
fn impatient(agent: &str) -> Vec<(&'static str, &'static str)> {
    match agent {
        "claude" => vec![("[env]\n", "[env]\nCLAUDE_CODE_MAX_RETRIES = \"1\"\n")],
        "codex" => vec![(
            "wire_api = \"responses\"\n",
            "wire_api = \"responses\"\nrequest_max_retries = 1\nstream_max_retries = 1\n",
        )],
        "gemini" => vec![(
            "{\"enableAutoUpdate\": false",
            "{\"enableAutoUpdate\": false, \"maxAttempts\": 2",
        )],
        _ => Vec::new(),
    }
}

/// One of the agent's steps: work that leaves a mark in the workspace and in the conversation.
fn step(number: usize) -> Turn {
    let work = match number {
        0 => "cp -r \"$PTB_BASE_MODEL\" final_model",
        1 => "ptb-sft solve --steps 20 --evaluate-limit 5 > sft.log 2>&1",
        _ => "true",
    };
    Turn::run(format!("{work}; echo {number} >> steps.txt; printf 'mark-%d\\n' 7000{number}"))
        .saying(format!("This is step {number}."))
        .thinking("What comes next?")
}

/// How many steps a conversation has behind it, whatever a scaffold put between them or tells twice.
fn steps(conversation: &Conversation) -> usize {
    let told = |n: &usize| {
        let mark = format!("mark-7000{n}");
        conversation.results.iter().any(|result| result.text.contains(&mark))
    };
    (0..10).take_while(told).count()
}

/// So many steps; `fault` is what stands before one of them.
fn script(count: usize, fault: impl Fn(usize, Turn) -> Turn + Send + Sync + 'static) -> Script {
    Script::by(move |conversation| match steps(conversation) {
        done if done < count => fault(done, step(done)),
        _ => Turn::text("All is done."),
    })
}

/// Does something for several agents at the same time: most of it is waiting.
fn for_each(agents: &[&'static str], what: impl Fn(&'static str) + Sync) {
    let what = &what;
    thread::scope(|scope| {
        let all: Vec<_> =
            agents.iter().map(|agent| (*agent, scope.spawn(move || what(agent)))).collect();
        let failed: Vec<&str> = all
            .into_iter()
            .filter_map(|(agent, thread)| thread.join().err().map(|_| agent))
            .collect();
        assert!(failed.is_empty(), "see above for {failed:?}");
    });
}

/// What holds of every run here, whatever its provider did: the steps were made once each and in order, the submission
/// was scored, and the books are right.
fn assert_whole(answer: &Answer, run: &Path, api: &ScriptedApi, count: usize) {
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let made = fs::read_to_string(run.join("workspace/steps.txt")).unwrap();
    let wanted: String = (0..count).map(|n| format!("{n}\n")).collect();
    assert_eq!(made, wanted, "{}", answer.shown());
    assert_eq!(json(&run.join("solve.json"))["end"], "finished");
    let score = score(run);
    assert_eq!((&score["counts"], &score["mark"]), (&"own".into(), &Value::Null), "{score:#}");
    let metrics = json(&run.join("eval/final/metrics.json"));
    assert!(metrics.to_string().contains("accuracy"), "{metrics:#}");
    assert_books(run, api);
    let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap();
    // One session from beginning to end.
    for number in 0..count {
        let words = format!("This is step {number}.");
        assert!(last.body.to_string().contains(&words), "{words} {}", last.body);
    }
}

/// Seconds that a clock's journal spans, and those that it charged.
fn clock(journal: &Path) -> (f64, f64) {
    let text = fs::read_to_string(journal).unwrap();
    let readings: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let (first, last) = (readings.first().unwrap(), readings.last().unwrap());
    let span = last["at"].as_f64().unwrap() - first["at"].as_f64().unwrap();
    (span, last["consumed"].as_f64().unwrap())
}

/// A failure that the scaffold's own tries get over is none of the run; but it is on record.
#[test]
fn short_failures_are_bridged_by_the_scaffolds() {
    for_each(&ALL, |agent| {
        let mut faults = vec![Fault::RateLimited(Some(1)), Fault::Internal, Fault::Overloaded];
        // Gemini CLI ends when a connection does.
        if agent != "gemini" {
            faults.extend([Fault::CutStream, Fault::Closed]);
        }
        let (count, wanted) = (faults.len(), faults.clone());
        let next = AtomicUsize::new(0);
        let api = ScriptedApi::start(script(count, move |done, turn| {
            // Once each: what was said before a stream broke makes another conversation of it for some.
            match next.compare_exchange(done, done + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => turn.failing(usize::MAX, faults[done].clone()),
                Err(_) => turn,
            }
        }));
        api.expect_key(KEY);
        let Some(trial) = Trial::new(agent, &api.url(), "", 0.2) else { return };
        let (answer, run) = trial.run();
        assert_whole(&answer, &run, &api, count);
        let events = trial.events();
        assert!(!events.contains("the provider fails") && !events.contains("goes on"), "{events}");
        let played: Vec<&str> = api.ledger().entries.iter().filter_map(|e| e.fault).collect();
        let wanted: Vec<&str> = wanted.iter().map(Fault::name).collect();
        assert_eq!(played, wanted);
    });
}

/// Failures that no scaffold gets over, one after another in one run: each is waited out.
#[test]
fn long_failures_are_waited_out() {
    for_each(&ALL, |agent| {
        let faults = match agent {
            // It tries again for a minute, whatever it is told, where it takes a failure for a passing one.
            "opencode" => vec![Fault::KeyRevoked, Fault::RateLimited(Some(1))],
            _ => vec![
                Fault::RateLimited(Some(1)),
                Fault::Internal,
                Fault::Overloaded,
                Fault::CutStream,
                Fault::KeyRevoked,
            ],
        };
        let count = faults.len() + 1;
        let healed = Arc::new(AtomicUsize::new(0));
        let (seen, played) = (Arc::clone(&healed), faults.clone());
        let api = ScriptedApi::start(script(count, move |done, turn| {
            // The first step is made, and each further one as soon as its failure is over.
            match done.checked_sub(1) {
                Some(fault) if seen.load(Ordering::SeqCst) <= fault => {
                    turn.failing(usize::MAX, played[fault].clone())
                }
                _ => turn,
            }
        }));
        api.expect_key(KEY);
        let Some(trial) = Trial::new(agent, &api.url(), "", 0.2) else { return };
        let trial = trial.with_agent(agent, &impatient(agent));
        let child = trial.start();
        for outage in 1..=faults.len() {
            trial.until_waiting(outage);
            healed.store(outage, Ordering::SeqCst);
        }
        let answer = Answer::of(&trial.place, child.wait_with_output().unwrap());
        let run = only_run(&trial.results(), "e");
        assert_whole(&answer, &run, &api, count);
        let events = trial.events();
        let goes_on = events.matches("goes on: Your model's provider was out of service").count();
        assert_eq!(goes_on, faults.len(), "{events}");
        assert_eq!(json(&run.join("run.json"))["attempts"], 1);
        // Each outage was waited for at least the first pause between two looks.
        let (span, charged) = clock(&run.join("attempts/1/clock.jsonl"));
        let free = 15.0 * faults.len() as f64;
        assert!(
            span - charged >= free,
            "of {span} s {charged} were charged, {free} at least were free"
        );
        let told = json(&run.join("solve.json"))["seconds"].as_f64().unwrap();
        assert!((told - charged).abs() < 1.0, "{told} {charged}");
    });
}

/// Only a paid request can tell whether there is money again. Whoever paid interrupts the wait, and goes on.
#[test]
fn credit_that_is_gone_keeps_workspace_and_session() {
    // OpenCode takes it for a failure that passes, and asks for more than a minute.
    for_each(&["claude", "codex", "gemini"], |agent| {
        let paid = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&paid);
        let api = ScriptedApi::start(script(3, move |done, turn| {
            match done > 0 && seen.load(Ordering::SeqCst) == 0 {
                true => turn.failing(usize::MAX, Fault::CreditGone),
                false => turn,
            }
        }));
        api.expect_key(KEY);
        let Some(trial) = Trial::new(agent, &api.url(), "", 0.2) else { return };
        let trial = trial.with_agent(agent, &impatient(agent));
        let child = trial.start();
        trial.until_waiting(1);
        signal(&child, Signal::INT);
        let answer = Answer::of(&trial.place, child.wait_with_output().unwrap());
        assert_eq!(answer.code, 130, "{}", answer.shown());
        let run = only_run(&trial.results(), "e");
        let made = fs::read_to_string(run.join("attempts/1/task/steps.txt")).unwrap();
        assert_eq!(made, "0\n");
        paid.store(1, Ordering::SeqCst);
        let mut again = trial.command();
        again.arg("--continue-solve");
        let answer = Answer::of(&trial.place, again.output().unwrap());
        assert_whole(&answer, &run, &api, 3);
        let last = api.requests().into_iter().rfind(|r| r.method == "POST").unwrap();
        assert!(last.body.to_string().contains("You were interrupted"), "{}", last.body);
    });
}

/// One that never stops is ended by the deadline, and final_model is scored as it lies.
#[test]
fn one_that_never_stops_is_ended_by_the_deadline() {
    // Each turn changes the last byte of the weights, and then tells which one it wrote.
    let change = "python3 -c 'import os, shutil\nif not os.path.isdir(\"final_model\"):\n    shutil.copytree(os.environ[\"PTB_BASE_MODEL\"], \"final_model\")\n\
                  n = int(open(\"n.txt\").read()) + 1 if os.path.exists(\"n.txt\") else 0\nw = \"final_model/model.safetensors\"\n\
                  os.chmod(w, 0o644)\nf = open(w, \"r+b\")\nf.seek(-1, 2)\nf.write(bytes([n % 64]))\nf.close()\n\
                  open(\"n.txt\", \"w\").write(str(n))'";
    for_each(&["claude", "codex"], |agent| {
        let api = ScriptedApi::start(Script::by(move |conversation| {
            // Some end when they see the same call again and again.
            let number = conversation.results.len();
            Turn::run(format!("{change}; echo {number}")).saying(format!("Turn {number}."))
        }));
        api.expect_key(KEY);
        let hours = 0.012;
        let Some(trial) = Trial::new(agent, &api.url(), "", hours) else { return };
        let (answer, run) = trial.run();
        assert_eq!(answer.code, 0, "{}", answer.shown());
        let solve = json(&run.join("solve.json"));
        assert_eq!((&solve["end"], &solve["submission"]), (&"deadline".into(), &"final".into()));
        let seconds = solve["seconds"].as_f64().unwrap();
        assert!((0.9 * hours * 3600.0..hours * 3600.0 + 5.0).contains(&seconds), "{seconds}");
        let score = score(&run);
        assert_eq!((&score["counts"], &score["mark"]), (&"own".into(), &Value::Null), "{score:#}");
        let text = fs::read_to_string(run.join("workspace/n.txt")).unwrap();
        let told: u64 = text.trim().parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
        let weights = fs::read(run.join("final_model/model.safetensors")).unwrap();
        // The deadline may have come between the writing and the telling.
        let last = *weights.last().unwrap();
        assert!([told, told + 1].iter().any(|n| u64::from(last) == n % 64), "{told} {last}");
        // The deadline may have come between the provider's last reply and its reader.
        let (ledger, usage) = (api.ledger(), json(&run.join("attempts/1/usage.json")));
        let last = ledger.replies().last().and_then(|entry| entry.tokens).unwrap_or_default();
        let (all, told) = (ledger.total().output, usage["tokens"]["output"].as_u64().unwrap());
        assert!((all - last.output..=all).contains(&told) && told > 0, "{told} of {all}");
        assert_eq!(usage["generations"], ledger.replies().count(), "{usage:#}");
    });
}
