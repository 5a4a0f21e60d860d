//! `trajectory.json`: ATIF 1.8, written step by step.
//!
//! Format: <https://github.com/harbor-framework/harbor/blob/main/rfcs/0001-trajectory-format.md>. Each step stands on
//! a line of its own. What is known only at the end (session, sums) stands after the steps; JSON does not care.

use std::io::{BufWriter, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::about::About;
use crate::api::Gathered;
use crate::step::{Answer, Lane, Source, Step};
use crate::summary::Summary;
use crate::text::JsonText;
use crate::usage::Usage;

/// Writer of one trajectory.
#[derive(Debug)]
pub(crate) struct Atif<T: Write> {
    to: BufWriter<T>,
    any: bool,
}

impl<T: Write> Atif<T> {
    /// Writes the head: who ran.
    pub(crate) fn begin(to: T, about: &About, tools: &[Value]) -> std::io::Result<Self> {
        let mut to = BufWriter::with_capacity(1 << 16, to);
        to.write_all(b"{\"schema_version\":\"ATIF-v1.8\",\"agent\":")?;
        let version = if about.version.is_empty() { "unknown" } else { &about.version };
        let mut agent = json!({"name": about.name, "version": version});
        if let Some(model) = &about.model {
            agent["model_name"] = json!(model);
        }
        if !tools.is_empty() {
            agent["tool_definitions"] = json!(tools);
        }
        serde_json::to_writer(&mut to, &agent)?;
        to.write_all(b",\"steps\":[")?;
        Ok(Self { to, any: false })
    }

    /// Writes one step.
    pub(crate) fn step(&mut self, step: &Step) -> std::io::Result<()> {
        let to = &mut self.to;
        to.write_all(if self.any { b",\n" } else { b"\n" })?;
        self.any = true;
        let source = match step.source {
            Source::System => "system",
            Source::User => "user",
            Source::Agent => "agent",
        };
        write!(to, "{{\"step_id\":{},\"source\":\"{source}\"", step.id)?;
        if let Some(time) = step.time {
            write!(to, ",\"timestamp\":\"{time}\"")?;
        }
        if let Some(model) = &step.model {
            to.write_all(b",\"model_name\":")?;
            serde_json::to_writer(&mut *to, model)?;
        }
        literal(to, "message", &step.text)?;
        if !step.reasoning.is_empty() {
            literal(to, "reasoning_content", &step.reasoning)?;
        }
        calls(to, step)?;
        results(to, &step.results)?;
        if step.lane == Lane::Late {
            to.write_all(b",\"llm_call_count\":0")?;
        }
        if let Some(usage) = &step.usage {
            to.write_all(b",\"metrics\":")?;
            serde_json::to_writer(&mut *to, &metrics(usage, step.cost))?;
        }
        if let Some(extra) = extra(step) {
            to.write_all(b",\"extra\":")?;
            serde_json::to_writer(&mut *to, &extra)?;
        }
        to.write_all(b"}")
    }

    /// Writes what is known at the end.
    pub(crate) fn end(
        mut self,
        about: &About,
        summary: &Summary,
        api: Option<&Gathered>,
    ) -> std::io::Result<()> {
        let to = &mut self.to;
        to.write_all(b"\n],\"final_metrics\":")?;
        serde_json::to_writer(&mut *to, &final_metrics(summary))?;
        if let Some(session) = about.session.as_ref().or(summary.session_id.as_ref()) {
            to.write_all(b",\"session_id\":")?;
            serde_json::to_writer(&mut *to, session)?;
        }
        if let Some(notes) = notes(summary) {
            to.write_all(b",\"notes\":")?;
            serde_json::to_writer(&mut *to, &notes)?;
        }
        if let Some(api) = api.filter(|api| !api.sides.is_empty()) {
            to.write_all(b",\"subagent_trajectories\":[")?;
            for (n, side) in api.sides.iter().enumerate() {
                to.write_all(if n == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *to, &side.trajectory(n + 1, about))?;
            }
            to.write_all(b"\n]")?;
        }
        to.write_all(b",\"extra\":")?;
        serde_json::to_writer(&mut *to, &json!({"summary": summary}))?;
        to.write_all(b"}\n")?;
        to.flush()
    }
}

fn literal(to: &mut impl Write, key: &str, text: &JsonText) -> std::io::Result<()> {
    write!(to, ",\"{key}\":\"")?;
    to.write_all(text.escaped().as_bytes())?;
    to.write_all(b"\"")
}

fn calls(to: &mut impl Write, step: &Step) -> std::io::Result<()> {
    if step.calls.is_empty() {
        return Ok(());
    }
    to.write_all(b",\"tool_calls\":[")?;
    for (n, call) in step.calls.iter().enumerate() {
        to.write_all(if n == 0 { b"{\"tool_call_id\":" } else { b",{\"tool_call_id\":" })?;
        serde_json::to_writer(&mut *to, &call.id)?;
        to.write_all(b",\"function_name\":")?;
        serde_json::to_writer(&mut *to, &call.name)?;
        to.write_all(b",\"arguments\":")?;
        to.write_all(call.arguments.as_bytes())?;
        to.write_all(b"}")?;
    }
    to.write_all(b"]")
}

fn results(to: &mut impl Write, results: &[Answer]) -> std::io::Result<()> {
    if results.is_empty() {
        return Ok(());
    }
    to.write_all(b",\"observation\":{\"results\":[")?;
    for (n, answer) in results.iter().enumerate() {
        to.write_all(if n == 0 { b"{\"source_call_id\":" } else { b",{\"source_call_id\":" })?;
        serde_json::to_writer(&mut *to, &answer.call)?;
        literal(to, "content", &answer.content)?;
        let mut extra = Map::new();
        if answer.failed {
            extra.insert("is_error".to_owned(), json!(true));
        }
        if let Some(code) = answer.exit_code {
            extra.insert("exit_code".to_owned(), json!(code));
        }
        if let Some(step) = answer.of_step {
            extra.insert("call_step_id".to_owned(), json!(step));
        }
        if !extra.is_empty() {
            to.write_all(b",\"extra\":")?;
            serde_json::to_writer(&mut *to, &extra)?;
        }
        to.write_all(b"}")?;
    }
    to.write_all(b"]}")
}

/// A step's tokens in ATIF's names; those it has no name for stand in `extra`.
#[derive(Serialize)]
pub(crate) struct Metrics {
    prompt_tokens: u64,
    completion_tokens: u64,
    cached_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra: Option<OtherTokens>,
}

#[derive(Serialize)]
struct OtherTokens {
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    reasoning_tokens: u64,
}

pub(crate) fn metrics(usage: &Usage, cost_usd: Option<f64>) -> Metrics {
    let other = OtherTokens {
        cache_write_5m_tokens: usage.cache_write_5m,
        cache_write_1h_tokens: usage.cache_write_1h,
        reasoning_tokens: usage.reasoning,
    };
    let any = usage.cache_write_5m | usage.cache_write_1h | usage.reasoning > 0;
    Metrics {
        prompt_tokens: usage.input,
        completion_tokens: usage.output,
        cached_tokens: usage.cached_input,
        cost_usd,
        extra: any.then_some(other),
    }
}

/// What ATIF has no field for.
#[derive(Serialize)]
struct Extra<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_agent: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message_id: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    without_result: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    unknown_lines: u64,
    #[serde(skip_serializing_if = "is_zero")]
    broken_lines: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stderr_lines: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn extra(step: &Step) -> Option<Extra<'_>> {
    let sub_agent = match &step.lane {
        Lane::Thread(thread) => thread.as_deref(),
        _ => None,
    };
    let without_result: Vec<&str> =
        step.calls.iter().filter(|c| !c.answered).map(|c| c.id.as_str()).collect();
    let [unknown_lines, broken_lines, stderr_lines] = step.strays;
    let any = sub_agent.is_some()
        || !step.message_id.is_empty()
        || !without_result.is_empty()
        || step.strays != [0; 3];
    let message_id = &*step.message_id;
    any.then_some(Extra {
        sub_agent,
        message_id,
        without_result,
        unknown_lines,
        broken_lines,
        stderr_lines,
    })
}

