//! One file per format. Each knows its own lines and nothing of steps, files or people.
//!
//! Lines are parsed, never searched: the order of keys differs between versions of one scaffold. What is not needed
//! is skipped without being built; large values stay as they stand in the line.

pub(crate) mod claude;
pub(crate) mod codex;
pub(crate) mod gemini;
pub(crate) mod opencode;
pub(crate) mod plain;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::summary::{ApiTrouble, TroubleKind};
use crate::text::string;

/// A time from RFC 3339.
pub(crate) fn time(raw: Option<&RawValue>) -> Option<jiff::Timestamp> {
    string(raw)?.parse().ok()
}

/// A time from milliseconds since 1970.
pub(crate) fn millis(raw: Option<&RawValue>) -> Option<jiff::Timestamp> {
    let ms: i64 = serde_json::from_str(raw?.get()).ok()?;
    jiff::Timestamp::from_millisecond(ms).ok()
}

/// A failure told in words. Scaffolds that have no field for the status write `status 429 Too Many Requests`, or
/// repeat the provider's JSON within their words.
pub(crate) fn trouble_in_words(message: &str) -> ApiTrouble {
    let (code, named) = json_within(message).unwrap_or_default();
    let status = code.or_else(|| {
        message.split("status").skip(1).find_map(|rest| {
            let digits = rest.trim_start_matches([' ', ':', '=']).get(..3)?;
            digits.parse().ok()
        })
    });
    let mut trouble = ApiTrouble::new(status.filter(|n| (400..600).contains(n)), message);
    if trouble.status.is_none() {
        trouble.kind = named_kind(&named);
    }
    let lower = trouble.message.to_ascii_lowercase();
    let credit = ["quota", "credit balance", "usage limit", "billing"];
    if credit.iter().any(|word| lower.contains(word)) {
        trouble.kind = TroubleKind::Credit;
    }
    trouble
}

/// Code and type of an error object of a provider that stands within words.
fn json_within(message: &str) -> Option<(Option<u16>, String)> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow)]
        error: Fields<'a>,
    }
    #[derive(Deserialize)]
    struct Fields<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow, rename = "type")]
        kind: Option<&'a RawValue>,
    }
    let json = message.get(message.find('{')?..=message.rfind('}')?)?;
    let told: Told<'_> = serde_json::from_str(json).ok()?;
    let code = told.error.code.and_then(|raw| serde_json::from_str(raw.get()).ok());
    Some((code, string(told.error.kind).unwrap_or_default().into_owned()))
}

/// What providers and scaffolds call failures.
pub(crate) fn named_kind(name: &str) -> TroubleKind {
    match name {
        "authentication_failed"
        | "authentication_error"
        | "oauth_org_not_allowed"
        | "permission_error"
        | "invalid_api_key" => TroubleKind::Credentials,
        "billing_error" | "insufficient_quota" => TroubleKind::Credit,
        "rate_limit" | "rate_limit_error" => TroubleKind::RateLimit,
        "overloaded" | "overloaded_error" => TroubleKind::Overloaded,
        "server_error" | "api_error" => TroubleKind::Server,
        "invalid_request" | "invalid_request_error" | "max_output_tokens" => TroubleKind::Request,
        _ => TroubleKind::Unknown,
    }
}
