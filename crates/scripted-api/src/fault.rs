//! How the API fails, in each protocol's own words.

use std::time::Duration;

use serde_json::{Value, json};

use crate::conversation::Protocol;

/// A failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Too many requests: 429, with `retry-after` in seconds where one is given.
    RateLimited(Option<u64>),
    /// Something broke: 500.
    Internal,
    /// Too much to do: Anthropic's 529, 503 elsewhere.
    Overloaded,
    /// The first half of a reply; then the connection breaks.
    CutStream,
    /// The first half of a reply; then an error as an event of the stream.
    ErrorInStream,
    /// The connection is closed without a reply.
    Closed,
    /// Nothing for so long; then the connection is closed.
    Hang(Duration),
    /// No money is left: Anthropic's 400, OpenAI's and Gemini's 429.
    CreditGone,
    /// The key is no longer good: 401, Gemini's 400 with `API_KEY_INVALID`.
    KeyRevoked,
    /// The key may not do this: 403.
    Forbidden,
    /// Any status, type and message, in the protocol's form.
    Refused(u16, String, String),
    /// Any status, content type and body.
    Raw(u16, String, String),
}

/// A reply that is not one.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Fault {
    /// Its name, for ledgers and plans.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RateLimited(_) => "rate-limited",
            Self::Internal => "internal",
            Self::Overloaded => "overloaded",
            Self::CutStream => "cut-stream",
            Self::ErrorInStream => "error-in-stream",
            Self::Closed => "closed",
            Self::Hang(_) => "hang",
            Self::CreditGone => "credit-gone",
            Self::KeyRevoked => "key-revoked",
            Self::Forbidden => "forbidden",
            Self::Refused(..) => "refused",
            Self::Raw(..) => "raw",
        }
    }

    /// The fault of a name, for plans.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::RateLimited(None),
            Self::Internal,
            Self::Overloaded,
            Self::CutStream,
            Self::ErrorInStream,
            Self::Closed,
            Self::Hang(Duration::from_secs(3600)),
            Self::CreditGone,
            Self::KeyRevoked,
            Self::Forbidden,
        ];
        all.into_iter().find(|fault| fault.name() == name)
    }

    /// The reply that tells it; none where it is told by breaking a reply or the connection.
    pub(crate) fn refusal(&self, protocol: Protocol) -> Option<Refusal> {
        use Protocol::{Chat, Gemini, Messages, Responses};
        let (status, kind, message) = match (self, protocol) {
            (Self::CutStream | Self::ErrorInStream | Self::Closed | Self::Hang(_), _) => {
                return None;
            }
            (Self::Raw(status, content_type, body), _) => {
                return Some(Refusal {
                    status: *status,
                    retry_after: None,
                    content_type: content_type.clone(),
                    body: body.clone(),
                });
            }
            (Self::Refused(status, kind, message), _) => (*status, kind.as_str(), message.as_str()),
            (Self::RateLimited(_), Messages) => {
                (429, "rate_limit_error", "Number of request tokens has exceeded your rate limit")
            }
            (Self::RateLimited(_), Responses | Chat) => {
                (429, "rate_limit_exceeded", "Rate limit reached for requests")
            }
            (Self::RateLimited(_), Gemini) => {
                (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")
            }
            (Self::Internal, Messages) => (500, "api_error", "Internal server error"),
            (Self::Internal, Responses | Chat) => {
                (500, "server_error", "The server had an error while processing your request")
            }
            (Self::Internal, Gemini) => (500, "INTERNAL", "An internal error has occurred."),
            (Self::Overloaded, Messages) => (529, "overloaded_error", "Overloaded"),
            (Self::Overloaded, Responses | Chat) => {
                (503, "server_error", "The engine is currently overloaded, please try again later")
            }
            (Self::Overloaded, Gemini) => {
                (503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
            }
            (Self::CreditGone, Messages) => (
                400,
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to \
                 upgrade or purchase credits.",
            ),
            (Self::CreditGone, Responses | Chat) => (
                429,
                "insufficient_quota",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            (Self::CreditGone, Gemini) => (
                429,
                "RESOURCE_EXHAUSTED",
                "You exceeded your current quota, please check your plan and billing details.",
            ),
            (Self::KeyRevoked, Messages) => (401, "authentication_error", "invalid x-api-key"),
            (Self::KeyRevoked, Responses | Chat) => {
                (401, "invalid_api_key", "Incorrect API key provided")
            }
            (Self::KeyRevoked, Gemini) => {
                (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
            }
            (Self::Forbidden, Messages) => (
                403,
                "permission_error",
                "Your API key does not have permission to use the resource",
            ),
            (Self::Forbidden, Responses | Chat) => {
                (403, "permission_denied", "Your project does not have access to this model")
            }
            (Self::Forbidden, Gemini) => {
                (403, "PERMISSION_DENIED", "The caller does not have permission")
            }
        };
        let retry_after = if let Self::RateLimited(seconds) = self { *seconds } else { None };
        let body = self.body(protocol, status, kind, message).to_string();
        Some(Refusal { status, retry_after, content_type: "application/json".to_owned(), body })
    }

    fn body(&self, protocol: Protocol, status: u16, kind: &str, message: &str) -> Value {
        match protocol {
            Protocol::Messages => json!({
                "type": "error",
                "error": {"type": kind, "message": message},
                "request_id": "req_script",
            }),
            Protocol::Responses | Protocol::Chat => {
                let group = match (self, status) {
                    (Self::Refused(..), _) => kind,
                    (Self::RateLimited(_), _) => "requests",
                    (Self::CreditGone, _) => "insufficient_quota",
                    (_, 500..) => "server_error",
                    _ => "invalid_request_error",
                };
                json!({"error": {"message": message, "type": group, "param": null, "code": kind}})
            }
            Protocol::Gemini => {
                let mut error = json!({"code": status, "message": message, "status": kind});
                if let Some(details) = self.gemini_details() {
                    error["details"] = details;
                }
                json!({"error": error})
            }
        }
    }

    /// What Gemini adds for programs: the reason, how long to wait, which quota is gone.
    fn gemini_details(&self) -> Option<Value> {
        let kind = |name: &str| format!("type.googleapis.com/google.rpc.{name}");
        match self {
            Self::KeyRevoked => Some(json!([{
                "@type": kind("ErrorInfo"),
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }])),
            Self::RateLimited(Some(seconds)) => {
                Some(json!([{"@type": kind("RetryInfo"), "retryDelay": format!("{seconds}s")}]))
            }
            Self::CreditGone => Some(json!([{
                "@type": kind("QuotaFailure"),
                "violations": [{
                    "quotaMetric": "generativelanguage.googleapis.com/generate_requests_per_model_per_day",
                    "quotaId": "GenerateRequestsPerDayPerProjectPerModel",
                }],
            }])),
            _ => None,
        }
    }

    /// The error as an event of a stream: the name of the event, and its data.
    pub(crate) fn in_stream(protocol: Protocol) -> Value {
        match protocol {
            Protocol::Messages => json!({
                "type": "error",
                "error": {"type": "overloaded_error", "message": "Overloaded"},
            }),
            Protocol::Responses => json!({
                "type": "response.failed",
                "sequence_number": 9_999,
                "response": {
                    "id": "resp_failed",
                    "object": "response",
                    "status": "failed",
                    "error": {"code": "server_error", "message": "The server had an error"},
                    "output": [],
                },
            }),
            Protocol::Chat => json!({
                "error": {"message": "The server had an error", "type": "server_error", "code": 500},
            }),
            Protocol::Gemini => json!({
                "error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"},
            }),
        }
    }
}