fn final_metrics(summary: &Summary) -> Value {
    let usage = &summary.usage;
    let mut made = json!({
        "total_prompt_tokens": usage.input,
        "total_completion_tokens": usage.output,
        "total_cached_tokens": usage.cached_input,
        "total_steps": summary.steps,
        "extra": {
            "cache_write_5m_tokens": usage.cache_write_5m,
            "cache_write_1h_tokens": usage.cache_write_1h,
            "reasoning_tokens": usage.reasoning,
            "tool_calls": summary.tool_calls,
        },
    });
    let cost = match &summary.api {
        Some(api) if api.exchanges > 0 => api.cost,
        _ => summary.reported_cost,
    };
    if let Some(cost) = cost {
        made["total_cost_usd"] = json!(cost);
    }
    made
}

fn notes(summary: &Summary) -> Option<String> {
    let lines = &summary.lines;
    let mut notes = Vec::new();
    if lines.unknown + lines.broken > 0 {
        notes.push(format!(
            "{} lines of unknown shape and {} broken lines are kept, up to a bound, in steps of source system.",
            lines.unknown, lines.broken
        ));
    }
    if summary.api.as_ref().is_some_and(|api| api.exchanges > 0) {
        notes.push(
            "Totals are those of the API record; the steps' metrics are what the scaffold printed."
                .to_owned(),
        );
        notes.push(
            "Trajectories of sub-agents are the API record's other conversations; sub-agents that the scaffold printed \
             are also among the steps, with extra.sub_agent."
                .to_owned(),
        );
    }
    (!notes.is_empty()).then(|| notes.join(" "))
}
