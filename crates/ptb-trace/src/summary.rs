//! What a trace comes to, for whoever goes on with the run.

use serde::{Deserialize, Serialize};

use crate::usage::Usage;

/// A trace in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Summary {
    /// Steps of the trajectory.
    pub steps: u64,
    /// Tool calls, those of sub-agents included.
    pub tool_calls: u64,
    /// Calls whose result never came.
    pub unanswered_calls: u64,
    /// Results of calls that nobody made.
    pub unmatched_results: u64,
    /// The lines, each counted once.
    pub lines: Lines,
    /// The agent's own session, as its resume command wants it: the last one that was told.
    pub session_id: Option<String>,
    /// How often a session began or was resumed.
    pub sessions: u64,
    /// The model that the scaffold named last.
    pub model: Option<String>,
    /// The scaffold's version, when it prints one.
    pub scaffold_version: Option<String>,
    /// Tokens: of the API record where there is one, else [`Summary::reported_usage`].
    pub usage: Usage,
    /// Tokens by the scaffold's own account: its totals, and the messages after the last of them.
    pub reported_usage: Usage,
    /// US dollars by the scaffold's own account; none when it gives none.
    pub reported_cost: Option<f64>,
    /// How the scaffold said that it ended, the last time it said so.
    pub ended: Ended,
    /// The API's failure that no answer of the model followed: why the scaffold could not go on.
    pub api_error: Option<ApiTrouble>,
    /// Failures of the API that were told, those that were overcome included.
    pub api_errors: u64,
    /// What the API record held, when one was given.
    pub api: Option<crate::api::ApiSummary>,
}

/// Where the lines of a trace went. The kinds add up to `total`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    /// All of them.
    pub total: u64,
    /// Turned into steps or numbers.
    pub used: u64,
    /// Known, and of no interest to a reader (progress, heartbeats).
    pub passed: u64,
    /// JSON of a shape that this format does not have; kept as text.
    pub unknown: u64,
    /// Not JSON, cut, or too long; kept as text up to a bound.
    pub broken: u64,
    /// Printed to the error stream; kept as text.
    pub stderr: u64,
    /// Empty.
    pub blank: u64,
}

/// How a scaffold said it ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "reason", rename_all = "snake_case")]
pub enum Ended {
    /// It did not say: killed, or the format has no such line.
    #[default]
    Unsaid,
    /// Its work is done.
    Finished,
    /// A limit of its own was reached: turns, money.
    Limit(String),
    /// It gave up.
    Failed(String),
}

/// One failure of the model API, as the scaffold told it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiTrouble {
    /// HTTP status, when told.
    pub status: Option<u16>,
    /// What kind of failure.
    pub kind: TroubleKind,
    /// The scaffold's words, at most some kilobytes.
    pub message: String,
    /// Whether the scaffold said that it tries again.
    pub retried: bool,
}

/// Kinds of failure of a model API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// Too many requests.
    RateLimit,
    /// The provider is overloaded.
    Overloaded,
    /// The provider's server failed.
    Server,
    /// The key was refused.
    Credentials,
    /// No credit is left.
    Credit,
    /// The request was refused for what it is: too long, malformed, not allowed.
    Request,
    /// None of these, or not told.
    #[default]
    Unknown,
}

impl TroubleKind {
    /// The kind that a status stands for.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Credentials,
            402 => Self::Credit,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            500..=599 => Self::Server,
            400..=499 => Self::Request,
            _ => Self::Unknown,
        }
    }
}

impl ApiTrouble {
    /// Longest message kept, in bytes.
    const LONGEST: usize = 4096;

    /// The same with the status that is known from elsewhere. That credit is gone is told in words alone.
    pub(crate) fn with_status(self, status: u16) -> Self {
        let kind = match self.kind {
            TroubleKind::Credit => TroubleKind::Credit,
            _ => TroubleKind::of_status(status),
        };
        Self { status: Some(status), kind, ..self }
    }

    pub(crate) fn new(status: Option<u16>, message: &str) -> Self {
        Self {
            status,
            kind: status.map(TroubleKind::of_status).unwrap_or_default(),
            message: message[..message.floor_char_boundary(Self::LONGEST)].to_owned(),
            retried: false,
        }
    }
}
