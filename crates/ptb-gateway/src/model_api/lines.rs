//! The forms of the record's lines.
//!
//! JSON texts of requests and answers are kept as they were, but for line breaks between their tokens, which a file of
//! lines cannot have. What a conversation repeats in each request (system prompt, messages, tools) stands in the record
//! once, as a part, and is referred to by the beginning of its SHA-256.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use bytes::Bytes;
use memchr::memchr2;
use ptb_llm::protocol::{Body, Event, Protocol, SseParser, Tokens, elements, too_deep};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// So many ids of parts are remembered; beyond them, parts are written again.
const MOST_PARTS: usize = 1 << 20;
/// Shorter elements that are no objects stand where they are.
const SHORT: usize = 64;
/// Of a body that is no JSON, as much is kept.
const MOST_TEXT: usize = 1 << 20;

/// Header names and values.
pub(super) struct Headers<'a>(pub(super) &'a [(String, String)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A request.
#[derive(serde::Serialize)]
pub(super) struct RequestLine<'a> {
    pub(super) schema: u32,
    pub(super) kind: &'static str,
    pub(super) number: u64,
    pub(super) at: f64,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) protocol: Protocol,
    pub(super) headers: Headers<'a>,
    pub(super) body: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) stripped: &'a [String],
}

/// An answer.
#[derive(serde::Serialize)]
pub(super) struct ResponseLine<'a> {
    pub(super) schema: u32,
    pub(super) kind: &'static str,
    pub(super) number: u64,
    pub(super) at: f64,
    pub(super) status: u16,
    pub(super) first_byte_s: Option<f64>,
    pub(super) duration_s: f64,
    pub(super) headers: Headers<'a>,
    pub(super) model: Option<&'a str>,
    pub(super) usage: Option<Tokens>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'a str>,
    pub(super) cost_usd: Option<f64>,
    pub(super) end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<&'static str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) truncated: bool,
    pub(super) body: Option<Box<RawValue>>,
}

/// The ids of parts that are on record.
#[derive(Default)]
pub(super) struct Parts {
    known: HashSet<[u8; 16]>,
}

/// What parts a request has.
#[derive(Default)]
pub(super) struct Taken<'a> {
    /// The body's form with references.
    pub(super) form: String,
    /// Lines of parts that are new.
    pub(super) lines: Vec<Vec<u8>>,
    /// Each part: the field that it belongs to, its id, its text, whether it is new.
    pub(super) parts: Vec<(String, String, &'a RawValue, bool)>,
}

