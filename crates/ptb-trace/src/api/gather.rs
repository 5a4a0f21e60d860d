//! What a trajectory takes from the API record: system prompt, tools, sums, and the conversations beside the main one.
//!
//! Requests belong to one conversation when their system prompts and the messages before the model's first answer are
//! equal, in words (marks for the cache wander). The main conversation is the first one that has tools.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::record::{ApiLimits, ApiRecord, Exchange, RecordState, Request};
use super::wire::{Role, Said, definitions, messages_key, reply, said, system_key, words};
use crate::about::About;
use crate::atif::metrics;
use crate::text::{Text, is_tame, is_tame_object};
use crate::usage::Usage;

/// Conversations that are told apart; requests of further ones are only counted.
const CONVERSATIONS: usize = 128;
/// Messages before the first answer that are compared.
const OPENING: usize = 8;
/// Longest text of a side conversation's step, and of the system prompt, in bytes.
const LONGEST: usize = 64 << 10;
/// Most that all tool definitions may be, in bytes.
const TOOLS: usize = 4 << 20;
/// Most steps of a side conversation.
const STEPS: usize = 2000;

/// The API record in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ApiSummary {
    /// Requests.
    pub exchanges: u64,
    /// Of them, those whose answer is whole.
    pub complete: u64,
    /// Answers that were cut.
    pub cut: u64,
    /// Requests that the gateway refused.
    pub refused: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests without an answer in the record.
    pub unanswered: u64,
    /// Tokens of all of them.
    pub usage: Usage,
    /// US dollars of those whose price is known; none when none is.
    pub cost: Option<f64>,
    /// Requests that used tokens of unknown price: `cost` is without them.
    pub unpriced: u64,
    /// The conversations, the main one first.
    pub conversations: Vec<Conversation>,
    /// Requests of conversations that were too many to be told apart.
    pub apart: u64,
    /// How the reading went.
    pub state: RecordState,
}

/// A conversation in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conversation {
    /// The model that answered, or that was asked.
    pub model: Option<String>,
    /// Number of its first request.
    pub first_request: u64,
    /// Requests.
    pub requests: u64,
    /// Tokens.
    pub usage: Usage,
    /// US dollars, where known.
    pub cost: Option<f64>,
    /// In what it differs from the main conversation: `system prompt` or `first message`.
    pub differs: Option<String>,
}

/// What a trajectory takes from the record.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) summary: ApiSummary,
    pub(crate) system: Option<String>,
    pub(crate) tools: Vec<Value>,
    pub(crate) sides: Vec<Side>,
}

/// A conversation beside the main one.
#[derive(Debug)]
pub(crate) struct Side {
    told: Conversation,
    latest: Latest,
}

/// The longest request of a conversation, and its answer.
#[derive(Debug)]
struct Latest {
    request: Request,
    /// What was said, and what it cost; a stream's events are many times as large.
    answer: Option<(Said, Option<Usage>, Option<f64>)>,
}

/// A conversation while requests are sorted.
struct Group {
    system: u64,
    tools: bool,
    told: Conversation,
    latest: Latest,
}

impl Gathered {
    /// Reads a whole record.
    pub(crate) fn read(from: &mut dyn Read) -> Self {
        let mut record = ApiRecord::new(from, ApiLimits::default());
        let mut sorter = Sorter::default();
        for exchange in record.by_ref() {
            sorter.add(exchange);
        }
        sorter.finish(record.state())
    }
}

#[derive(Default)]
struct Sorter {
    summary: ApiSummary,
    groups: Vec<Group>,
    by_key: HashMap<(u64, u64), usize>,
    hasher: RandomState,
}

impl Sorter {
    fn add(&mut self, exchange: Exchange) {
        let sums = &mut self.summary;
        sums.exchanges += 1;
        let response = exchange.response.as_ref();
        *match response.map(|r| r.end.as_str()) {
            Some("complete") => &mut sums.complete,
            Some("cut") => &mut sums.cut,
            Some("refused") => &mut sums.refused,
            Some(_) => &mut sums.failed,
            None => &mut sums.unanswered,
        } += 1;
        let usage = response.and_then(|r| r.usage).unwrap_or_default();
        let cost = response.and_then(|r| r.cost_usd).filter(|c| c.is_finite());
        sums.usage += usage;
        sums.unpriced += u64::from(cost.is_none() && !usage.is_zero());
        sum(&mut sums.cost, cost);
        self.sort(exchange, usage, cost);
    }

