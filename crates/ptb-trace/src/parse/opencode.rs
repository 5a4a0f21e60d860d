//! OpenCode: `opencode run --format json`.
//!
//! Parts of messages; a call comes when it has ended, with its result; tokens and cost come at each step's end.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{millis, trouble_in_words};
use crate::event::{Event, Outcome, Part, Turn};
use crate::format::{Parser, Verdict};
use crate::summary::Ended;
use crate::text::{Text, amount, count, string, truth};
use crate::usage::Usage;

/// Reader of OpenCode's lines.
#[derive(Debug, Default)]
pub(crate) struct OpenCode {
    session: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow, rename = "sessionID")]
    session: Option<&'a RawValue>,
    #[serde(borrow)]
    part: Option<Piece<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow, default, rename = "messageID")]
    message: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow, rename = "callID")]
    call: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<State<'a>>,
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

impl Parser for OpenCode {
    fn line(&mut self, line: &str, _: Option<f64>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        let line: Line<'_> = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(e) => return e.into(),
        };
        if let Some(at) = millis(line.timestamp) {
            out(Event::At(at));
        }
        if let Some(id) = string(line.session).filter(|id| **id != *self.session) {
            self.session = id.clone().into_owned();
            out(Event::Session { id: Some(&id), model: None, version: None });
        }
        match (&*line.kind, &line.part) {
            ("step_start", Some(_)) => return Verdict::Passed,
            ("text", Some(part)) => {
                let Some(text) = part.text else { return Verdict::Unknown };
                out(Event::Agent(turn(part), Part::Text { text: Text::of(text), joined: false }));
            }
            ("reasoning", Some(part)) => {
                let Some(text) = part.text else { return Verdict::Unknown };
                out(Event::Agent(turn(part), Part::Reasoning(Text::of(text))));
            }
            ("tool_use", Some(part)) => return tool(part, out),
            ("step_finish", Some(part)) => finish(part, out),
            ("error", _) => failure(line.error, out),
            _ => return Verdict::Unknown,
        }
        Verdict::Used
    }
}

fn turn<'a>(part: &'a Piece<'_>) -> Turn<'a> {
    Turn { message: &part.message, ..Turn::default() }
}

fn tool(part: &Piece<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
    let (Some(call), Some(state)) = (string(part.call), &part.state) else {
        return Verdict::Unknown;
    };
    let name = string(part.tool).unwrap_or_default();
    let arguments = state.input.map_or("{}", RawValue::get);
    out(Event::Agent(turn(part), Part::Call { id: &call, name: &name, arguments }));
    #[derive(Deserialize)]
    struct Metadata<'a> {
        #[serde(borrow)]
        exit: Option<&'a RawValue>,
    }
    let metadata: Option<Metadata<'_>> =
        state.metadata.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let exit_code =
        metadata.and_then(|m| m.exit).and_then(|raw| serde_json::from_str::<i64>(raw.get()).ok());
    let failed = string(state.status).is_some_and(|s| s == "error")
        || exit_code.is_some_and(|code| code != 0);
    let content = [state.output, state.error].into_iter().flatten().map(Text::of).collect();
    out(Event::Outcome(Outcome { call: &call, content, exit_code, failed }));
    Verdict::Used
}

fn finish(part: &Piece<'_>, out: &mut dyn FnMut(Event<'_>)) {
    #[derive(Deserialize, Default)]
    struct Tokens<'a> {
        #[serde(borrow)]
        input: Option<&'a RawValue>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
        #[serde(borrow)]
        reasoning: Option<&'a RawValue>,
        #[serde(borrow)]
        cache: Option<&'a RawValue>,
    }
    #[derive(Deserialize, Default)]
    struct Cache<'a> {
        #[serde(borrow)]
        read: Option<&'a RawValue>,
        #[serde(borrow)]
        write: Option<&'a RawValue>,
    }
    if let Some(raw) = part.tokens {
        let told: Tokens<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        let cache = told.cache.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let cache: Cache<'_> = cache.unwrap_or_default();
        // OpenCode takes the cache's tokens out of the input and the reasoning's out of the output.
        let (read, written) = (count(cache.read), count(cache.write));
        let usage = Usage {
            input: count(told.input).saturating_add(read).saturating_add(written),
            cached_input: read,
            cache_write_5m: written,
            cache_write_1h: 0,
            output: count(told.output).saturating_add(count(told.reasoning)),
            reasoning: count(told.reasoning),
        };
        out(Event::Cost(turn(part), usage, amount(part.cost)));
    }
    match string(part.reason).as_deref() {
        Some("stop") => out(Event::End(Ended::Finished)),
        Some("length") => out(Event::End(Ended::Limit("length".to_owned()))),
        _ => {}
    }
}

fn failure(raw: Option<&RawValue>, out: &mut dyn FnMut(Event<'_>)) {
    #[derive(Deserialize)]
    struct Failure<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<Data<'a>>,
    }
    #[derive(Deserialize)]
    struct Data<'a> {
        #[serde(borrow)]
        message: Option<&'a RawValue>,
        #[serde(borrow, rename = "statusCode")]
        status: Option<&'a RawValue>,
        #[serde(borrow, rename = "isRetryable")]
        retryable: Option<&'a RawValue>,
    }
    let told = raw.and_then(|raw| serde_json::from_str::<Failure<'_>>(raw.get()).ok());
    let data = told.as_ref().and_then(|t| t.data.as_ref());
    let name = told.as_ref().and_then(|t| string(t.name)).unwrap_or_default();
    let message = data.and_then(|d| string(d.message)).unwrap_or_else(|| Cow::Borrowed(&name));
    let mut trouble = trouble_in_words(&message);
    let status = data.and_then(|d| d.status).and_then(|raw| serde_json::from_str(raw.get()).ok());
    if let Some(status) = status {
        trouble = trouble.with_status(status);
    }
    trouble.retried = data.is_some_and(|d| truth(d.retryable));
    let reason = format!("{name}: {}", trouble.message);
    out(Event::Trouble(trouble));
    out(Event::End(Ended::Failed(reason)));
}
