//! What a door is: one path, whole requests in, possibly streaming replies out.

use std::convert::Infallible;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};
use serde::Serialize;

/// A request whose body has been read whole, within the door's bound.
pub type Request = hyper::Request<Bytes>;
/// A reply's body, which may stream.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// A reply.
pub type Response = hyper::Response<Body>;

/// Something the agent may ask of the harness.
///
/// When the client goes away, the reply's body (or the future of the call) is dropped: a door that
/// works for a client stops then.
pub trait Door: Send + Sync {
    /// The absolute path that it answers, such as `/v1/clock`.
    fn path(&self) -> &str;

    /// Largest body of a request, in bytes.
    fn max_body(&self) -> usize {
        64 << 10
    }

    /// Answers one request.
    fn call(&self, request: Request) -> BoxFuture<'_, Response>;
}

/// A request that is not served: what the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Kind in a word, for programs (`input`, `busy`, ...).
    pub kind: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl Refusal {
    /// A refusal in full.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { status, kind, message: message.into(), hint: hint.into() }
    }

    /// Bad input: status 400.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "input", message, hint)
    }

    /// Refuses any method but `allowed`.
    ///
    /// # Errors
    /// A refusal of status 405 that names the method to use.
    pub fn unless_method(request: &Request, allowed: Method) -> Result<(), Self> {
        if request.method() == allowed {
            return Ok(());
        }
        let path = request.uri().path();
        Err(Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "input",
            format!("{path} does not answer {}", request.method()),
            format!("use {allowed}"),
        ))
    }

    /// The same as JSON, in the form of an evaluation's last line.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "event": "error", "kind": self.kind, "message": self.message, "hint": self.hint,
        })
    }
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        json_reply(refusal.status, &refusal.to_json())
    }
}

/// A whole JSON reply, ended by a newline.
pub fn json_reply(status: StatusCode, value: &impl Serialize) -> Response {
    // Our own types always serialize; an empty body would be the harmless worst case.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    let length = HeaderValue::from(text.len());
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, length);
    response
}
