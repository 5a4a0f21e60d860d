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
use ptb_core::registry::{Publication, Submit};
use ptb_core::run::{Evidence, Mark, Metrics, Part, RunDir, SeedMetrics, Stage, Verdict};
use ptb_report::{RunSummary, measured, text};

/// The final evaluation of a benchmark whose samples have topics.
fn broken_down() -> Metrics {
    let part = |accuracy, n| Part { accuracy, n };
    let topics = [
        ("Biology", part(0.4103, 78)),
        ("Chemistry (general)", part(0.3115, 183)),
        ("Phys\u{1b}[2Jics", part(0.3797, 187)),
    ];
    let seed = |seed, accuracy| SeedMetrics { seed, accuracy, n: 448 };
    let topics = topics.map(|(name, part)| (name.to_owned(), part)).into();
    Metrics {
        benchmark: "gpqamain".to_owned(),
        n: 448,
        stderr_clustered: None,
        interval: Some([0.3125, 0.4018]),
        reduced: 4,
        errors: 2,
        breakdowns: [("High-level domain".to_owned(), topics), ("Subdomain".to_owned(), [].into())]
            .into(),
        seeds: vec![seed(72332, 0.35), seed(87681, 0.3642)],
        ..metrics(0.3571)
    }
}

fn metrics(accuracy: f64) -> Metrics {
    Metrics {
        benchmark: "gsm8k".to_owned(),
        accuracy,
        stderr: 0.012,
        n: 1319,
        errors: 0,
        truncated: 7,
        stderr_clustered: None,
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
        grader: None,
        script: None,
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
fn an_evaluation_is_told_whole_and_in_brief() {
    insta::assert_snapshot!("measured_whole", measured(&broken_down(), Some("few-shot")));
    insta::assert_snapshot!(
        "measured_plain",
        measured(&Metrics { complete: false, ..metrics(0.5) }, None)
    );
    let world = World::new();
    let run = world.add(agent("a", "qwen3-4b", "gpqamain", End::Own(0.3571)));
    write_json(&run.eval("final").join("metrics.json"), &broken_down()).unwrap();
    write_json(&run.eval("early").join("metrics.json"), &metrics(0.25)).unwrap();
    let text = RunSummary::read(run.path()).unwrap().text();
    let wrapped: Vec<String> = text.lines().map(|line| text::wrap(line, Some(80))).collect();
    insta::assert_snapshot!("broken_down_80", world.neutral(&wrapped.join("\n")));
}

/// A benchmark whose owners ask for no published items (`[publish] items = "none"`): neither the summary of a run nor
/// a report says what was asked or answered, in whatever form. Nor would they of any other benchmark.
#[test]
fn nothing_of_single_items_is_told() {
    const ITEM: &str = "what-no-page-may-show";
    let world = World::new();
    let gpqa = world.registry.benchmark("gpqamain").unwrap();
    assert_eq!(gpqa.value.publish.items, Publication::None);
    assert_eq!(gpqa.value.evaluate.breakdown, ["High-level domain", "Subdomain"]);
    let make = agent("a", "qwen3-4b", "gpqamain", End::Own(0.3571));
    let run = world.add(make.with(|spec| spec.benchmark = gpqa.clone()));
    write_json(&run.eval("final").join("metrics.json"), &broken_down()).unwrap();
    let line = serde_json::json!({
        "schema": 1, "id": format!("rec-{ITEM}"), "completion": ITEM, "answer": ITEM, "prompt": ITEM, "target": ITEM,
        "error": ITEM,
    });
    for file in
        ["eval/final/42/samples.jsonl", "eval/final/42/other.jsonl", "eval/early/42/samples.jsonl"]
    {
        let path = run.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{line}\n")).unwrap();
    }
    let (summary, report) = (RunSummary::read(run.path()).unwrap(), world.report().unwrap());
    for text in [
        summary.text(),
        summary.json().unwrap(),
        report.table(Some(120)),
        report.markdown(),
        report.csv().unwrap(),
        report.json().unwrap(),
    ] {
        assert!(text.contains("gpqamain") && !text.contains(ITEM), "{text}");
    }
}

#[test]
fn many_parts_with_long_names_keep_the_width() {
    let part = |i: usize| (format!("{i} {}", "数".repeat(100)), Part { accuracy: 0.5, n: i });
    let breakdowns = [("x".repeat(1000), (0..50).map(part).collect())].into();
    let text = measured(&Metrics { breakdowns, ..metrics(0.5) }, None);
    assert!(text.lines().all(|line| text::columns(line) <= 80), "{text}");
    assert!(text.contains("and 30 more") && text.lines().count() < 32, "{text}");
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
    assert!(text.contains("(and 49 more)"), "{text}");
    assert_eq!(summary.problems.len(), 50);
}
