//! The run directory: where each file of a run lies, and the types of those that other rooms read.
//!
//! ```text
//! results/<experiment>/runs/<slug>-<id>/
//!   run.json               RunRecord: spec, provenance, stage states; the one replaced file
//!   lease-<n>.json         who holds the run; the highest n counts
//!   events.jsonl           what happened, in order
//!   prompt.md              what the agent was told
//!   attempts/<n>/          one solve each, never deleted: output.jsonl, evaluations.jsonl, clock.jsonl,
//!                          telemetry.jsonl, telemetry.json, end.json
//!   solve.json             how the counting attempt ended and what it submitted
//!   workspace/             what the agent left, without weights
//!   manifest.json          everything it left, with sizes and hashes
//!   final_model/           the submission
//!   evidence/ verdicts/    what judging found and decided
//!   eval/<id>/             samples and metrics
//!   scores/<edition>.json  what counts and why
//! ```

mod end;
mod lease;
mod metrics;
mod record;
mod score;
mod telemetry;

use std::path::{Path, PathBuf};

pub use end::{ApiFault, ApiLimit, AttemptEnd, End};
pub use lease::{HEARTBEAT, Holder, Lease, LeaseError, STALE, boot_id};
pub use metrics::{Metrics, Part, SeedMetrics};
pub use record::{
    Event, Provenance, RunRecord, Stage, StageFailure, StageState, Stages, now_rfc3339,
};
pub use score::{Counts, Evidence, Mark, Score, Submission, Verdict};
pub use telemetry::{GpuSummary, Spread, Telemetry};

/// Paths inside one run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The run directory at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }
    /// `run.json`.
    pub fn record(&self) -> PathBuf {
        self.0.join("run.json")
    }
    /// `events.jsonl`.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }
    /// `prompt.md`.
    pub fn prompt(&self) -> PathBuf {
        self.0.join("prompt.md")
    }
    /// `attempts/<n>/`, n from 1.
    pub fn attempt(&self, n: u32) -> PathBuf {
        self.0.join("attempts").join(n.to_string())
    }
    /// `workspace/`: what the agent left.
    pub fn workspace(&self) -> PathBuf {
        self.0.join("workspace")
    }
    /// `final_model/`: the submission.
    pub fn final_model(&self) -> PathBuf {
        self.0.join("final_model")
    }
    /// `evidence/`.
    pub fn evidence(&self) -> PathBuf {
        self.0.join("evidence")
    }
    /// `verdicts/`.
    pub fn verdicts(&self) -> PathBuf {
        self.0.join("verdicts")
    }
    /// `eval/<id>/`.
    pub fn eval(&self, id: &str) -> PathBuf {
        self.0.join("eval").join(id)
    }
    /// `scores/<edition>.json`.
    pub fn score(&self, edition: &str) -> PathBuf {
        self.0.join("scores").join(format!("{edition}.json"))
    }
}
