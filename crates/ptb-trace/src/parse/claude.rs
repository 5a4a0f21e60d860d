//! Claude Code: `claude --print --verbose --output-format stream-json`.
//!
//! A message comes as one `assistant` line per content block, each with the message's id and usage; results come as
//! `user` lines; `parent_tool_use_id` names the call that started a sub-agent; a `result` line ends each session.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{named_kind, time, trouble_in_words};
use crate::event::{Event, Outcome, Part, Turn};
use crate::format::{Parser, Verdict};
use crate::summary::{ApiTrouble, Ended, TroubleKind};
use crate::text::{Text, amount, count, string, truth};
use crate::usage::Usage;

/// Most content blocks of a message, and most bytes of the usage by model.
const MOST_BLOCKS: usize = 10_000;
const MODEL_USAGE: usize = 256 << 10;

/// Reader of Claude Code's lines.
#[derive(Debug, Default)]
pub(crate) struct Claude {
    totals: Usage,
    cost: Option<f64>,
    /// The last account by model: of which session, tokens, dollars.
    told: (String, Usage, f64),
}

/// Any line: the fields of all kinds that are looked at.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    subtype: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    parent_tool_use_id: Option<&'a RawValue>,
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    claude_code_version: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    error_status: Option<&'a RawValue>,
    #[serde(borrow)]
    attempt: Option<&'a RawValue>,
    #[serde(borrow)]
    max_retries: Option<&'a RawValue>,
    #[serde(borrow)]
    compact_metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    summary: Option<&'a RawValue>,
    #[serde(borrow)]
    rate_limit_info: Option<&'a RawValue>,
    #[serde(borrow)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow)]
    api_error_status: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, rename = "modelUsage")]
    model_usage: Option<&'a RawValue>,
    #[serde(borrow)]
    model_usage_since_last_result: Option<&'a RawValue>,
    #[serde(borrow)]
    total_cost_usd: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    content: Content<'a>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

/// A text or blocks.
enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<Block<'a>>),
}

impl Default for Content<'_> {
    fn default() -> Self {
        Self::Blocks(Vec::new())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Either<'a> {
            type Value = Content<'a>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text or content blocks")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content<'a>, E> {
                Ok(Content::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Content<'a>, A::Error> {
                let mut blocks = Vec::new();
                while let Some(block) = seq.next_element()? {
                    // An empty block is three bytes in the line and a hundred times that here.
                    if blocks.len() == MOST_BLOCKS {
                        return Err(de::Error::custom("more content blocks than a message has"));
                    }
                    blocks.push(block);
                }
                Ok(Content::Blocks(blocks))
            }
        }
        from.deserialize_any(Either(std::marker::PhantomData))
    }
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_use_id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    is_error: Option<&'a RawValue>,
    #[serde(borrow)]
    source: Option<&'a RawValue>,
}

impl Parser for Claude {
    fn line(&mut self, line: &str, _: Option<f64>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
        let line: Line<'_> = match serde_json::from_str(line) {
            Ok(line) => line,
            Err(e) => return e.into(),
        };
        if let Some(at) = time(line.timestamp) {
            out(Event::At(at));
        }
        match &*line.kind {
            "assistant" => assistant(&line, out),
            "user" => user(&line, out),
            "system" => system(&line, out),
            "result" => {
                self.result(&line, out);
                Verdict::Used
            }
            "rate_limit_event" => rate_limit(&line, out),
            "stream_event" | "keep_alive" | "tool_progress" | "auth_status"
            | "tool_use_summary" | "prompt_suggestion" | "control_request" | "control_response" => {
                Verdict::Passed
            }
            _ => Verdict::Unknown,
        }
    }
}

