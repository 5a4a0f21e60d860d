//! What a run's agent used of its model: tokens by kind, cost, requests, over all attempts.
//!
//! The books are `attempts/<n>/usage.json`, which the gateway writes at an attempt's end. An attempt without them leaves
//! totals that are too low: then they are told as such, and no cost is known.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use ptb_core::files::read_bounded;
use ptb_core::run::RunDir;
use serde::{Deserialize, Serialize};

/// Largest book that is read, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Attempts that are looked at.
const MAX_ATTEMPTS: u32 = 10_000;
/// Names of models that are told apart.
const MAX_MODELS: usize = 100;

/// Tokens by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenCounts {
    /// All of the prompts: what was read from a cache and what was written into one included.
    pub input: u64,
    /// Of the prompts, read from a cache.
    pub cached_input: u64,
    /// Of the prompts, written into a cache for five minutes.
    pub cache_write_5m: u64,
    /// Of the prompts, written into a cache for an hour.
    pub cache_write_1h: u64,
    /// All that was generated, reasoning included.
    pub output: u64,
    /// Of the generated, reasoning, as far as it is told.
    pub reasoning: u64,
}

impl TokenCounts {
    /// Prompts and generated ones together.
    pub fn all(&self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// Of the prompts, written into a cache.
    pub fn cache_writes(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    fn add(&mut self, more: &Self) {
        let sums = [
            (&mut self.input, more.input),
            (&mut self.cached_input, more.cached_input),
            (&mut self.cache_write_5m, more.cache_write_5m),
            (&mut self.cache_write_1h, more.cache_write_1h),
            (&mut self.output, more.output),
            (&mut self.reasoning, more.reasoning),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }
}

impl std::iter::Sum for TokenCounts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, more| {
            sum.add(&more);
            sum
        })
    }
}

/// The share of one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelUsage {
    /// Its answers.
    pub requests: u64,
    /// Their tokens.
    pub tokens: TokenCounts,
    /// What they cost, in US dollars; absent when that is not known of each.
    pub cost_usd: Option<f64>,
}

/// What the agent of a run used, over all attempts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Requests of any kind.
    pub requests: u64,
    /// Of these, such that a model was to answer.
    pub generations: u64,
    /// Requests that the gateway refused.
    pub refused: u64,
    /// Of these, because a limit was reached.
    pub over_limit: u64,
    /// Requests that the provider answered with an error, or not at all.
    pub failed: u64,
    /// Requests whose answer broke off.
    pub cut: u64,
    /// Tokens of all answers.
    pub tokens: TokenCounts,
    /// What they cost by the price table, in US dollars; absent when that is not known of each.
    pub cost_usd: Option<f64>,
    /// The part of the cost that is known, in US dollars.
    pub known_cost_usd: f64,
    /// Answers with tokens whose price is not known.
    pub unpriced: u64,
    /// Requests for an answer whose tokens the provider did not tell.
    pub uncounted: u64,
    /// Time that the provider did not serve in and that was not charged, in seconds.
    pub without_service_seconds: f64,
    /// By the model that answered.
    pub models: BTreeMap<String, ModelUsage>,
    /// Uses of the provider's own tools, by name.
    pub server_tools: BTreeMap<String, u64>,
    /// Requests that do not look like the scaffold's own.
    pub foreign_requests: u64,
    /// Attempts with books.
    pub attempts: u32,
    /// Attempts without: under way, or ended with the machine. What they used is missing here.
    pub attempts_without_books: Vec<u32>,
    /// Most US dollars that the run might use, where there is a limit.
    pub spend_limit_usd: Option<f64>,
    /// Most tokens that the run might use, where there is a limit.
    pub token_limit: Option<u64>,
}

