//! What of an outcome the agent is told: an allowlist, so that a field which is added elsewhere stays
//! untold until somebody adds it here.

use ptb_core::cell::Feedback;
use ptb_core::run::Metrics;
use serde_json::{Value, json};

use super::SampleFeedback;

/// The metrics at a level. Below `open` the hash of the data and the parts per seed are left out.
pub(super) fn told_metrics(metrics: &Metrics, level: Feedback) -> Value {
    match level {
        Feedback::Open => json!(metrics),
        Feedback::Score | Feedback::Samples => json!({
            "benchmark": metrics.benchmark,
            "accuracy": metrics.accuracy,
            "stderr": metrics.stderr,
            "n": metrics.n,
            "errors": metrics.errors,
            "truncated": metrics.truncated,
            "unparsed": metrics.unparsed,
            "prompt_tokens": metrics.prompt_tokens,
            "completion_tokens": metrics.completion_tokens,
            "complete": metrics.complete,
            "sampling": metrics.sampling,
        }),
    }
}

/// One sample at a level; nothing at `score`.
pub(super) fn told_sample(sample: &SampleFeedback, level: Feedback) -> Option<Value> {
    match level {
        Feedback::Score => None,
        Feedback::Samples => Some(json!({
            "id": sample.id, "prompt": sample.prompt, "completion": sample.completion,
        })),
        Feedback::Open => Some(json!(sample)),
    }
}
