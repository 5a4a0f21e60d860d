//! Every benchmark through `ptb eval`, with every base model's chat template, on a small random model.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Place, shared};

/// A benchmark's sample data, or where it has none the reference files.
fn data(benchmark: &str) -> Option<PathBuf> {
    let registry = concat!(env!("CARGO_MANIFEST_DIR"), "/../../registry/benchmarks");
    let sample = PathBuf::from(registry).join(benchmark).join("sample.jsonl");
    if sample.is_file() { Some(sample) } else { Some(shared()?.join("data").join(benchmark)) }
}

#[test]
fn five_benchmarks_with_four_chat_templates() {
    let place = Place::new();
    let models = [
        ("mini", "qwen3", "qwen3"),
        ("smollm3-3b", "smollm", "smollm"),
        ("gemma3-4b", "gemma3", "gemma3_tool_calling"),
    ];
    for benchmark in ["aime2025", "gsm8k", "gpqamain", "humaneval", "bfcl"] {
        let Some(data) = data(benchmark) else { continue };
        for (model, template, with_tools) in models {
            let args = [
                "eval",
                benchmark,
                "--model",
                model,
                "--model-path",
                "base",
                "--data",
                data.to_str().unwrap(),
                "--limit",
                "2",
                "--max-tokens",
                "8",
                "--json",
                "--registry",
                "registry",
            ];
            let answer = place.output(&args);
            assert_eq!(answer.code, 0, "{benchmark} {model}: {}", answer.shown());
            let metrics: Value = serde_json::from_str(&answer.out).expect("metrics");
            let used = if benchmark == "bfcl" { with_tools } else { template };
            assert_eq!(metrics["sampling"]["chat_template"], used, "{benchmark} {model}");
            assert_eq!((&metrics["n"], &metrics["errors"]), (&json!(2), &json!(0)), "{metrics}");
            // Eight random tokens are no answer; each was cut.
            assert_eq!(metrics["completion_tokens"], 16, "{metrics}");
            assert_eq!((&metrics["accuracy"], &metrics["truncated"]), (&json!(0.0), &json!(2)));
        }
    }
}
