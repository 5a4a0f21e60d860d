//! Choices, code and calls of functions, read and graded as the reference software does.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::{Registry, Scorer, ScorerKind, ToolForm};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::score::{Graded, Outcome, Reply, ToolCall, score};
use serde_json::{Value, json};

mod support;
use support::{rows, shared};

fn benchmark(id: &str, folder: &str) -> Option<(Scorer, Dataset)> {
    let registry = Registry::load(&[]).unwrap();
    let entry = registry.benchmark(id).unwrap();
    Some((entry.value.scorer.clone(), load(entry, Some(&shared(folder)?)).unwrap()))
}

fn graded(scorer: &Scorer, reply: &Reply<'_>, sample: &Sample) -> Graded {
    score(scorer, reply, sample).unwrap().graded().unwrap()
}

fn told(wrong: &[String], of: usize) {
    assert!(wrong.is_empty(), "{} of {of}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn letters_and_verdicts_of_gpqa_equal_the_reference() {
    let Some(rows) = rows("oracle/choice_gpqa.jsonl") else { return };
    assert!(rows.len() >= 101);
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let choices = row["n_choices"].as_u64().unwrap() as usize;
            let sample = Sample {
                target: row["target"].as_str().unwrap().to_owned(),
                choices: vec![String::new(); choices],
                ..Sample::default()
            };
            let reply = Reply::text(row["completion"].as_str().unwrap());
            let g = graded(&Scorer::new(ScorerKind::Choice), &reply, &sample);
            let same = json!(g.score == 1.0) == row["correct_inspect_latest"]
                && json!(g.answer) == row["extracted_answer_latest"];
            (!same).then(|| format!("{}: {g:?}", row["id"]))
        })
        .collect();
    told(&wrong, rows.len());
}

#[test]
fn programs_of_humaneval_are_those_of_the_reference() {
    let Some(rows) = rows("oracle/code_humaneval.jsonl") else { return };
    let Some((scorer, dataset)) = benchmark("humaneval", "data/humaneval") else { return };
    assert!(rows.len() >= 104 && dataset.samples.len() == 164);
    let mut wrong = Vec::new();
    for row in &rows {
        let sample = dataset.samples.iter().find(|s| row["task_id"] == json!(s.id)).unwrap();
        let reply = Reply::text(row["completion"].as_str().unwrap());
        let Outcome::Run(program) = score(&scorer, &reply, sample).unwrap() else {
            panic!("code is run")
        };
        assert_eq!(json!(program.entry_point), sample.fields["entry_point"]);
        assert_eq!(json!(program.tests), sample.fields["test"]);
        let expected = format!("{}{}", sample.question, row["extracted_answer"].as_str().unwrap());
        if program.source != expected {
            wrong.push(format!("{}: {:?}", row["id"], program.source));
        }
    }
    told(&wrong, rows.len());
}

/// Every ground truth is read as the reference reads it, and its function is described in the same words.
#[test]
fn targets_and_tools_of_bfcl_equal_the_reference() {
    let Some(rows) = rows("oracle/bfcl_targets.jsonl") else { return };
    let Some((scorer, dataset)) = benchmark("bfcl", "data/bfcl") else { return };
    assert_eq!((rows.len(), dataset.samples.len()), (100, 100));
    for (row, sample) in rows.iter().zip(&*dataset.samples) {
        assert_eq!(json!(sample.id), row["id"]);
        let target = &row["target_obj"];
        let calls = [ToolCall {
            name: target["function"].as_str().unwrap().to_owned(),
            arguments: target["arguments"].clone(),
        }];
        let reply = Reply { tool_calls: Some(&calls), ..Reply::default() };
        assert_eq!(graded(&scorer, &reply, sample).score, 1.0, "{}", row["id"]);
        let functions: Vec<&Value> = sample.tools.iter().map(|t| &t["function"]).collect();
        // As text, because the order of keys is seen by chat templates.
        assert_eq!(json!(functions).to_string(), row["tools_openai"].to_string());
        assert!(sample.tools.iter().all(|t| t["type"] == "function"));
        assert_eq!(json!(sample.messages), row["input_messages"]);
    }
}