fn assistant(line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
    let Some(message) = &line.message else { return Verdict::Unknown };
    let (thread, model) = (string(line.parent_tool_use_id), string(message.model));
    // What Claude Code says in the model's place has this model's name: an error in words.
    let made_up = model.as_deref() == Some("<synthetic>");
    let model = model.as_deref().filter(|_| !made_up);
    let error = string(line.error);
    let made_up = made_up || error.is_some();
    let turn = Turn { message: &message.id, thread: thread.as_deref(), model, made_up };
    if let Some(kind) = error {
        out(Event::Trouble(named_trouble(&kind, &words(&message.content))));
    }
    match &message.content {
        Content::Text(text) => {
            out(Event::Agent(turn, Part::Text { text: Text::Plain(text), joined: false }));
        }
        Content::Blocks(blocks) => blocks.iter().for_each(|block| part(turn, block, out)),
    }
    if let Some(usage) = message.usage.filter(|_| !made_up) {
        out(Event::Cost(turn, tokens(usage), None));
    }
    Verdict::Used
}

fn part(turn: Turn<'_>, block: &Block<'_>, out: &mut dyn FnMut(Event<'_>)) {
    let text = |raw: Option<&RawValue>, out: &mut dyn FnMut(Event<'_>)| {
        if let Some(raw) = raw {
            out(Event::Agent(turn, Part::Text { text: Text::of(raw), joined: false }));
        }
    };
    match &*block.kind {
        "text" => text(block.text, out),
        "thinking" => {
            if let Some(raw) = block.thinking {
                out(Event::Agent(turn, Part::Reasoning(Text::of(raw))));
            }
        }
        "redacted_thinking" => {
            out(Event::Agent(
                turn,
                Part::Reasoning(Text::Plain("(reasoning that the provider hides)")),
            ));
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let (id, name) = (string(block.id), string(block.name));
            let (id, name) = (id.as_deref().unwrap_or(""), name.as_deref().unwrap_or(""));
            let arguments = block.input.map_or("{}", RawValue::get);
            out(Event::Agent(turn, Part::Call { id, name, arguments }));
        }
        _ if block.tool_use_id.is_some() => outcome(block, out),
        _ => text(block.text, out),
    }
}

fn outcome(block: &Block<'_>, out: &mut dyn FnMut(Event<'_>)) {
    let call = string(block.tool_use_id);
    let call = call.as_deref().unwrap_or("");
    let failed = truth(block.is_error);
    let mut told = Outcome { call, failed, ..Outcome::default() };
    let Some(raw) = block.content else { return out(Event::Outcome(told)) };
    let blocks = match serde_json::from_str(raw.get()) {
        Ok(Content::Blocks(blocks)) if raw.get().starts_with('[') => blocks,
        _ => Vec::new(),
    };
    let pictures: Vec<String> = blocks.iter().map(picture).collect();
    told.content = match blocks.is_empty() {
        true => vec![Text::of(raw)],
        false => blocks
            .iter()
            .zip(&pictures)
            .map(|(block, picture)| block.text.map_or(Text::Plain(picture), Text::of))
            .collect(),
    };
    out(Event::Outcome(told));
}

/// A block that is no text, in a few words.
fn picture(block: &Block<'_>) -> String {
    #[derive(Deserialize)]
    struct Source<'a> {
        #[serde(borrow)]
        media_type: Option<&'a RawValue>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let source: Option<Source<'_>> =
        block.source.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let kind =
        source.as_ref().and_then(|s| string(s.media_type)).unwrap_or(Cow::Borrowed(&block.kind));
    let size = source.and_then(|s| s.data).map_or(0, |raw| raw.get().len());
    format!("({kind}, {size} characters of data)")
}

fn user(line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
    let Some(message) = &line.message else { return Verdict::Unknown };
    let thread = string(line.parent_tool_use_id);
    let thread = thread.as_deref();
    match &message.content {
        Content::Text(text) => out(Event::User { thread, text: Text::Plain(text) }),
        Content::Blocks(blocks) => {
            for block in blocks {
                match (block.tool_use_id, block.text) {
                    (Some(_), _) => outcome(block, out),
                    (None, Some(text)) => out(Event::User { thread, text: Text::of(text) }),
                    (None, None) => out(Event::User { thread, text: Text::Plain(&picture(block)) }),
                }
            }
        }
    }
    Verdict::Used
}