impl Usage {
    /// What a run's agent used, by its books and those of all its attempts; none where it asks no model. `options` are
    /// the agent's.
    pub(crate) fn of(
        dir: &RunDir,
        attempts: u32,
        options: &BTreeMap<String, String>,
    ) -> (Option<Self>, Vec<Fault>) {
        let mut total = Self { cost_usd: Some(0.0), ..Self::default() };
        let mut faults = Vec::new();
        for n in 1..=attempts.min(MAX_ATTEMPTS) {
            let folder = dir.attempt(n);
            match book(&folder.join("usage.json")) {
                Ok(Some(one)) => {
                    total.attempts += 1;
                    total.add(one);
                }
                // A record of exchanges shows that there is a model.
                Ok(None) if folder.join("api.jsonl.zst").is_file() => {
                    total.attempts_without_books.push(n);
                }
                Ok(None) => {}
                Err(why) => {
                    total.attempts_without_books.push(n);
                    faults.push((folder.join("usage.json").display().to_string(), why));
                }
            }
        }
        if !total.attempts_without_books.is_empty() {
            total.cost_usd = None;
        }
        let option = |name: &str| options.get(name);
        total.spend_limit_usd = option("spend_limit").and_then(|v| v.parse().ok());
        total.token_limit = option("token_limit").and_then(|v| v.parse().ok());
        let any = total.attempts > 0 || !total.attempts_without_books.is_empty();
        (any.then_some(total), faults)
    }

    /// Whether totals are of all that was used.
    pub fn is_complete(&self) -> bool {
        self.attempts_without_books.is_empty()
    }

    fn add(&mut self, one: Self) {
        let sums = [
            (&mut self.requests, one.requests),
            (&mut self.generations, one.generations),
            (&mut self.refused, one.refused),
            (&mut self.over_limit, one.over_limit),
            (&mut self.failed, one.failed),
            (&mut self.cut, one.cut),
            (&mut self.unpriced, one.unpriced),
            (&mut self.uncounted, one.uncounted),
            (&mut self.foreign_requests, one.foreign_requests),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(more));
        self.tokens.add(&one.tokens);
        self.cost_usd = sum(self.cost_usd, one.cost_usd);
        self.known_cost_usd += amount(one.known_cost_usd);
        self.without_service_seconds += amount(one.without_service_seconds);
        for (name, share) in one.models {
            if self.models.len() >= MAX_MODELS && !self.models.contains_key(&name) {
                continue;
            }
            let fresh = || ModelUsage { cost_usd: Some(0.0), ..ModelUsage::default() };
            let model = self.models.entry(name).or_insert_with(fresh);
            model.requests = model.requests.saturating_add(share.requests);
            model.tokens.add(&share.tokens);
            model.cost_usd = sum(model.cost_usd, share.cost_usd);
        }
        for (name, uses) in one.server_tools {
            if self.server_tools.len() < MAX_MODELS || self.server_tools.contains_key(&name) {
                *self.server_tools.entry(name).or_default() += uses;
            }
        }
    }
}

/// A file that could not be used, and why.
type Fault = (String, String);

/// An attempt's book, where there is one.
fn book(path: &Path) -> Result<Option<Usage>, String> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(default)]
        schema: u32,
    }
    let text = match read_bounded(path, MAX_BYTES) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot read {}: {e}", path.display())),
    };
    let what = |e: serde_json::Error| format!("{}: {e}", path.display());
    let Version { schema } = serde_json::from_slice(&text).map_err(what)?;
    if schema > 1 {
        return Err(format!(
            "{} has schema {schema}, newer than 1; hint: use the version of ptb that wrote it",
            path.display()
        ));
    }
    serde_json::from_slice(&text).map(Some).map_err(what)
}

/// A sum that is known where both are.
fn sum(one: Option<f64>, more: Option<f64>) -> Option<f64> {
    one.zip(more.filter(|usd| usd.is_finite() && *usd >= 0.0)).map(|(one, more)| one + more)
}

fn amount(number: f64) -> f64 {
    if number.is_finite() { number.max(0.0) } else { 0.0 }
}
