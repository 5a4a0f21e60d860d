//! Asks one model until there is a valid answer.

mod dialect;
mod fault;
mod outage;
mod purse;
mod reply;
mod sending;
mod wire;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ptb_core::files::sha256_hex;
use tokio_util::sync::CancellationToken;

use self::dialect::Dialect;
use self::outage::Outage;
use self::purse::Purse;
use self::reply::Got;
use self::wire::Wire;
use crate::{Answer, Cache, Call, Key, Level, LlmError, Price, Reply, Totals, Usage};

/// A model behind an OpenAI-compatible server.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The root of the API: `https://api.openai.com/v1`, what comes before `/chat/completions`.
    pub url: String,
    /// Its name there.
    pub name: String,
    /// What opens the server; local ones may need none.
    pub key: Option<Key>,
    /// What its tokens cost, where it is known.
    pub price: Option<Price>,
}

/// How a client asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Most requests in flight.
    pub connections: usize,
    /// Most time of one request.
    pub request_time: Duration,
    /// How long an outage is waited out, from the last answer on.
    pub patience: Duration,
    /// The first pause before a request is sent again; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, a server's `Retry-After` included.
    pub longest_pause: Duration,
    /// What may be spent, in US dollars.
    pub spend_limit: Option<f64>,
    /// What was spent of that before, by an earlier client.
    pub spent_before: f64,
    /// What the server is for, in messages: "the grader at HOST".
    pub role: String,
    /// The environment variable that its key comes from, for hints.
    pub key_env: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 32,
            request_time: Duration::from_secs(600),
            patience: Duration::from_secs(1800),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            spend_limit: None,
            spent_before: 0.0,
            role: "grader".to_owned(),
            key_env: "PTB_GRADER_KEY".to_owned(),
        }
    }
}

/// What a user is told while waiting.
type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Asks one model. Shared by reference among as many tasks as there are calls: they share the number of requests in
/// flight, the outages, the purse, and what was found out about the server.
#[derive(Debug)]
pub struct Client {
    model: Model,
    options: Options,
    wire: Wire,
    cache: Option<Cache>,
    level: Level,
    outage: Outage,
    purse: Purse,
    dialect: Mutex<Dialect>,
    totals: Mutex<Totals>,
    /// What ended it for all calls.
    ended: OnceLock<LlmError>,
    over: CancellationToken,
}

impl Client {
    /// A client of one model; valid replies are kept in `cache` and taken from it.
    ///
    /// # Errors
    /// [`LlmError::Url`]; [`LlmError::NoPrice`] for a spending limit without a price; [`LlmError::Setup`].
    pub fn new(model: Model, options: Options, cache: Option<Cache>) -> Result<Self, LlmError> {
        if options.spend_limit.is_some() && model.price.is_none() {
            return Err(LlmError::NoPrice { model: model.name });
        }
        let wire = Wire::new(&model, options.request_time)?;
        Ok(Self {
            wire,
            cache,
            level: Level::new(options.connections),
            outage: Outage::new(options.first_pause, options.longest_pause, options.patience),
            purse: Purse::new(options.spend_limit, options.spent_before),
            dialect: Mutex::default(),
            totals: Mutex::default(),
            ended: OnceLock::new(),
            over: CancellationToken::new(),
            model,
            options,
        })
    }

    /// Asks until there is a valid answer: `read` makes a value of a reply's text, or says what is wrong with it. An
    /// invalid reply (cut at the limit, filtered, refused and empty ones too) is asked for again, up to `tries` times
    /// in all. What failed on its way is sent again on top of that. `tell` gets what a user should know about waiting.
    ///
    /// The same call asked twice is paid for once, but where both are in flight together. Dropping the future or
    /// cancelling ends the request; what it cost then, nobody knows.
    ///
    /// # Errors
    /// See [`LlmError`]; [`LlmError::ends_all`] tells whether other calls may fare better.
    pub async fn ask<T>(
        &self,
        call: &Call,
        tries: u32,
        read: impl Fn(&str) -> Result<T, String>,
        tell: &(dyn Fn(String) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Answer<T>, LlmError> {
        let key = self.key(call);
        if let Some(answer) = self.kept(&key, &read, tell) {
            return Ok(answer);
        }
        if cancel.is_cancelled() {
            return Err(LlmError::Cancelled);
        }
        if let Some(end) = self.ended.get() {
            return Err(end.clone());
        }
        tokio::select! {
            // What was paid for is taken, whatever else happened meanwhile.
            biased;
            answer = self.ask_server(key, call, tries.max(1), read, tell) => answer,
            () = cancel.cancelled() => Err(LlmError::Cancelled),
            () = self.over.cancelled() => {
                Err(self.ended.get().cloned().unwrap_or(LlmError::Cancelled))
            }
        }
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        let cost = self.model.price.map(|_| self.purse.spent());
        Totals { cost, ..self.count().clone() }
    }

    /// The model that is asked.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Host and port of the server, for messages.
    pub fn host(&self) -> &str {
        &self.wire.host
    }

    /// A call's key in the cache: it tells servers, models and calls apart, and nothing else.
    fn key(&self, call: &Call) -> String {
        let parts = (&self.wire.address, &self.model.name, call);
        // These types always have a JSON form; if not, the other form tells calls apart as well.
        let text = serde_json::to_string(&parts).unwrap_or_else(|_| format!("{parts:?}"));
        sha256_hex(text.as_bytes())
    }

    /// What the cache has, where it is still a valid answer.
    fn kept<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
        tell: Tell<'_>,
    ) -> Option<Answer<T>> {
        let cache = self.cache.as_ref()?;
        cache.damage().into_iter().for_each(tell);
        let mut reply = cache.get(key)?;
        let value = read(&reply.text).ok()?;
        reply.cost = self.cost(reply.usage);
        let mut totals = self.count();
        totals.answers += 1;
        totals.cached += 1;
        drop(totals);
        Some(Answer { value, reply, cached: true, key: key.to_owned() })
    }

    async fn ask_server<T>(
        &self,
        key: String,
        call: &Call,
        tries: u32,
        read: impl Fn(&str) -> Result<T, String>,
        tell: Tell<'_>,
    ) -> Result<Answer<T>, LlmError> {
        let mut reason = String::new();
        for _ in 0..tries {
            let Got { text, finish, usage, model } = self.send(call, tell).await?;
            match text.and_then(|text| read(&text).map(|value| (text, value))) {
                Err(why) => {
                    tracing::debug!("{}: an invalid reply: {why}", self.model.name);
                    reason = why.chars().take(500).collect();
                    self.count().invalid += 1;
                }
                Ok((text, value)) => {
                    let cost = usage.and_then(|usage| self.cost(usage));
                    let usage = usage.unwrap_or_default();
                    let reply = Reply { text, finish, usage, cost, model };
                    if let Some(cache) = &self.cache {
                        cache.keep(&key, &reply)?;
                    }
                    self.count().answers += 1;
                    return Ok(Answer { value, reply, cached: false, key });
                }
            }
        }
        Err(LlmError::Invalid { model: self.model.name.clone(), tries, reason })
    }

    fn cost(&self, usage: Usage) -> Option<f64> {
        self.model.price.map(|price| price.of(&usage))
    }

    /// Ends all calls, also those in flight.
    fn end(&self, e: LlmError) -> LlmError {
        let e = self.ended.get_or_init(|| e).clone();
        self.over.cancel();
        e
    }

    fn count(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A length of time in words.
fn words(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}
