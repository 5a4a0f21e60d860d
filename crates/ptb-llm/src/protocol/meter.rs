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

/// A short text at a key.
pub(super) fn word(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?;
    Some(text.chars().take(200).collect())
}