impl Parts {
    /// Takes a request's body apart.
    pub(super) fn take<'a>(&mut self, protocol: Protocol, body: &Body<'a>) -> Taken<'a> {
        let mut taken = Taken::default();
        taken.form.push('{');
        for (name, value) in body.fields() {
            if taken.form.len() > 1 {
                taken.form.push(',');
            }
            push_text(&mut taken.form, name);
            taken.form.push(':');
            let listed = name == "tools" || protocol.conversation_fields().contains(&name);
            if protocol.system_fields().contains(&name) {
                self.refer(&mut taken, name, value);
            } else if let Some(list) = elements(value).filter(|_| listed) {
                self.refer_all(&mut taken, name, list);
            } else if could_refer(value.get()) {
                self.refer(&mut taken, name, value);
            } else {
                taken.form.push_str(&one_line(value.get()));
            }
        }
        taken.form.push('}');
        taken
    }

    fn refer_all<'a>(&mut self, taken: &mut Taken<'a>, name: &str, list: Vec<&'a RawValue>) {
        taken.form.push('[');
        for (n, element) in list.into_iter().enumerate() {
            if n > 0 {
                taken.form.push(',');
            }
            // Objects are always referred to: one that looks like a reference must not be taken for one.
            if element.get().len() <= SHORT && !element.get().starts_with('{') {
                taken.form.push_str(&one_line(element.get()));
            } else {
                self.refer(taken, name, element);
            }
        }
        taken.form.push(']');
    }

    fn refer<'a>(&mut self, taken: &mut Taken<'a>, name: &str, value: &'a RawValue) {
        let text = one_line(value.get());
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut short = [0; 16];
        short.copy_from_slice(&hash[..16]);
        let id = ptb_core::files::hex(&short);
        if self.known.len() >= MOST_PARTS {
            self.known.clear();
        }
        let new = self.known.insert(short);
        if new {
            let line = format!(r#"{{"schema":1,"kind":"part","id":"{id}","value":{text}}}"#);
            taken.lines.push(line.into_bytes());
        }
        let _ = write!(taken.form, r#"{{"$part":"{id}"}}"#);
        taken.parts.push((name.to_owned(), id, value, new));
    }

    /// The line that holds a part could not be written: it is not on record.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// A body that is JSON, as it was; else its text.
pub(super) fn plain_body(bytes: &[u8]) -> Option<Box<RawValue>> {
    if bytes.is_empty() {
        return None;
    }
    match std::str::from_utf8(bytes).ok().filter(|text| is_json(text)) {
        Some(text) => raw(one_line(text.trim()).into_owned()),
        None => {
            let mut form = r#"{"$text":"#.to_owned();
            let kept = bytes.get(..MOST_TEXT).unwrap_or(bytes);
            push_text(&mut form, &String::from_utf8_lossy(kept));
            form.push('}');
            raw(form)
        }
    }
}

/// The events of a stream.
pub(super) struct Events {
    events: Vec<(Option<String>, String)>,
    tail: Option<String>,
}

impl Events {
    pub(super) fn read(chunks: &[Bytes]) -> Self {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, |e| events.push((e.name.map(str::to_owned), e.data.to_owned())));
        }
        Self { events, tail: parser.tail() }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.events.iter().map(|(name, data)| Event { name: name.as_deref(), data })
    }

    /// `{"$sse":[{"event":..,"data":..}..]}`; what broke off within an event stands in `$tail`.
    pub(super) fn form(&self) -> Option<Box<RawValue>> {
        let mut form = r#"{"$sse":["#.to_owned();
        for (n, event) in self.iter().enumerate() {
            form.push_str(if n > 0 { r#",{"event":"# } else { r#"{"event":"# });
            match event.name {
                Some(name) => push_text(&mut form, name),
                None => form.push_str("null"),
            }
            form.push_str(r#","data":"#);
            match is_json(event.data) {
                true => form.push_str(&one_line(event.data.trim())),
                false => push_text(&mut form, event.data),
            }
            form.push('}');
        }
        form.push(']');
        if let Some(tail) = &self.tail {
            form.push_str(r#","$tail":"#);
            push_text(&mut form, tail);
        }
        form.push('}');
        raw(form)
    }
}

/// A text that was put together as JSON.
pub(super) fn raw(text: String) -> Option<Box<RawValue>> {
    RawValue::from_string(text)
        .inspect_err(|e| tracing::error!("a line of the model API's record is no JSON: {e}"))
        .ok()
}

/// Whether something in a text could be taken for a reference, though it is the client's own.
fn could_refer(json: &str) -> bool {
    json.contains("$part") || json.contains("\\u")
}

/// Whether a text may stand in a line as JSON: what is nested too deep for readers is kept as a text.
fn is_json(text: &str) -> bool {
    !too_deep(text.as_bytes()) && serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Line breaks in JSON stand between its tokens alone.
fn one_line(json: &str) -> Cow<'_, str> {
    match memchr2(b'\n', b'\r', json.as_bytes()) {
        None => Cow::Borrowed(json),
        Some(_) => Cow::Owned(json.replace(['\n', '\r'], " ")),
    }
}

fn push_text(form: &mut String, text: &str) {
    // A text always serializes; an empty one would be the harmless worst case.
    form.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_is_written_once_and_nothing_is_rewritten() {
        let text = "{\"model\": \"m\",\n \"n\": 1.50, \"system\": [\"a\"],\n\"messages\": [{\"role\": \"user\",\n\"n\": 1e2}, \"x\", {\"$part\": \"y\"}]}";
        let body = Body::parse(text.as_bytes()).unwrap();
        let mut parts = Parts::default();
        let taken = parts.take(Protocol::Anthropic, &body);
        let ids: Vec<&str> = taken.parts.iter().map(|(_, id, ..)| id.as_str()).collect();
        assert_eq!(ids.len(), 3);
        let want = format!(
            "{{\"model\":\"m\",\"n\":1.50,\"system\":{{\"$part\":\"{}\"}},\"messages\":[{{\"$part\":\"{}\"}},\"x\",{{\"$part\":\"{}\"}}]}}",
            ids[0], ids[1], ids[2]
        );
        assert_eq!(taken.form, want);
        let lines: Vec<String> =
            taken.lines.iter().map(|l| String::from_utf8(l.clone()).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            format!(
                "{{\"schema\":1,\"kind\":\"part\",\"id\":\"{}\",\"value\":{{\"role\": \"user\", \"n\": 1e2}}}}",
                ids[1]
            )
        );
        let hash = Sha256::digest(b"{\"role\": \"user\", \"n\": 1e2}");
        assert_eq!(ids[1], ptb_core::files::hex(&hash[..16]));
        let again = parts.take(Protocol::Anthropic, &body);
        assert!(again.lines.is_empty() && again.form == want);
    }

    #[test]
    fn nothing_of_a_client_is_taken_for_a_reference() {
        for forged in [
            r#"{"$part":"0"}"#,
            r#"{"\u0024part":"0"}"#,
            r#"[{"$part":"0"}]"#,
            r#"[1,{"$p\u0061rt":"0"}]"#,
        ] {
            let text = format!(r#"{{"metadata":{forged},"messages":{forged}}}"#);
            let body = Body::parse(text.as_bytes()).unwrap();
            let taken = Parts::default().take(Protocol::Anthropic, &body);
            assert!(!taken.form.contains(r#"":"0""#), "{forged}: {}", taken.form);
            assert!(taken.parts.iter().any(|(_, _, value, _)| value.get() == forged));
        }
    }

    #[test]
    fn answers_keep_their_events_and_what_broke_off() {
        let stream = "event: a\ndata: {\"n\": 1.0}\n\ndata: [DONE]\n\ndata: {\"cu";
        let events = Events::read(&[Bytes::from(stream)]);
        assert_eq!(
            events.form().unwrap().get(),
            r#"{"$sse":[{"event":"a","data":{"n": 1.0}},{"event":null,"data":"[DONE]"}],"$tail":"data: {\"cu"}"#
        );
        assert_eq!(plain_body(b"{\"a\":\r\n1}\n").unwrap().get(), "{\"a\":  1}");
        assert_eq!(plain_body(b"<p>\xff").unwrap().get(), "{\"$text\":\"<p>\u{fffd}\"}");
        assert!(plain_body(b"").is_none());
        // A line that its readers give up on would be lost.
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(plain_body(deep.as_bytes()).unwrap().get(), format!("{{\"$text\":\"{deep}\"}}"));
        let events = Events::read(&[Bytes::from(format!("data: {deep}\n\n"))]);
        serde_json::from_str::<serde_json::Value>(events.form().unwrap().get()).unwrap();
    }
}
