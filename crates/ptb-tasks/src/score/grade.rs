//! Verdicts of a language model about a reply, as records and `ptb score` hold them.

use serde::{Deserialize, Serialize};

/// One verdict about a reply: of one criterion of a rubric, or of one game of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// Which criterion: its place, or its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criterion: Option<Which>,
    /// Which game: in the first, the baseline's reply is A and the model's is B; in the second, the other way round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<u64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in the grader's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// Names a criterion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Which {
    /// Its place in the sample's list: from 0, or, where all places of a reply's grades are above 0, from 1.
    Place(u64),
    /// Its text.
    Text(String),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Verdict {
    /// Whether a criterion is met.
    Met(bool),
    /// Who is better, `A>>B` to `B>>A`, or a text that ends in such a verdict in brackets.
    Better(String),
    /// The grader came to no verdict: the reply cannot be scored.
    #[default]
    None,
}
