//! How an answer is scored, and what grades those that no formula can.

use serde::{Deserialize, Serialize};

use crate::registry::Script;

/// How an answer is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorer {
    /// Which scorer of the family.
    pub kind: ScorerKind,
    /// Numeric: `\boxed{...}` is opened before the number is looked for (AIME; GSM8K does not ask for boxes).
    #[serde(default)]
    pub boxed: bool,
    /// Code: field that holds the tests, a Python function `check(candidate)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<String>,
    /// Code: field that holds the name of the function under test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_point: Option<String>,
    /// Regex: field that holds the patterns that a reply must have, a text or a list of texts (syntax of the crate
    /// `regex`; `(?s)` and the like at a pattern's head).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// Regex: field that holds the patterns that a reply must not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forbidden: Option<String>,
    /// Rubric: field that holds the criteria, a list of `{criterion, points, tags}`. Points may be negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criteria: Option<String>,
    /// Rubric, pairwise: the language model that grades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Grading>,
    /// Script: the folder of the program. Never written by hand: the registry finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Script>,
}

impl Scorer {
    /// A scorer of a kind, all else at its default.
    pub const fn new(kind: ScorerKind) -> Self {
        Self {
            kind,
            boxed: false,
            tests: None,
            entry_point: None,
            required: None,
            forbidden: None,
            criteria: None,
            grader: None,
            script: None,
        }
    }
}

/// How a language model is asked for a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grading {
    /// What it is told: a file of `prompts/`, by id.
    pub prompt: String,
    /// The model that is asked where none is named.
    pub model: String,
    /// New tokens allowed per verdict, thought included.
    pub max_tokens: u32,
    /// How long it thinks (`low`, `medium`, `high`), where its API takes that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
}

/// Scorers that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerKind {
    /// A number after `ANSWER:`, compared exactly by value.
    Numeric,
    /// The completion, trimmed, equals the target.
    Exact,
    /// The letter of a choice after `ANSWER:`.
    Choice,
    /// A Python function that must pass the sample's tests. It is run by whoever asks for the score.
    Code,
    /// One call of a function, its name and arguments equal to those of the target, a call in Python.
    ToolCall,
    /// Patterns that the reply must and must not have.
    Regex,
    /// Criteria, each of which a language model finds met or not: the points of those met over all positive points.
    Rubric,
    /// A language model compares the reply with a baseline's, twice, with sides changed.
    Pairwise,
    /// A program of the benchmark's own loads the model, asks it and scores it.
    Script,
}

impl ScorerKind {
    /// Whether a language model grades.
    pub const fn is_graded(self) -> bool {
        matches!(self, Self::Rubric | Self::Pairwise)
    }

    /// Whether samples have a reference answer.
    pub const fn has_answers(self) -> bool {
        !matches!(self, Self::Rubric | Self::Pairwise | Self::Regex | Self::Script)
    }
}
