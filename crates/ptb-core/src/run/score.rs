//! `scores/<edition>.json`, `evidence/*.json`, `verdicts/*.json`: what counts and why.

use serde::{Deserialize, Serialize};

use crate::files::Schema;

/// Why a run's row shows the base model's score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mark {
    /// Nothing was submitted.
    #[serde(rename = "*")]
    NotSubmitted,
    /// The evaluation failed by the model's fault.
    #[serde(rename = "†")]
    EvaluationFailed,
    /// Judged as against the rules.
    #[serde(rename = "‡")]
    Judged,
}

impl Mark {
    /// As shown in tables.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::NotSubmitted => "*",
            Self::EvaluationFailed => "†",
            Self::Judged => "‡",
        }
    }
}

/// Whose score counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// The submission's own.
    Own,
    /// The base model's, which the report looks up.
    Base,
}

/// Which files were evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Submission {
    /// Nothing.
    None,
    /// A baseline's known model.
    Known(String),
    /// `final_model` as the agent left it.
    Final,
    /// `final_model` is there and was not taken, and no snapshot stands in for it.
    Refused {
        /// What is wrong with it.
        fault: String,
    },
    /// The last whole snapshot, because `final_model` was not whole at the end.
    Snapshot {
        /// Seconds of the budget used when it was taken.
        seconds: u64,
        /// What was wrong with `final_model`.
        fault: String,
    },
}

/// `scores/<edition>.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Edition whose rules made it.
    pub edition: String,
    /// The cell's key.
    pub cell: String,
    /// Agent, base model, benchmark, repeat.
    pub agent: String,
    /// Base model id.
    pub model: String,
    /// Benchmark id.
    pub benchmark: String,
    /// Which repeat.
    pub repeat: u32,
    /// Whose score counts.
    pub counts: Counts,
    /// The submission's own score, where one was measured.
    pub own_score: Option<f64>,
    /// Standard error of the own score.
    pub own_stderr: Option<f64>,
    /// The mark, when the base score counts.
    pub mark: Option<Mark>,
    /// Why, in words.
    pub reason: String,
    /// Which files were evaluated.
    pub submission: Submission,
}

impl Schema for Score {
    const KIND: &'static str = "score";
    const VERSION: u32 = 1;
}

/// A fact gathered by a program, with where it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which check found it (`submission`, `architecture`, `identity`, ...).
    pub check: String,
    /// The fact, in words.
    pub fact: String,
    /// Whether the fact costs the run its score, by which mark.
    pub mark: Option<Mark>,
    /// Where it was found: a path inside the run directory.
    pub place: String,
}

impl Schema for Evidence {
    const KIND: &'static str = "evidence";
    const VERSION: u32 = 1;
}

/// A judge's decision over evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which judge (`facts` for the built-in rules).
    pub judge: String,
    /// The mark it puts on the run, if any.
    pub mark: Option<Mark>,
    /// Why, in words.
    pub reason: String,
}

impl Schema for Verdict {
    const KIND: &'static str = "verdict";
    const VERSION: u32 = 1;
}
