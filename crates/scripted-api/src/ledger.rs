//! What the server was asked, and what it told each request to have cost.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::conversation::Protocol;
use crate::tokens::Tokens;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// A reply of the model.
    Reply,
    /// How many tokens something has.
    CountTokens,
    /// Which models there are.
    Models,
    /// Something that no model API has.
    Unknown,
}

/// Whether the request had the key that the server expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// No key is expected, or this was it.
    Right,
    /// Another key.
    Wrong,
    /// No key.
    Missing,
}

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number, from 0.
    pub number: usize,
    /// Since the server's start.
    pub at: Duration,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body; null where it is no JSON.
    pub body: Value,
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The key it came with, wherever the protocol puts it.
    pub fn key(&self) -> Option<&str> {
        let bearer = || self.header("authorization")?.strip_prefix("Bearer ");
        let in_query = || {
            let query = self.path.split_once('?')?.1;
            query.split('&').find_map(|pair| pair.strip_prefix("key="))
        };
        let named = self.header("x-api-key").or_else(|| self.header("x-goog-api-key"));
        named.or_else(bearer).or_else(in_query)
    }
}

/// One request in the books.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The request's number.
    pub number: usize,
    /// What was asked for.
    pub service: Service,
    /// How; none for what several protocols share.
    pub protocol: Option<Protocol>,
    /// The model asked for.
    pub model: String,
    /// Whether the reply was streamed.
    pub stream: bool,
    /// Whether it was an errand beside the agent's work.
    pub aside: bool,
    /// How many turns of the model the conversation held.
    pub turn: usize,
    /// Whether the key was right.
    pub credential: Credential,
    /// The status sent; none where the connection was closed without a reply.
    pub status: Option<u16>,
    /// The failure that was played.
    pub fault: Option<&'static str>,
    /// Tokens as the reply told them; of a broken reply, as told before the break.
    pub tokens: Option<Tokens>,
    /// Bytes of the request's body.
    pub bytes_in: usize,
    /// Bytes of the reply's body, as far as the server meant to send it.
    pub bytes_out: usize,
}

/// The books: every request, in the order they came.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Ledger {
    /// The requests.
    pub entries: Vec<Entry>,
}

impl Ledger {
    /// Requests for a reply of the model.
    pub fn replies(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.service == Service::Reply)
    }

    /// Requests of the agent's own work that were answered well.
    pub fn turns(&self) -> impl Iterator<Item = &Entry> {
        self.replies().filter(|e| !e.aside && e.fault.is_none() && e.status == Some(200))
    }

    /// All tokens told.
    pub fn total(&self) -> Tokens {
        self.by_model().into_values().fold(Tokens::default(), |mut sum, tokens| {
            sum += tokens;
            sum
        })
    }

    /// Tokens told, by model.
    pub fn by_model(&self) -> BTreeMap<String, Tokens> {
        let mut models: BTreeMap<String, Tokens> = BTreeMap::new();
        for entry in &self.entries {
            if let Some(tokens) = entry.tokens {
                *models.entry(entry.model.clone()).or_default() += tokens;
            }
        }
        models
    }
}
