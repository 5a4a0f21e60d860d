//! Asks one model until there is a valid answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Answer, Cache, Call, Key, LlmError, Price, Totals};

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
            role: "grader".to_owned(),
            key_env: "PTB_GRADER_KEY".to_owned(),
        }
    }
}

/// Asks one model. Shared by reference among as many tasks as there are calls.
#[derive(Debug)]
pub struct Client {
    model: Model,
}

impl Client {
    /// A client of one model; valid replies are kept in `cache` and taken from it.
    ///
    /// # Errors
    /// [`LlmError::Url`], [`LlmError::NoPrice`], [`LlmError::Setup`].
    pub fn new(model: Model, options: Options, cache: Option<Cache>) -> Result<Self, LlmError> {
        let _ = (options, cache);
        Ok(Self { model })
    }

    /// Asks until there is a valid answer: `read` makes a value of a reply's text, or says what is wrong with it. An
    /// invalid reply (cut at the limit, filtered and empty ones too) is asked for again, up to `tries` times in all.
    /// What failed on its way is sent again on top of that. `tell` gets what a user should know about waiting.
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
        let _ = (call, tries, read, tell, cancel, &self.model);
        Err(LlmError::Cancelled)
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
