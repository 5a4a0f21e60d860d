//! Codex CLI: `codex exec --json`.
//!
//! Items start and complete; a turn ends with the thread's tokens so far. There are no message ids: words after a
//! call, and a call after the results of all earlier ones, begin a new step. Source: `exec_events.rs` of
//! <https://github.com/openai/codex>.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::trouble_in_words;
use crate::event::{Event, Outcome, Part, Turn};
use crate::format::{Parser, Verdict};
use crate::summary::Ended;
use crate::text::{Text, count, string};
use crate::usage::Usage;

/// Most calls that are remembered as open.
const OPEN: usize = 1024;

/// Reader of Codex's lines.
#[derive(Debug, Default)]
pub(crate) struct Codex {
    /// How many threads began: items are numbered anew in each process.
    threads: u64,
    thread: String,
    /// Number of the step, whether it has calls, which of them have no result yet.
    step: u64,
    called: bool,
    spoken: bool,
    open: HashSet<String>,
    /// Changes of the plan so far.
    plans: u64,
    /// Tokens of earlier threads, and of this one so far.
    before: Usage,
    now: Usage,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    thread_id: Option<&'a RawValue>,
    #[serde(borrow)]
    item: Option<Item<'a>>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    command: Option<&'a RawValue>,
    #[serde(borrow)]
    aggregated_output: Option<&'a RawValue>,
    #[serde(borrow)]
    exit_code: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    changes: Option<&'a RawValue>,
    #[serde(borrow)]
    server: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Option<&'a RawValue>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    items: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Words<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

/// Tokens of a turn, OpenAI's way: the input includes what was cached.
#[derive(Deserialize, Default)]
struct Tokens<'a> {
    #[serde(borrow)]
    input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cached_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    cache_write_input_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_output_tokens: Option<&'a RawValue>,
}

impl Parser for Codex {
    fn line(&mut self, line: &str, _: Option<f64>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        let line: Line<'_> = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(e) => return e.into(),
        };
        match (&*line.kind, &line.item) {
            ("thread.started", _) => self.begin(line.thread_id, out),
            ("turn.started", _) => self.fresh(),
            ("item.started", Some(item)) => return self.started(item, out),
            ("item.completed", Some(item)) => return self.completed(item, out),
            ("item.updated", Some(item)) if item.kind == "todo_list" => self.plan(item, out),
            ("item.updated", Some(_)) => return Verdict::Passed,
            ("turn.completed", _) => {
                self.count(line.usage, out);
                out(Event::End(Ended::Finished));
            }
            ("turn.failed", _) => {
                let said =
                    line.error.and_then(|raw| serde_json::from_str::<Words<'_>>(raw.get()).ok());
                let said = said.and_then(|w| string(w.message)).unwrap_or_default();
                let trouble = trouble_in_words(&said);
                let reason = trouble.message.clone();
                out(Event::Trouble(trouble));
                self.count(line.usage, out);
                out(Event::End(Ended::Failed(reason)));
            }
            ("error", _) => {
                let said = string(line.message).unwrap_or_default();
                let mut trouble = trouble_in_words(&said);
                trouble.retried = said.starts_with("Reconnecting");
                out(Event::Trouble(trouble));
            }
            _ => return Verdict::Unknown,
        }
        Verdict::Used
    }
}

