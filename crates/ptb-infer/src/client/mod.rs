//! Client of an OpenAI-compatible endpoint: ours or somebody else's.

mod endpoint;
mod error;
mod request;

pub use endpoint::{Endpoint, EndpointError};
pub use error::InferError;
pub(crate) use error::MODEL_FAULT;
pub use request::{ChatCall, Completion, CompletionRequest, Finished, Prompt};

use std::fmt;
use std::sync::Once;
use std::time::Duration;

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

/// The largest answer that is read, whatever was asked for.
const MAX_ANSWER: usize = 64 << 20;
/// The same of a list of models.
const MAX_MODELS: usize = 4 << 20;
/// What an answer may hold beside its tokens, and with each of them: a long token, every character an escape.
const MAX_FRAME: usize = 4 << 20;
const MAX_TOKEN: usize = 4 << 10;
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// What opens a server. It is sent, and shown to nobody.
#[derive(Clone)]
struct Key(String);

impl Key {
    /// Keys that are shorter are words such as `EMPTY`, for servers that look at none.
    const SHORTEST: usize = 8;

    /// A text with the key's places blotted out.
    fn blotted(&self, text: &[u8]) -> Vec<u8> {
        if self.0.len() < Self::SHORTEST {
            return text.to_vec();
        }
        String::from_utf8_lossy(text).replace(&self.0, "***").into_bytes()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Speaks to one endpoint. Cheap to clone; connections are kept and shared.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    endpoint: Endpoint,
    timeout: Duration,
    model: Option<String>,
    key: Option<Key>,
    token_ids: bool,
}

impl Client {
    /// A client whose requests may take `timeout` each, waiting in the server's queue included.
    ///
    /// # Errors
    /// When the system's TLS roots cannot be loaded.
    pub fn new(endpoint: Endpoint, timeout: Duration) -> Result<Self, InferError> {
        install_tls();
        let mut builder = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT_TIME)
            .redirect(reqwest::redirect::Policy::none());
        if let Endpoint::Unix(path) = &endpoint {
            // A proxy of the environment is not for sockets.
            builder = builder.unix_socket(path.as_path()).no_proxy();
        }
        let http = builder.build().map_err(|e| InferError::unavailable(&endpoint, &e))?;
        Ok(Self { http, endpoint, timeout, model: None, key: None, token_ids: false })
    }

    /// Names the model in every request, for servers that hold several.
    #[must_use]
    pub fn with_model(mut self, model: Option<String>) -> Self {
        self.model = model;
        self
    }

    /// Sends `Authorization: Bearer KEY`. Where a server's refusal repeats the key, the message does not.
    #[must_use]
    pub fn with_key(mut self, key: Option<String>) -> Self {
        self.key = key.map(Key);
        self
    }

    /// Asks for the ids of generated tokens (`return_token_ids`), for servers that know the word.
    #[must_use]
    pub fn with_token_ids(mut self, wanted: bool) -> Self {
        self.token_ids = wanted;
        self
    }

