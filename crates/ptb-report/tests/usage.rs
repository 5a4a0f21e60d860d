//! Tokens and cost of the models that drive agents, in `ptb show` and in reports.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use std::fs;
use std::path::Path;

use common::{End, Make, World, agent, baseline};
use ptb_core::failure::FailureKind;
use ptb_core::files::{read_json, write_json};
use ptb_core::registry::Submit;
use ptb_core::run::{RunDir, RunRecord, Stage};
use ptb_report::{RunSummary, text};
use serde_json::{Value, json};

/// An attempt's book, in the form that the gateway writes.
fn book(input: u64, cost: Option<f64>) -> Value {
    let tokens = json!({"input": input, "cached_input": input / 2, "cache_write_5m": 900, "cache_write_1h": 100,
        "output": 2000, "reasoning": 500});
    json!({
        "schema": 1, "requests": 12, "generations": 10, "refused": 1, "over_limit": 1, "failed": 2, "cut": 1,
        "tokens": tokens, "cost_usd": cost, "known_cost_usd": cost.unwrap_or(0.0),
        "unpriced": u64::from(cost.is_none()), "uncounted": 0, "estimated_tokens": 0, "estimated_usd": 0.0,
        "without_service_seconds": 61.5, "server_tools": {"web_search": 3}, "foreign": [], "foreign_requests": 0,
        "models": {"claude-opus-4-6": {"requests": 9, "tokens": tokens, "cost_usd": cost}},
        "record_fault": null,
    })
}

/// A run with so many attempts, and the books of some.
fn run(world: &World, make: Make, attempts: u32, books: &[(u32, Value)]) -> RunDir {
    let run = world.add(make);
    let mut record: RunRecord = read_json(&run.record()).unwrap();
    record.attempts = attempts;
    record.provenance.versions.insert(record.spec.agent.name.clone(), "2.1.330".to_owned());
    write_json(&run.record(), &record).unwrap();
    for n in 1..=attempts {
        fs::create_dir_all(run.attempt(n)).unwrap();
        fs::write(run.attempt(n).join("api.jsonl.zst"), "").unwrap();
    }
    for (n, book) in books {
        fs::write(run.attempt(*n).join("usage.json"), book.to_string()).unwrap();
    }
    run
}

fn claude(model: &str, own: f64) -> Make {
    agent("claude", model, "gsm8k", End::Own(own)).option("spend_limit", "5")
}

fn show(run: &Path) -> (String, Value) {
    let summary = RunSummary::read(run).unwrap();
    let lines = summary.text();
    let wrapped: Vec<String> = lines.lines().map(|line| text::wrap(line, Some(80))).collect();
    (wrapped.join("\n"), serde_json::from_str(&summary.json().unwrap()).unwrap())
}

#[test]
fn what_all_attempts_used_is_told() {
    let world = World::new();
    let books = [(1, book(40_000, Some(0.75))), (2, book(1_200_000, Some(2.5)))];
    let (words, json) = show(run(&world, claude("qwen3-1.7b", 0.5), 2, &books).path());
    insta::assert_snapshot!("used_80", world.neutral(&words));
    let usage = &json["usage"];
    assert_eq!(json["scaffold_version"], "2.1.330");
    assert_eq!((usage["requests"].as_u64(), usage["cost_usd"].as_f64()), (Some(24), Some(3.25)));
    assert_eq!(usage["tokens"]["input"], 1_240_000);
    assert_eq!(usage["tokens"]["cached_input"], 620_000);
    assert_eq!(usage["tokens"]["cache_write_5m"], 1_800);
    assert_eq!(usage["tokens"]["cache_write_1h"], 200);
    assert_eq!(
        (&usage["tokens"]["output"], &usage["tokens"]["reasoning"]),
        (&json!(4000), &json!(1000))
    );
    assert_eq!(usage["models"]["claude-opus-4-6"]["tokens"]["input"], 1_240_000);
    assert_eq!(
        (&usage["without_service_seconds"], &usage["spend_limit_usd"]),
        (&json!(123.0), &json!(5.0))
    );
    assert_eq!((&usage["attempts"], &usage["over_limit"]), (&json!(2), &json!(2)));
}