    fn sort(&mut self, exchange: Exchange, usage: Usage, cost: Option<f64>) {
        let Exchange { request, response } = exchange;
        let key = messages_key(&request.protocol);
        if request.body.len(key) == 0 || request.path.to_ascii_lowercase().contains("count") {
            return;
        }
        let opening = self.opening(&request);
        let at = match self.by_key.get(&opening) {
            Some(at) => *at,
            None if self.groups.len() >= CONVERSATIONS => {
                self.summary.apart += 1;
                return;
            }
            None => {
                let told =
                    Conversation { first_request: request.number, ..Conversation::default() };
                let tools = request.body.len("tools") > 0;
                let latest = Latest { request: request.clone(), answer: None };
                self.groups.push(Group { system: opening.0, tools, told, latest });
                self.by_key.insert(opening, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        let group = &mut self.groups[at];
        group.told.requests += 1;
        group.told.usage += usage;
        sum(&mut group.told.cost, cost);
        let asked = || request.body.stand_in("model")?.as_str().map(str::to_owned);
        let answered = response.as_ref().and_then(|r| r.model.clone());
        group.told.model = answered.or_else(asked).or(group.told.model.take());
        if request.body.len(key) >= group.latest.request.body.len(key) {
            let answer = response.map(|r| (reply(&r.body), r.usage, r.cost_usd));
            group.latest = Latest { request, answer };
        }
    }

    /// What a conversation is known by: its system prompt, and what was said before the model's first answer.
    fn opening(&self, request: &Request) -> (u64, u64) {
        let first = request.body.first(messages_key(&request.protocol), OPENING);
        let first: Vec<String> =
            first.iter().map(said).take_while(|s| s.role != Role::Agent).map(|s| s.text).collect();
        (self.hasher.hash_one(system_of(request)), self.hasher.hash_one(first))
    }

    fn finish(mut self, state: RecordState) -> Gathered {
        self.summary.state = state;
        let main = self.groups.iter().position(|group| group.tools).unwrap_or(0);
        let mut gathered = Gathered { summary: self.summary, ..Gathered::default() };
        if main >= self.groups.len() {
            return gathered;
        }
        let main = self.groups.remove(main);
        let request = &main.latest.request;
        gathered.system = Some(shown(&system_of(request))).filter(|s| !s.is_empty());
        gathered.tools = tools_of(request);
        gathered.summary.conversations.push(main.told);
        for mut group in self.groups {
            let differs =
                if group.system == main.system { "first message" } else { "system prompt" };
            group.told.differs = Some(differs.to_owned());
            gathered.summary.conversations.push(group.told.clone());
            gathered.sides.push(Side { told: group.told, latest: group.latest });
        }
        gathered
    }
}

fn sum(to: &mut Option<f64>, more: Option<f64>) {
    if let Some(more) = more {
        *to = Some(to.unwrap_or(0.0) + more);
    }
}

/// The system prompt in words; Chat Completions has it among the messages.
fn system_of(request: &Request) -> String {
    let told = request.body.field(system_key(&request.protocol)).map(|v| words(&v));
    let told = told.or_else(|| request.body.field("system_instruction").map(|v| words(&v)));
    told.unwrap_or_else(|| {
        let first = request.body.first(messages_key(&request.protocol), OPENING);
        let system = first.iter().map(said).take_while(|s| s.role == Role::System).map(|s| s.text);
        system.collect::<Vec<_>>().join("\n")
    })
}

fn tools_of(request: &Request) -> Vec<Value> {
    let tools = request.body.field("tools");
    let tools =
        definitions(tools.as_ref().and_then(Value::as_array).map_or(&[][..], Vec::as_slice));
    let mut size = 0;
    let small = |tool: &Value| {
        let text = tool.to_string();
        size += text.len();
        size <= TOOLS && is_tame(&text)
    };
    tools.into_iter().filter(small).collect()
}

/// A text, or its two ends with a note of what is missing.
fn shown(text: &str) -> String {
    let ends = Text::Plain(text).ends(LONGEST / 2, LONGEST / 2);
    match ends.left_out {
        0 => ends.head.into_owned(),
        n => format!("{}\n(… {n} bytes left out …)\n{}", ends.head, ends.tail),
    }
}

impl Side {
    /// The conversation as a trajectory of its own, the `n`th.
    pub(crate) fn trajectory(&self, n: usize, about: &About) -> Value {
        let Latest { request, answer } = &self.latest;
        let key = messages_key(&request.protocol);
        let mut steps: Vec<Value> = Vec::new();
        // Chat Completions has the system prompt among the messages.
        let own = request.protocol != "chat";
        let system = Some(shown(&system_of(request))).filter(|s| own && !s.is_empty());
        if let Some(system) = system {
            steps.push(json!({"source": "system", "message": system}));
        }
        let all = request.body.first(key, STEPS);
        all.iter().for_each(|message| add(&mut steps, said(message)));
        if let Some((said, usage, cost)) = answer {
            add(&mut steps, said.clone());
            if let (Some(last), Some(usage)) = (steps.last_mut(), usage)
                && last["source"] == "agent"
                && last.get("llm_call_count").is_none()
            {
                last["metrics"] = json!(metrics(usage, *cost));
            }
        }
        number(&mut steps, request.at);
        let mut agent = json!({"name": about.name, "version": about.version});
        if let Some(model) = &self.told.model {
            agent["model_name"] = json!(model);
        }
        let mut sums = json!({
            "total_prompt_tokens": self.told.usage.input,
            "total_completion_tokens": self.told.usage.output,
            "total_cached_tokens": self.told.usage.cached_input,
            "total_steps": steps.len(),
        });
        if let Some(cost) = self.told.cost {
            sums["total_cost_usd"] = json!(cost);
        }
        json!({
            "schema_version": "ATIF-v1.8",
            "trajectory_id": format!("api-{n}"),
            "agent": agent,
            "steps": steps,
            "final_metrics": sums,
            "extra": {"source": "api record", "conversation": self.told},
        })
    }
}

/// Adds a message: results go to the step of their calls.
fn add(steps: &mut Vec<Value>, said: Said) {
    let mut apart = Vec::new();
    for (id, text) in said.results {
        let result = json!({"source_call_id": id, "content": shown(&text)});
        let asked = steps.iter_mut().rev().take(16).find(|step| {
            let calls = step["tool_calls"].as_array();
            calls.is_some_and(|calls| calls.iter().any(|c| c["tool_call_id"] == id.as_str()))
        });
        let Some(step) = asked else {
            apart.push(result);
            continue;
        };
        match step["observation"]["results"].as_array_mut() {
            Some(results) => results.push(result),
            None => step["observation"] = json!({"results": [result]}),
        }
    }
    if !apart.is_empty() {
        steps.push(json!({"source": "agent", "message": "", "llm_call_count": 0, "observation": {"results": apart}}));
    }
    if said.text.is_empty() && said.reasoning.is_empty() && said.calls.is_empty() {
        return;
    }
    let source = match said.role {
        Role::System => "system",
        Role::User => "user",
        Role::Agent => "agent",
    };
    let mut step = Map::new();
    step.insert("source".to_owned(), json!(source));
    step.insert("message".to_owned(), json!(shown(&said.text)));
    if said.role == Role::Agent {
        if !said.reasoning.is_empty() {
            step.insert("reasoning_content".to_owned(), json!(shown(&said.reasoning)));
        }
        let calls: Vec<Value> = said.calls.iter().map(call).collect();
        if !calls.is_empty() {
            step.insert("tool_calls".to_owned(), json!(calls));
        }
    }
    steps.push(Value::Object(step));
}

fn call((id, name, asked): &(String, String, String)) -> Value {
    let tame = asked.len() <= LONGEST && is_tame_object(asked);
    let arguments = tame.then(|| serde_json::from_str(asked).ok()).flatten();
    let arguments = arguments.unwrap_or_else(|| match asked.as_str() {
        "" => json!({}),
        asked => json!({"_raw": shown(asked)}),
    });
    json!({"tool_call_id": id, "function_name": name, "arguments": arguments})
}

/// Numbers the steps; the time that is known is the last request's.
fn number(steps: &mut [Value], at: f64) {
    for (n, step) in steps.iter_mut().enumerate() {
        step["step_id"] = json!(n + 1);
    }
    let at =
        (at > 0.0 && at < 2.5e11).then(|| Timestamp::from_millisecond((at * 1000.0) as i64).ok());
    if let (Some(step), Some(Some(at))) = (steps.last_mut(), at) {
        step["timestamp"] = json!(at.to_string());
    }
}
