//! What `ptb show RUN` says of one run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use common::{End, World, agent, baseline};
use ptb_core::failure::FailureKind;
use ptb_core::files::write_json;
use ptb_core::registry::Submit;
use ptb_core::run::{Evidence, Mark, Metrics, RunDir, SeedMetrics, Stage, Verdict};
use ptb_report::RunSummary;

fn metrics(accuracy: f64) -> Metrics {
    Metrics {
        benchmark: "gsm8k".to_owned(),
        accuracy,
        stderr: 0.012,
        n: 1319,
        errors: 0,
        truncated: 7,
        interval: None,
        reduced: 0,
        breakdowns: std::collections::BTreeMap::new(),
        unparsed: 3,
        prompt_tokens: 1,
        completion_tokens: 1,
        complete: true,
        seeds: vec![SeedMetrics { seed: 42, accuracy, n: 1319 }],
        weights_sha256: String::new(),
        data_sha256: String::new(),
        sampling: serde_json::Value::Null,
    }
}

fn judged(world: &World) -> RunDir {
    let make = agent("claude/claude-opus-4-6", "qwen3-1.7b", "gsm8k", End::Marked(Mark::Judged));
    let run = world.add(make.option("effort", "high").seconds(34781.6));
    let evidence = Evidence {
        check: "identity".to_owned(),
        fact: "every tensor equals the instruct model's".to_owned(),
        mark: Some(Mark::Judged),
        place: "final_model/model.safetensors".to_owned(),
    };
    write_json(&run.evidence().join("identity.json"), &evidence).unwrap();
    let reason = "the submission is\u{1b}[2J the instruct model".to_owned();
    let verdict = Verdict { judge: "facts".to_owned(), mark: Some(Mark::Judged), reason };
    write_json(&run.verdicts().join("facts.json"), &verdict).unwrap();
    write_json(&run.eval("final").join("metrics.json"), &metrics(0.5)).unwrap();
    std::fs::create_dir_all(run.attempt(1)).unwrap();
    std::fs::create_dir_all(run.attempt(10)).unwrap();
    std::fs::create_dir_all(run.attempt(2)).unwrap();
    std::fs::write(run.prompt(), "do it").unwrap();
    run
}

#[test]
fn a_judged_run() {
    let world = World::new();
    let summary = RunSummary::read(judged(&world).path()).unwrap();
    insta::assert_snapshot!("judged_text", world.neutral(&summary.text()));
    insta::assert_snapshot!("judged_json", world.neutral(&summary.json().unwrap()));
}

#[test]
fn a_failed_run_and_a_baseline() {
    let world = World::new();
    let end = End::Failed(
        Stage::Evaluate,
        FailureKind::Provider,
        "the grader answers 503; hint: wait and rerun",
    );
    let failed = world.add(agent("a", "qwen3-4b", "gsm8k", end).with(|s| s.limit = Some(1)));
    insta::assert_snapshot!(
        "failed_text",
        world.neutral(&RunSummary::read(failed.path()).unwrap().text())
    );
    let base = world.add(baseline(Submit::Base, "qwen3-4b", "gsm8k", 0.25));
    insta::assert_snapshot!(
        "baseline_text",
        world.neutral(&RunSummary::read(base.path()).unwrap().text())
    );
}

#[test]
fn however_much_there_is_it_fits_a_screen() {
    let world = World::new();
    let run = judged(&world);
    for i in 0..50 {
        let many = Evidence {
            check: format!("check-{i}"),
            fact: "x".repeat(100_000),
            mark: None,
            place: "\u{1b}[31m\n\n\n".to_owned(),
        };
        write_json(&run.evidence().join(format!("{i}.json")), &many).unwrap();
        write_json(&run.eval(&format!("e{i}")).join("metrics.json"), &metrics(0.25)).unwrap();
        std::fs::write(run.verdicts().join(format!("{i}.json")), "{").unwrap();
        std::fs::write(run.path().join(format!("file-{i}")), "").unwrap();
    }
    let summary = RunSummary::read(run.path()).unwrap();
    let text = summary.text();
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 240), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(text.contains("(and 48 more)"), "{text}");
    assert_eq!(summary.problems.len(), 50);
}
