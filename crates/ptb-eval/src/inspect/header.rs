//! What a log says as a whole: `EvalLog` of Inspect without samples.

use serde_json::{Map, Value, json};

use super::sample::{CLUSTER, Frame, Usage, scored};
use super::{Entry, Revision, derived};

/// Version of Inspect's log files that these are.
const VERSION: u32 = 2;
/// How far the mean of the scores may be from the accuracy, for the order in which they were added.
const ROUNDING: f64 = 1e-9;

/// Sums over the samples of a log.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Samples times epochs.
    entries: usize,
    failed: usize,
    /// Those with a score.
    pub(super) scored: usize,
    sum: f64,
    input_tokens: u64,
    output_tokens: u64,
}

impl Tally {
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        self.entries += 1;
        self.failed += usize::from(entry.error.is_some());
        if let Some(score) = scored(entry) {
            self.scored += 1;
            self.sum += score;
        }
        self.input_tokens = self.input_tokens.saturating_add(entry.prompt_tokens);
        self.output_tokens = self.output_tokens.saturating_add(entry.completion_tokens);
    }

    fn mean(&self) -> f64 {
        self.sum / self.scored.max(1) as f64
    }
}

/// The log's `header.json`.
pub(super) fn header(frame: &Frame<'_>, tally: &Tally) -> Value {
    let log = frame.log;
    let metrics = Metrics::of(frame, tally);
    let usage =
        json!({ frame.model.as_str(): Usage::new(tally.input_tokens, tally.output_tokens) });
    json!({
        "version": VERSION,
        "status": "success",
        "eval": eval(frame, &metrics),
        "plan": {
            "name": "plan",
            "steps": [{ "solver": "generate", "params": {} }],
            "config": generation(&log.metrics.sampling),
        },
        "results": {
            "total_samples": tally.entries,
            "completed_samples": tally.entries - tally.failed,
            "scores": [{
                "name": log.scorer,
                "scorer": log.scorer,
                "scored_samples": tally.scored,
                "unscored_samples": tally.entries - tally.scored,
                "params": {},
                "metrics": metrics.values,
            }],
            "metadata": log.metrics,
        },
        "stats": {
            "started_at": log.started.to_string(),
            "completed_at": log.completed.to_string(),
            "model_usage": usage,
        },
    })
}

/// The log's `_journal/start.json`: what was known before the first sample.
pub(super) fn start(header: &Value) -> Value {
    json!({ "version": header["version"], "eval": header["eval"], "plan": header["plan"] })
}

fn eval(frame: &Frame<'_>, metrics: &Metrics) -> Value {
    let log = frame.log;
    let benchmark = &log.metrics.benchmark;
    let ids: Vec<_> = log.dataset.ids.iter().map(|id| frame.names.id(id)).collect();
    // Every score counts once, as in our metrics: no mean over epochs is taken first.
    let reducers: &[&str] = if frame.epochs == 1 { &["mean"] } else { &[] };
    let packages: Map<String, Value> = log
        .packages
        .iter()
        .map(|(name, version)| ((*name).to_owned(), (*version).into()))
        .collect();
    let mut eval = json!({
        "eval_id": frame.eval_id,
        "run_id": derived(&["run", log.run_id]),
        "created": log.created.to_string(),
        "task": benchmark,
        "task_id": derived(&["task", log.run_id, benchmark]),
        "task_version": 0,
        "task_display_name": log.title,
        "task_attribs": {},
        "task_args": {},
        "task_args_passed": {},
        "dataset": {
            "name": log.dataset.name,
            "samples": ids.len(),
            "sample_ids": ids,
            "shuffled": log.dataset.shuffled,
        },
        "model": frame.model,
        "model_generate_config": generation(&log.metrics.sampling),
        "model_args": {},
        "config": {
            "epochs": frame.epochs,
            "epochs_reducer": reducers,
            "fail_on_error": false,
            "continue_on_fail": true,
            "log_samples": true,
            "log_images": false,
        },
        "packages": packages,
        "metadata": log.metadata,
        "scorers": [{
            "name": log.scorer,
            "options": {},
            "metrics": metrics.definitions,
            "metadata": {},
        }],
    });
    if let Some(location) = log.dataset.location {
        eval["dataset"]["location"] = location.into();
    }
    if let Some(Revision { origin, commit, dirty }) = log.revision {
        eval["revision"] =
            json!({ "type": "git", "origin": origin, "commit": commit, "dirty": dirty });
    }
    eval
}

