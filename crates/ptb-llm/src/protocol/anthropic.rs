//! Anthropic's Messages: the prompt is counted in `message_start`, the rest in `message_delta`, which counts from the
//! beginning each time (<https://platform.claude.com/docs/en/build-with-claude/streaming>).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::meter::{Answered, believed, count, word};
use super::{Event, Said, Tokens};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// Events that are looked into.
const TELLING: [&str; 4] = ["message_start", "message_delta", "message_stop", "error"];

/// One event of a stream. Its name is its data's type; most are pieces of text, which need not be looked into.
pub(super) fn event(answered: &mut Answered, Event { name, data }: Event<'_>) {
    if name.is_some_and(|name| !TELLING.contains(&name)) {
        return;
    }
    let Ok(Head { kind }) = serde_json::from_str(data) else { return };
    match kind.as_ref() {
        "message_start" | "message_delta" | "error" => {}
        "message_stop" => {
            answered.finished = true;
            return;
        }
        _ => return,
    }
    let Ok(json) = serde_json::from_str::<Value>(data) else { return };
    match kind.as_ref() {
        "message_start" => message(answered, &json["message"]),
        "message_delta" => usage(answered, &json["usage"]),
        _ => answered.error = Some(Said::from_json(&json)),
    }
}

/// A whole answer.
pub(super) fn whole(answered: &mut Answered, json: &Value) {
    match json["type"].as_str() {
        Some("error") => answered.error = Some(Said::from_json(json)),
        _ => {
            message(answered, json);
            answered.finished = !json["stop_reason"].is_null();
        }
    }
}

fn message(answered: &mut Answered, json: &Value) {
    answered.model = word(json, "model").or(answered.model.take());
    usage(answered, &json["usage"]);
}

/// Later counts replace earlier ones; a count that is not told again stays.
fn usage(answered: &mut Answered, usage: &Value) {
    answered.tier = word(usage, "service_tier").or(answered.tier.take());
    let counts = ["input_tokens", "output_tokens"];
    if !believed(answered, usage, &counts) {
        return;
    }
    let old = answered.tokens.unwrap_or_default();
    let written_5m = count(usage, &["cache_creation", "ephemeral_5m_input_tokens"]);
    let written_1h = count(usage, &["cache_creation", "ephemeral_1h_input_tokens"]);
    let written = count(usage, &["cache_creation_input_tokens"]);
    let (cache_write_5m, cache_write_1h) = match (written_5m, written_1h, written) {
        (None, None, None) => (old.cache_write_5m, old.cache_write_1h),
        // Without the details, and as long as the sum is the one that was told in detail, the details hold.
        (None, None, Some(all)) if all == old.cache_write_5m + old.cache_write_1h => {
            (old.cache_write_5m, old.cache_write_1h)
        }
        (None, None, Some(all)) => (all, 0),
        (five, hour, _) => (five.unwrap_or(0), hour.unwrap_or(0)),
    };
    let cached_input = count(usage, &["cache_read_input_tokens"]).unwrap_or(old.cached_input);
    let fresh = count(usage, &["input_tokens"]).unwrap_or(old.fresh_input());
    let kept = cached_input.saturating_add(cache_write_5m).saturating_add(cache_write_1h);
    let details = ["thinking_tokens", "reasoning_tokens"];
    let reasoning = details.iter().find_map(|d| count(usage, &["output_tokens_details", d]));
    answered.tokens = Some(Tokens {
        input: fresh.saturating_add(kept),
        cached_input,
        cache_write_5m,
        cache_write_1h,
        output: count(usage, &["output_tokens"]).unwrap_or(old.output),
        reasoning: reasoning.unwrap_or(old.reasoning),
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Meter, Protocol, ProviderFault};
    use super::*;

    const START: &str = r#"{"type":"message_start","message":{"id":"m","model":"claude-opus-4-6","usage":{"input_tokens":100,"cache_creation_input_tokens":50,"cache_read_input_tokens":1000,"cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":30},"output_tokens":1,"service_tier":"standard"}}}"#;
    const DELTA: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":77}}"#;

    fn stream(events: &[&str]) -> Meter {
        let mut meter = Meter::new(Protocol::Anthropic, true);
        for data in events {
            let kind = serde_json::from_str::<Value>(data).unwrap()["type"].clone();
            meter.push(format!("event: {}\ndata: {data}\n\n", kind.as_str().unwrap()).as_bytes());
        }
        meter
    }

    #[test]
    fn counts_come_from_start_and_end() {
        let want = Tokens {
            input: 1150,
            cached_input: 1000,
            cache_write_5m: 20,
            cache_write_1h: 30,
            output: 77,
            reasoning: 0,
        };
        let meter = stream(&[START, r#"{"type":"ping"}"#, DELTA, r#"{"type":"message_stop"}"#]);
        assert_eq!(meter.answered().tokens, Some(want));
        assert_eq!(meter.answered().model.as_deref(), Some("claude-opus-4-6"));
        assert_eq!(meter.answered().tier.as_deref(), Some("standard"));
        assert!(meter.answered().finished);
        // The end tells all counts again.
        let again = r#"{"type":"message_delta","usage":{"input_tokens":100,"cache_creation_input_tokens":50,"cache_read_input_tokens":1000,"output_tokens":77}}"#;
        assert_eq!(stream(&[START, again]).answered().tokens, Some(want));
        // Cut before the end: what is known so far.
        let cut = stream(&[START]);
        assert!(!cut.answered().finished);
        assert_eq!(cut.answered().tokens.unwrap().output, 1);
        // Without details, cache writes are of five minutes.
        let plain = r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_creation_input_tokens":7,"output_tokens":1}}}"#;
        let tokens = stream(&[plain, DELTA]).answered().tokens.unwrap();
        assert_eq!((tokens.input, tokens.cache_write_5m, tokens.cache_write_1h), (12, 7, 0));
    }

    #[test]
    fn errors_within_a_stream_are_seen() {
        let meter = stream(&[
            START,
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        ]);
        assert_eq!(meter.answered().error.as_ref().unwrap().fault(), Some(ProviderFault::Outage));
    }

    #[test]
    fn whole_answers_are_read() {
        let mut meter = Meter::new(Protocol::Anthropic, false);
        meter.whole(br#"{"type":"message","model":"m","stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4.0}}"#);
        let tokens = meter.answered().tokens.unwrap();
        assert_eq!((tokens.input, tokens.output), (3, 4));
        assert!(meter.answered().finished);
    }
}
