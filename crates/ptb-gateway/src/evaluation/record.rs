//! `attempts/<n>/evaluations.jsonl`: every evaluation that was asked for, the run's learning curve.

use std::path::Path;

use ptb_core::files::{FileError, JsonLog, Schema};
use ptb_core::run::Metrics;
use serde::{Deserialize, Serialize};

use super::EvaluationFault;
use super::request::Asked;
use crate::snapshot::printable;

/// One line of `evaluations.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// When it ended, RFC 3339, UTC.
    pub time: String,
    /// Seconds of the budget that were used when it began.
    pub consumed_seconds: u64,
    /// How long it took, in seconds, the snapshot included.
    pub seconds: f64,
    /// What was asked.
    pub request: RequestRecord,
    /// Hash of the snapshot, where one was taken.
    pub snapshot_sha256: Option<String>,
    /// Name of a model that the harness gave, where that was asked for.
    pub known: Option<String>,
    /// How it ended.
    pub end: EvaluationEnd,
}

impl Schema for EvaluationRecord {
    const KIND: &'static str = "evaluation record";
    const VERSION: u32 = 1;
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// The model as the agent named it, made printable and cut at some 200 bytes.
    pub model_path: String,
    /// How many samples.
    pub limit: Option<usize>,
    /// New tokens allowed per completion.
    pub max_tokens: Option<u32>,
    /// Requests at one time.
    pub max_connections: Option<usize>,
    /// Share of a GPU's memory.
    pub gpu_memory_utilization: Option<f64>,
}

impl From<&Asked> for RequestRecord {
    fn from(asked: &Asked) -> Self {
        Self {
            model_path: printable(&asked.model_path),
            limit: asked.limit,
            max_tokens: asked.max_tokens,
            max_connections: asked.max_connections,
            gpu_memory_utilization: asked.gpu_memory_utilization,
        }
    }
}

/// How an evaluation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvaluationEnd {
    /// With a score.
    Scored(ScoreRecord),
    /// Without one; the message is the full one, not what the agent was told.
    Failed(EvaluationFault),
}

/// The score's part of the metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreRecord {
    /// Mean score, 0 to 1.
    pub accuracy: f64,
    /// Its standard error.
    pub stderr: f64,
    /// Samples.
    pub n: usize,
    /// Samples that could not be scored.
    pub errors: usize,
    /// Whether every sample of the benchmark was covered.
    pub complete: bool,
}

impl From<&Metrics> for ScoreRecord {
    fn from(metrics: &Metrics) -> Self {
        Self {
            accuracy: metrics.accuracy,
            stderr: metrics.stderr,
            n: metrics.n,
            errors: metrics.errors,
            complete: metrics.complete,
        }
    }
}

/// Appends one line and flushes it. The log is opened each time: minutes lie between two lines.
pub(super) fn append(path: &Path, record: &EvaluationRecord) -> Result<(), FileError> {
    let mut log = JsonLog::open(path)?;
    log.append(record)?;
    log.sync()
}
