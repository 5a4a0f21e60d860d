//! How a run ends, and short ways to say whose fault a failure is.

use std::fmt::{Display, Formatter};

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

impl Display for Ended {
    /// In a line, for people.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(score) => f.write_str(&told(score)),
            Self::Already(score) => write!(f, "{} (done before)", told(score)),
            Self::Failed(stage, failure) if failure.kind == FailureKind::Scheduler => {
                write!(f, "{} stopped", stage.word())
            }
            Self::Failed(stage, failure) => {
                write!(f, "{} failed: {}", stage.word(), failure.message)
            }
            Self::Held(message) => f.write_str(message),
        }
    }
}

fn told(score: &Score) -> String {
    let own = score
        .own_score
        .map_or("no score of its own".to_owned(), |s| format!("score {:.1} %", 100.0 * s));
    match score.mark {
        None => own,
        Some(mark) => {
            format!("{own}; the base model's counts ({} {})", mark.symbol(), score.reason)
        }
    }
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