fn system(line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
    match string(line.subtype).as_deref() {
        Some("init") => {
            let (id, model) = (string(line.session_id), string(line.model));
            let version = string(line.claude_code_version);
            let (id, model, version) = (id.as_deref(), model.as_deref(), version.as_deref());
            out(Event::Session { id, model, version });
        }
        Some("api_retry") => {
            let kind = string(line.error).unwrap_or_default();
            let (n, most) = (count(line.attempt), count(line.max_retries));
            let message = format!("the model API failed ({kind}); retry {n} of {most}");
            let mut trouble = named_trouble(&kind, &message);
            trouble.status = status(line.error_status);
            trouble.retried = true;
            if let (Some(status), TroubleKind::Unknown) = (trouble.status, trouble.kind) {
                trouble.kind = TroubleKind::of_status(status);
            }
            out(Event::Trouble(trouble));
        }
        Some("task_notification") => {
            let (status, said) = (string(line.status), string(line.summary));
            let (status, said) = (status.unwrap_or_default(), said.unwrap_or_default());
            out(Event::Notice(Text::Plain(&format!("a background task is {status}: {said}"))));
        }
        Some("compact_boundary") => {
            let how = line.compact_metadata.map_or("", RawValue::get);
            out(Event::Notice(Text::Plain(&format!("the conversation was summarised {how}"))));
        }
        Some(
            "status"
            | "hook_started"
            | "hook_progress"
            | "hook_response"
            | "task_started"
            | "task_progress"
            | "task_updated"
            | "background_tasks_changed"
            | "thinking_tokens"
            | "files_persisted"
            | "session_state_changed"
            | "local_command_output",
        ) => return Verdict::Passed,
        _ => return Verdict::Unknown,
    }
    Verdict::Used
}

fn status(raw: Option<&RawValue>) -> Option<u16> {
    serde_json::from_str(raw?.get()).ok()
}

fn named_trouble(name: &str, message: &str) -> ApiTrouble {
    let mut trouble = trouble_in_words(message);
    let kind = named_kind(name);
    if kind != TroubleKind::Unknown {
        trouble.kind = kind;
    }
    trouble
}

fn rate_limit(line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) -> Verdict {
    #[derive(Deserialize)]
    struct Info<'a> {
        #[serde(borrow, default)]
        status: Cow<'a, str>,
    }
    let info =
        line.rate_limit_info.and_then(|raw| serde_json::from_str::<Info<'_>>(raw.get()).ok());
    if info.is_none_or(|info| info.status != "rejected") {
        return Verdict::Passed;
    }
    let mut trouble = ApiTrouble::new(None, "the rate limit of the subscription is reached");
    trouble.kind = TroubleKind::RateLimit;
    out(Event::Trouble(trouble));
    Verdict::Used
}