    /// The endpoint it speaks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Continues a prompt: `POST /completions`.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn complete(&self, request: &CompletionRequest) -> Result<Completion, InferError> {
        let mut body = request.body(self.model.as_deref());
        if self.token_ids {
            body["return_token_ids"] = Value::Bool(true);
        }
        let answer = self.post("completions", body, largest(Some(request.max_tokens))).await?;
        Completion::read(&answer, |choice| choice["text"].as_str())
            .map_err(|why| InferError::malformed(&self.endpoint, why))
    }

    /// Answers a chat: `POST /chat/completions`.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn chat(&self, call: &ChatCall) -> Result<Completion, InferError> {
        let body = call.body(self.model.as_deref());
        let answer = self.post("chat/completions", body, largest(call.max_tokens)).await?;
        // An answer that is a tool call alone has no content.
        Completion::read(&answer, |choice| {
            Some(choice["message"]["content"].as_str().unwrap_or(""))
        })
        .map_err(|why| InferError::malformed(&self.endpoint, why))
    }

    /// The models that the server names.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn models(&self) -> Result<Vec<String>, InferError> {
        let answer = self.send(self.http.get(self.endpoint.url("models")), MAX_MODELS).await?;
        let names = answer["data"]
            .as_array()
            .map(|list| list.iter().filter_map(|m| m["id"].as_str()).map(str::to_owned).collect());
        names.ok_or_else(|| InferError::malformed(&self.endpoint, "it names no models"))
    }

    /// Asks whether the server is up: `/health` beside the API's root, or, where a server has none,
    /// its list of models.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn health(&self) -> Result<(), InferError> {
        let request = self.authorised(self.http.get(self.endpoint.health_url()));
        match request.send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) if response.status().as_u16() == 404 => self.models().await.map(drop),
            Ok(response) => Err(self.refused(response).await),
            Err(e) => Err(self.unanswered(&e)),
        }
    }

    async fn post(&self, path: &str, body: Value, largest: usize) -> Result<Value, InferError> {
        self.send(self.http.post(self.endpoint.url(path)).json(&body), largest).await
    }

    /// Why there is no answer, or no end of it.
    fn unanswered(&self, e: &reqwest::Error) -> InferError {
        match e.is_timeout() && !e.is_connect() {
            true => {
                InferError::TimedOut { endpoint: self.endpoint.to_string(), after: self.timeout }
            }
            false => InferError::unavailable(&self.endpoint, e),
        }
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(&key.0),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder, largest: usize) -> Result<Value, InferError> {
        let sent = self.authorised(request).send().await;
        let response = sent.map_err(|e| self.unanswered(&e))?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        // Nothing compressed was asked for, and what a small body would grow to nobody knows.
        if let Some(coding) = response.headers().get(reqwest::header::CONTENT_ENCODING)
            && coding != "identity"
        {
            let why = format!("it is compressed ({})", error::shown(coding.as_bytes()));
            return Err(InferError::malformed(&self.endpoint, why));
        }
        let bytes = self.bounded(response, largest).await?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|e| {
            let why = format!("it is not JSON ({e}): {}", error::shown(&self.blotted(&bytes)));
            InferError::malformed(&self.endpoint, why)
        })?;
        match answer.get("error") {
            None | Some(Value::Null) => Ok(answer),
            Some(_) => Err(InferError::inside(&self.endpoint, &self.blotted(&bytes))),
        }
    }

    /// Words of the server, fit for a message.
    fn blotted(&self, text: &[u8]) -> Vec<u8> {
        self.key.as_ref().map_or_else(|| text.to_vec(), |key| key.blotted(text))
    }

    async fn refused(&self, response: Response) -> InferError {
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(reqwest::header::LOCATION);
            let to = self.blotted(to.map_or(&[][..], |to| to.as_bytes()));
            return InferError::redirected(&self.endpoint, status.as_u16(), &to);
        }
        let header = response.headers().get(reqwest::header::RETRY_AFTER);
        let retry_after = header.and_then(|v| v.to_str().ok()).and_then(wait_of);
        match self.bounded(response, MAX_FRAME).await {
            Ok(body) => {
                let body = self.blotted(&body);
                InferError::status(&self.endpoint, status.as_u16(), &body, retry_after)
            }
            Err(e) => e,
        }
    }

    async fn bounded(&self, mut response: Response, largest: usize) -> Result<Vec<u8>, InferError> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => return Ok(bytes),
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= largest => bytes.extend(chunk),
                Ok(Some(_)) => {
                    let begins = error::shown(&self.blotted(&bytes));
                    let why =
                        format!("it is longer than {largest} bytes and begins with `{begins}`");
                    return Err(InferError::malformed(&self.endpoint, why));
                }
                Err(e) => return Err(self.unanswered(&e)),
            }
        }
    }
}

/// The longest answer that so many tokens can have; many are in flight at once, so that memory asks for a bound.
fn largest(max_tokens: Option<usize>) -> usize {
    let tokens = max_tokens.unwrap_or(usize::MAX);
    tokens.saturating_mul(MAX_TOKEN).saturating_add(MAX_FRAME).min(MAX_ANSWER)
}

/// TLS needs one provider of cryptography in the process; whoever comes first installs it.
fn install_tls() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has installed one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// `Retry-After`: seconds, or a date, which is now at the earliest (RFC 9110, section 10.2.3).
fn wait_of(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(std::time::SystemTime::now()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_read_as_seconds_and_as_dates() {
        assert_eq!(wait_of("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait_of("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = std::time::SystemTime::now() + Duration::from_secs(100);
        let wait = wait_of(&httpdate::fmt_http_date(soon)).unwrap();
        assert!((90..=100).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(wait_of("-1"), None);
        assert_eq!(wait_of("99999999999999"), None);
    }
}
