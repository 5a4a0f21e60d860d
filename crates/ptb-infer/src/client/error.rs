//! What can go wrong between a request and its answer, by what the caller can do about it.

use std::error::Error;
use std::time::Duration;

use serde_json::Value;

use super::Endpoint;

/// The error type that the built-in server gives when a model's own numbers are broken.
pub(crate) const MODEL_FAULT: &str = "model_fault";

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// Nobody answered in time, or the server cannot serve now. Trying again may help.
    #[error(
        "failed to get an answer from {endpoint}: {why}\nhint: check that the server runs, and try again"
    )]
    Unavailable {
        /// Who was asked.
        endpoint: String,
        /// What happened.
        why: String,
        /// HTTP status, when there was one.
        status: Option<u16>,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It took longer than a request may take. Trying again may help, but costs as much time again.
    #[error(
        "{endpoint} gave no answer within {} s\nhint: check that the server is not stuck; one that is merely slow \
         needs fewer requests at once, or more time for each",
        .after.as_secs()
    )]
    TimedOut {
        /// Who was asked.
        endpoint: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server sends elsewhere. Nothing that was not named is asked: prompts and keys go to nobody else.
    #[error(
        "{endpoint} sends the request elsewhere (status {status}, {to})\nhint: name the address that it leads to, if \
         you trust it"
    )]
    Redirected {
        /// Who was asked.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// Where it leads, as the server wrote it, shortened.
        to: String,
    },
    /// The server will not serve this request, now or later.
    #[error(
        "{endpoint} refused the request with status {status}: {message}\nhint: {}",
        refusal_hint(*status)
    )]
    Rejected {
        /// Who was asked.
        endpoint: String,
        /// HTTP status.
        status: u16,
        /// What the server said, shortened.
        message: String,
    },
    /// The model itself is broken (weights that give no finite numbers).
    #[error("the model behind {endpoint} failed: {message}\nhint: check the training that made it")]
    ModelFault {
        /// Who was asked.
        endpoint: String,
        /// What the server said.
        message: String,
    },
    /// An answer that is not what the API promises. Proxies in front of servers give such ones for a while
    /// (a page that says "bad gateway", with status 200), so trying again may help.
    #[error(
        "the answer of {endpoint} is malformed: {why}\nhint: check that the address is the root of an OpenAI-compatible \
         API (http://HOST/v1)"
    )]
    Malformed {
        /// Who was asked.
        endpoint: String,
        /// What is wrong.
        why: String,
    },
}

impl InferError {
    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::TimedOut { .. } | Self::Malformed { .. })
    }

    /// How long the server asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    pub(super) fn unavailable(endpoint: &Endpoint, e: &reqwest::Error) -> Self {
        // The library's own text says little; the reason is at the end of its chain.
        let mut why = e.to_string();
        let mut source = e.source();
        while let Some(inner) = source {
            why = format!("{why}: {inner}");
            source = inner.source();
        }
        Self::Unavailable { endpoint: endpoint.to_string(), why, status: None, retry_after: None }
    }

    pub(super) fn redirected(endpoint: &Endpoint, status: u16, to: &[u8]) -> Self {
        let to = match shown(to) {
            to if to.is_empty() => "to no address".to_owned(),
            to => format!("to {to}"),
        };
        Self::Redirected { endpoint: endpoint.to_string(), status, to }
    }

    pub(super) fn malformed(endpoint: &Endpoint, why: impl Into<String>) -> Self {
        Self::Malformed { endpoint: endpoint.to_string(), why: why.into() }
    }

    /// What an answer of status 200 with an `error` in it says went wrong: some servers and proxies put the real
    /// status into the body.
    pub(super) fn inside(endpoint: &Endpoint, answer: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(answer).unwrap_or(Value::Null);
        let error = &json["error"];
        let code = error["code"].as_u64().or(error["status"].as_u64());
        let code =
            code.and_then(|code| u16::try_from(code).ok()).filter(|c| (400..600).contains(c));
        Self::status(endpoint, code.unwrap_or(500), answer, None)
    }

    pub(super) fn status(
        endpoint: &Endpoint,
        status: u16,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Self {
        let endpoint = endpoint.to_string();
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let error = &json["error"];
        let text = error["message"].as_str().or(json["message"].as_str()).or(error.as_str());
        let text = text.or(json["detail"].as_str());
        let message: String = match text {
            Some(text) => text.chars().take(1000).collect(),
            None => shown(body),
        };
        if error["type"] == MODEL_FAULT {
            return Self::ModelFault { endpoint, message };
        }
        match status {
            // Timeouts, conflicts of state, "too early", "too many": the request itself is fine.
            408 | 409 | 425 | 429 | 500.. => Self::Unavailable {
                endpoint,
                why: format!("status {status}: {message}"),
                status: Some(status),
                retry_after,
            },
            _ => Self::Rejected { endpoint, status, message },
        }
    }
}

/// What to do about a status by which a server refuses for good.
fn refusal_hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "give the server's key in the environment variable PTB_ENGINE_KEY",
        404 | 405 => {
            "check that the address is the root of an OpenAI-compatible API (http://HOST/v1); a server without \
             /completions, which takes messages alone, is named with `?chat` at the end (http://HOST/v1?chat)"
        }
        _ => "correct the request",
    }
}

/// The beginning of a body that is no JSON, on one line: what a page says, without its marks.
pub(super) fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4000).unwrap_or(body)).into_owned();
    let (mut out, mut in_tag) = (String::new(), false);
    for c in text.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                out.push(' ');
            }
            _ if in_tag => {}
            c => out.push(if c.is_control() { ' ' } else { c }),
        }
    }
    let words: Vec<&str> = out.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}
