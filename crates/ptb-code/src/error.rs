//! What can go wrong on our side. A program's own failures are verdicts.

use ptb_sandbox::WallError;
use std::path::PathBuf;

/// Result of this crate's fallible calls.
pub type Result<T, E = CodeError> = std::result::Result<T, E>;

/// Why a program could not be judged. Never the program's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeError {
    /// There is no Python that can be used: a requirement is missing.
    #[error("cannot use {} to run programs: {why}\nhint: install Python 3.9 or newer, or set {variable} to \
             one", program.display(), variable = crate::PYTHON_VARIABLE)]
    NoPython {
        /// What was tried.
        program: PathBuf,
        /// Why it does not serve.
        why: String,
    },
    /// The wall does not stand on this machine.
    #[error("cannot run programs behind the wall: {0}")]
    NoWall(#[from] WallError),
    /// A wall that isolates nothing was given.
    #[error(
        "cannot run programs behind the wall {name:?}: it isolates nothing\nhint: programs of a model run \
             behind a real wall only; use the wall 'namespaces'"
    )]
    OpenWall {
        /// Name of the wall.
        name: String,
    },
    /// A worker did not come up.
    #[error("cannot start Python behind the wall: {why}\nhint: {hint}")]
    Start {
        /// What happened.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A worker failed twice on one job, before the job's program was loaded.
    #[error(
        "cannot run a program: {why}\nhint: look for memory or processes that run out on this machine, then \
             evaluate again"
    )]
    Worker {
        /// What happened the second time.
        why: String,
    },
    /// The tests of a job do not load or ask what cannot be asked, before the program was heard.
    #[error(
        "cannot use the tests of {entry_point}: {why}\nhint: tests are Python that defines check(candidate) \
             and calls it with plain values; look into the benchmark's data"
    )]
    BadTests {
        /// The function under test.
        entry_point: String,
        /// What Python said.
        why: String,
    },
    /// The pool is shutting down, or a thread of it died.
    #[error(
        "cannot run a program: the pool is closed\nhint: keep the pool until all jobs have ended"
    )]
    Closed,
}

impl CodeError {
    /// Whether the machine lacks something that must be installed or allowed first.
    #[must_use]
    pub fn is_missing_requirement(&self) -> bool {
        matches!(
            self,
            Self::NoPython { .. }
                | Self::NoWall(WallError::KernelForbids { .. })
                | Self::OpenWall { .. }
        )
    }

    pub(crate) fn start(why: impl std::fmt::Display, hint: &str) -> Self {
        Self::Start { why: why.to_string(), hint: hint.to_owned() }
    }
}
