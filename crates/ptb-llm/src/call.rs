//! What is asked and what comes back.

use serde::{Deserialize, Serialize};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever sets the task.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of the system.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: Role::System, content: content.into() }
    }

    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// One chat to be answered. As JSON it is a part of its answer's key in the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The chat so far.
    pub messages: Vec<Message>,
    /// Most tokens to generate, those of reasoning included.
    pub max_tokens: u32,
    /// How much a reasoning model reasons (`minimal`, `low`, ...); `None` leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Temperature of the sampling; `None` leaves it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// Why a reply ended. Written as the server's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// It was cut at the call's limit.
    Length,
    /// A filter of the provider took it or a part of it away.
    Filtered,
    /// Something else, in the server's word.
    Other(String),
}

impl From<String> for Finish {
    fn from(word: String) -> Self {
        match word.as_str() {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "content_filter" => Self::Filtered,
            _ => Self::Other(word),
        }
    }
}

impl From<Finish> for String {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Stop => "stop".to_owned(),
            Finish::Length => "length".to_owned(),
            Finish::Filtered => "content_filter".to_owned(),
            Finish::Other(word) => word,
        }
    }
}

/// Tokens, as the server counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Of the prompt, those read from the server's cache included.
    pub input: u64,
    /// Of the prompt, those read from the server's cache.
    pub cached_input: u64,
    /// Generated, those of reasoning included.
    pub output: u64,
    /// Generated as reasoning.
    pub reasoning: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

/// What a server replied.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Its tokens; all zero where the server counts none.
    pub usage: Usage,
    /// What it cost when it was made, in US dollars; `None` where no price is known.
    pub cost: Option<f64>,
    /// The model that the server says replied (`gpt-5-mini-2025-08-07` for `gpt-5-mini`).
    pub model: Option<String>,
}

/// A valid reply and what was read out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// What was read.
    pub value: T,
    /// The reply that it was read from.
    pub reply: Reply,
    /// Whether it came from the cache: then nothing was paid for it this time.
    pub cached: bool,
    /// The call's key in the cache: SHA-256 over the address, the model and the call, in hexadecimal.
    pub key: String,
}

/// What a client did so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Calls that were answered validly, from the cache or by the server.
    pub answers: u64,
    /// Of these, from the cache.
    pub cached: u64,
    /// Requests sent.
    pub requests: u64,
    /// Of these, sent again because the one before had failed on its way.
    pub retries: u64,
    /// Replies that were no valid answer.
    pub invalid: u64,
    /// Tokens of all replies, the invalid ones' included.
    pub usage: Usage,
    /// What all replies cost, the invalid ones' included, in US dollars; `None` where no price is known. A reply whose
    /// tokens the server does not count is taken to have cost the most that it can; what broke off on its way, nothing.
    pub cost: Option<f64>,
}
