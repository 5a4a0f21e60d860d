//! When a provider's error means that it gives no service, rather than that one request was wrong.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is wrong with the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderFault {
    /// It does not answer, has too much to do, or breaks off.
    Outage,
    /// It does not let the key in.
    Key,
    /// The account has no money.
    Credit,
}

/// Words (`code`, `type`) of an account without money; any that begins with `billing` is one too.
const NO_CREDIT: [&str; 5] = [
    "insufficient_quota",
    "insufficient_credits",
    "insufficient_balance",
    "insufficient_funds",
    "credit_balance_exhausted",
];
const KEY_WORDS: [&str; 5] = [
    "invalid_api_key",
    "authentication_error",
    "invalid_authentication",
    "UNAUTHENTICATED",
    "API_KEY_INVALID",
];
/// How much of an error's text is kept, in characters.
const SHOWN: usize = 300;

/// An error as a provider said it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// HTTP status, of the reply or within the error.
    pub status: Option<u16>,
    /// Its codes and types.
    pub words: Vec<String>,
    /// Its text, shortened, on one line.
    pub message: String,
}

impl Said {
    /// Out of a reply's body.
    pub fn of(status: u16, body: &[u8]) -> Self {
        let json: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let mut said = Self::from_json(&json);
        if said.message.is_empty() && said.words.is_empty() {
            said.message = one_line(&String::from_utf8_lossy(body.get(..2000).unwrap_or(body)));
        }
        said.status = Some(status);
        said
    }

    /// Out of JSON that is an error, or has one in `error`.
    pub fn from_json(json: &Value) -> Self {
        // One provider wraps its errors into a list.
        let json = if json.is_array() { &json[0] } else { json };
        let error = if json["error"].is_null() { json } else { &json["error"] };
        let message = error["message"].as_str().or(error.as_str()).or(json["detail"].as_str());
        let mut words: Vec<String> =
            [&error["code"], &error["type"], &error["status"], &json["type"]]
                .iter()
                .filter_map(|w| w.as_str())
                .map(|w| w.chars().take(60).collect())
                .collect();
        for detail in error["details"].as_array().into_iter().flatten().take(20) {
            words.extend(detail["reason"].as_str().map(|w| w.chars().take(60).collect()));
            let quotas = detail["violations"].as_array().into_iter().flatten().take(20);
            words.extend(
                quotas.filter_map(|q| q["quotaId"].as_str()).map(|w| w.chars().take(100).collect()),
            );
        }
        let code = error["code"].as_u64().and_then(|c| u16::try_from(c).ok());
        Self {
            status: code.filter(|c| (400..600).contains(c)),
            words,
            message: one_line(message.unwrap_or_default()),
        }
    }

    fn has(&self, known: &[&str]) -> bool {
        self.words.iter().any(|w| known.contains(&w.as_str()))
    }

    /// Whether the provider gives no service; `None` where only this request was wrong.
    ///
    /// Google's "exceeded your current quota" is mostly a limit by the minute and counts as an outage, unless the quota
    /// that it names is one by the day.
    pub fn fault(&self) -> Option<ProviderFault> {
        let lower = self.message.to_lowercase();
        let credit = self.has(&NO_CREDIT)
            || self.words.iter().any(|w| w.starts_with("billing") || w.contains("PerDay"))
            || lower.contains("credit balance is too low")
            || lower.contains("insufficient balance")
            || lower.contains("credits are depleted");
        let key = self.has(&KEY_WORDS) || lower.contains("api key not valid");
        let busy = [
            "overloaded_error",
            "api_error",
            "server_error",
            "rate_limit_error",
            "rate_limit_exceeded",
            "server_is_overloaded",
            "slow_down",
        ];
        match self.status {
            Some(402) => Some(ProviderFault::Credit),
            Some(400..=499) | None if credit => Some(ProviderFault::Credit),
            Some(401) => Some(ProviderFault::Key),
            Some(400 | 403) | None if key => Some(ProviderFault::Key),
            // A 403 may be about one model or one prompt: only one that speaks of the key is about the key.
            Some(403) => ["api key", "token", "revoked", "credential", "oauth"]
                .iter()
                .any(|w| lower.contains(w))
                .then_some(ProviderFault::Key),
            Some(408 | 429 | 500..) => Some(ProviderFault::Outage),
            None if self.has(&busy) => Some(ProviderFault::Outage),
            _ => None,
        }
    }
}

/// The beginning of a text, on one line, without what a terminal acts upon.
fn one_line(text: &str) -> String {
    let clean: String =
        text.chars().take(4 * SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = clean.split_whitespace().collect();
    words.join(" ").chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_errors_are_told_from_a_requests() {
        use ProviderFault::{Credit, Key, Outage};
        for (status, body, want) in [
            (
                401,
                r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
                Some(Key),
            ),
            (
                403,
                r#"{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked"}}"#,
                Some(Key),
            ),
            (
                403,
                r#"{"error":{"message":"your project has no access to model x","code":"model_not_found"}}"#,
                None,
            ),
            (
                400,
                r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#,
                Some(Key),
            ),
            (402, "", Some(Credit)),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}"#,
                Some(Credit),
            ),
            (
                429,
                r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#,
                Some(Credit),
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details","status":"RESOURCE_EXHAUSTED"}}"#,
                Some(Outage),
            ),
            (
                429,
                r#"{"error":{"code":429,"message":"quota","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}"#,
                Some(Credit),
            ),
            (
                429,
                r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
                Some(Outage),
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                Some(Outage),
            ),
            (500, "<html>", Some(Outage)),
            (503, "", Some(Outage)),
            (502, "", Some(Outage)),
            (400, r#"{"error":{"message":"max_tokens is too large"}}"#, None),
            (404, r#"{"error":{"code":"model_not_found"}}"#, None),
            (413, "", None),
        ] {
            assert_eq!(Said::of(status, body.as_bytes()).fault(), want, "{status} {body}");
        }
        let inside = |text: &str| Said::from_json(&serde_json::from_str(text).unwrap()).fault();
        assert_eq!(
            inside(r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#),
            Some(Outage)
        );
        assert_eq!(inside(r#"{"code":"insufficient_quota","message":"x"}"#), Some(Credit));
        assert_eq!(inside(r#"{"code":"invalid_prompt","message":"x"}"#), None);
        assert_eq!(
            inside(r#"{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}"#),
            Some(Outage)
        );
    }

    #[test]
    fn what_is_shown_is_short_and_on_one_line() {
        let said = Said::of(500, b"a\r\n\x1b[31mb");
        assert_eq!(said.message, "a [31mb");
        assert_eq!(Said::of(500, &[b'x'; 9000]).message.len(), SHOWN);
    }
}
