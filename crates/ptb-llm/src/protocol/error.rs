//! Refusals in the form that each protocol's clients understand, with a status that they do not try again on.
//!
//! A scaffold that is refused for good must end at once, so what is final gets a status that no client repeats: the
//! SDKs of Anthropic and OpenAI repeat 408, 409, 429 and 5xx (unless `x-should-retry: false`), Codex repeats all but
//! 400 (others become "unexpected status", which it retries), Gemini CLI repeats 429 and 5xx. Hence 403 for what is
//! not allowed, but 400 for Codex; 400 for a limit, everywhere.

use serde_json::json;

use super::Protocol;

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is no such path.
    NotFound,
    /// The model, or what the request wants the provider to do, is not allowed.
    NotAllowed,
    /// The limit on money or tokens is reached.
    Limit,
    /// It cannot be read, or could be read in two ways.
    Malformed,
    /// It is larger than any request.
    TooLarge,
    /// Its body is in a form that is not read.
    Unsupported,
    /// It took too long to arrive.
    Slow,
    /// It wants to become another protocol.
    NoUpgrade,
    /// There is no room for it now; trying again helps.
    Busy,
    /// The provider cannot be reached; trying again may help.
    Unreachable,
}

/// An error as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Whether trying again may help (else `x-should-retry: false` belongs to it).
    pub passing: bool,
}

impl Refused {
    /// Its word in records.
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Word, status, Anthropic's type, OpenAI's type and code, Google's status.
    #[rustfmt::skip]
    fn row(self) -> (&'static str, u16, &'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::NotFound => ("not-found", 404, "not_found_error", "invalid_request_error", "not_found", "NOT_FOUND"),
            Self::NotAllowed => ("not-allowed", 403, "permission_error", "invalid_request_error", "model_not_allowed", "PERMISSION_DENIED"),
            Self::Limit => ("limit", 400, "invalid_request_error", "insufficient_quota", "insufficient_quota", "FAILED_PRECONDITION"),
            Self::Malformed => ("malformed", 400, "invalid_request_error", "invalid_request_error", "invalid_request", "INVALID_ARGUMENT"),
            Self::TooLarge => ("too-large", 413, "request_too_large", "invalid_request_error", "request_too_large", "INVALID_ARGUMENT"),
            Self::Unsupported => ("unsupported", 415, "invalid_request_error", "invalid_request_error", "unsupported_encoding", "INVALID_ARGUMENT"),
            Self::Slow => ("slow", 408, "timeout_error", "invalid_request_error", "request_timeout", "DEADLINE_EXCEEDED"),
            Self::NoUpgrade => ("no-upgrade", 426, "invalid_request_error", "invalid_request_error", "no_websocket", "UNIMPLEMENTED"),
            Self::Busy => ("busy", 503, "overloaded_error", "server_error", "busy", "UNAVAILABLE"),
            Self::Unreachable => ("unreachable", 502, "api_error", "server_error", "unreachable", "UNAVAILABLE"),
        }
    }

    /// The error in a protocol's form.
    pub fn reply(self, protocol: Protocol, message: &str) -> ErrorReply {
        let (_, status, anthropic, kind, code, google) = self.row();
        let status = match (self, protocol) {
            (Self::NotAllowed, Protocol::Responses) => 400,
            _ => status,
        };
        let body = match protocol {
            Protocol::Anthropic => {
                json!({"type": "error", "error": {"type": anthropic, "message": message}})
            }
            Protocol::Responses | Protocol::Chat => json!({"error": {
                "message": message, "type": kind, "param": null, "code": code,
            }}),
            Protocol::Gemini => {
                json!({"error": {"code": status, "message": message, "status": google}})
            }
        };
        let passing = matches!(self, Self::Busy | Self::Unreachable | Self::Slow);
        ErrorReply { status, body: body.to_string(), passing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_has_its_form() {
        let text = |refused: Refused, protocol| {
            let reply = refused.reply(protocol, "no \"x\"");
            format!("{} {} {}", reply.status, reply.passing, reply.body)
        };
        assert_eq!(
            text(Refused::NotAllowed, Protocol::Anthropic),
            r#"403 false {"type":"error","error":{"type":"permission_error","message":"no \"x\""}}"#
        );
        assert_eq!(
            text(Refused::NotAllowed, Protocol::Responses),
            r#"400 false {"error":{"message":"no \"x\"","type":"invalid_request_error","param":null,"code":"model_not_allowed"}}"#
        );
        assert_eq!(
            text(Refused::Limit, Protocol::Chat),
            r#"400 false {"error":{"message":"no \"x\"","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#
        );
        assert_eq!(
            text(Refused::Unreachable, Protocol::Gemini),
            r#"502 true {"error":{"code":502,"message":"no \"x\"","status":"UNAVAILABLE"}}"#
        );
    }
}
