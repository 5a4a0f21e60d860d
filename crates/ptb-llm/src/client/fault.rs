//! What kind of failure a server's answer is. Servers, proxies and providers agree on little: status first, then the
//! words that are known to mean something else.

use std::time::Duration;

use serde_json::Value;

/// Words (`error.code`, `error.type`) of an account without money; any that begins with `billing` is one too.
const NO_CREDIT: [&str; 4] =
    ["insufficient_quota", "insufficient_credits", "insufficient_balance", "insufficient_funds"];
/// Words of a provider's filter that will not have the prompt.
const FILTERED: [&str; 4] =
    ["content_filter", "content_policy_violation", "moderation_blocked", "prompt_blocked"];

/// Why a request has no reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// It may pass.
    Passing {
        /// What happened.
        why: String,
        /// Whether the server has too much to do.
        overload: bool,
        /// How long it asked to be left alone.
        wait: Option<Duration>,
    },
    /// The key is not let in.
    Refused { status: u16, message: String },
    /// The account has no money.
    Credit { status: u16, message: String },
    /// A filter will not have the prompt: a reply that is none.
    Filtered { message: String },
    /// This request is not served.
    Rejected { status: u16, message: String },
    /// It is served elsewhere.
    Redirected { status: u16, to: String },
}

impl Fault {
    /// A failure on the way, not the server's word.
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), overload: false, wait: None }
    }

    /// What a status other than success means.
    pub(crate) fn of(status: u16, body: &[u8], wait: Option<Duration>) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        // One provider wraps its errors into a list.
        let json = if json.is_array() { &json[0] } else { &json };
        let error = &json["error"];
        let said = error["message"].as_str().or(json["message"].as_str()).or(error.as_str());
        let message = match said.or(json["detail"].as_str()) {
            Some(text) => shown(text.as_bytes()),
            None => shown(body),
        };
        let words = [&error["code"], &error["type"], &json["code"], &json["type"]];
        let words = || words.iter().filter_map(|w| w.as_str());
        if status == 402 || (400..500).contains(&status) && no_credit(words(), &message) {
            return Self::Credit { status, message };
        }
        let moderated = error["metadata"]["reasons"].is_array();
        if matches!(status, 400 | 403) && (moderated || words().any(|w| FILTERED.contains(&w))) {
            return Self::Filtered { message };
        }
        match status {
            401 | 403 => Self::Refused { status, message },
            400 if message.to_lowercase().contains("api key not valid") => {
                Self::Refused { status, message }
            }
            // Timeouts, conflicts of state, "too early", "too many": the request itself is fine.
            408 | 409 | 425 | 429 | 500.. => {
                let why = match message.is_empty() {
                    true => format!("status {status}"),
                    false => format!("status {status}: {message}"),
                };
                Self::Passing { why, overload: matches!(status, 429 | 503 | 529), wait }
            }
            _ => Self::Rejected { status, message },
        }
    }

    /// What an answer of status 200 with an `error` in it says went wrong: some servers and proxies put the real
    /// status into the body.
    pub(crate) fn inside(answer: &Value, body: &[u8]) -> Self {
        let error = &answer["error"];
        let code = error["code"].as_u64().or(error["status"].as_u64());
        let code = code.and_then(|c| u16::try_from(c).ok()).filter(|c| (400..600).contains(c));
        let limited = error["code"] == "rate_limit_exceeded" || error["type"] == "rate_limit_error";
        let spent =
            no_credit([&error["code"], &error["type"]].iter().filter_map(|w| w.as_str()), "");
        Self::of(code.unwrap_or(if limited || spent { 429 } else { 500 }), body, None)
    }
}

fn no_credit<'a>(mut words: impl Iterator<Item = &'a str>, message: &str) -> bool {
    words.any(|w| NO_CREDIT.contains(&w) || w.starts_with("billing"))
        || message.contains("credit balance is too low")
}

