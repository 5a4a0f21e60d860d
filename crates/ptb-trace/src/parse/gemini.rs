//! Gemini CLI: `gemini --output-format stream-json`.
//!
//! Messages come in pieces (`delta`), without ids; calls and results are told apart; one `result` line ends a process
//! with its tokens. Step boundaries are found as for Codex.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{time, trouble_in_words};
use crate::event::{Event, Outcome, Part, Turn};
use crate::format::{Parser, Verdict};
use crate::summary::Ended;
use crate::text::{Text, count, string, truth};
use crate::usage::Usage;

const OPEN: usize = 1024;

/// Reader of Gemini's lines.
#[derive(Debug, Default)]
pub(crate) struct Gemini {
    step: u64,
    spoken: bool,
    called: bool,
    open: HashSet<String>,
    totals: Usage,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_name: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_id: Option<&'a RawValue>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    severity: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    stats: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

impl Parser for Gemini {
    fn line(&mut self, line: &str, _: Option<f64>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        let line: Line<'_> = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(e) => return e.into(),
        };
        if let Some(at) = time(line.timestamp) {
            out(Event::At(at));
        }
        match &*line.kind {
            "init" => {
                self.open.clear();
                self.fresh();
                let (id, model) = (string(line.session_id), string(line.model));
                let (id, model) = (id.as_deref(), model.as_deref());
                out(Event::Session { id, model, version: None });
            }
            "message" => return self.message(&line, out),
            "tool_use" => self.call(&line, out),
            "tool_result" => self.outcome(&line, out),
            "error" => {
                let said = string(line.message).unwrap_or_default();
                match string(line.severity).as_deref() {
                    Some("warning") => out(Event::Notice(Text::Plain(&said))),
                    _ => out(Event::Trouble(trouble_in_words(&said))),
                }
            }
            "result" => self.result(&line, out),
            _ => return Verdict::Unknown,
        }
        Verdict::Used
    }
}

impl Gemini {
    fn fresh(&mut self) {
        self.step += 1;
        (self.spoken, self.called) = (false, false);
    }

    fn message(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        let Some(content) = line.content else { return Verdict::Unknown };
        let text = Text::of(content);
        match string(line.role).as_deref() {
            Some("user") => {
                self.fresh();
                out(Event::User { thread: None, text });
            }
            Some("assistant") => {
                let joined = truth(line.delta);
                if self.called || (self.spoken && !joined) {
                    self.fresh();
                }
                self.spoken = true;
                let step = format!("step {}", self.step);
                let turn = Turn { message: &step, ..Turn::default() };
                out(Event::Agent(turn, Part::Text { text, joined }));
            }
            _ => return Verdict::Unknown,
        }
        Verdict::Used
    }

    fn call(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) {
        if self.called && self.open.is_empty() {
            self.fresh();
        }
        self.called = true;
        let (id, name) = (string(line.tool_id).unwrap_or_default(), string(line.tool_name));
        if self.open.len() < OPEN {
            self.open.insert(id.clone().into_owned());
        }
        let step = format!("step {}", self.step);
        let turn = Turn { message: &step, ..Turn::default() };
        let arguments = line.parameters.map_or("{}", RawValue::get);
        let name = name.as_deref().unwrap_or("");
        out(Event::Agent(turn, Part::Call { id: &id, name, arguments }));
    }

    fn outcome(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let call = string(line.tool_id).unwrap_or_default();
        self.open.remove(&*call);
        let failed = string(line.status).is_some_and(|s| s != "success");
        let failure =
            line.error.and_then(|raw| serde_json::from_str::<Failure<'_>>(raw.get()).ok());
        let why = || failure.and_then(|f| f.message);
        let content = line.output.or_else(why).into_iter().map(Text::of).collect();
        let call = &*call;
        out(Event::Outcome(Outcome { call, content, failed, ..Outcome::default() }));
    }

    fn result(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) {
        #[derive(Deserialize, Default)]
        struct Stats<'a> {
            #[serde(borrow)]
            input_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            output_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            total_tokens: Option<&'a RawValue>,
            #[serde(borrow)]
            cached: Option<&'a RawValue>,
        }
        if let Some(raw) = line.stats {
            let stats: Stats<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
            let (input, said) = (count(stats.input_tokens), count(stats.output_tokens));
            // `output_tokens` are the candidates'; the total also has the thoughts.
            let output = count(stats.total_tokens).saturating_sub(input).max(said);
            self.totals += Usage {
                input,
                cached_input: count(stats.cached),
                output,
                reasoning: output - said,
                ..Usage::default()
            };
            out(Event::Totals(self.totals, None));
        }
        if string(line.status).as_deref() == Some("success") {
            return out(Event::End(Ended::Finished));
        }
        let failure =
            line.error.and_then(|raw| serde_json::from_str::<Failure<'_>>(raw.get()).ok());
        let (kind, why) = failure.map_or((None, None), |f| (string(f.kind), string(f.message)));
        let (kind, why) = (kind.unwrap_or_default(), why.unwrap_or_default());
        let trouble = trouble_in_words(&format!("{kind}: {why}"));
        let reason = trouble.message.clone();
        if kind.contains("MaxSessionTurns") || kind.contains("TurnLimit") {
            return out(Event::End(Ended::Limit(reason)));
        }
        out(Event::Trouble(trouble));
        out(Event::End(Ended::Failed(reason)));
    }
}
