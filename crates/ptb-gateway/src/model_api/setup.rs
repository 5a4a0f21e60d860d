//! What a model API is given.

use std::path::PathBuf;
use std::time::Duration;

use ptb_llm::protocol::{Protocol, same_model};
use ptb_llm::{Key, Prices};
use serde::{Deserialize, Serialize};

use super::record::Mask;

/// Everything that a model API needs to know.
#[derive(Clone)]
pub struct ModelApiSetup {
    /// The provider's address: `https://api.anthropic.com`, or a third party's with a path. When the path ends in a
    /// version (`.../v1`, `.../v4`), that takes the place of the version in a client's path.
    pub upstream: String,
    /// The protocols that the provider speaks, the usual one first; paths of others do not exist.
    pub protocols: Vec<Protocol>,
    /// What opens the provider, and how it goes into a request.
    pub credential: Credential,
    /// Which models may be asked.
    pub models: Models,
    /// What may be used up.
    pub limits: Limits,
    /// What becomes of the provider's own tools.
    pub server_tools: ServerTools,
    /// What tokens cost.
    pub prices: Prices,
    /// Where every exchange is kept: `api.jsonl.zst`, appended to.
    pub record: PathBuf,
    /// Where it is told how requests reach out into the network: `network.jsonl`, appended to.
    pub network: PathBuf,
    /// Takes secrets out of a line before it is written.
    pub mask: Mask,
    /// Whether the key is covered in the provider's answers, should it repeat it. `false` is for the trial that shows
    /// that a search for the key finds it.
    pub covers_key: bool,
    /// What clients may cost.
    pub bounds: ApiBounds,
}

/// A credential and the way in which it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `x-api-key: KEY`: Anthropic's API keys.
    ApiKey(Key),
    /// `authorization: Bearer KEY`: OpenAI's and most third parties' keys.
    Bearer(Key),
    /// `x-goog-api-key: KEY`: Google's API keys.
    Google(Key),
    /// Claude's subscription token: `authorization: Bearer TOKEN`, and `oauth-2025-04-20` among the values of
    /// `anthropic-beta`, without which the API does not take such tokens.
    ClaudeToken(Key),
}

impl Credential {
    /// The key itself.
    pub(super) fn key(&self) -> &Key {
        match self {
            Self::ApiKey(key) | Self::Bearer(key) | Self::Google(key) | Self::ClaudeToken(key) => {
                key
            }
        }
    }
}

/// The models that may be asked; names are compared by [`same_model`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// The agent's.
    pub main: String,
    /// Those of the scaffold's side calls.
    pub aux: Vec<String>,
}

impl Models {
    /// Whether a model may be asked.
    pub fn allow(&self, asked: &str) -> bool {
        self.is_main(asked) || self.aux.iter().any(|aux| same_model(asked, aux))
    }

    /// Whether it is the agent's own.
    pub fn is_main(&self, asked: &str) -> bool {
        same_model(asked, &self.main)
    }
}

/// What one agent may use up, over all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// US dollars; `None` for no limit. Needs the price of every allowed model.
    pub usd: Option<f64>,
    /// Tokens, prompts (cached ones too) and generated ones together; `None` for no limit.
    pub tokens: Option<u64>,
    /// What earlier attempts used of it.
    pub used: Used,
}

/// What is used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// US dollars.
    pub usd: f64,
    /// Tokens.
    pub tokens: u64,
}

/// What becomes of tools that run at the provider (web search, code execution, remote MCP servers) and of addresses
/// that it would fetch. All of them are recorded either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerTools {
    /// They are passed on.
    Allow,
    /// Tools are taken out of requests; a request with an address that the provider would fetch is refused.
    #[default]
    Strip,
}

/// What clients may cost, and how long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiBounds {
    /// Connections at one time; more are refused at once with 503.
    pub connections: usize,
    /// Size of a request's head, in bytes (at least 8192).
    pub head_bytes: usize,
    /// Lines in a request's head.
    pub head_lines: usize,
    /// Time for a request's head, which includes the pause between two requests of a connection.
    pub head_time: Duration,
    /// When all places are taken, a client that is not being served for this long gives way.
    pub patience: Duration,
    /// Size of a request's body, in bytes; as it comes and unpacked.
    pub body_bytes: usize,
    /// Time for a request's body.
    pub body_time: Duration,
    /// Bytes of bodies in memory at one time, over all requests, until they are on record.
    pub memory: usize,
    /// Near a limit, time that a request waits for those before it; then it is told to try again.
    pub turn_time: Duration,
    /// Time that a client may let an answer stand before it counts as gone.
    pub stall_time: Duration,
    /// Time to connect to the provider.
    pub connect_time: Duration,
    /// Time that the provider may be silent within a request.
    pub silence: Duration,
    /// Of an answer, bytes kept for the record; what comes beyond, or when the memory is used up, is passed on and counted,
    /// and the record says so.
    pub answer_bytes: usize,
    /// Refused requests that are recorded one by one; further ones are counted.
    pub refusals: u64,
    /// Size of the record, in bytes on disk; beyond it requests are refused, for what is not on record is not passed on.
    pub record_bytes: u64,
}

impl Default for ApiBounds {
    fn default() -> Self {
        Self {
            connections: 128,
            head_bytes: 64 << 10,
            head_lines: 128,
            // Longer than clients keep a connection that they do not use.
            head_time: Duration::from_secs(300),
            patience: Duration::from_secs(1),
            body_bytes: 64 << 20,
            body_time: Duration::from_secs(60),
            memory: 512 << 20,
            // Less than clients wait for an answer's head.
            turn_time: Duration::from_secs(240),
            stall_time: Duration::from_secs(120),
            connect_time: Duration::from_secs(10),
            silence: Duration::from_secs(600),
            answer_bytes: 64 << 20,
            refusals: 10_000,
            record_bytes: 16 << 30,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_by_no_debug() {
        let key = Key::new("sk-0123456789").unwrap();
        for credential in [
            Credential::ApiKey(key.clone()),
            Credential::Bearer(key.clone()),
            Credential::Google(key.clone()),
            Credential::ClaudeToken(key.clone()),
        ] {
            assert!(!format!("{credential:?}").contains("0123"));
        }
    }

    #[test]
    fn models_of_agent_and_side_calls_are_allowed() {
        let models =
            Models { main: "claude-opus-4-6".to_owned(), aux: vec!["claude-haiku-4-5".to_owned()] };
        assert!(models.allow("claude-opus-4-6") && models.is_main("claude-opus-4-6-20260101"));
        assert!(models.allow("claude-haiku-4-5-20251001"));
        assert!(!models.is_main("claude-haiku-4-5-20251001"));
        assert!(!models.allow("claude-sonnet-4-6") && !models.allow(""));
    }
}
