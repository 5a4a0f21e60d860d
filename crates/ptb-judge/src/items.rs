//! What of a benchmark is looked for in what an agent left: its file says which fields, its data hold them.

use std::path::Path;

use ptb_core::files::read_bounded;
use ptb_core::registry::{Benchmark, Entry};
use ptb_detect::{Index, Item};
use ptb_tasks::TaskError;
use ptb_tasks::data::{Sample, load};
use serde_json::{Map, Value};

/// Largest file of records that no benchmark's loader reads.
const LARGEST: u64 = 1 << 30;
/// What a record's id may be called, in this order.
const IDS: [&str; 5] = ["id", "task_id", "prompt_id", "uid", "question_id"];
/// Fields of nested values that say nothing of the item.
const BESIDE: [&str; 7] = ["role", "id", "uid", "points", "tags", "type", "canary"];

/// A benchmark that is ready to be looked for.
#[derive(Debug)]
pub struct Benchmarked {
    /// Its items.
    pub index: Index,
    /// What should be known of it: items that cannot be looked for, allowed data that were not there.
    pub notes: Vec<String>,
}

/// Indexes a benchmark's test items. `data` is a folder or test file as [`load`] takes it, or a JSON list of records.
///
/// # Errors
/// As [`load`].
pub fn index_of(
    benchmark: &Entry<Benchmark>,
    data: Option<&Path>,
) -> Result<Benchmarked, TaskError> {
    let mut notes = Vec::new();
    let (items, allowed) = match load(benchmark, data) {
        Ok(dataset) => {
            let items = dataset
                .samples
                .iter()
                .map(|s| item(&benchmark.value, s.id.clone(), &s.fields))
                .collect();
            let allowed = match benchmark.value.contamination.train.then(|| dataset.train()) {
                None => Vec::new(),
                Some(Ok(train)) => train.iter().map(allowed_text).collect(),
                Some(Err(e)) => {
                    notes.push(format!(
                        "the train split, which may be used, was not found, so what test items have in common with it counts: {}",
                        e.to_string().split("hint: ").next().unwrap_or_default().trim_end_matches(['\n', ';', ' '])
                    ));
                    Vec::new()
                }
            };
            (items, allowed)
        }
        Err(e) => (data.and_then(|path| loose(&benchmark.value, path)).ok_or(e)?, Vec::new()),
    };
    let items: Vec<Item> = items;
    let index = Index::new(&items, allowed.iter().map(String::as_str));
    let unseen = index.unseen();
    if !unseen.is_empty() {
        let (n, of) = (unseen.len(), items.len());
        let first: Vec<&str> = unseen.into_iter().take(8).collect();
        notes.push(format!(
            "{n} of {of} items are too short to be told from chance, and are not looked for ({}{})",
            first.join(", "),
            if n > 8 { ", ..." } else { "" }
        ));
    }
    Ok(Benchmarked { index, notes })
}

fn item(benchmark: &Benchmark, id: String, record: &Map<String, Value>) -> Item {
    let (contamination, data) = (&benchmark.contamination, &benchmark.data);
    let mut fields: Vec<&str> = contamination.fields.iter().map(String::as_str).collect();
    if fields.is_empty() {
        fields = vec![&data.question, &data.answer];
    }
    if !fields.iter().any(|f| record.contains_key(*f)) {
        fields = record.keys().map(String::as_str).collect();
    }
    let mut texts = Vec::new();
    for value in fields.iter().filter_map(|f| record.get(*f)) {
        passages(value, &mut texts);
    }
    let text = |name: &String| record.get(name).and_then(Value::as_str).map(str::to_owned);
    let choices = data.choices.iter().flat_map(|c| [&data.answer].into_iter().chain(&c.wrong));
    let program: Option<String> = contamination.code.iter().map(text).collect();
    let tests = benchmark.scorer.tests.as_ref().and_then(text);
    let code = program.filter(|p| !p.is_empty()).into_iter().chain(tests).collect();
    Item { id, texts, choices: choices.filter_map(text).collect(), code }
}

/// The texts of a value that can each give an item away: a list's elements are apart, an object is one.
fn passages(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Array(elements) if elements.iter().all(|e| e.is_array() || e.is_object()) => {
            elements.iter().for_each(|e| passages(e, texts));
        }
        _ => {
            let mut text = String::new();
            leaves(value, &mut text);
            texts.push(text);
        }
    }
}

fn leaves(value: &Value, text: &mut String) {
    match value {
        Value::String(s) => {
            text.push_str(s);
            text.push('\n');
        }
        Value::Array(elements) => elements.iter().for_each(|e| leaves(e, text)),
        Value::Object(fields) => {
            let said = fields.iter().filter(|(name, _)| !BESIDE.contains(&name.as_str()));
            said.for_each(|(_, e)| leaves(e, text));
        }
        _ => {}
    }
}

fn allowed_text(sample: &Sample) -> String {
    let mut text = String::new();
    sample.fields.values().for_each(|v| leaves(v, &mut text));
    text
}

/// Records of a JSON list or of JSON Lines, whatever their fields are called.
fn loose(benchmark: &Benchmark, path: &Path) -> Option<Vec<Item>> {
    let bytes = read_bounded(path, LARGEST).ok()?;
    let records: Vec<Map<String, Value>> = serde_json::from_slice(&bytes)
        .or_else(|_| serde_json::Deserializer::from_slice(&bytes).into_iter().collect())
        .ok()?;
    let own_id =
        |record: &Map<String, Value>| match IDS.iter().find_map(|name| record.get(*name))? {
            Value::String(id) => Some(id.clone()),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        };
    let items = records.iter().enumerate().map(|(i, record)| {
        item(benchmark, own_id(record).unwrap_or_else(|| (i + 1).to_string()), record)
    });
    Some(items.collect()).filter(|items: &Vec<Item>| !items.is_empty())
}
