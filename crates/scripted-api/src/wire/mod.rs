//! The four protocols: requests read into a [`Conversation`], replies written as JSON or as a stream of events.

mod anthropic;
mod chat;
mod gemini;
mod responses;
mod sample;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::conversation::{Conversation, Protocol};
use crate::fault::Fault;
use crate::ledger::{Request, Service};
use crate::script::{Call, Turn};
use crate::tokens::Tokens;

/// What the model says, in no protocol yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    /// The request's number: identifiers are made from it.
    pub(crate) number: usize,
    pub(crate) thought: Option<String>,
    pub(crate) text: Option<String>,
    /// Names and inputs.
    pub(crate) calls: Vec<(String, Value)>,
}

/// A piece of a reply's body.
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Tokens as told from here on.
    pub(crate) told: Option<Tokens>,
}

impl Piece {
    /// A whole JSON body.
    fn json(value: &Value, told: Option<Tokens>) -> Self {
        Self { bytes: value.to_string().into(), told }
    }

    /// An event, with a name where the protocol names its events.
    fn event(name: Option<&str>, data: &Value) -> Self {
        let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
        Self { bytes: format!("{name}data: {data}\n\n").into(), told: None }
    }

    fn telling(mut self, tokens: Tokens) -> Self {
        self.told = Some(tokens);
        self
    }
}

/// Bytes of one piece of text in a stream, about a word or two.
const MORSEL: usize = 12;

/// A text as it comes in a stream. No character is split; an empty text is one empty piece.
fn morsels(text: &str) -> Vec<&str> {
    let (mut morsels, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (morsel, after) = rest.split_at(rest.ceil_char_boundary(MORSEL.min(rest.len())));
        morsels.push(morsel);
        rest = after;
    }
    if morsels.is_empty() { vec![""] } else { morsels }
}

/// What a path asks for, and how. Anything may stand before the version, as behind a proxy.
pub(crate) fn service(request: &Request) -> (Service, Option<Protocol>) {
    let path = request.path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let post = request.method == "POST";
    let ends = |end: &str| path.ends_with(end);
    match () {
        () if post && ends("/messages/count_tokens") => {
            (Service::CountTokens, Some(Protocol::Messages))
        }
        () if post && ends("/messages") => (Service::Reply, Some(Protocol::Messages)),
        () if post && ends("/responses") => (Service::Reply, Some(Protocol::Responses)),
        () if post && ends("/chat/completions") => (Service::Reply, Some(Protocol::Chat)),
        () if post && ends(":countTokens") => (Service::CountTokens, Some(Protocol::Gemini)),
        () if post && (ends(":generateContent") || ends(":streamGenerateContent")) => {
            (Service::Reply, Some(Protocol::Gemini))
        }
        () if request.method == "GET" && path.contains("/models") => {
            let messages = request.header("anthropic-version").map(|_| Protocol::Messages);
            let gemini = path.contains("/v1beta/").then_some(Protocol::Gemini);
            (Service::Models, messages.or(gemini))
        }
        () => (Service::Unknown, None),
    }
}

/// Reads a request for a reply or for a count.
pub(crate) fn parse(protocol: Protocol, request: &Request) -> Conversation {
    match protocol {
        Protocol::Messages => anthropic::parse(&request.body),
        Protocol::Responses => responses::parse(&request.body),
        Protocol::Chat => chat::parse(&request.body),
        Protocol::Gemini => gemini::parse(&request.path, &request.body),
    }
}

/// Writes a reply: its content type and its pieces.
pub(crate) fn render(
    conversation: &Conversation,
    request: &Request,
    reply: &Reply,
    tokens: Tokens,
) -> (&'static str, Vec<Piece>) {
    let stream = conversation.stream;
    let pieces = match conversation.protocol {
        Protocol::Messages => anthropic::render(conversation, reply, tokens),
        Protocol::Responses => responses::render(conversation, reply, tokens),
        Protocol::Chat => chat::render(conversation, &request.body, reply, tokens),
        Protocol::Gemini => {
            let pieces = gemini::render(conversation, reply, tokens);
            if stream && !request.path.contains("alt=sse") {
                return ("application/json", gemini::as_list(&pieces));
            }
            pieces
        }
    };
    (if stream { "text/event-stream" } else { "application/json" }, pieces)
}