#[test]
fn what_is_not_known_is_never_0() {
    let world = World::new();
    let unpriced =
        run(&world, claude("qwen3-1.7b", 0.5), 2, &[(1, book(10, None)), (2, book(10, Some(1.0)))]);
    let (words, json) = show(unpriced.path());
    assert!(words.contains("cost unknown, at least 1.00 USD"), "{words}");
    assert_eq!(json["usage"]["cost_usd"], Value::Null);
    // The first attempt ended with the machine.
    let lost = run(&world, claude("qwen3-4b", 0.5), 2, &[(2, book(10, Some(1.0)))]);
    let (words, json) = show(lost.path());
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("nothing is known of attempt 1"), "{words}");
    assert_eq!(
        (&json["usage"]["cost_usd"], &json["usage"]["attempts_without_books"]),
        (&Value::Null, &json!([1]))
    );
    // Books that are damaged, or of a newer version.
    for (model, text, told) in [
        ("smollm3-3b", json!({"schema": 9}), "newer than 1"),
        ("gemma3-4b", json!({"tokens": 3}), "usage.json: "),
    ] {
        let broken = run(&world, claude(model, 0.5), 1, &[(1, text)]);
        let (words, json) = show(broken.path());
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(told) && json["usage"]["cost_usd"].is_null(), "{words}");
    }
    let base = world.add(baseline(Submit::Base, "qwen3-4b", "gsm8k", 0.25));
    assert_eq!(show(base.path()).1["usage"], Value::Null);
}

#[test]
fn reports_have_costs() {
    let world = World::new();
    run(&world, claude("qwen3-1.7b", 0.5), 1, &[(1, book(40_000, Some(0.75)))]);
    run(&world, claude("qwen3-4b", 0.6), 1, &[(1, book(80_000, Some(0.25)))]);
    let end = || End::Failed(Stage::Solve, FailureKind::Provider, "503");
    run(&world, agent("codex", "qwen3-1.7b", "gsm8k", end()), 1, &[(1, book(1_000, Some(1.0)))]);
    run(&world, agent("codex", "qwen3-4b", "gsm8k", end()), 1, &[(1, book(1_000, None))]);
    run(&world, agent("late", "qwen3-4b", "gsm8k", end()), 1, &[]);
    world.add(baseline(Submit::Base, "qwen3-4b", "gsm8k", 0.25));
    let report = world.report().unwrap();
    insta::assert_snapshot!("costs_table", world.neutral(&report.table(None)));
    insta::assert_snapshot!("costs_table_80", world.neutral(&report.table(Some(80))));
    insta::assert_snapshot!("costs_markdown", world.neutral(&report.markdown()));
    insta::assert_snapshot!("costs_csv", world.neutral(&report.csv().unwrap()));
    let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    let row = |name: &str| {
        let rows = json["rows"].as_array().unwrap();
        rows.iter().find(|row| row["agent"] == name).unwrap()["usage"].clone()
    };
    let claude = row("claude");
    assert_eq!((&claude["cost_usd"], &claude["cost_usd_mean"]), (&json!(1.0), &json!(0.5)));
    assert_eq!(
        (&claude["tokens"]["input"], &claude["tokens_mean"]),
        (&json!(120_000), &json!(62_000.0))
    );
    let codex = row("codex");
    assert_eq!((&codex["cost_usd"], &codex["tokens_mean"]), (&Value::Null, &json!(3_000.0)));
    assert_eq!((&row("late")["tokens"], &row("late")["runs"]), (&Value::Null, &json!(1)));
    assert_eq!(row("base"), Value::Null);
    let costs = json["runs"].as_array().unwrap().iter().map(|run| run["cost_usd"].as_f64());
    assert_eq!(costs.flatten().sum::<f64>(), 1.0);
}