/// The beginning of what a server said, on one line: a page without its marks, nothing that a terminal acts upon.
pub(crate) fn shown(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said.get(..4000).unwrap_or(said)).into_owned();
    let (mut out, mut mark) = (String::new(), false);
    for c in said.chars() {
        match c {
            '<' => mark = true,
            '>' if mark => {
                mark = false;
                out.push(' ');
            }
            _ if mark => {}
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                out.push(' ');
            }
            c => out.push(c),
        }
    }
    // A text that merely has a `<` in it is no page.
    let text = if mark { said.replace(char::is_control, " ") } else { out };
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> &'static str {
        match Fault::of(status, body.as_bytes(), None) {
            Fault::Passing { overload: true, .. } => "overload",
            Fault::Passing { .. } => "passing",
            Fault::Refused { .. } => "refused",
            Fault::Credit { .. } => "credit",
            Fault::Filtered { .. } => "filtered",
            Fault::Rejected { .. } => "rejected",
            Fault::Redirected { .. } => "redirected",
        }
    }

    #[test]
    fn providers_words_are_told_apart() {
        for (status, body, want) in [
            (
                401,
                r#"{"error": {"message": "Incorrect API key", "code": "invalid_api_key"}}"#,
                "refused",
            ),
            (403, "<h1>Forbidden</h1>", "refused"),
            (
                400,
                r#"[{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}]"#,
                "refused",
            ),
            (402, r#"{"error": {"message": "Insufficient Balance"}}"#, "credit"),
            (
                429,
                r#"{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}"#,
                "credit",
            ),
            (
                429,
                r#"{"error": {"message": "quota", "type": "insufficient_quota", "code": null}}"#,
                "credit",
            ),
            (429, r#"{"error": {"message": "no", "code": "billing_not_active"}}"#, "credit"),
            (
                400,
                r#"{"error": {"message": "Your credit balance is too low to access", "type": "invalid_request_error"}}"#,
                "credit",
            ),
            // The same sentence, but of a limit by the minute.
            (
                429,
                r#"[{"error": {"code": 429, "message": "You exceeded your current quota, please check your plan and billing details", "status": "RESOURCE_EXHAUSTED"}}]"#,
                "overload",
            ),
            (
                429,
                r#"{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}"#,
                "overload",
            ),
            (529, r#"{"error": {"type": "overloaded_error"}}"#, "overload"),
            (503, "", "overload"),
            (500, "", "passing"),
            (520, "<html>", "passing"),
            (408, "", "passing"),
            (425, "", "passing"),
            (400, r#"{"error": {"code": "content_filter", "message": "filtered"}}"#, "filtered"),
            (
                403,
                r#"{"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"]}}}"#,
                "filtered",
            ),
            (
                404,
                r#"{"error": {"code": "model_not_found", "message": "no such model"}}"#,
                "rejected",
            ),
            (400, "null", "rejected"),
            (422, r#"{"detail": [{"loc": ["body"]}]}"#, "rejected"),
            (413, "", "rejected"),
        ] {
            assert_eq!(kind(status, body), want, "{status} {body}");
        }
    }

    #[test]
    fn an_error_in_a_success_counts_as_what_it_says() {
        let inside =
            |body: &str| Fault::inside(&serde_json::from_str(body).unwrap(), body.as_bytes());
        assert!(matches!(inside(r#"{"error": "cuda"}"#), Fault::Passing { overload: false, .. }));
        let limited = inside(r#"{"error": {"code": "rate_limit_exceeded"}}"#);
        assert!(matches!(limited, Fault::Passing { overload: true, .. }));
        assert!(matches!(
            inside(r#"{"error": {"code": 401}}"#),
            Fault::Refused { status: 401, .. }
        ));
        let spent = inside(r#"{"error": {"type": "insufficient_quota"}}"#);
        assert!(matches!(spent, Fault::Credit { .. }), "{spent:?}");
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        assert_eq!(shown(b"<html><h1>502\nBad</h1>\x1b[31m"), "502 Bad [31m");
        assert_eq!(shown(b"3 < 4 is true\n"), "3 < 4 is true");
        assert_eq!(shown(&[b'x'; 9000]).len(), 300);
        assert_eq!(shown("a\u{202e}b".as_bytes()), "a b");
    }
}