/// An error as an event of a stream.
pub(crate) fn error_event(protocol: Protocol) -> Piece {
    let data = Fault::in_stream(protocol);
    let named = matches!(protocol, Protocol::Messages | Protocol::Responses);
    let name = data["type"].as_str().filter(|_| named);
    Piece::event(name, &data)
}

/// How many tokens something has, in the protocol's form.
pub(crate) fn count(protocol: Protocol, tokens: u64) -> Value {
    match protocol {
        Protocol::Gemini => json!({"totalTokens": tokens}),
        _ => json!({"input_tokens": tokens}),
    }
}

/// The list of models, or the one asked for, in the protocol's form.
pub(crate) fn models(protocol: Option<Protocol>, path: &str, names: &[String]) -> Value {
    let path = path.split('?').next().unwrap_or_default();
    let one = path.split_once("/models/").map(|(_, name)| name);
    let form = |name: &str| match protocol {
        Some(Protocol::Messages) => json!({
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
        }),
        Some(Protocol::Gemini) => json!({
            "name": format!("models/{name}"),
            "displayName": name,
            "inputTokenLimit": 1_048_576,
            "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
        }),
        _ => json!({"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "script"}),
    };
    if let Some(name) = one {
        return form(name);
    }
    let list: Vec<Value> = names.iter().map(|name| form(name)).collect();
    match protocol {
        Some(Protocol::Messages) => {
            json!({"data": list, "has_more": false, "first_id": names.first(), "last_id": names.last()})
        }
        Some(Protocol::Gemini) => json!({"models": list}),
        _ => json!({"object": "list", "data": list}),
    }
}

/// Turns what the script wants into a reply. Waits and faults around it were dealt with before.
pub(crate) fn reply(conversation: &Conversation, number: usize, turn: &Turn) -> Reply {
    let mut reply = Reply { number, ..Reply::default() };
    fill(conversation, &mut reply, turn);
    reply
}

fn fill(conversation: &Conversation, reply: &mut Reply, turn: &Turn) {
    let mut call = |call: Option<(String, Value)>, otherwise: &str| match call {
        Some(call) => reply.calls.push(call),
        None => reply.text = Some(format!("no tool to run this with: {otherwise}")),
    };
    match turn {
        Turn::Text(text) => reply.text = Some(reply.text.take().unwrap_or_default() + text),
        Turn::Run(command) => call(conversation.shell_call(command), command),
        Turn::Tools(calls) => {
            for one in calls {
                match one {
                    Call::Shell(command) => call(conversation.shell_call(command), command),
                    Call::Tool(name, input) => call(Some((name.clone(), input.clone())), ""),
                }
            }
        }
        Turn::Says(words, then) => {
            reply.text = Some(words.clone());
            fill(conversation, reply, then);
        }
        Turn::Thinks(thought, then) => {
            reply.thought = Some(thought.clone());
            fill(conversation, reply, then);
        }
        Turn::Slow(_, _, then) | Turn::Fails(_, _, then) => fill(conversation, reply, then),
        Turn::Fault(_) => {}
    }
}

/// A reply to an errand: something of the schema asked for, or a few words.
pub(crate) fn aside(conversation: &Conversation, number: usize) -> Reply {
    let text = match &conversation.schema {
        Some(schema) => sample::of(schema).to_string(),
        None => "A scripted errand".to_owned(),
    };
    Reply { number, text: Some(text), ..Reply::default() }
}

impl Reply {
    /// The identifier of its call of this index.
    fn call_id(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{:08}x{index:02}", self.number)
    }

    /// Bytes of what it says and calls, without what it thinks.
    pub(crate) fn bytes(&self) -> usize {
        let calls: usize = self.calls.iter().map(|(n, i)| n.len() + i.to_string().len()).sum();
        self.text.as_ref().map_or(0, String::len) + calls
    }
}

/// All text in a value that is a string, an object with `text`, or a list of such.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(parts) => parts.iter().flat_map(texts).collect(),
        Value::Object(part) => part.get("text").map(texts).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// The items of a list; none where it is no list.
fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A string; empty where it is none.
fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The first of some values that is there.
fn first<'a>(values: impl IntoIterator<Item = &'a Value>) -> Option<&'a Value> {
    values.into_iter().find(|value| !value.is_null())
}
