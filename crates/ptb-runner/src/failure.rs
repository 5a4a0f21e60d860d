//! How a run ends, and short ways to say whose fault a failure is.

use std::fmt::Display;

use ptb_core::failure::FailureKind;
use ptb_core::run::{Score, Stage, StageFailure};

/// How carrying out a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// All stages are done; the score is recorded.
    Done(Box<Score>),
    /// It was done before.
    Already(Box<Score>),
    /// A stage failed.
    Failed(Stage, StageFailure),
    /// Another worker holds it.
    Held(String),
}

/// A failure of our machine or program; a rerun may succeed.
pub(crate) fn harness(e: impl Display) -> StageFailure {
    StageFailure { kind: FailureKind::Harness, message: e.to_string(), retryable: true }
}

/// The run was stopped from outside; a rerun goes on.
pub(crate) fn stopped() -> StageFailure {
    let message = "stopped before it was done; hint: the same command goes on".to_owned();
    StageFailure { kind: FailureKind::Scheduler, message, retryable: true }
}
