//! The books: what is used, what is in flight, and whether one more request may be sent.
//!
//! What a request may use is read off it (`estimate`): what it likely uses (a token for every four bytes of its body, no
//! more than 200,000, and as many generated ones as it allows, but no more than 1,000) and the most that it can use.
//!
//! A request that is alone is sent as long as what it likely uses is left: scaffolds allow far more tokens than answers
//! have. Beside others a request is sent only if all of them can use the most that they can within the limits; else it
//! waits until they have come to their ends, first come, first served. So a limit is reached up to one estimate early, and
//! passed by no more than what one request uses above its estimate.
//!
//! When an answer has told what it used, that counts. Where it never tells (a client that hangs up before the end), what
//! it likely used is counted, or what was seen of the answer if that is more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ptb_core::run::ApiLimit;
use ptb_llm::protocol::{Answered, Tokens};
use ptb_llm::{Price, Prices};
use tokio::sync::Notify;

use super::estimate::{Amount, Wants};
use super::fingerprint::Foreign;
use super::setup::Limits;
use super::totals::{ApiTotals, ModelTotals};

/// Of an answer that tells no tokens.
const BYTES_PER_TOKEN: u64 = 4;
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
    /// Held by whose turn it is to be sent; the others wait in their order.
    turn: tokio::sync::Mutex<()>,
    /// Told whenever a request comes to its end.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Books {
    totals: ApiTotals,
    flying: Vec<(u64, Amount)>,
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

/// Why a request is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// A limit is reached; the words for the client.
    Limit(String),
    /// Those before it took too long.
    NoTurn,
}

/// What is set aside for a request; given back when dropped, and replaced by what it used when settled.
#[derive(Debug)]
pub(super) struct Reservation {
    ledger: Arc<Ledger>,
    id: u64,
    likely: Amount,
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
        let (turn, ended) = (tokio::sync::Mutex::default(), Notify::new());
        Arc::new(Self { limits, prices, books, turn, ended })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> ApiTotals {
        self.books().totals.clone()
    }

