//! What a benchmark asks has the structure of what the reference tasks ask: roles, what stands where, the form of
//! the answer, tools, the token limit. The words are ours.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs;

use ptb_core::registry::{Benchmark, Entry, Registry};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::prompt::Prompter;
use serde_json::{Value, json};

mod support;
use support::{rows, shared};

fn entry(id: &str) -> Entry<Benchmark> {
    Registry::load(&[]).unwrap().benchmark(id).unwrap().clone()
}

fn rows_of(variant: &str) -> Option<Vec<Value>> {
    let mut rows = rows("oracle/prompts.jsonl")?;
    rows.retain(|r| r["variant"] == variant);
    assert!(rows.len() >= 5);
    Some(rows)
}

/// Our text and the reference's of a sample that is asked with one message of the user.
fn asked(entry: &Entry<Benchmark>, dataset: &Dataset, sample: &Sample, row: &Value) -> [String; 2] {
    let messages = Prompter::new(entry, dataset).unwrap().messages(sample).unwrap();
    let messages = json!(messages);
    let roles =
        |m: &Value| m.as_array().unwrap().iter().map(|m| m["role"].clone()).collect::<Vec<_>>();
    assert_eq!(roles(&messages), roles(&row["messages"]));
    assert_eq!(roles(&messages), ["user"]);
    assert_eq!(json!(entry.value.generation.max_tokens), row["config"]["max_tokens"]);
    assert!(row["tools"].as_array().unwrap().len() == sample.tools.len());
    [&messages, &row["messages"]].map(|m| m[0]["content"].as_str().unwrap().to_owned())
}

#[test]
fn aime_is_asked_as_by_the_reference() {
    let (Some(rows), Some(folder)) = (rows_of("aime2025"), shared("data/aime2025")) else { return };
    let aime = entry("aime2025");
    let dataset = load(&aime, Some(&folder)).unwrap();
    assert_eq!(dataset.samples.len(), 30);
    for row in rows {
        let sample = dataset.samples.iter().find(|s| json!(s.id) == row["sample_id"]).unwrap();
        assert_eq!(
            (json!(sample.target), json!(sample.question)),
            (row["target"].clone(), row["sample_input"].clone())
        );
        assert_eq!(sample.request_id, sample.id);
        for text in asked(&aime, &dataset, sample, &row) {
            let (before, after) = text.split_once(&format!("\n\n{}\n\n", sample.question)).unwrap();
            assert!(before.contains("\"ANSWER: ") && before.contains("step"), "{before}");
            assert!(after.contains("\"ANSWER: ") && after.contains("\\boxed"), "{after}");
        }
    }
}

#[test]
fn humaneval_is_asked_as_by_the_reference() {
    let (Some(rows), Some(folder)) = (rows_of("humaneval"), shared("data/humaneval")) else {
        return;
    };
    let humaneval = entry("humaneval");
    let dataset = load(&humaneval, Some(&folder)).unwrap();
    for row in rows {
        let sample = dataset.samples.iter().find(|s| json!(s.id) == row["sample_id"]).unwrap();
        // Surrounding white space of a solution is no matter: it is no reference to compare with.
        assert_eq!(sample.target, row["target"].as_str().unwrap().trim());
        for text in asked(&humaneval, &dataset, sample, &row) {
            let before = text.strip_suffix(&format!("\n\n{}", sample.question)).unwrap();
            assert!(before.contains("code") && before.contains("function"), "{before}");
        }
    }
}

#[test]
fn bfcl_is_asked_as_by_the_reference() {
    let (Some(rows), Some(folder)) = (rows_of("bfcl"), shared("data/bfcl")) else { return };
    let bfcl = entry("bfcl");
    // The file itself, and a folder that has it under its real name.
    let dataset = load(&bfcl, Some(&folder)).unwrap();
    let file = load(&bfcl, Some(&folder.join("BFCL_v3_exec_simple.jsonl"))).unwrap();
    assert_eq!(dataset.samples, file.samples);
    for row in rows {
        let line = row["sample_id"].as_u64().unwrap();
        let sample = &dataset.samples[line as usize - 1];
        assert_eq!(
            (sample.request_id.clone(), sample.id.clone()),
            (line.to_string(), format!("exec_simple_{}", line - 1))
        );
        let [ours, theirs] = asked(&bfcl, &dataset, sample, &row);
        assert_eq!(ours, theirs);
        assert_eq!(json!([sample.tools[0]["function"]]), row["tools"]);
    }
}

/// GPQA's data is gated: the reference's own questions in its columns, as CSV and as JSON Lines.
#[test]
fn gpqa_is_asked_as_by_the_reference() {
    let Some(plain) = rows_of("gpqamain_unshuffled") else { return };
    let gpqa = entry("gpqamain");
    let dir = tempfile::tempdir().unwrap();
    let columns = [
        "Record ID",
        "Question",
        "Correct Answer",
        "Incorrect Answer 1",
        "Incorrect Answer 2",
        "Incorrect Answer 3",
    ];
    let records: Vec<Vec<&str>> = plain
        .iter()
        .map(|row| {
            let head = [&row["sample_id"], &row["sample_input"]];
            let all = head.into_iter().chain(row["choices"].as_array().unwrap());
            all.map(|v| v.as_str().unwrap()).collect()
        })
        .collect();
    let quoted = |fields: &[&str]| {
        fields
            .iter()
            .map(|f| format!("\"{}\"", f.replace('"', "\"\"")))
            .collect::<Vec<_>>()
            .join(",")
            + "\n"
    };
    let csv: String =
        std::iter::once(quoted(&columns)).chain(records.iter().map(|r| quoted(r))).collect();
    fs::write(dir.path().join("gpqa_main.csv"), csv).unwrap();
    let dataset = load(&gpqa, Some(dir.path())).unwrap();
    let lines: String = records
        .iter()
        .map(|r| {
            let fields = columns.iter().zip(r).map(|(k, v)| (k.to_string(), json!(v)));
            format!("{}\n", Value::Object(fields.collect()))
        })
        .collect();
    fs::write(dir.path().join("other.jsonl"), lines).unwrap();
    let other = load(&gpqa, Some(&dir.path().join("other.jsonl"))).unwrap();
    let told = |d: &Dataset| {
        d.samples
            .iter()
            .map(|s| (s.id.clone(), s.choices.clone(), s.target.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&dataset), told(&other));
    for (variant, samples) in [
        ("gpqamain", dataset.asked_under(42)),
        ("gpqamain_seed_0", dataset.asked_under(0)),
        ("gpqamain_seed_1234", dataset.asked_under(1234)),
    ] {
        for (row, sample) in rows_of(variant).unwrap().iter().zip(&*samples) {
            assert_eq!(
                (json!(sample.id), json!(sample.choices)),
                (row["sample_id"].clone(), row["choices"].clone())
            );
            assert_eq!(json!(sample.target), row["target"]);
            assert_eq!(sample.request_id, sample.id);
            let shown: Vec<String> = sample
                .choices
                .iter()
                .zip('A'..)
                .map(|(text, letter)| format!("{letter}) {text}"))
                .collect();
            for text in asked(&gpqa, &dataset, sample, row) {
                let tail = format!("\n\n{}\n\n{}", sample.question, shown.join("\n"));
                let before = text.strip_suffix(&tail).unwrap();
                assert!(
                    before.contains("'ANSWER: ") && before.contains("one of A,B,C,D"),
                    "{before}"
                );
            }
        }
    }
}
