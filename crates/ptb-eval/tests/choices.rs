//! Multiple-choice questions: each run seed shows the choices in an order of its own, and answers are graded by the
//! order that was shown.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::{completion, evaluate, serve, spec};
use ptb_core::registry::Registry;
use ptb_eval::{EvalSpec, rescore};
use serde_json::Value;

/// Takes texts alone, and always chooses what stands under B.
fn b(_: usize, body: &Value) -> Response {
    match body["prompt"].is_string() {
        true => completion("ANSWER: B"),
        false => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// The benchmark's sample data, with a field to break accuracies down by.
fn with_domains() -> String {
    let sample =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../registry/benchmarks/gpqamain/sample.jsonl");
    let line = |(i, line): (usize, &str)| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["High-level domain"] = ["Biology", "Physics"][i % 2].into();
        format!("{record}\n")
    };
    std::fs::read_to_string(sample).unwrap().lines().enumerate().map(line).collect()
}

#[tokio::test]
async fn every_seed_has_an_order_of_its_own_and_is_graded_by_it() {
    let home = tempfile::tempdir().unwrap();
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("gpqamain").unwrap().clone();
    let sample = home.path().join("gpqa_main.jsonl");
    std::fs::write(&sample, with_domains()).unwrap();
    let seeds = vec![72332, 87681];
    let spec = EvalSpec {
        benchmark: benchmark.clone(),
        data: Some(sample.clone()),
        limit: None,
        seeds: seeds.clone(),
        ..spec(home.path(), 1)
    };
    let (out, form) = (spec.out.clone(), spec.chat.tool_calls);
    let (server, engine) = serve(b).await;
    let evaluation = evaluate(spec, Some(&engine)).await.unwrap();

    let dataset = ptb_tasks::data::load(&benchmark, Some(&sample)).unwrap();
    let orders: Vec<_> = seeds.iter().map(|seed| dataset.asked_under(*seed)).collect();
    assert_ne!(orders[0], orders[1]);
    let right = |samples: &[ptb_tasks::data::Sample]| {
        samples.iter().filter(|s| s.target == "B").count() as f64 / samples.len() as f64
    };
    let found: Vec<f64> = evaluation.metrics.seeds.iter().map(|s| s.accuracy).collect();
    assert_eq!(found, orders.iter().map(|o| right(o)).collect::<Vec<_>>());
    // Every order was asked: each question under both.
    let bodies = server.bodies.lock().unwrap();
    let asked: Vec<&str> = bodies.iter().filter_map(|b| b["prompt"].as_str()).collect();
    for sample in orders.iter().flat_map(|o| o.iter()) {
        let shown =
            format!("{}\n\nA) {}\nB) {}\n", sample.question, sample.choices[0], sample.choices[1]);
        assert!(asked.iter().any(|text| text.contains(&shown)), "{shown}");
    }
    // No sample has the other field that the benchmark names.
    assert!(benchmark.value.evaluate.breakdown.len() > 1);
    let fields: Vec<&String> = evaluation.metrics.breakdowns.keys().collect();
    assert_eq!(fields, ["High-level domain"]);
    for part in evaluation.metrics.breakdowns.values() {
        let n: usize = part.values().map(|p| p.n).sum();
        assert_eq!(n, orders[0].len());
        let mean = part.values().map(|p| p.accuracy * p.n as f64).sum::<f64>() / n as f64;
        assert!((mean - evaluation.metrics.accuracy).abs() < 1e-12, "{part:?}");
    }
    let (records, again) = rescore(&benchmark, form, Some(&sample), &out).unwrap();
    assert_eq!((records.len(), again), (orders[0].len(), evaluation.metrics));
}