/// The metrics of the log's one scorer.
struct Metrics {
    /// By which Inspect computes them again.
    definitions: Value,
    values: Value,
}

impl Metrics {
    /// Accuracy and standard error are Inspect's own where the accuracy is the mean of the scores. Where a benchmark
    /// has another formula, ours are told, and Inspect computes the mean of the scores beside them.
    fn of(frame: &Frame<'_>, tally: &Tally) -> Self {
        let ours = frame.log.metrics;
        let mean = tally.mean();
        let cluster = match frame.epochs {
            1 => json!({}),
            _ => json!({ "cluster": CLUSTER }),
        };
        let mut values = Map::new();
        let mut add = |name: &str, value: f64, params: &Value| {
            // JSON has no other numbers, and Inspect refuses a log without one here.
            if value.is_finite() {
                let metric = json!({ "name": name, "value": value, "params": params });
                values.insert(name.to_owned(), metric);
            }
        };
        let is_mean = (mean - ours.accuracy).abs() <= ROUNDING;
        let define = |name: &str, options: &Value| json!({ "name": format!("inspect_ai/{name}"), "options": options });
        add("accuracy", ours.accuracy, &json!({}));
        let definitions = if is_mean {
            add("stderr", ours.stderr, &cluster);
            json!([define("accuracy", &json!({})), define("stderr", &cluster)])
        } else {
            add("stderr", ours.stderr, &json!({}));
            add("mean", mean, &json!({}));
            json!([define("mean", &json!({}))])
        };
        Self { definitions, values: Value::Object(values) }
    }
}

/// Sampling as Inspect names it. What it has no name for is what its engines get in the body of a request.
fn generation(sampling: &Value) -> Value {
    let mut config = Map::new();
    let number = |key: &str| sampling.get(key).filter(|v| v.is_number()).cloned();
    for key in ["temperature", "top_p"] {
        config.extend(number(key).map(|value| (key.to_owned(), value)));
    }
    for key in ["top_k", "max_tokens"] {
        let whole = number(key).filter(|v| v.is_i64() || v.is_u64());
        config.extend(whole.map(|value| (key.to_owned(), value)));
    }
    let stop: Vec<&Value> =
        sampling["stop"].as_array().into_iter().flatten().filter(|v| v.is_string()).collect();
    if !stop.is_empty() {
        config.insert("stop_seqs".to_owned(), json!(stop));
    }
    let body: Map<String, Value> = ["min_p", "repetition_penalty"]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), number(key)?)))
        .collect();
    if !body.is_empty() {
        config.insert("extra_body".to_owned(), body.into());
    }
    Value::Object(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_in_inspects_words() {
        let ours = json!({
            "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.1, "repetition_penalty": null,
            "max_tokens": 256, "stop": ["\nQ:"], "chat_template": "qwen3", "tokenizer": "base",
        });
        let inspects = json!({
            "temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_tokens": 256, "stop_seqs": ["\nQ:"],
            "extra_body": { "min_p": 0.1 },
        });
        assert_eq!(generation(&ours), inspects);
        // Inspect refuses a log whose values are of other types.
        assert_eq!(
            generation(&json!({ "top_k": 1.5, "temperature": "x", "stop": [1] })),
            json!({})
        );
        assert_eq!(generation(&Value::Null), json!({}));
    }
}