fn words(content: &Content<'_>) -> String {
    match content {
        Content::Text(text) => text.to_string(),
        Content::Blocks(blocks) => {
            let texts = blocks.iter().filter_map(|b| string(b.text));
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

impl Claude {
    /// Tokens and dollars since the last result. `usage` is the process's, without sub-agents and side calls; the
    /// account by model has them, and goes on when a session is resumed in another process.
    fn spent(&mut self, line: &Line<'_>) -> (Usage, Option<f64>) {
        let own = line.usage.map(tokens).unwrap_or_default();
        let all = line.model_usage.and_then(models);
        let since = line.model_usage_since_last_result.and_then(models);
        let session = string(line.session_id).unwrap_or_default();
        let earlier = match &self.told {
            (id, usage, cost) if *id == *session => (*usage, *cost),
            _ => Default::default(),
        };
        if let Some((usage, cost)) = all {
            self.told = (session.into_owned(), usage, cost);
        }
        match (since, all) {
            (Some((usage, cost)), _) => (usage, Some(cost)),
            (None, Some((now, cost))) if !now.is_zero() => {
                let rest = now.since(&earlier.0);
                match now.covers(&earlier.0) && rest.covers(&own) {
                    true => (rest, Some((cost - earlier.1).max(0.0))),
                    false => (now, Some(cost)),
                }
            }
            _ => (own, amount(line.total_cost_usd)),
        }
    }

    fn result(&mut self, line: &Line<'_>, out: &mut dyn FnMut(Event<'_>)) {
        let (usage, cost) = self.spent(line);
        self.totals += usage;
        if let Some(cost) = cost {
            self.cost = Some(self.cost.unwrap_or(0.0) + cost);
        }
        let text = string(line.result).or_else(|| line.errors.map(|raw| Cow::Borrowed(raw.get())));
        let text = text.unwrap_or_default();
        if let Some(status) = status(line.api_error_status) {
            out(Event::Trouble(trouble_in_words(&text).with_status(status)));
        }
        let subtype = string(line.subtype).unwrap_or_default();
        let reason = || ApiTrouble::new(None, &format!("{subtype}: {text}")).message;
        let ended = match &*subtype {
            "success" if !truth(line.is_error) => Ended::Finished,
            limit if limit.starts_with("error_max_") => Ended::Limit(limit.to_owned()),
            _ => Ended::Failed(reason()),
        };
        out(Event::Totals(self.totals, self.cost));
        out(Event::End(ended));
    }
}

/// Tokens of an Anthropic `usage` object: `input_tokens` leaves the cache's out.
pub(crate) fn tokens(raw: &RawValue) -> Usage {
    #[derive(Deserialize, Default)]
    struct Tokens<'a> {
        #[serde(borrow)]
        input_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        cache_read_input_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        cache_creation_input_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        cache_creation: Option<&'a RawValue>,
        #[serde(borrow)]
        output_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        output_tokens_details: Option<&'a RawValue>,
    }
    #[derive(Deserialize, Default)]
    struct Details<'a> {
        #[serde(borrow)]
        ephemeral_1h_input_tokens: Option<&'a RawValue>,
        #[serde(borrow)]
        thinking_tokens: Option<&'a RawValue>,
    }
    let told: Tokens<'_> = serde_json::from_str(raw.get()).unwrap_or_default();
    let details = |raw: Option<&'_ RawValue>, pick: fn(&Details<'_>) -> u64| {
        raw.and_then(|r| serde_json::from_str::<Details<'_>>(r.get()).ok()).map_or(0, |d| pick(&d))
    };
    let written = count(told.cache_creation_input_tokens);
    let hour = details(told.cache_creation, |d| count(d.ephemeral_1h_input_tokens)).min(written);
    split(
        count(told.input_tokens),
        count(told.cache_read_input_tokens),
        (written - hour, hour),
        count(told.output_tokens),
        details(told.output_tokens_details, |d| count(d.thinking_tokens)),
    )
}

fn split(fresh: u64, cached_input: u64, written: (u64, u64), output: u64, reasoning: u64) -> Usage {
    let (cache_write_5m, cache_write_1h) = written;
    let input =
        [cached_input, cache_write_5m, cache_write_1h].into_iter().fold(fresh, u64::saturating_add);
    Usage { input, cached_input, cache_write_5m, cache_write_1h, output, reasoning }
}

/// Sum and cost of a `modelUsage` object, side calls and sub-agents included.
fn models(raw: &RawValue) -> Option<(Usage, f64)> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct OfModel {
        input_tokens: u64,
        output_tokens: u64,
        cache_read_input_tokens: u64,
        cache_creation_input_tokens: u64,
        cache_creation_ephemeral1h_input_tokens: u64,
        thinking_tokens: u64,
        #[serde(rename = "costUSD")]
        cost_usd: f64,
    }
    if raw.get().len() > MODEL_USAGE {
        return None;
    }
    let by_model: std::collections::BTreeMap<String, OfModel> =
        serde_json::from_str(raw.get()).ok()?;
    let (mut usage, mut cost) = (Usage::default(), 0.0);
    for m in by_model.values() {
        let hour = m.cache_creation_ephemeral1h_input_tokens.min(m.cache_creation_input_tokens);
        let written = (m.cache_creation_input_tokens - hour, hour);
        let (fresh, cached) = (m.input_tokens, m.cache_read_input_tokens);
        usage += split(fresh, cached, written, m.output_tokens, m.thinking_tokens);
        cost += m.cost_usd.max(0.0);
    }
    Some((usage, cost))
}
