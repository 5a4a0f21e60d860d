//! Benchmarks that a language model grades, and those that are programs: rows, notes, single runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use common::{End, Make, World, agent, close, weigh};
use ptb_core::cell::{Feedback, GraderChoice};
use ptb_core::registry::{Registry, Script};
use ptb_report::{Report, Row, RunSummary};

/// A run on a benchmark that `model` grades, by the benchmark's own prompt or another one.
fn graded(benchmark: &str, model: &str, other_prompt: Option<&str>, own: f64) -> Make {
    let registry = Registry::load(&[]).unwrap();
    let of_registry = registry.benchmark(benchmark).unwrap().value.clone();
    let named = of_registry.scorer.grader.clone().unwrap().prompt;
    let mut prompt = registry.prompt(&named).unwrap().clone();
    if let Some(text) = other_prompt {
        prompt.id = "mine.toml".to_owned();
        prompt.value.messages[0].content = text.to_owned();
    }
    agent("a", "m", benchmark, End::Own(own)).with(|spec| {
        spec.benchmark.value.scorer = of_registry.scorer;
        spec.grader = Some(GraderChoice {
            url: "http://127.0.0.1:1/v1".to_owned(),
            model: model.to_owned(),
            prompt,
            spend_limit: None,
        });
    })
}

fn labels(report: &Report) -> Vec<String> {
    let mut labels: Vec<String> = report.rows.iter().map(Row::label).collect();
    labels.sort();
    labels
}

fn average(report: &Report, label: &str) -> Option<f64> {
    report.rows.iter().find(|row| row.label() == label).expect(label).average
}

/// Weights of a half for `x`, a quarter for each of the graded ones.
fn weighted(world: &World, makes: impl IntoIterator<Item = Make>) {
    for make in makes {
        let weight = if make.spec.benchmark.id == "x" { 2.0 } else { 1.0 };
        world.add(weigh(make, weight));
    }
}

fn world() -> World {
    // Weights of these runs alone, not those of an edition.
    World::new().with_registry(&[("editions/main.toml", EDITION)])
}

const EDITION: &str = "name = \"main\"\ndescription = \"a\"\nbenchmarks = [\"x\"]\nseeds = [42]\n";

#[test]
fn one_grader_is_one_row_whatever_each_benchmarks_prompt_is() {
    let world = world();
    weighted(
        &world,
        [
            agent("a", "m", "x", End::Own(0.5)),
            graded("healthbench", "g1", None, 0.25),
            graded("arenahardwriting", "g1", None, 0.75),
        ],
    );
    let report = world.report().unwrap();
    assert_eq!(labels(&report), ["a"]);
    close(average(&report, "a"), 0.5);
}

#[test]
fn each_graders_row_has_what_no_grader_scored() {
    let world = world();
    let second = |make: Make| make.with(|spec| spec.experiment = "second".to_owned());
    weighted(
        &world,
        [
            agent("a", "m", "x", End::Own(0.5)),
            graded("healthbench", "g1", None, 0.25),
            graded("arenahardwriting", "g1", None, 0.75),
            second(graded("healthbench", "g2", None, 0.5)),
            second(graded("arenahardwriting", "g2", None, 1.0)),
        ],
    );
    let report = world.report().unwrap();
    assert_eq!(labels(&report), ["a [grader g1]", "a [grader g2]"]);
    close(average(&report, "a [grader g1]"), 0.5);
    close(average(&report, "a [grader g2]"), 0.625);
    assert_eq!(report.runs.len(), 5, "each run is listed once");
}

#[test]
fn another_prompt_is_another_row() {
    let world = world();
    let mine = graded("healthbench", "g1", Some("mine"), 0.5);
    weighted(
        &world,
        [
            agent("a", "m", "x", End::Own(0.5)),
            graded("healthbench", "g1", None, 0.25),
            mine.with(|spec| spec.experiment = "second".to_owned()),
        ],
    );
    let report = world.report().unwrap();
    let [first, second] = &labels(&report)[..] else { panic!("{:?}", labels(&report)) };
    assert!(second.starts_with("a [grader's prompt "), "{first} {second}");
    assert!(report.rows.iter().all(|row| row.average.is_some()), "{:?}", report.rows);
}

fn script(benchmark: &str, folder: &str) -> Make {
    agent("a", "m", benchmark, End::Own(0.5)).with(|spec| {
        spec.benchmark.value.scorer.script = Some(Script { folder: folder.into() });
        spec.feedback = Feedback::Open;
    })
}

#[test]
fn scores_of_scripts_are_told_apart_and_so_is_what_agents_saw() {
    let world = World::new();
    world.add(script("vowels", "/here"));
    world.add(script("vowels", "/moved").repeat(2));
    let report = world.report().unwrap();
    assert_eq!(labels(&report), ["a"], "a folder that was moved is the same benchmark");
    let notes = report.notes.join("\n");
    assert!(!notes.contains("prompts are this project's own"), "{notes}");
    assert!(notes.contains("measured by evaluate.py of the benchmark's own folder"), "{notes}");
    assert!(notes.contains("feedback `open`"), "{notes}");
    world.add(agent("a", "m", "gsm8k", End::Own(0.5)));
    let notes = world.report().unwrap().notes.join("\n");
    assert!(notes.contains("prompts are this project's own"), "{notes}");
    assert!(notes.contains("of its own: vowels; such"), "{notes}");
}

#[test]
fn a_run_tells_who_graded_and_what_measured() {
    let world = World::new();
    let text = |make| RunSummary::read(world.add(make).path()).unwrap().text();
    let of_grader = text(graded("healthbench", "g1", None, 0.5).with(|s| s.seeds = vec![7, 8, 9]));
    assert!(of_grader.contains("seeds 7, all samples"), "{of_grader}");
    assert!(of_grader.contains("graded by g1"), "{of_grader}");
    let of_script = text(script("vowels", "/here"));
    assert!(of_script.contains("the benchmark's own evaluate.py, all samples"), "{of_script}");
    assert!(of_script.contains("feedback open"), "{of_script}");
}
