//! What was asked and used: the form of `usage.json`.

use std::collections::BTreeMap;

use ptb_llm::protocol::Tokens;
use serde::{Deserialize, Serialize};

use super::fingerprint::Foreign;

/// Everything that a model API counted since it was opened. As JSON it is `attempts/<n>/usage.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiTotals {
    /// Version of the form: 1.
    pub schema: u32,
    /// Requests of any kind, those that were refused here included.
    pub requests: u64,
    /// Of these, such that a model was to answer and that were sent to the provider.
    pub generations: u64,
    /// Requests refused here: no such path, a model that is not allowed, a limit.
    pub refused: u64,
    /// Of these, because a limit was reached.
    pub over_limit: u64,
    /// Requests that the provider answered with an error, or not at all.
    pub failed: u64,
    /// Requests whose answer broke off, by the client's doing or the provider's.
    pub cut: u64,
    /// Tokens of all answers, as the provider counted them.
    pub tokens: Tokens,
    /// What they cost by the price table, in US dollars; null when a price (or a tier's price) is not known, or
    /// an answer did not tell its tokens.
    pub cost_usd: Option<f64>,
    /// The part of the cost that is known, in US dollars.
    pub known_cost_usd: f64,
    /// Answers with tokens whose price is not known.
    pub unpriced: u64,
    /// Generations whose tokens the provider did not tell (cut streams, mostly), or not in numbers.
    pub uncounted: u64,
    /// What those used, estimated; it counts towards the limits alone.
    pub estimated_tokens: u64,
    /// The same in US dollars.
    pub estimated_usd: f64,
    /// Time that the provider did not serve in and that the run was not charged with, in seconds; whoever keeps the run's
    /// clock fills it in.
    pub without_service_seconds: f64,
    /// By the model that answered.
    pub models: BTreeMap<String, ModelTotals>,
    /// Uses of the provider's own tools, by name.
    pub server_tools: BTreeMap<String, u64>,
    /// Requests that do not look like the scaffold's own, the first thousand: facts, not verdicts.
    pub foreign: Vec<Foreign>,
    /// How many there were.
    pub foreign_requests: u64,
    /// Why the record could not be written, the last time that it could not.
    pub record_fault: Option<String>,
}

/// The share of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelTotals {
    /// Its answers.
    pub requests: u64,
    /// Their tokens.
    pub tokens: Tokens,
    /// What they cost, in US dollars; null when that is not known of each.
    pub cost_usd: Option<f64>,
}
