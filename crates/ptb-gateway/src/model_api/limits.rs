//! The books: what is used, what is in flight, and whether one more request may be sent.
//!
//! Before a request is sent, what it may use is estimated and set aside: a token for every four bytes of its body (no
//! more than 200,000), and as many generated ones as it allows, but no more than 1,000, at the list price without
//! any cache. When its answer has told what it used, that counts instead. Where it never tells (a client that hangs up
//! before the end), the estimate stays, or what was seen of the stream if that is more. A request is refused when what
//! is used, set aside and now asked for goes beyond a limit: so a limit is reached up to one estimate early, and passed
//! by no more than what answers use above their estimates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ptb_core::run::ApiLimit;
use ptb_llm::protocol::{Answered, Tokens};
use ptb_llm::{Price, Prices};

use super::fingerprint::Foreign;
use super::setup::Limits;
use super::totals::{ApiTotals, ModelTotals};

const BYTES_PER_TOKEN: u64 = 4;
const MOST_INPUT: u64 = 200_000;
const MOST_OUTPUT: u64 = 1_000;
/// Of names that a provider gives, at most so many are told apart.
const MOST_NAMES: usize = 100;
const MOST_FOREIGN: usize = 1_000;
/// Tiers that the price table is about.
const STANDARD: [&str; 5] = ["standard", "default", "auto", "on_demand", "ON_DEMAND"];

/// The books of one model API.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: Limits,
    prices: Prices,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    totals: ApiTotals,
    flying: Vec<(u64, Estimate)>,
    next: u64,
    refused: Option<(String, LimitReached)>,
}

/// A limit that refused what was asked last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitReached {
    /// Which one.
    pub limit: ApiLimit,
    /// What the client was told.
    pub message: String,
}

#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    usd: f64,
    tokens: u64,
}

/// What is set aside for a request; given back when dropped, and replaced by what it used when settled.
#[derive(Debug)]
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    id: u64,
    estimate: Estimate,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Complete,
    Cut,
    Refused,
    Failed,
}