impl Codex {
    fn begin(&mut self, id: Option<&RawValue>, out: &mut dyn FnMut(Event<'_>)) {
        let id = string(id).unwrap_or_default();
        self.threads += 1;
        if *id != *self.thread {
            self.before += std::mem::take(&mut self.now);
            self.thread = id.clone().into_owned();
        }
        self.open.clear();
        self.fresh();
        out(Event::Session { id: Some(&id), model: None, version: None });
    }

    /// A thread's tokens are counted from its beginning, also after it was resumed; less than before means that a
    /// version counts otherwise.
    fn count(&mut self, usage: Option<&RawValue>, out: &mut dyn FnMut(Event<'_>)) {
        let Some(raw) = usage else { return };
        let told: Tokens<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
        let told = Usage {
            input: count(told.input_tokens),
            cached_input: count(told.cached_input_tokens),
            cache_write_5m: count(told.cache_write_input_tokens),
            cache_write_1h: 0,
            output: count(told.output_tokens),
            reasoning: count(told.reasoning_output_tokens),
        };
        if !told.covers(&self.now) {
            self.before += self.now;
        }
        self.now = told;
        out(Event::Totals(self.before + self.now, None));
    }

    fn fresh(&mut self) {
        self.step += 1;
        (self.called, self.spoken) = (false, false);
    }

    /// The step that words belong to.
    fn speaking(&mut self) -> String {
        if self.called || self.spoken {
            self.fresh();
        }
        format!("step {}", self.step)
    }

    /// The step that a call belongs to.
    fn calling(&mut self) -> String {
        if self.called && self.open.is_empty() {
            self.fresh();
        }
        self.called = true;
        format!("step {}", self.step)
    }

    fn call_id(&self, item: &str) -> String {
        match self.threads {
            0 | 1 => item.to_owned(),
            n => format!("{n}/{item}"),
        }
    }

    fn started(&mut self, item: &Item<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        match &*item.kind {
            "command_execution" | "file_change" | "mcp_tool_call" | "collab_tool_call" => {
                self.call(item, out);
                Verdict::Used
            }
            "todo_list" => {
                self.plan(item, out);
                Verdict::Used
            }
            "web_search" | "agent_message" | "reasoning" | "error" => Verdict::Passed,
            _ => Verdict::Unknown,
        }
    }

    fn call(&mut self, item: &Item<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let (id, step) = (self.call_id(&item.id), self.calling());
        if self.open.len() < OPEN {
            self.open.insert(id.clone());
        }
        let (name, arguments) = asked(item);
        let turn = Turn { message: &step, ..Turn::default() };
        out(Event::Agent(turn, Part::Call { id: &id, name: &name, arguments: &arguments }));
    }

    /// Each change of the plan is a call of its own; the item stays the same.
    fn plan(&mut self, item: &Item<'_>, out: &mut dyn FnMut(Event<'_>)) {
        self.plans += 1;
        let id = format!("{}#{}", self.call_id(&item.id), self.plans);
        let step = self.calling();
        let (name, arguments) = asked(item);
        let turn = Turn { message: &step, ..Turn::default() };
        out(Event::Agent(turn, Part::Call { id: &id, name: &name, arguments: &arguments }));
        out(Event::Outcome(Outcome { call: &id, ..Outcome::default() }));
    }

    fn completed(&mut self, item: &Item<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        match (&*item.kind, item.text) {
            ("agent_message", Some(text)) => {
                let step = self.speaking();
                self.spoken = true;
                let turn = Turn { message: &step, ..Turn::default() };
                out(Event::Agent(turn, Part::Text { text: Text::of(text), joined: false }));
            }
            ("reasoning", Some(text)) => {
                let step = self.speaking();
                let turn = Turn { message: &step, ..Turn::default() };
                out(Event::Agent(turn, Part::Reasoning(Text::of(text))));
            }
            ("error", _) => {
                let Some(said) = item.message else { return Verdict::Unknown };
                out(Event::Notice(Text::of(said)));
            }
            // It was told whenever it changed; this is the end of the turn.
            ("todo_list", _) => return Verdict::Passed,
            (
                "command_execution" | "file_change" | "mcp_tool_call" | "collab_tool_call"
                | "web_search",
                _,
            ) => self.outcome(item, out),
            _ => return Verdict::Unknown,
        }
        Verdict::Used
    }

    fn outcome(&mut self, item: &Item<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let id = self.call_id(&item.id);
        if !self.open.contains(&id) {
            self.call(item, out);
        }
        self.open.remove(&id);
        let status = string(item.status);
        let exit_code = item.exit_code.and_then(|raw| serde_json::from_str(raw.get()).ok());
        let failed = exit_code.is_some_and(|code: i64| code != 0)
            || matches!(status.as_deref(), Some("failed" | "declined"));
        let present = |raw: &&RawValue| raw.get() != "null";
        let pieces = [item.aggregated_output, item.result, item.error];
        let content = pieces.into_iter().flatten().filter(present).map(Text::of).collect();
        out(Event::Outcome(Outcome { call: &id, content, exit_code, failed }));
    }
}

/// Name and arguments of a call, from the item that stands for it.
fn asked<'a>(item: &'a Item<'a>) -> (Cow<'a, str>, String) {
    let tool = string(item.tool).unwrap_or_default();
    let name = match (&*item.kind, string(item.server)) {
        ("mcp_tool_call", Some(server)) => Cow::Owned(format!("{server}.{tool}")),
        ("collab_tool_call", _) => tool,
        _ => Cow::Borrowed(&*item.kind),
    };
    if let Some(arguments) = item.arguments {
        return (name, arguments.get().to_owned());
    }
    let fields = [
        ("command", item.command),
        ("changes", item.changes),
        ("query", item.query),
        ("action", item.action),
        ("items", item.items),
        ("prompt", item.prompt),
    ];
    let told = fields.iter().filter_map(|(key, raw)| Some(format!("\"{key}\":{}", (*raw)?.get())));
    let object = format!("{{{}}}", told.collect::<Vec<_>>().join(","));
    (name, object)
}