/// Calls from the server's field, and the same calls written out as models write them. A reply is one message
/// here: the rows about two of them cannot be said.
#[test]
fn verdicts_of_bfcl_equal_the_reference() {
    let Some(rows) = rows("oracle/bfcl_calls.jsonl") else { return };
    let Some((scorer, dataset)) = benchmark("bfcl", "data/bfcl") else { return };
    let (mut wrong, mut said) = (Vec::new(), 0);
    for row in rows.iter().filter(|r| r["n_assistant_messages"].as_u64().unwrap() < 2) {
        said += 1;
        let sample = dataset.samples.iter().find(|s| row["record_id"] == json!(s.id)).unwrap();
        let calls: Option<Vec<ToolCall>> = row["tool_calls"].as_array().map(|calls| {
            let call = |c: &Value| ToolCall {
                name: c["function"].as_str().unwrap().to_owned(),
                arguments: c["arguments"].clone(),
            };
            calls.iter().map(call).collect()
        });
        let element = |c: &ToolCall| {
            let call = json!({"name": c.name, "arguments": c.arguments});
            format!("<tool_call>\n{call}\n</tool_call>")
        };
        let written = |c: &ToolCall| {
            let call = json!({"name": c.name, "arguments": c.arguments.to_string()});
            format!("Well. <tool_call>{call}</tool_call>")
        };
        let each = calls.as_deref().unwrap_or_default();
        let texts = [
            each.iter().map(element).collect::<Vec<_>>().join("\n"),
            each.iter().map(written).collect::<String>(),
        ];
        let mut replies = vec![Reply { tool_calls: calls.as_deref(), ..Reply::default() }];
        for text in &texts {
            for form in [ToolForm::Hermes, ToolForm::Gemma] {
                replies.push(Reply { text, form, ..Reply::default() });
            }
        }
        for reply in &replies {
            let g = graded(&scorer, reply, sample);
            if json!(g.score == 1.0) != row["correct_inspect"] {
                wrong.push(format!("{}: {g:?} for {reply:?}", row["id"]));
            }
        }
    }
    assert!(said >= 274, "{said}");
    told(&wrong, said);
}

/// A Python literal of a JSON value.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let items = map.iter().map(|(k, v)| format!("{k:?}: {}", literal(v)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        // JSON's strings and numbers are Python's.
        other => other.to_string(),
    }
}

/// Arguments as text. Where the reference's are no literals (not a number, infinity, a date) what was read is told
/// in words.
#[test]
fn argument_texts_of_bfcl_are_read_as_by_the_reference() {
    let Some(rows) = rows("oracle/bfcl_parse_tool_call.jsonl") else { return };
    let Some((scorer, dataset)) = benchmark("bfcl", "data/bfcl") else { return };
    assert!(rows.len() >= 42);
    for row in &rows {
        let sample = dataset.samples.iter().find(|s| row["record_id"] == json!(s.id)).unwrap();
        let name = row["function"].as_str().unwrap();
        let repr = row["arguments_python_repr"].as_str().unwrap();
        let calls = [ToolCall { name: name.to_owned(), arguments: row["raw_arguments"].clone() }];
        let reply = Reply { tool_calls: Some(&calls), ..Reply::default() };
        let named = row["arguments"].as_object().unwrap().iter();
        let named: Vec<String> = named.map(|(k, v)| format!("{k}={}", literal(v))).collect();
        let target = format!("{name}({})", named.join(", "));
        let g = graded(&scorer, &reply, &Sample { target, ..sample.clone() });
        let why = &row["why_interesting"];
        if !row["parse_error"].is_null() {
            assert_eq!((g.score, g.answer), (0.0, None), "{why}");
        } else if ["nan", "inf", "datetime"].iter().any(|word| repr.contains(word)) {
            let repr = repr.replace("datetime.date(2024, 1, 1)", "2024-01-01");
            let repr = repr.trim_matches(['{', '}']).replace("': ", "=").replace('\'', "");
            assert_eq!((g.score, g.answer), (0.0, Some(format!("{name}({repr})"))), "{why}");
        } else {
            assert_eq!(g.score, 1.0, "{why}: {g:?}");
        }
    }
}
