//! What a report says of synthetic results: weights from runs, unknown scores, repeats, rows, order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use common::{End, World, agent, baseline, close, weigh};
use proptest::prelude::*;
use ptb_core::failure::FailureKind;
use ptb_core::registry::Submit::{Base, Instruct};
use ptb_core::run::{Mark, RunDir, Stage};
use ptb_report::bootstrap::Basis;
use ptb_report::weights::Origin;
use ptb_report::{Options, Report, Row, WeightsChoice, find};

fn row<'a>(report: &'a Report, label: &str) -> &'a Row {
    let labels: Vec<String> = report.rows.iter().map(Row::label).collect();
    let found = report.rows.iter().find(|row| row.label() == label);
    found.unwrap_or_else(|| panic!("no row {label} among {labels:?}"))
}

fn note<'a>(report: &'a Report, part: &str) -> Option<&'a String> {
    report.notes.iter().find(|note| note.contains(part))
}

/// Baselines on one model: base scores, then instruct scores.
fn baselines(world: &World, model: &str, scores: &[(&str, f64, f64)]) {
    for (benchmark, base, instruct) in scores {
        world.add(baseline(Base, model, benchmark, *base));
        world.add(baseline(Instruct, model, benchmark, *instruct));
    }
}

#[test]
fn a_single_benchmark_weighs_one_without_baselines() {
    let world = World::new();
    world.add(agent("a", "m", "gsm8k", End::Own(0.25)));
    let report = world.report().unwrap();
    assert_eq!(
        (report.benchmarks[0].weight, &report.benchmarks[0].origin),
        (Some(1.0), &Origin::Single)
    );
    assert_eq!(row(&report, "a").average, Some(0.25));
}

#[test]
fn weights_of_unlisted_benchmarks_come_from_the_baselines() {
    let world = World::new();
    baselines(&world, "m1", &[("x", 0.0, 0.5), ("y", 0.0, 0.25)]);
    baselines(&world, "m2", &[("x", 0.0, 1.0), ("y", 0.25, 0.5)]);
    // gaps are 0.75 and 0.25
    world.add(agent("a", "m1", "x", End::Own(0.5)));
    world.add(agent("a", "m1", "y", End::Own(1.0)));
    let report = world.report().unwrap();
    close(report.benchmarks[0].weight, 0.25);
    close(report.benchmarks[1].weight, 0.75);
    assert_eq!(report.benchmarks[0].origin, Origin::Baselines { models: 2 });
    close(row(&report, "a").average, 0.25 * 0.5 + 0.75);
    close(row(&report, "base").average, 0.75 * 0.125);
}

#[test]
fn the_registry_s_weight_helps_runs_that_are_done() {
    let text = "name = \"X\"\ntask = \"t\"\n[data]\npath = \"d\"\n[prompt]\nmessages = [{ role = \"user\", content = \"q\" }]\n\
        [generation]\nmax_tokens = 1\n[scorer]\nkind = \"numeric\"\n[evaluate]\nseeds = [1]\n[weight]\nvalue = 3\n";
    let world = World::new().with_registry(&[("benchmarks/x/benchmark.toml", text)]);
    baselines(&world, "m", &[("x", 0.5, 0.25)]);
    world.add(weigh(agent("a", "m", "x", End::Own(0.0)), 7.0));
    world.add(weigh(agent("a", "m", "y", End::Own(1.0)), 1.0));
    let report = world.report().unwrap();
    close(row(&report, "a").average, 0.25);
    assert!(report.benchmarks.iter().all(|c| c.origin == Origin::Benchmark));
}

#[test]
fn a_recorded_weight_that_is_no_weight_is_passed_over() {
    for bad in [0.0, -1.0] {
        let world = World::new();
        baselines(&world, "m", &[("x", 0.0, 0.25), ("y", 0.0, 0.75)]);
        world.add(weigh(agent("a", "m", "x", End::Own(1.0)), bad));
        close(world.report().unwrap().benchmarks[0].weight, 0.75);
    }
}

#[test]
fn weights_that_may_still_move_are_told() {
    let world = World::new();
    baselines(&world, "m1", &[("x", 0.0, 0.25), ("y", 0.0, 0.75)]);
    assert_eq!(note(&world.report().unwrap(), "weights change"), None);
    world.add(baseline(Base, "m2", "x", 0.1));
    assert!(note(&world.report().unwrap(), "lack a baseline on x").is_some());
}

