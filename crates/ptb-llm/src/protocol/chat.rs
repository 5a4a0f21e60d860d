//! OpenAI's Chat Completions and what others made of it: usage stands in the last piece of a stream, if it was asked
//! for (`stream_options.include_usage`), and in a whole answer.

use serde::Deserialize;
use serde_json::Value;

use super::meter::{Answered, believed, count};
use super::{Said, Tokens};

/// The parts of a piece that are looked at.
#[derive(Deserialize)]
struct Piece {
    #[serde(default)]
    model: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    service_tier: Value,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    finish_reason: Value,
}

/// One event of a stream.
pub(super) fn event(answered: &mut Answered, data: &str) {
    if let Ok(read) = serde_json::from_str(data) {
        take(answered, &read);
    }
}

/// A whole answer.
pub(super) fn piece(answered: &mut Answered, json: &Value) {
    if let Ok(read) = Piece::deserialize(json) {
        take(answered, &read);
    }
}

fn take(answered: &mut Answered, piece: &Piece) {
    let text = |value: &Value| value.as_str().map(|t| t.chars().take(200).collect::<String>());
    if answered.model.is_none() {
        answered.model = text(&piece.model).filter(|model| !model.is_empty());
    }
    answered.tier = text(&piece.service_tier).or(answered.tier.take());
    if !piece.error.is_null() {
        answered.error = Some(Said::from_json(&piece.error));
    }
    answered.finished |= piece.choices.iter().any(|choice| choice.finish_reason.is_string());
    let usage = &piece.usage;
    if believed(answered, usage, &["prompt_tokens", "completion_tokens"]) {
        let input = count(usage, &["prompt_tokens"]).unwrap_or(0);
        let detail = |path: &[&str]| count(usage, path);
        let cached = detail(&["prompt_tokens_details", "cached_tokens"])
            // DeepSeek's name for it.
            .or_else(|| detail(&["prompt_cache_hit_tokens"]));
        answered.tokens = Some(Tokens {
            input,
            cached_input: cached.unwrap_or(0).min(input),
            output: detail(&["completion_tokens"]).unwrap_or(0),
            reasoning: detail(&["completion_tokens_details", "reasoning_tokens"]).unwrap_or(0),
            ..Tokens::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meter, Protocol, ProviderFault};
    use super::*;

    #[test]
    fn usage_is_in_the_last_piece() {
        let mut meter = Meter::new(Protocol::Chat, true);
        meter.push(b"data: {\"model\":\"m-1\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"usage\":null}\n\n");
        assert!(!meter.answered().finished);
        meter.push(b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
        assert!(meter.answered().finished && meter.answered().tokens.is_none());
        meter.push(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\ndata: [DONE]\n\n");
        let want =
            Tokens { input: 10, cached_input: 4, output: 5, reasoning: 3, ..Tokens::default() };
        assert_eq!(meter.answered().tokens, Some(want));
        assert_eq!(meter.answered().model.as_deref(), Some("m-1"));
        assert_eq!(meter.answered().events, 4);
    }

    #[test]
    fn errors_within_a_stream_are_seen() {
        let mut meter = Meter::new(Protocol::Chat, true);
        meter.push(b"data: {\"error\":{\"message\":\"x\",\"code\":502}}\n\n");
        assert_eq!(meter.answered().error.as_ref().unwrap().fault(), Some(ProviderFault::Outage));
    }
}
