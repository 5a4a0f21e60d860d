//! The forms of a report under snapshot: all of its features at once, hostile names, an empty one.

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
use ptb_core::registry::Submit::{Base, Instruct};
use ptb_core::run::{Mark, Stage};
use ptb_report::{Report, WeightsChoice};

/// Two base models, three benchmarks (one outside the edition), marks, repeats, an unfinished and a broken run.
fn world() -> World {
    let world = World::new();
    let scores = [("gsm8k", 0.125, 0.75), ("aime2025", 0.0, 0.25), ("arithmetic", 0.25, 0.875)];
    for (model, at) in [("qwen3-1.7b", 0.0), ("smollm3-3b", 0.0625)] {
        for (benchmark, base, instruct) in scores {
            world.add(baseline(Base, model, benchmark, base + at));
            world.add(baseline(Instruct, model, benchmark, instruct + at));
            for repeat in 1..=2 {
                let own = base + at + 0.0625 * f64::from(repeat);
                let end = match (benchmark, model, repeat) {
                    ("gsm8k", "smollm3-3b", 1) => End::Marked(Mark::Judged),
                    ("gsm8k", "smollm3-3b", 2) => End::Marked(Mark::NotSubmitted),
                    ("aime2025", "qwen3-1.7b", 2) => End::Marked(Mark::EvaluationFailed),
                    _ => End::OwnWithError(own, 0.02),
                };
                let make = agent("claude/claude-opus-4-6", model, benchmark, end).repeat(repeat);
                world.add(make.option("effort", "high").seconds(34781.6));
            }
        }
        let low =
            |end| agent("claude/claude-opus-4-6", model, "gsm8k", end).option("effort", "low");
        world.add(low(End::OwnWithError(0.5, 0.02)));
    }
    world.add(agent("codex", "qwen3-1.7b", "gsm8k", End::Running(Stage::Solve)));
    let message = "no space left on device; hint: free some and run again";
    world.add(agent(
        "codex",
        "smollm3-3b",
        "gsm8k",
        End::Failed(Stage::Evaluate, FailureKind::Harness, message),
    ));
    let broken = world.add(agent("codex", "qwen3-1.7b", "aime2025", End::Own(0.5)));
    std::fs::write(broken.record(), "{").unwrap();
    world
}

/// Names that try a terminal, a table, a page and a spreadsheet.
fn hostile() -> World {
    let world = World::new();
    let names = [
        "\u{1b}[31mred\u{1b}[0m\u{1b}]0;owned\u{7}",
        "a|b\nc\td | x",
        "=HYPERLINK(\"http://evil\",\"x\")",
        "+1",
        "@SUM(A1)",
        "<script>alert(1)</script> *[x](y)* `z`",
        "\u{202e}reversed\u{200b}",
    ];
    for name in names {
        world.add(agent(name, "m", "gsm8k", End::OwnWithError(0.5, 0.01)));
    }
    let failed =
        End::Failed(Stage::Solve, FailureKind::Agent, "\u{1b}[2Jgone\r\n- [ ] forged line");
    world.add(agent(&"long ".repeat(500), "m", "gsm8k", failed));
    world
}

/// No byte of a form may act on a terminal.
fn harmless(form: &str) {
    let bad = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    assert_eq!(form.chars().find(bad), None, "{form:?}");
}

#[test]
fn table() {
    let world = world();
    let report = world.report().unwrap();
    insta::assert_snapshot!("table", world.neutral(&report.table(None)));
    insta::assert_snapshot!("table_60", world.neutral(&report.table(Some(60))));
}

#[test]
fn markdown() {
    let world = world();
    insta::assert_snapshot!(world.neutral(&world.report().unwrap().markdown()));
}

#[test]
fn csv_form() {
    insta::assert_snapshot!(world().report().unwrap().csv().unwrap());
}

#[test]
fn json() {
    let world = world();
    insta::assert_snapshot!(world.neutral(&world.report().unwrap().json().unwrap()));
}

#[test]
fn equal_weights_are_told() {
    let report = world().report_with(WeightsChoice::Equal).unwrap();
    let note = report.notes.iter().find(|n| n.starts_with("weights")).unwrap();
    assert_eq!(note, "weights: aime2025 33.3 %, gsm8k 33.3 %, arithmetic 33.3 % (equal by choice)");
}

#[test]
fn hostile_names_are_harmless_in_every_form() {
    let world = hostile();
    let report = world.report().unwrap();
    let (table, markdown) =
        (world.neutral(&report.table(Some(100))), world.neutral(&report.markdown()));
    let csv = report.csv().unwrap();
    for form in [&table, &markdown, &csv] {
        harmless(form);
    }
    let json = report.json().unwrap();
    assert!(json.chars().all(|c| !c.is_control() || c == '\n'));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["schema"], 1);
    insta::assert_snapshot!("hostile_table", table);
    insta::assert_snapshot!("hostile_markdown", markdown);
    insta::assert_snapshot!("hostile_csv", csv);
}

#[test]
fn csv_numbers_read_back_exactly() {
    let report = world().report().unwrap();
    let text = report.csv().unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let at = |name: &str| header.iter().position(|h| h == name).unwrap();
    for (record, row) in reader.records().map(Result::unwrap).zip(&report.rows) {
        let number = |name: &str| record[at(name)].parse::<f64>().ok();
        assert_eq!(number("average"), row.average);
        assert_eq!(number("std"), row.std);
        assert_eq!(number("low"), row.interval.map(|i| i.low));
        for (column, score) in report.benchmarks.iter().zip(&row.scores) {
            assert_eq!(number(&column.benchmark), score.as_ref().and_then(|s| s.complete()));
            assert_eq!(number(&format!("{}_weight", column.benchmark)), column.weight);
        }
    }
}

/// However narrow the screen, no line of the table is wider than it, and every benchmark is there.
#[test]
fn the_table_fits_the_screen() {
    let report: Report = world().report().unwrap();
    for width in [20, 40, 50, 60, 80, 120, 200] {
        let text = report.table(Some(width));
        let grid = text.split("\n\nprompts are").next().unwrap();
        let widest = grid.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width.max(20)), "{width}: {widest}\n{grid}");
        if width >= 40 {
            for column in &report.benchmarks {
                assert!(grid.contains(&column.benchmark), "{width}: {grid}");
            }
        }
    }
}
