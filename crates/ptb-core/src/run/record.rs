//! `run.json`: the spec, where everything came from, and how far the stages are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cell::RunSpec;
use crate::failure::FailureKind;
use crate::files::Schema;
use crate::run::End;

/// The steps of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Workspace, prompt and provenance are made.
    Prepare,
    /// The agent works.
    Solve,
    /// Evidence and verdicts.
    Judge,
    /// The submission is evaluated.
    Evaluate,
    /// What counts and why is written.
    Record,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 5] =
        [Self::Prepare, Self::Solve, Self::Judge, Self::Evaluate, Self::Record];

    /// Its word in files and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Solve => "solve",
            Self::Judge => "judge",
            Self::Evaluate => "evaluate",
            Self::Record => "record",
        }
    }
}

/// Why a stage failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFailure {
    /// Whose fault.
    pub kind: FailureKind,
    /// What happened and what to do next.
    pub message: String,
    /// Whether a rerun may succeed.
    pub retryable: bool,
}

/// How far a stage is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Not begun.
    #[default]
    Pending,
    /// Begun by the holder of the lease.
    Running,
    /// Finished.
    Done,
    /// Ended without its result.
    Failed(StageFailure),
}

/// States of all stages.
pub type Stages = BTreeMap<Stage, StageState>;

/// What a score depends on beside the spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of this program.
    pub ptb: String,
    /// SHA-256 of prompt, data, registry files and so on, by what they are.
    pub hashes: BTreeMap<String, String>,
    /// Host name, kernel, processors, memory.
    pub host: BTreeMap<String, String>,
    /// What the sandbox guarantees and the limits in force.
    pub limits: BTreeMap<String, String>,
    /// Versions of other programs that ran: the agent's scaffold, by its id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<String, String>,
}

/// `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Short name.
    pub slug: String,
    /// Id, eight hex digits.
    pub id: String,
    /// The cell's key.
    pub cell: String,
    /// When the run was made, RFC 3339, UTC.
    pub created: String,
    /// What is to be done.
    pub spec: RunSpec,
    /// Where everything came from.
    pub provenance: Provenance,
    /// How far it is.
    pub stages: Stages,
    /// Solves begun so far.
    pub attempts: u32,
    /// Seconds of the budget that the counting attempt used.
    pub solve_seconds: f64,
    /// How the counting attempt ended.
    pub solve_end: Option<End>,
}

impl Schema for RunRecord {
    const KIND: &'static str = "run record";
    /// 2: the solve's end is typed; it was words.
    const VERSION: u32 = 2;
}

impl RunRecord {
    /// A record of a run that has not begun.
    pub fn new(spec: RunSpec) -> Self {
        Self {
            slug: spec.slug(),
            id: spec.id(),
            cell: spec.cell_key(),
            created: now_rfc3339(),
            provenance: Provenance::default(),
            stages: Stage::ALL.iter().map(|s| (*s, StageState::Pending)).collect(),
            attempts: 0,
            solve_seconds: 0.0,
            solve_end: None,
            spec,
        }
    }

    /// The state of a stage.
    pub fn stage(&self, stage: Stage) -> &StageState {
        static PENDING: StageState = StageState::Pending;
        self.stages.get(&stage).unwrap_or(&PENDING)
    }

    /// Whether every stage is done.
    pub fn is_done(&self) -> bool {
        Stage::ALL.iter().all(|s| *self.stage(*s) == StageState::Done)
    }

    /// The first stage that failed, and why.
    pub fn failure(&self) -> Option<(Stage, &StageFailure)> {
        self.stages.iter().find_map(|(stage, state)| match state {
            StageState::Failed(failure) => Some((*stage, failure)),
            _ => None,
        })
    }
}

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// RFC 3339, UTC.
    pub time: String,
    /// What happened, in a word (`stage`, `attempt`, `evaluation`, ...).
    pub event: String,
    /// Which stage it belongs to.
    pub stage: Option<Stage>,
    /// The rest, in words.
    pub detail: String,
}

impl Schema for Event {
    const KIND: &'static str = "event";
    const VERSION: u32 = 1;
}

/// The time now, RFC 3339, UTC, whole seconds.
pub fn now_rfc3339() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}
