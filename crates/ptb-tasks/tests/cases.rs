//! Every scorer against cases written by hand, each with why it is there. (Those of the numeric scorer are in
//! `numeric_cases.toml`.)

#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::{Scorer, ScorerKind, ToolForm};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Graded, Outcome, Reply, ToolCall, score};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Fewest cases of a scorer.
const FEWEST: usize = 100;

/// The lines of a table; no two say the same.
fn table<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let lines: std::collections::HashSet<&str> = text.lines().collect();
    assert_eq!(lines.len(), text.lines().count(), "a case is there twice");
    assert!(lines.len() >= FEWEST);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn told(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn graded(kind: ScorerKind, reply: &Reply<'_>, sample: &Sample) -> Graded {
    score(&Scorer::new(kind), reply, sample).unwrap().graded().unwrap()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    completion: String,
    choices: usize,
    answer: Option<String>,
    why: String,
}

/// The letter that is read, and the grade against every choice.
#[test]
fn choices() {
    let mut wrong = Vec::new();
    for case in table::<Choice>(include_str!("cases/choice.jsonl")) {
        for target in ('A'..).take(case.choices).map(String::from) {
            let right = case.answer.as_ref() == Some(&target);
            let choices = vec![String::new(); case.choices];
            let sample = Sample { target, choices, ..Sample::default() };
            let g = graded(ScorerKind::Choice, &Reply::text(&case.completion), &sample);
            if g.answer != case.answer || (g.score == 1.0) != right {
                wrong.push(format!("{:?} ({}): {g:?}", case.completion, case.why));
                break;
            }
        }
    }
    told(&wrong);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exact {
    completion: String,
    target: String,
    right: bool,
    why: String,
}

#[test]
fn exact() {
    let mut wrong = Vec::new();
    for case in table::<Exact>(include_str!("cases/exact.jsonl")) {
        let sample = Sample { target: case.target, ..Sample::default() };
        let g = graded(ScorerKind::Exact, &Reply::text(&case.completion), &sample);
        if (g.score == 1.0) != case.right {
            wrong.push(format!("{:?} against {:?} ({})", case.completion, sample.target, case.why));
        }
    }
    told(&wrong);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Code {
    completion: String,
    code: String,
    why: String,
}

#[test]
fn code() {
    let scorer = Scorer {
        tests: Some("test".to_owned()),
        entry_point: Some("name".to_owned()),
        ..Scorer::new(ScorerKind::Code)
    };
    let fields = json!({"test": "def check(f): pass", "name": "f"});
    let fields = fields.as_object().unwrap().clone();
    let sample = Sample { question: "# prompt\n".to_owned(), fields, ..Sample::default() };
    let mut wrong = Vec::new();
    for case in table::<Code>(include_str!("cases/code.jsonl")) {
        let reply = Reply::text(&case.completion);
        let Outcome::Run(program) = score(&scorer, &reply, &sample).unwrap() else {
            panic!("code is run")
        };
        if program.source != format!("# prompt\n{}", case.code) {
            wrong.push(format!("{:?} ({}): {:?}", case.completion, case.why, program.source));
        }
    }
    told(&wrong);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    target: String,
    #[serde(default)]
    text: String,
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    form: ToolForm,
    right: bool,
    why: String,
}

/// All functions called `f` have the parameters `a` and `b`, in this order.
#[test]
fn tool_calls() {
    let tools: Value = json!([{"type": "function", "function": {"name": "f", "description": "", "parameters":
        {"type": "object", "properties": {"a": {}, "b": {}}, "required": []}}}]);
    let mut wrong = Vec::new();
    for case in table::<Call>(include_str!("cases/tool_call.jsonl")) {
        let tools = tools.as_array().unwrap().clone();
        let sample = Sample { target: case.target, tools, ..Sample::default() };
        let tool_calls = case.tool_calls.as_deref();
        let reply = Reply { text: &case.text, tool_calls, form: case.form, grades: &[] };
        let g = graded(ScorerKind::ToolCall, &reply, &sample);
        if (g.score == 1.0) != case.right {
            wrong.push(format!("{reply:?} against {} ({}): {g:?}", sample.target, case.why));
        }
    }
    told(&wrong);
}