impl End {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Cut => "cut",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

impl Ledger {
    pub(super) fn new(limits: Limits, prices: Prices) -> Arc<Self> {
        let totals = ApiTotals { schema: 1, cost_usd: Some(0.0), ..ApiTotals::default() };
        let books = Mutex::new(Books { totals, ..Books::default() });
        Arc::new(Self { limits, prices, books })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> ApiTotals {
        self.books().totals.clone()
    }

    /// Sets aside what a request may use.
    ///
    /// # Errors
    /// The words for the client when a limit is reached.
    pub(super) fn reserve(
        self: &Arc<Self>,
        model: &str,
        body: usize,
        max_tokens: Option<u64>,
    ) -> Result<Reservation, String> {
        let tokens = Tokens {
            input: (body as u64 / BYTES_PER_TOKEN).min(MOST_INPUT),
            output: max_tokens.unwrap_or(MOST_OUTPUT).min(MOST_OUTPUT),
            ..Tokens::default()
        };
        let usd = self.prices.of(model).map_or(0.0, |price| price.of_tokens(&tokens));
        let estimate = Estimate { usd, tokens: tokens.all() };
        let mut books = self.books();
        if let Err(reached) = self.check(&books, estimate) {
            books.totals.over_limit += 1;
            let message = reached.message.clone();
            books.refused = Some((model.to_owned(), reached));
            return Err(message);
        }
        // A side call to a cheaper model may still fit in when the agent's own requests do not.
        books.refused.take_if(|(refused, _)| refused == model);
        books.next += 1;
        let id = books.next;
        books.flying.push((id, estimate));
        books.totals.generations += 1;
        Ok(Reservation { ledger: Arc::clone(self), id, estimate })
    }

    /// The limit that refused the last request to the model that it refused.
    pub(super) fn reached(&self) -> Option<LimitReached> {
        self.books().refused.as_ref().map(|(_, reached)| reached.clone())
    }

    fn check(&self, books: &Books, next: Estimate) -> Result<(), LimitReached> {
        let Limits { usd, tokens, used } = self.limits;
        let flying =
            |of: fn(&Estimate) -> f64| books.flying.iter().map(|(_, e)| of(e)).sum::<f64>();
        if let Some(limit) = usd {
            let spent = used.usd + books.totals.known_cost_usd + books.totals.estimated_usd;
            if spent + flying(|e| e.usd) + next.usd > limit {
                let message = format!(
                    "the spending limit of this run is reached ({spent:.2} of {limit:.2} USD are used); no further \
                     request to the model will be answered"
                );
                return Err(LimitReached { limit: ApiLimit::Spending, message });
            }
        }
        if let Some(limit) = tokens {
            let told = books.totals.tokens.all().saturating_add(books.totals.estimated_tokens);
            let spent = used.tokens.saturating_add(told);
            let flying: u64 = books.flying.iter().map(|(_, e)| e.tokens).sum();
            if spent.saturating_add(flying).saturating_add(next.tokens) > limit {
                let message = format!(
                    "the token limit of this run is reached ({spent} of {limit} tokens are used); no further request \
                     to the model will be answered"
                );
                return Err(LimitReached { limit: ApiLimit::Tokens, message });
            }
        }
        Ok(())
    }

    /// One more request.
    pub(super) fn asked(&self) {
        self.books().totals.requests += 1;
    }

    /// How a request ended.
    pub(super) fn ended(&self, end: End) {
        let totals = &mut self.books().totals;
        match end {
            End::Complete => {}
            End::Cut => totals.cut += 1,
            End::Refused => totals.refused += 1,
            End::Failed => totals.failed += 1,
        }
    }

    pub(super) fn used_tool(&self, name: &str) {
        let tools = &mut self.books().totals.server_tools;
        if tools.contains_key(name) || tools.len() < MOST_NAMES {
            *tools.entry(name.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn found_foreign(&self, foreign: Foreign) {
        let totals = &mut self.books().totals;
        totals.foreign_requests += 1;
        if totals.foreign.len() < MOST_FOREIGN {
            totals.foreign.push(foreign);
        }
    }

    pub(super) fn record_fault(&self, why: String) {
        self.books().totals.record_fault = Some(why);
    }

    /// The list price of the model that answered, else of the one that was asked.
    fn price(&self, answered: Option<&str>, asked: &str) -> Option<Price> {
        answered.and_then(|model| self.prices.of(model)).or_else(|| self.prices.of(asked))
    }
}

impl Reservation {
    /// Enters what an answer used in place of what was set aside. Returns what it cost, in US dollars, where that is
    /// known. `told` is whether the provider charges at all: an error costs nothing.
    pub(super) fn settle(self, asked: &str, answered: &Answered, charged: bool) -> Option<f64> {
        let price = self.ledger.price(answered.model.as_deref(), asked);
        let standard = answered.tier.as_deref().is_none_or(|tier| STANDARD.contains(&tier));
        let mut books = self.ledger.books();
        let totals = &mut books.totals;
        let Some(tokens) = answered.tokens else {
            if charged {
                totals.uncounted += 1;
                let seen = answered.events;
                let factor = price.map_or(0.0, |price| price.output / 1e6);
                totals.estimated_tokens += self.estimate.tokens.saturating_add(seen);
                totals.estimated_usd += self.estimate.usd + seen as f64 * factor;
            }
            return None;
        };
        let list = price.map(|price| price.of_tokens(&tokens));
        let cost = list.filter(|_| standard);
        totals.tokens += tokens;
        match cost {
            Some(cost) => totals.known_cost_usd += cost,
            None => {
                totals.unpriced += 1;
                // Dearer tiers cost at most twice the list price so far; for the limit alone.
                totals.estimated_usd += list.unwrap_or(0.0) * 2.0;
            }
        }
        totals.cost_usd = (totals.unpriced == 0).then_some(totals.known_cost_usd);
        if !answered.finished {
            // A cut stream's counts are those of its beginning: what was generated since is estimated.
            let seen = answered.events.saturating_sub(tokens.output);
            totals.estimated_tokens += seen;
            totals.estimated_usd += price.map_or(0.0, |price| seen as f64 * price.output / 1e6);
        }
        by_model(totals, answered.model.as_deref().unwrap_or(asked), tokens, cost);
        cost
    }
}

fn by_model(totals: &mut ApiTotals, name: &str, tokens: Tokens, cost: Option<f64>) {
    let known = totals.models.contains_key(name) || totals.models.len() < MOST_NAMES;
    let name = if known { name } else { "others" };
    let fresh = || ModelTotals { cost_usd: Some(0.0), ..ModelTotals::default() };
    let model = totals.models.entry(name.to_owned()).or_insert_with(fresh);
    model.requests += 1;
    model.tokens += tokens;
    model.cost_usd = model.cost_usd.zip(cost).map(|(sum, more)| sum + more);
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.books().flying.retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_api::Used;

    #[test]
    fn a_limit_is_reached_until_what_it_refused_fits_again() {
        let limits = Limits { usd: None, tokens: Some(500), used: Used::default() };
        let ledger = Ledger::new(limits, Prices::built_in().unwrap());
        let ask = |model, bytes| ledger.reserve(model, bytes, Some(10)).map(drop);
        assert_eq!((ask("main", 40), ledger.reached()), (Ok(()), None));
        let message = ask("main", 400_000).unwrap_err();
        let reached = LimitReached { limit: ApiLimit::Tokens, message };
        assert_eq!(ledger.reached(), Some(reached.clone()));
        // A side call is no sign that the agent can work again.
        assert_eq!((ask("side", 40), ledger.reached()), (Ok(()), Some(reached)));
        assert_eq!((ask("main", 40), ledger.reached()), (Ok(()), None));
        assert_eq!(ledger.totals().over_limit, 1);
    }
}