    /// Sets aside what a request may use, as soon as there is room for it beside those that are under way.
    ///
    /// # Errors
    /// When a limit is reached, or it was not its turn within `patience`.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        model: &str,
        wants: &Wants,
        patience: Duration,
    ) -> Result<Reservation, Denied> {
        let turn = async {
            let _turn = self.turn.lock().await;
            loop {
                if let Some(reserved) = self.try_reserve(model, wants)? {
                    return Ok(reserved);
                }
                self.ended.notified().await;
            }
        };
        tokio::time::timeout(patience, turn).await.unwrap_or(Err(Denied::NoTurn))
    }

    /// Sets aside what a request may use; `None` where it must wait for others.
    fn try_reserve(
        self: &Arc<Self>,
        model: &str,
        wants: &Wants,
    ) -> Result<Option<Reservation>, Denied> {
        let price = self.prices.of(model);
        let (likely, most) = (wants.likely(price), wants.most(price));
        let mut books = self.books();
        if let Err(reached) = self.check(&books, likely) {
            books.totals.over_limit += 1;
            let message = reached.message.clone();
            books.refused = Some((model.to_owned(), reached));
            return Err(Denied::Limit(message));
        }
        if !books.flying.is_empty() {
            let add = |sum: Amount, more: Amount| Amount {
                usd: sum.usd + more.usd,
                tokens: sum.tokens.saturating_add(more.tokens),
            };
            if self
                .check(&books, books.flying.iter().map(|(_, most)| *most).fold(most, add))
                .is_err()
            {
                return Ok(None);
            }
        }
        // A side call to a cheaper model may still fit in when the agent's own requests do not.
        books.refused.take_if(|(refused, _)| refused == model);
        books.next += 1;
        let id = books.next;
        books.flying.push((id, most));
        books.totals.generations += 1;
        Ok(Some(Reservation { ledger: Arc::clone(self), id, likely }))
    }

    /// The limit that refused the last request to the model that it refused.
    pub(super) fn reached(&self) -> Option<LimitReached> {
        self.books().refused.as_ref().map(|(_, reached)| reached.clone())
    }

    /// Whether so much may still be used.
    fn check(&self, books: &Books, next: Amount) -> Result<(), LimitReached> {
        let Limits { usd, tokens, used } = self.limits;
        if let Some(limit) = usd {
            let spent = used.usd + books.totals.known_cost_usd + books.totals.estimated_usd;
            if spent + next.usd > limit {
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
            if spent.saturating_add(next.tokens) > limit {
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
    /// known. `charged` is whether the provider charges at all: an error costs nothing. `bytes` is how much of it came.
    pub(super) fn settle(
        self,
        asked: &str,
        answered: &Answered,
        charged: bool,
        bytes: u64,
    ) -> Option<f64> {
        let price = self.ledger.price(answered.model.as_deref(), asked);
        let name = answered.model.as_deref().unwrap_or(asked);
        let standard = answered.tier.as_deref().is_none_or(|tier| STANDARD.contains(&tier));
        let mut books = self.ledger.books();
        let totals = &mut books.totals;
        let Some(tokens) = answered.tokens else {
            if charged {
                totals.uncounted += 1;
                // A stream has about an event for each token, and a whole answer some bytes.
                let seen =
                    if answered.events > 0 { answered.events } else { bytes / BYTES_PER_TOKEN };
                let factor = price.map_or(0.0, |price| price.output / 1e6);
                totals.estimated_tokens += self.likely.tokens.saturating_add(seen);
                totals.estimated_usd += self.likely.usd + seen as f64 * factor;
                totals.cost_usd = None;
                by_model(totals, name, Tokens::default(), None);
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
        let known = totals.unpriced == 0 && totals.uncounted == 0;
        totals.cost_usd = known.then_some(totals.known_cost_usd);
        if !answered.finished {
            // A cut stream's counts are those of its beginning: what was generated since is estimated.
            let seen = answered.events.saturating_sub(tokens.output);
            totals.estimated_tokens += seen;
            totals.estimated_usd += price.map_or(0.0, |price| seen as f64 * price.output / 1e6);
        }
        by_model(totals, name, tokens, cost);
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
        self.ledger.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ptb_llm::protocol::{Body, Protocol};

    use super::*;
    use crate::model_api::Used;

    fn ledger(tokens: u64) -> Arc<Ledger> {
        let limits = Limits { usd: None, tokens: Some(tokens), used: Used::default() };
        Ledger::new(limits, Prices::built_in().unwrap())
    }

    fn wants(bytes: usize, output: u64) -> Wants {
        let body = format!("{{\"max_tokens\": {output}}}");
        Wants::of(Protocol::Anthropic, &Body::parse(body.as_bytes()).unwrap(), bytes)
    }

    fn used(tokens: u64) -> Answered {
        let tokens = Tokens { output: tokens, ..Tokens::default() };
        Answered { tokens: Some(tokens), finished: true, ..Answered::default() }
    }

    #[tokio::test]
    async fn near_a_limit_requests_go_one_by_one() {
        let (ledger, patience) = (ledger(100_000), Duration::from_secs(3600));
        let ask = |output| {
            let ledger = &ledger;
            async move { ledger.reserve("claude-opus-4-6", &wants(0, output), patience).await }
        };
        // Far from it, several at a time; one that is alone may allow itself more than is left.
        let (first, second) = (ask(40_000).await.unwrap(), ask(40_000).await.unwrap());
        let (mut third, mut fourth) = (Box::pin(ask(64_000)), Box::pin(ask(10)));
        assert!((&mut third).now_or_never().is_none() && (&mut fourth).now_or_never().is_none());
        first.settle("claude-opus-4-6", &used(30_000), true, 0);
        // Nobody is served before his turn.
        assert!((&mut fourth).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        second.settle("claude-opus-4-6", &used(30_000), true, 0);
        let third = third.await.unwrap();
        assert!((&mut fourth).now_or_never().is_none());
        third.settle("claude-opus-4-6", &used(64_000), true, 0);
        assert!(matches!(fourth.await, Err(Denied::Limit(_))));
        assert_eq!(ledger.totals().tokens.all(), 124_000);
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_to_try_again_and_who_goes_away_blocks_nobody() {
        let ledger = ledger(1_000);
        let soon = Duration::from_millis(20);
        let ask = |output, patience| {
            let ledger = &ledger;
            async move { ledger.reserve("claude-opus-4-6", &wants(0, output), patience).await }
        };
        let first = ask(600, soon).await.unwrap();
        assert_eq!(ask(600, soon).await.unwrap_err(), Denied::NoTurn);
        let mut gone = Box::pin(ask(600, Duration::from_secs(3600)));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        let small = ask(300, Duration::from_secs(3600)).await.unwrap();
        drop((first, small));
        drop(ask(600, soon).await.unwrap());
        assert_eq!((ledger.totals().over_limit, ledger.reached()), (0, None));
    }

    #[test]
    fn a_limit_is_reached_until_what_it_refused_fits_again() {
        let ledger = ledger(500);
        let ask = |model, bytes| ledger.try_reserve(model, &wants(bytes, 10)).map(drop);
        assert_eq!((ask("main", 40), ledger.reached()), (Ok(()), None));
        let Err(Denied::Limit(message)) = ask("main", 400_000) else { panic!("it fits not") };
        let reached = LimitReached { limit: ApiLimit::Tokens, message };
        assert_eq!(ledger.reached(), Some(reached.clone()));
        // A side call is no sign that the agent can work again.
        assert_eq!((ask("side", 40), ledger.reached()), (Ok(()), Some(reached)));
        assert_eq!((ask("main", 40), ledger.reached()), (Ok(()), None));
        assert_eq!(ledger.totals().over_limit, 1);
    }
}
