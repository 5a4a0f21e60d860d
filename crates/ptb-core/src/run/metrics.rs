//! `eval/<id>/metrics.json`: what an evaluation measured. The same completions give the same bytes, so
//! nothing in it tells time or place.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::files::Schema;

/// What an evaluation measured, over all its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Benchmark id.
    pub benchmark: String,
    /// Mean score over samples and seeds, 0 to 1; where a language model grades, by its benchmark's formula
    /// (`docs/graders.md`).
    pub accuracy: f64,
    /// Standard error of the mean, clustered by sample (seeds of one sample are not independent) unless the formula
    /// says otherwise.
    pub stderr: f64,
    /// The standard error clustered by sample, where `stderr` is another: it is what scores are compared by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_clustered: Option<f64>,
    /// 95 % interval of the mean by the bootstrap over samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Number of distinct samples.
    pub n: usize,
    /// Samples that could not be scored by the harness's fault; never counted as wrong.
    pub errors: usize,
    /// Completions cut at the token limit.
    pub truncated: usize,
    /// Completions made with a lower token limit than the evaluation's, after failures of the engine.
    #[serde(default)]
    pub reduced: usize,
    /// Completions without a readable answer.
    pub unparsed: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all completions.
    pub completion_tokens: u64,
    /// Accuracies by the values of fields of the samples: `breakdowns[field][value]`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub breakdowns: BTreeMap<String, BTreeMap<String, Part>>,
    /// Whether the evaluation covered every sample of the benchmark.
    pub complete: bool,
    /// Per seed, in the order asked for.
    pub seeds: Vec<SeedMetrics>,
    /// SHA-256 over the weights.
    pub weights_sha256: String,
    /// SHA-256 over the data that samples came from.
    pub data_sha256: String,
    /// Sampling in force, as written into requests.
    pub sampling: serde_json::Value,
    /// The language model that graded, and what it was told, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<serde_json::Value>,
    /// What a benchmark's own program wrote, whole, where one measured: all else here is read from it, and what it
    /// does not tell (tokens, samples) is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<serde_json::Value>,
}

/// One seed's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeedMetrics {
    /// The run seed.
    pub seed: u64,
    /// Mean score.
    pub accuracy: f64,
    /// Scored samples.
    pub n: usize,
}

/// A part of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Mean score over its samples and all seeds.
    pub accuracy: f64,
    /// Number of distinct samples.
    pub n: usize,
}

impl Schema for Metrics {
    const KIND: &'static str = "metrics";
    const VERSION: u32 = 1;
}
