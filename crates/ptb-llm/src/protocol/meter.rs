//! What an answer says about itself, read while it passes by.

use serde_json::Value;

use super::{Event, Protocol, Said, SseParser, Tokens, anthropic, chat, gemini, responses};

/// A longer event is not looked into, in bytes: of the events that tell, the one that ends a Responses answer is the
/// longest, for it repeats the request's tools and all that was said.
const LONGEST_EVENT: usize = 16 << 20;

/// What is known of an answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answered {
    /// The model that says it answered.
    pub model: Option<String>,
    /// Its tokens, so far as told.
    pub tokens: Option<Tokens>,
    /// Whether it told counts that are none (below zero, texts): then its tokens are not known, whatever else it tells.
    pub invalid: bool,
    /// The tier of service, where told (`standard`, `priority`, ...).
    pub tier: Option<String>,
    /// Whether the model came to its end, as the protocol says it.
    pub finished: bool,
    /// An error within an answer that began well.
    pub error: Option<Said>,
    /// Events of the stream so far: about as many as generated tokens, where nothing better is known.
    pub events: u64,
}

/// Reads an answer as it passes: a stream by its chunks, a whole one at its end.
#[derive(Debug)]
pub struct Meter {
    protocol: Protocol,
    stream: Option<SseParser>,
    answered: Answered,
}

impl Meter {
    /// For an answer in a protocol, whose content type is `text/event-stream` or not.
    pub fn new(protocol: Protocol, streams: bool) -> Self {
        let stream = streams.then(|| SseParser::within(LONGEST_EVENT));
        Self { protocol, stream, answered: Answered::default() }
    }

    /// Whether it is read as a stream of events.
    pub fn streams(&self) -> bool {
        self.stream.is_some()
    }

    /// The next bytes of a stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let Self { protocol, stream, answered } = self;
        if let Some(parser) = stream {
            parser.push(bytes, |event| {
                answered.events += 1;
                event_of(*protocol, answered, event);
            });
        }
    }

    /// The whole body of an answer that does not stream.
    pub fn whole(&mut self, body: &[u8]) {
        let Ok(json) = serde_json::from_slice::<Value>(body) else { return };
        let answered = &mut self.answered;
        match self.protocol {
            Protocol::Anthropic => anthropic::whole(answered, &json),
            Protocol::Responses => responses::whole(answered, &json),
            Protocol::Chat => chat::piece(answered, &json),
            // Without `alt=sse` Gemini streams a list of pieces.
            Protocol::Gemini => match json.as_array() {
                Some(pieces) => pieces.iter().for_each(|p| gemini::piece(answered, p)),
                None => gemini::piece(answered, &json),
            },
        }
    }

    /// What is known so far.
    pub fn answered(&self) -> &Answered {
        &self.answered
    }
}

fn event_of(protocol: Protocol, answered: &mut Answered, event: Event<'_>) {
    match protocol {
        Protocol::Anthropic => anthropic::event(answered, event),
        Protocol::Responses => responses::event(answered, event),
        Protocol::Chat if event.data.trim() == "[DONE]" => answered.finished = true,
        Protocol::Chat => chat::event(answered, event.data),
        Protocol::Gemini => {
            if let Ok(json) = serde_json::from_str(event.data) {
                gemini::piece(answered, &json);
            }
        }
    }
}

/// A count at a path of keys; servers in between write whole numbers as fractions now and then.
pub(super) fn count(value: &Value, path: &[&str]) -> Option<u64> {
    let value = path.iter().try_fold(value, |value, key| value.get(key))?;
    value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
}

/// Whether an answer's usage can be believed: it is an object that tells at least one of `counts`, and everything in it
/// that counts tokens is a number of zero or more. What is no such usage is remembered as invalid; where there is none,
/// nothing is said.
pub(super) fn believed(answered: &mut Answered, usage: &Value, counts: &[&str]) -> bool {
    if !(usage.is_null() || sound(usage, 0)) {
        answered.invalid = true;
    }
    if answered.invalid {
        answered.tokens = None;
        return false;
    }
    counts.iter().any(|name| count(usage, &[name]).is_some())
}

fn sound(usage: &Value, depth: usize) -> bool {
    let Some(fields) = usage.as_object() else { return false };
    fields.iter().all(|(name, value)| match value {
        // Details of details are not read.
        Value::Object(_) => depth >= 2 || sound(value, depth + 1),
        Value::Null | Value::Array(_) => true,
        _ if name.ends_with("tokens") || name.ends_with("TokenCount") => {
            value.as_f64().is_some_and(|n| n.is_finite() && n >= 0.0)
        }
        _ => true,
    })
}

/// A short text at a key.
pub(super) fn word(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    Some(text.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_none_are_not_taken_for_nothing() {
        let usages = [
            (Protocol::Anthropic, "usage", "input_tokens", "output_tokens"),
            (Protocol::Responses, "usage", "input_tokens", "output_tokens"),
            (Protocol::Chat, "usage", "prompt_tokens", "completion_tokens"),
            (Protocol::Gemini, "usageMetadata", "promptTokenCount", "candidatesTokenCount"),
        ];
        for (protocol, name, input, output) in usages {
            let read = |usage: &str| {
                let mut meter = Meter::new(protocol, false);
                meter.whole(format!(r#"{{"model": "m", "{name}": {usage}}}"#).as_bytes());
                let answered = meter.answered();
                (answered.tokens.map(|tokens| tokens.all()), answered.invalid)
            };
            assert_eq!(
                read(&format!(r#"{{"{input}": 3, "{output}": 4.0, "x": "y"}}"#)),
                (Some(7), false)
            );
            for absent in ["null", "{}", r#"{"tool_calls": 3}"#] {
                assert_eq!(read(absent), (None, false), "{protocol} {absent}");
            }
            for value in ["-4", "-0.5", r#""4""#, r#""NaN""#, "true"] {
                let second = format!(r#"{{"{input}": 3, "{output}": {value}}}"#);
                let first = format!(r#"{{"{input}": {value}, "{output}": 3}}"#);
                let deep = format!(
                    r#"{{"{input}": 3, "{output}": 4, "details": {{"cached_tokens": {value}}}}}"#
                );
                for usage in [second, first, deep] {
                    assert_eq!(read(&usage), (None, true), "{protocol} {usage}");
                }
            }
            assert_eq!(read("7"), (None, true));
        }
    }

    #[test]
    fn what_was_invalid_once_stays_so() {
        let mut meter = Meter::new(Protocol::Chat, true);
        meter.push(b"data: {\"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": -1}}\n\n");
        meter.push(b"data: {\"usage\": {\"prompt_tokens\": 1, \"completion_tokens\": 1}}\n\n");
        assert!(meter.answered().invalid && meter.answered().tokens.is_none());
    }
}
