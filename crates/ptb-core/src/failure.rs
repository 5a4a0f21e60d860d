//! Kinds of failure and the exit codes of the outside contract.

use serde::{Deserialize, Serialize};

/// Whose fault a failure is. Kinds never mix: only [`FailureKind::Agent`] may cost an agent its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The agent left no model, or one that cannot be loaded.
    Agent,
    /// Our machine: disk full, crash, a missing program, a bug.
    Harness,
    /// A model API or grader: down, out of credit, key revoked.
    Provider,
    /// Preempted or cancelled by the scheduler or the user.
    Scheduler,
}

/// How a program of this project ends (stable, under test).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Done = 0,
    /// Something was found (scans), or some runs failed by the agent's fault.
    Found = 1,
    /// Bad usage or bad input.
    Usage = 2,
    /// The harness failed.
    Harness = 3,
    /// A provider failed.
    Provider = 4,
    /// A requirement of this machine is missing.
    Requirement = 5,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl From<FailureKind> for ExitCode {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Agent => Self::Found,
            FailureKind::Harness => Self::Harness,
            FailureKind::Provider => Self::Provider,
            FailureKind::Scheduler => Self::Interrupted,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
