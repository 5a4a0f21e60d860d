//! The evaluation door: a model path in, progress and a score out.
//!
//! What an evaluation is, the runner says ([`Evaluator`]); this room says who may ask, for which model,
//! how the model crosses the wall, what of the outcome the agent is told, and what is recorded.

mod door;
mod events;
mod feedback;
mod record;
mod request;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use ptb_core::cell::Feedback;
use ptb_core::run::Metrics;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::ReadClock;
use crate::snapshot::{Check, SnapshotLimits, Snapshots};

pub use door::{EvaluationDoor, ReleaseDoor};
pub use record::{EvaluationEnd, EvaluationRecord, RequestRecord, ScoreRecord};

/// Evaluates models; the runner implements it.
pub trait Evaluator: Send + Sync {
    /// Evaluates one model. Only one call is under way at a time. Ends soon after `cancel`; a call that
    /// does not is dropped after [`EvaluationSetup::cancel_grace`].
    fn evaluate(
        &self,
        request: EvaluationRequest,
        progress: mpsc::Sender<Progress>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Outcome, EvaluationFault>>;

    /// Gives the warm engine up.
    fn release(&self) -> BoxFuture<'_, ()>;
}

/// What to evaluate, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationRequest {
    /// The model.
    pub model: ModelSource,
    /// How many samples; absent means the benchmark's default for agents.
    pub limit: Option<usize>,
    /// New tokens allowed per completion; absent means the benchmark's own.
    pub max_tokens: Option<u32>,
    /// Requests at one time; absent means the evaluator's choice.
    pub max_connections: Option<usize>,
    /// Share of a GPU's memory that the engine may take, above 0 up to 1; engines without a GPU ignore it.
    pub gpu_memory_utilization: Option<f64>,
}

/// Where the model lies on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A snapshot of what the agent named; it stays until the evaluation has ended.
    Snapshot {
        /// Its directory.
        path: PathBuf,
        /// Its hash (see [`crate::snapshot::Taken::sha256`]).
        sha256: String,
    },
    /// A model that the harness gave to the agent, read-only.
    Known {
        /// What it is called (`base`).
        name: String,
        /// Its directory.
        path: PathBuf,
    },
}

/// How far an evaluation is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in a word or two (`loading`, `generating`, `scoring`).
    pub stage: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; 0 where that is not known.
    pub total: u64,
}

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was measured.
    pub metrics: Metrics,
    /// Sample by sample; the door tells of it what the run's feedback level allows.
    pub samples: Vec<SampleFeedback>,
}

/// One sample of an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleFeedback {
    /// The sample's id.
    pub id: String,
    /// The prompt as the model got it.
    pub prompt: String,
    /// What the model wrote.
    pub completion: String,
    /// Its score, 0 to 1; absent where it could not be scored.
    pub verdict: Option<f64>,
    /// The reference answer.
    pub target: Option<String>,
    /// The answer that was read in the completion.
    pub answer: Option<String>,
}

/// Whose fault a failed evaluation is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// The request.
    Input,
    /// The model that was to be evaluated.
    Model,
    /// The machine or the harness. Its message stays in the records: it may name paths of the host.
    Harness,
    /// The client went away, or the run ended.
    Cancelled,
}

/// Why an evaluation gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationFault {
    /// Whose fault.
    pub kind: FaultKind,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl EvaluationFault {
    /// A fault in full.
    pub fn new(kind: FaultKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: hint.into() }
    }

    /// The client went away, or the run ended.
    pub fn cancelled() -> Self {
        Self::new(FaultKind::Cancelled, "the evaluation was cancelled", "start it again")
    }
}

/// The agent's workspace, outside and inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// On the host.
    pub host: PathBuf,
    /// As the agent knows it: `/home/agent/task`.
    pub inside: PathBuf,
}

/// A model that the harness shows to the agent read-only: it is evaluated where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownModel {
    /// What it is called (`base`).
    pub name: String,
    /// Its directory as the agent knows it.
    pub inside: PathBuf,
    /// Its directory on the host.
    pub host: PathBuf,
}

/// What an evaluation door needs to know.
#[derive(Clone)]
pub struct EvaluationSetup {
    /// Where the agent's models may lie.
    pub workspace: Workspace,
    /// Models that need no snapshot.
    pub known: Vec<KnownModel>,
    /// Where snapshots are kept.
    pub snapshots: Arc<Snapshots>,
    /// How much a snapshot may hold.
    pub limits: SnapshotLimits,
    /// Whether a snapshot is a whole model.
    pub check: Arc<Check>,
    /// How much the agent is told.
    pub feedback: Feedback,
    /// `attempts/<n>/evaluations.jsonl`.
    pub log: PathBuf,
    /// The budget's clock.
    pub clock: ReadClock,
    /// Who evaluates.
    pub evaluator: Arc<dyn Evaluator>,
    /// A line is sent at least this often: [`EvaluationSetup::KEEP_ALIVE`].
    pub keep_alive: Duration,
    /// How long an evaluator may take to end when cancelled: [`EvaluationSetup::CANCEL_GRACE`].
    pub cancel_grace: Duration,
    /// The least time that an evaluation takes, however it ends: [`EvaluationSetup::PACE`]. It bounds
    /// what a client can write into the log by asking without end.
    pub pace: Duration,
}

impl EvaluationSetup {
    /// The usual time between two lines of a reply.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(5);
    /// The usual time for a cancelled evaluator to end.
    pub const CANCEL_GRACE: Duration = Duration::from_secs(30);
    /// The usual least time of an evaluation.
    pub const PACE: Duration = Duration::from_secs(1);
}
