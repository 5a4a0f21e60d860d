//! Summaries are short whatever samples are: the limits are Inspect's (`inspect_ai.log._util`), which cuts alike when
//! it writes them.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Characters of a question or a target.
const TEXT: usize = 5120;
/// Characters of an answer, an explanation, a field of metadata.
const FIELD: usize = 1024;

/// The beginning of a question or a target.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    match start(text, TEXT) {
        Some(start) => Cow::Owned(format!("{start}...\n(content truncated)")),
        None => Cow::Borrowed(text),
    }
}

/// The beginning of an answer or an explanation.
pub(super) fn field(text: &str) -> Cow<'_, str> {
    match start(text, FIELD - 3) {
        Some(start) if text.chars().nth(FIELD).is_some() => Cow::Owned(format!("{start}...")),
        _ => Cow::Borrowed(text),
    }
}

/// A value of metadata: texts are cut, whatever else is long is named and left out.
pub(super) fn value(value: &Value) -> Cow<'_, Value> {
    match value {
        Value::String(text) => match field(text) {
            Cow::Borrowed(_) => Cow::Borrowed(value),
            Cow::Owned(text) => Cow::Owned(Value::String(text)),
        },
        Value::Array(_) | Value::Object(_) if !fits(value, &mut (FIELD as i64)) => {
            Cow::Owned(Value::String("Key removed from summary (> 1k)".to_owned()))
        }
        _ => Cow::Borrowed(value),
    }
}

/// A map of metadata.
pub(super) fn map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(key, of)| (key.clone(), value(of).into_owned())).collect()
}

/// The first `limit` characters, of a text that has more.
fn start(text: &str, limit: usize) -> Option<&str> {
    if text.len() <= limit {
        return None;
    }
    text.char_indices().nth(limit).map(|(end, _)| &text[..end])
}

/// Whether a value's JSON has about so many bytes at most; looks no further than that.
fn fits(value: &Value, room: &mut i64) -> bool {
    *room -= match value {
        Value::String(text) => text.len() as i64 + 2,
        Value::Object(map) => map.keys().map(|k| k.len() as i64 + 4).sum::<i64>() + 2,
        _ => 2,
    };
    *room >= 0
        && match value {
            Value::Array(values) => values.iter().all(|v| fits(v, room)),
            Value::Object(map) => map.values().all(|v| fits(v, room)),
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_short_stays() {
        let whole = "é".repeat(TEXT);
        assert_eq!(text(&whole), whole);
        let whole = "é".repeat(FIELD);
        assert_eq!(field(&whole), whole);
        for short in [json!("x"), json!(1.5), json!(null), json!({ "a": [1, 2, { "b": "c" }] })] {
            assert_eq!(*value(&short), short);
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let cut = text(&"é".repeat(TEXT + 1)).into_owned();
        assert_eq!(cut, format!("{}...\n(content truncated)", "é".repeat(TEXT)));
        assert_eq!(field(&"☃".repeat(FIELD + 1)).chars().count(), FIELD);
        let long: Vec<u32> = (0..600).collect();
        for long in [json!(long), json!({ "k".repeat(2000): 1 }), json!(["x".repeat(2000)])] {
            assert_eq!(*value(&long), "Key removed from summary (> 1k)");
        }
    }
}
