//! One request and its answer: to one address, with bounds, and with the key blotted out of whatever comes back.

use std::time::{Duration, SystemTime};

use reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Response, Url};
use serde_json::Value;

use super::Model;
use super::fault::{Fault, shown};
use crate::{Key, LlmError, http};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// The way to one server.
#[derive(Debug)]
pub(crate) struct Wire {
    http: reqwest::Client,
    url: Url,
    /// Host and port, for messages.
    pub(crate) host: String,
    /// Host, port and path: what tells one server from another.
    pub(crate) address: String,
    key: Option<Key>,
    request_time: Duration,
}

impl Wire {
    pub(crate) fn new(model: &Model, request_time: Duration) -> Result<Self, LlmError> {
        let root = root(&model.url)?;
        let name = root.host_str().unwrap_or_default().to_owned();
        let host = root.port().map_or_else(|| name.clone(), |port| format!("{name}:{port}"));
        let address = format!("{host}{}", root.path());
        let builder = http::client_for(&root).timeout(request_time).connect_timeout(CONNECT_TIME);
        let setup = |why: String| LlmError::Setup { host: host.clone(), why };
        let mut headers = HeaderMap::new();
        if let Some(key) = &model.key {
            let value = HeaderValue::from_str(&format!("Bearer {}", key.secret()));
            let mut value = value.map_err(|e| setup(e.to_string()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = builder.default_headers(headers).build().map_err(|e| setup(chain(&e)))?;
        let url = format!("{}/chat/completions", root.as_str().trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|e| setup(e.to_string()))?;
        Ok(Self { http, url, host, address, key: model.key.clone(), request_time })
    }

    /// Whether requests carry a key.
    pub(crate) fn keyless(&self) -> bool {
        self.key.is_none()
    }

    /// Sends a body and reads the JSON that comes back.
    pub(crate) async fn post(&self, body: &Value) -> Result<Value, Fault> {
        let sent = self.http.post(self.url.clone()).json(body).send().await;
        let response = sent.map_err(|e| self.unanswered(&e))?;
        let status = response.status();
        if status.is_redirection() {
            let mut to =
                response.headers().get(LOCATION).map_or(Vec::new(), |to| to.as_bytes().to_vec());
            self.blot(&mut to);
            let to = if to.is_empty() {
                "to no address".to_owned()
            } else {
                format!("to {}", shown(&to))
            };
            return Err(Fault::Redirected { status: status.as_u16(), to });
        }
        let wait = response.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|v| v.to_str().ok()).and_then(|v| wait_of(v, SystemTime::now()));
        // Nothing compressed was asked for, and what a small body would grow to nobody knows.
        let plain = response.headers().get(CONTENT_ENCODING).is_none_or(|c| c == "identity");
        let bytes = self.bounded(response).await?;
        if !status.is_success() {
            return Err(Fault::of(status.as_u16(), &bytes, wait));
        }
        if !plain {
            return Err(Fault::passing("its answer is compressed, which nobody asked for"));
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|e| {
            Fault::passing(format!("its answer is not JSON ({e}): {}", shown(&bytes)))
        })?;
        match answer.get("error") {
            None | Some(Value::Null) => Ok(answer),
            Some(_) => Err(Fault::inside(&answer, &bytes)),
        }
    }

    /// Asks for the list of models, which costs nothing, and tells what the server says against it.
    pub(crate) async fn knock(&self) -> Result<(), Fault> {
        let url = self.url.as_str().replace("/chat/completions", "/models");
        let sent = self.http.get(url).timeout(CONNECT_TIME).send().await;
        let response = sent.map_err(|e| self.unanswered(&e))?;
        let status = response.status();
        let bytes = self.bounded(response).await?;
        match status.is_client_error() || status.is_server_error() {
            true => Err(Fault::of(status.as_u16(), &bytes, None)),
            false => Ok(()),
        }
    }

    fn blot(&self, said: &mut Vec<u8>) {
        if let Some(key) = &self.key {
            key.blot(said);
        }
    }

    /// Why there is no answer, or no end of it.
    fn unanswered(&self, e: &reqwest::Error) -> Fault {
        match e.is_timeout() && !e.is_connect() {
            true => Fault::Passing {
                why: format!("no answer within {}", super::words(self.request_time)),
                overload: true,
                wait: None,
            },
            false => Fault::Passing { why: chain(e), overload: e.is_connect(), wait: None },
        }
    }

    async fn bounded(&self, mut response: Response) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => bytes.extend(chunk),
                Ok(Some(_)) => {
                    bytes.truncate(4000);
                    self.blot(&mut bytes);
                    let begins = shown(&bytes);
                    let why = format!(
                        "its answer has more than {MAX_ANSWER} bytes and begins `{begins}`"
                    );
                    return Err(Fault::passing(why));
                }
                Err(e) => return Err(self.unanswered(&e)),
            }
        }
        self.blot(&mut bytes);
        Ok(bytes)
    }
}

/// The root of an API, from what a user wrote.
fn root(text: &str) -> Result<Url, LlmError> {
    // What stands before an `@` may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default().to_owned();
    let fail = |why: &str| LlmError::Url { url: shown.clone(), why: why.to_owned() };
    let bare = text.trim().trim_end_matches('/');
    let bare = bare.strip_suffix("/chat/completions").unwrap_or(bare);
    let url = Url::parse(bare).map_err(|e| fail(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(fail("it begins with neither http:// nor https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fail("keys do not belong into addresses"));
    }
    match url.query().is_none() && url.fragment().is_none() {
        true => Ok(url),
        false => Err(fail("it has a query or a fragment")),
    }
}

/// Why a request failed.
fn chain(e: &reqwest::Error) -> String {
    let reason = http::reason(e).map(|reason| shown(reason.as_bytes()));
    reason.unwrap_or_else(|| "the request could not be sent".to_owned())
}

/// `Retry-After`: seconds, or a date, which is now at the earliest (RFC 9110, section 10.2.3).
fn wait_of(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_passwords_in_them_are_not_shown() {
        for (text, want) in [
            ("https://api.openai.com/v1", "https://api.openai.com/v1"),
            ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
            ("https://api.openai.com/v1/chat/completions", "https://api.openai.com/v1"),
            ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
            ("http://[::1]:8000", "http://[::1]:8000/"),
        ] {
            assert_eq!(root(text).unwrap().as_str(), want, "{text}");
        }
        for (text, why) in [
            ("api.openai.com/v1", "relative URL"),
            ("ftp://x/v1", "neither http"),
            ("https://user:secret@host/v1", "keys do not belong"),
            ("http://host/v1?x=1", "query"),
            ("", "relative"),
        ] {
            let e = root(text).unwrap_err().to_string();
            assert!(
                e.contains(why) && e.contains("hint: ") && !e.contains("secret"),
                "{text}: {e}"
            );
        }
    }

    #[test]
    fn waits_are_read_as_seconds_and_as_dates() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        let wait = |text: &str| wait_of(text, now).map(|wait| wait.as_secs());
        assert_eq!(wait("7"), Some(7));
        assert_eq!(wait("Wed, 21 Oct 2015 07:29:40 GMT"), Some(100));
        assert_eq!(wait("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        for none in ["-1", "soon", "99999999999999", ""] {
            assert_eq!(wait(none), None, "{none}");
        }
    }
}
