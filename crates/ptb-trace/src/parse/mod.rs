//! One file per format. Each knows its own lines and nothing of steps, files or people.
//!
//! Lines are parsed, never searched: the order of keys differs between versions of one scaffold. What is not needed
//! is skipped without being built; large values stay as they stand in the line.

pub(crate) mod claude;
pub(crate) mod codex;
pub(crate) mod gemini;
pub(crate) mod opencode;
pub(crate) mod plain;

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

/// A failure told in words alone. Scaffolds that have no field for the status write `status 429 Too Many Requests`.
pub(crate) fn trouble_in_words(message: &str) -> ApiTrouble {
    let status = message.split("status").skip(1).find_map(|rest| {
        let digits = rest.trim_start_matches([' ', ':', '=']).get(..3)?;
        digits.parse().ok().filter(|n| (400..600).contains(n))
    });
    let mut trouble = ApiTrouble::new(status, message);
    let lower = trouble.message.to_ascii_lowercase();
    let credit = ["quota", "credit balance", "usage limit", "billing"];
    if credit.iter().any(|word| lower.contains(word)) {
        trouble.kind = TroubleKind::Credit;
    }
    trouble
}
