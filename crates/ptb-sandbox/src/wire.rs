//! What harness and helper say to each other, over one socket pair.
//!
//! The harness sends one [`Request`] (a 4-byte little-endian length, then JSON), later single bytes.
//! The helper answers with [`Event`]s, one JSON line each. The end of the stream is a message too:
//! to the helper that the harness is gone, to the harness that the helper is.

use crate::spec::WallSpec;
use crate::weaken::Weakness;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// First argument of a helper; changes whenever this protocol does, so that a helper of another
/// build refuses to start.
pub(crate) const HELPER_FLAG: &str = "--ptb-wall-helper=1";
/// Name of the helper in process lists, its argument zero.
pub(crate) const HELPER_NAME: &str = "ptb-wall";
/// Upper bound of a request.
pub(crate) const MAX_REQUEST: usize = 16 << 20;
/// Asks the helper to end the command: TERM, grace, KILL.
pub(crate) const CANCEL: u8 = b'c';
/// Asks the helper to kill the command at once.
pub(crate) const KILL: u8 = b'k';
/// How long background processes may take after TERM, once the command itself has ended.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// What a helper shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mode {
    /// Isolate and run.
    Namespaces,
    /// Isolate, run nothing, tell that it worked.
    Probe,
    /// Supervise without isolation.
    NoWall,
}

/// The first message to a helper.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) mode: Mode,
    pub(crate) spec: WallSpec,
    pub(crate) weaken: BTreeSet<Weakness>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

/// Why the helper ended the command, if it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cut {
    Deadline,
    Cancelled,
}

/// Messages of a helper, and of PID 1 to the helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// The command runs.
    Started,
    /// It never ran.
    Failed(Failure),
    /// The command itself ended; others may still be about.
    MainExited(Exit),
    /// All is over; the last message.
    Ended { main: Option<Exit>, cut: Option<Cut>, killed: bool, millis: u64 },
}

/// A step of the set-up that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What was being done.
    pub(crate) doing: String,
    /// The kernel's answer, as a number.
    pub(crate) errno: Option<i32>,
    /// The kernel's answer, as text.
    pub(crate) why: String,
}

impl Failure {
    pub(crate) fn new(doing: impl Into<String>, error: &std::io::Error) -> Self {
        Self { doing: doing.into(), errno: error.raw_os_error(), why: error.to_string() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.doing, self.why)
    }
}

/// Adds what was being done to an error of the kernel.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(what(), &error.into()))
    }
}
