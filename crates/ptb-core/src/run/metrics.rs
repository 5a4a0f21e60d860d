//! `eval/<id>/metrics.json`: what an evaluation measured. The same completions give the same bytes, so
//! nothing in it tells time or place.

use serde::{Deserialize, Serialize};

use crate::files::Schema;

/// What an evaluation measured, over all its seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Benchmark id.
    pub benchmark: String,
    /// Mean score over samples and seeds, 0 to 1.
    pub accuracy: f64,
    /// Standard error of the mean, clustered by sample (seeds of one sample are not independent).
    pub stderr: f64,
    /// Number of distinct samples.
    pub n: usize,
    /// Samples that could not be scored by the harness's fault; never counted as wrong.
    pub errors: usize,
    /// Completions cut at the token limit.
    pub truncated: usize,
    /// Completions without a readable answer.
    pub unparsed: usize,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all completions.
    pub completion_tokens: u64,
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

impl Schema for Metrics {
    const KIND: &'static str = "metrics";
    const VERSION: u32 = 1;
}
