//! A baseline that is asked in a way of its own has a row of its own, and is nobody's reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use common::{End, World, agent, baseline, close, few_shot};
use ptb_core::cell::{AgentAction, Baseline};
use ptb_core::registry::Submit::{Base, Instruct};
use ptb_core::run::Mark;
use ptb_report::weights::Origin;
use ptb_report::{Report, Row, RunSummary};

fn average(report: &Report, label: &str) -> Option<f64> {
    let labels: Vec<String> = report.rows.iter().map(Row::label).collect();
    let row = report.rows.iter().find(|row| row.label() == label);
    row.unwrap_or_else(|| panic!("no row {label} among {labels:?}")).average
}

#[test]
fn it_is_a_baseline_in_its_row_and_no_base_score() {
    let world = World::new();
    for (benchmark, base, instruct) in [("x", 0.0, 0.5), ("y", 0.25, 0.5)] {
        world.add(baseline(Base, "m", benchmark, base));
        world.add(baseline(Instruct, "m", benchmark, instruct));
        world.add(few_shot("m", benchmark, 0.75));
        world.add(agent("a", "m", benchmark, End::Marked(Mark::NotSubmitted)));
    }
    let report = world.report().unwrap();
    // One row, though each benchmark has a few-shot prompt of its own.
    assert_eq!(report.rows.len(), 4);
    let row = report.rows.iter().find(|r| r.agent == "few-shot").unwrap();
    assert!(row.baseline && row.axes.is_empty() && row.solve.is_none(), "{row:?}");
    close(row.average, 0.75);
    let asked =
        "asked in a way of their own: few-shot (few-shot prompt, temperature 0.6, top_p 0.95)";
    assert_eq!(report.notes.iter().filter(|n| n.ends_with(asked)).count(), 1, "{:?}", report.notes);
    // Fallback and weights are those of the base model as submissions are asked.
    assert!(report.benchmarks.iter().all(|b| b.origin == Origin::Baselines { models: 1 }));
    close(report.benchmarks[0].weight, 1.0 / 3.0);
    close(average(&report, "a"), 0.25 * 2.0 / 3.0);
    close(average(&report, "base"), 0.25 * 2.0 / 3.0);
}

#[test]
fn alone_it_leaves_the_base_score_unknown() {
    let world = World::new();
    world.add(few_shot("m", "gsm8k", 0.75));
    world.add(agent("a", "m", "gsm8k", End::Marked(Mark::NotSubmitted)));
    let report = world.report().unwrap();
    assert_eq!(average(&report, "a"), None);
    close(average(&report, "few-shot"), 0.75);
}

#[test]
fn other_sampling_or_other_examples_are_other_rows() {
    fn change(make: common::Make, change: impl FnOnce(&mut Baseline)) -> common::Make {
        make.with(|spec| {
            let AgentAction::Baseline(baseline) = &mut spec.agent.action else { panic!() };
            change(baseline);
        })
    }
    let world = World::new();
    world.add(few_shot("m", "gsm8k", 0.75));
    world.add(change(few_shot("m", "gsm8k", 0.5), |b| b.asking.sampling.temperature = Some(0.0)));
    let report = world.report().unwrap();
    let label = "few-shot [asked few-shot prompt, temperature 0.6, top_p 0.95]";
    close(average(&report, label), 0.75);
    assert_eq!(report.rows.len(), 2);

    let world = World::new();
    world.add(few_shot("m", "gsm8k", 0.75));
    world.add(change(few_shot("m", "gsm8k", 0.5), |b| b.few_shot_sha256 = "other".to_owned()));
    let report = world.report().unwrap();
    assert_eq!(report.rows.len(), 2);
    assert!(report.rows.iter().all(|r| r.axes.keys().eq(["few-shot prompt"])), "{:?}", report.rows);
}

#[test]
fn a_run_tells_how_it_was_asked() {
    let world = World::new();
    let action = |make| RunSummary::read(world.add(make).path()).unwrap().action;
    assert_eq!(action(baseline(Base, "m", "x", 0.5)), "baseline base");
    let asked = "baseline base, few-shot prompt, temperature 0.6, top_p 0.95";
    assert_eq!(action(few_shot("m", "x", 0.5)), asked);
}