#[test]
fn an_agent_called_like_a_baseline_is_not_one() {
    let world = World::new();
    baselines(&world, "m", &[("gsm8k", 0.125, 0.75)]);
    world.add(agent("base", "m", "gsm8k", End::Own(0.5)));
    world.add(agent("a", "m", "gsm8k", End::Marked(Mark::NotSubmitted)));
    let report = world.report().unwrap();
    let rows: Vec<_> = report.rows.iter().map(|r| (r.label(), r.baseline, r.average)).collect();
    let row = |label: &str, baseline, average| (label.to_owned(), baseline, Some(average));
    let expected = [
        row("instruct", true, 0.75),
        row("base", false, 0.5),
        row("a", false, 0.125),
        row("base", true, 0.125),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn instruct_must_beat_base_where_nothing_else_weighs() {
    let world = World::new();
    baselines(&world, "m", &[("x", 0.5, 0.5), ("y", 0.0, 0.5)]);
    let e = world.report().unwrap_err();
    let text = e.to_string();
    assert!(text.contains("benchmark `x`") && text.contains("[weight]"), "{text}");
    assert_eq!(e.exit_code() as u8, 2);
    assert!(world.report_with(WeightsChoice::Equal).is_ok());
}

#[test]
fn a_missing_base_score_is_unknown_and_so_is_what_rests_on_it() {
    let world = World::new();
    for model in ["m1", "m2"] {
        world.add(agent("a", model, "gsm8k", End::Own(0.5)));
        world.add(agent("a", model, "aime2025", End::Own(0.25)));
    }
    world.add(agent("b", "m1", "gsm8k", End::Own(0.5)));
    world.add(agent("b", "m2", "gsm8k", End::Marked(Mark::Judged)));
    world.add(agent("b", "m1", "aime2025", End::Own(0.5)));
    world.add(agent("b", "m2", "aime2025", End::Own(0.5)));
    let report = world.report().unwrap();
    let b = row(&report, "b");
    let gsm8k = b.scores[1].as_ref().unwrap();
    assert_eq!(
        (gsm8k.mean, gsm8k.models[1].score, gsm8k.models[1].base_missing),
        (None, None, true)
    );
    assert_eq!((b.average, b.std, b.interval), (None, None, None));
    assert_eq!(b.scores[0].as_ref().unwrap().mean, Some(0.5));
    assert!(note(&report, "missing (m2 on gsm8k)").is_some(), "{:?}", report.notes);
    assert_eq!(report.rows[1].label(), "b", "unknown averages are last");
    let line = report.runs.iter().find(|r| r.mark.is_some()).unwrap();
    assert_eq!((line.score, line.base_score), (None, None));
    assert!(report.table(None).contains("unknown ‡1"), "{}", report.table(None));

    // Other budgets serve, other evaluations do not.
    let other = baseline(Base, "m2", "gsm8k", 0.75).with(|s| s.max_tokens = 7);
    world.add(other);
    assert_eq!(world.report().unwrap().rows.iter().find(|r| r.agent == "b").unwrap().average, None);
    world.add(baseline(Base, "m2", "gsm8k", 0.125).with(|s| s.budget.hours = 1.0));
    let report = world.report().unwrap();
    let b = row(&report, "b [max_tokens 256]");
    assert_eq!(b.scores[1].as_ref().unwrap().mean, Some(0.3125));
    assert!(b.average.is_some());
}

#[test]
fn base_scores_are_means_over_repeats_and_budgets() {
    let world = World::new();
    for (repeat, hours, own) in [(1, 1.0, 0.1), (2, 1.0, 0.2), (1, 5.0, 0.3)] {
        world
            .add(baseline(Base, "m", "gsm8k", own).repeat(repeat).with(|s| s.budget.hours = hours));
    }
    world.add(agent("a", "m", "gsm8k", End::Marked(Mark::NotSubmitted)));
    let report = world.report().unwrap();
    close(row(&report, "a").average, 0.2);
    assert_eq!(row(&report, "base").runs, 3, "budgets do not split a baseline's row");
    // Repeat 1 is the mean of two budgets.
    assert_eq!(row(&report, "base").repeats, 2);
    // A baseline's repeats are the same completions: they say nothing of its luck.
    assert_eq!(row(&report, "base").interval.unwrap().basis, Basis::Samples);
}

#[test]
fn repeats_have_a_spread_and_single_runs_have_not() {
    let world = World::new();
    for (repeat, gain) in [(1, 0.0), (2, 0.1), (3, 0.2)] {
        for (model, at) in [("m1", 0.2), ("m2", 0.4)] {
            world.add(
                agent("a", model, "gsm8k", End::Own(at + gain))
                    .repeat(repeat)
                    .seconds(600.0 * gain),
            );
        }
    }
    world.add(agent("b", "m1", "gsm8k", End::OwnWithError(0.5, 0.02)));
    world.add(agent("b", "m2", "gsm8k", End::OwnWithError(0.5, 0.02)));
    world.add(agent("c", "m1", "gsm8k", End::Own(0.5)));
    world.add(agent("c", "m2", "gsm8k", End::Own(0.5)));
    let report = world.report().unwrap();
    let a = row(&report, "a");
    close(a.average, 0.4);
    close(a.std, 0.1);
    assert_eq!((a.repeats, a.runs, a.interval.unwrap().basis), (3, 6, Basis::Repeats));
    close(a.solve.map(|s| s.mean), 60.0);
    let b = row(&report, "b");
    assert_eq!((b.std, b.interval.unwrap().basis), (None, Basis::Samples));
    let half = 1.96 * 0.02 / 2f64.sqrt();
    assert!((b.interval.unwrap().high - 0.5 - half).abs() < 0.003, "{:?}", b.interval);
    assert_eq!(row(&report, "c").interval, None, "no standard errors, no interval");
}

#[test]
fn what_is_not_finished_is_partial_listed_and_not_averaged() {
    let world = World::new();
    world.add(agent("a", "m1", "gsm8k", End::Own(0.5)));
    world.add(agent(
        "a",
        "m2",
        "gsm8k",
        End::Failed(Stage::Evaluate, FailureKind::Harness, "disk full"),
    ));
    world.add(agent("b", "m1", "gsm8k", End::Running(Stage::Solve)));
    let report = world.report().unwrap();
    let a = row(&report, "a");
    let score = a.scores[0].as_ref().unwrap();
    assert_eq!((score.mean, score.known, score.wanted, score.complete()), (Some(0.5), 1, 2, None));
    assert_eq!((a.average, a.runs, a.unfinished), (None, 1, 1));
    let told: Vec<_> = report
        .unfinished
        .iter()
        .map(|u| (u.stage.as_str(), u.state.as_str(), u.reason.as_deref()))
        .collect();
    assert_eq!(told, [("evaluate", "failed", Some("disk full")), ("solve", "running", None)]);
    assert!(report.table(None).contains("50.0 (1/2)"), "{}", report.table(None));
}

#[test]
fn a_model_that_was_never_begun_is_missing_too() {
    let world = World::new();
    world.add(agent("a", "m1", "gsm8k", End::Own(0.5)));
    world.add(agent("a", "m1", "aime2025", End::Own(0.5)));
    world.add(agent("a", "m2", "aime2025", End::Own(0.5)));
    let report = world.report().unwrap();
    let a = row(&report, "a");
    assert_eq!(a.scores[1].as_ref().unwrap().wanted, 2);
    assert_eq!(a.average, None);
}

#[test]
fn axes_split_rows_only_where_they_differ() {
    let world = World::new();
    for (hours, effort) in [(1.0, "low"), (1.0, "high"), (5.0, "low")] {
        let make = agent("cli", "m", "gsm8k", End::Own(0.5)).option("effort", effort);
        world.add(make.with(|s| s.budget.hours = hours));
    }
    world.add(agent("plain", "m", "gsm8k", End::Own(0.5)).option("effort", "low"));
    let labels: Vec<String> = world.report().unwrap().rows.iter().map(Row::label).collect();
    assert_eq!(
        labels,
        [
            "cli [effort high, hours 1]",
            "cli [effort low, hours 1]",
            "cli [effort low, hours 5]",
            "plain"
        ]
    );
}

#[test]
fn evaluations_that_differ_do_not_share_a_row() {
    let world = World::new();
    world.add(agent("a", "m", "gsm8k", End::Own(0.2)).with(|s| s.limit = Some(10)));
    world.add(agent("a", "m", "gsm8k", End::Own(0.4)));
    let report = world.report().unwrap();
    assert_eq!(row(&report, "a [limit 10]").average, Some(0.2));
    assert_eq!(row(&report, "a [limit none]").average, Some(0.4));
    assert!(note(&report, "part of the samples: gsm8k on 10").is_some());
}

#[test]
fn the_edition_is_the_runs_own_unless_named() {
    let edition = "name = \"O\"\ndescription = \"d\"\nbenchmarks = [\"gsm8k\"]\n";
    let world = World::new().with_registry(&[("editions/other.toml", edition)]);
    world.add(agent("a", "m", "gsm8k", End::Own(0.2)).with(|s| s.edition = "other".to_owned()));
    assert_eq!(world.report().unwrap().edition, "other");
    world.add(agent("b", "m", "gsm8k", End::Own(0.4)));
    let e = world.report().unwrap_err().to_string();
    assert!(e.contains("main, other"), "{e}");
    let options = Options { edition: Some("main".to_owned()), ..Options::default() };
    let report = Report::of(world.dir.path(), &world.registry, &options).unwrap();
    assert_eq!(row(&report, "b").average, Some(0.4));
    assert_eq!(report.unfinished[0].state, "unscored");
    let options = Options { edition: Some("mian".to_owned()), ..Options::default() };
    let e = Report::of(world.dir.path(), &world.registry, &options).unwrap_err().to_string();
    assert!(e.contains("did you mean `main`"), "{e}");
}

#[test]
fn a_named_preset_wins_over_the_runs_edition() {
    let edition = "name = \"O\"\ndescription = \"d\"\nbenchmarks = [\"gsm8k\", \"aime2025\"]\n[weights]\ngsm8k = 0.9\naime2025 = 0.1\n";
    let world = World::new().with_registry(&[("editions/other.toml", edition)]);
    world.add(agent("a", "m", "gsm8k", End::Own(1.0)));
    world.add(agent("a", "m", "aime2025", End::Own(0.0)));
    let choice = WeightsChoice::parse("other", &world.registry).unwrap();
    close(world.report_with(choice).unwrap().rows[0].average, 0.9);
    let main = world.report().unwrap();
    close(main.rows[0].average, 0.0935882347031865 / (0.0935882347031865 + 0.226536549919078));
    assert_eq!(main.benchmarks[0].benchmark, "aime2025", "the edition's order");
}

fn results() -> World {
    let world = World::new();
    for model in ["m1", "m2"] {
        baselines(&world, model, &[("gsm8k", 0.1, 0.7), ("x", 0.05, 0.4)]);
        for repeat in 1..=3 {
            let at = f64::from(repeat) * 0.07;
            world.add(agent("a", model, "gsm8k", End::OwnWithError(0.3 + at, 0.01)).repeat(repeat));
            world.add(agent("a", model, "x", End::Marked(Mark::Judged)).repeat(repeat));
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn the_order_of_runs_changes_no_byte(seed in any::<u64>()) {
        use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
        let world = results();
        let straight = find(world.dir.path()).unwrap().runs;
        let mut mixed = straight.clone();
        let hash = |dir: &RunDir| BuildHasherDefault::<DefaultHasher>::default().hash_one((seed, dir.path()));
        mixed.sort_by_key(hash);
        let form = |dirs: &[RunDir]| {
            let report = Report::build(dirs, &world.registry, &Options::default()).unwrap();
            [report.table(Some(80)), report.markdown(), report.csv().unwrap(), report.json().unwrap()]
        };
        prop_assert_eq!(form(&straight), form(&mixed));
    }
}

#[test]
fn json_reads_back_as_the_same_report() {
    let report = results().report().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    std::fs::write(&path, report.json().unwrap()).unwrap();
    assert_eq!(ptb_core::files::read_json::<Report>(&path).unwrap(), report);
    let newer = report.json().unwrap().replacen("\"schema\": 1", "\"schema\": 2", 1);
    std::fs::write(&path, newer).unwrap();
    assert!(ptb_core::files::read_json::<Report>(&path).unwrap_err().to_string().contains("hint:"));
}
