//! From records to samples: which field is what, and whether it is what it should be.

use std::collections::HashMap;
use std::path::Path;

use ptb_core::registry::{Benchmark, Data, Entry, RequestId};
use serde_json::{Map, Value};

use super::{Records, Sample, choices, criteria, tools};
use crate::error::TaskError;
use crate::lines::{kind, record_id, scalar_text};
use crate::prompt::ChatMessage;
use crate::score::check;

/// Samples from records with their lines; ids are unique and targets are ones the scorer can compare with.
pub(super) fn samples(
    benchmark: &Entry<Benchmark>,
    path: &Path,
    records: Records,
) -> Result<Vec<Sample>, TaskError> {
    let mut lines_of: HashMap<String, usize> = HashMap::with_capacity(records.len());
    let mut samples = Vec::with_capacity(records.len());
    let place = match benchmark.source.as_str() {
        "built-in" => "the benchmark's file",
        file => file,
    };
    let fail = |line: usize, reason: String| TaskError::Record {
        path: path.to_owned(),
        line,
        reason,
        hint: format!("correct the line, or the fields that [data] in {place} names"),
    };
    let mut lines = Vec::with_capacity(records.len());
    for (line, record) in records {
        let sample = sample(&benchmark.value, line, record).map_err(|e| fail(line, e))?;
        if let Some(before) = lines_of.insert(sample.id.clone(), line) {
            return Err(fail(
                line,
                format!("the id `{}` is that of line {before} as well", sample.id),
            ));
        }
        lines.push(line);
        samples.push(sample);
    }
    // First what is wrong everywhere: a name, not the line that misses it.
    unknown_field(benchmark, path, &samples)?;
    for (sample, line) in samples.iter().zip(lines) {
        check(&benchmark.value.scorer, sample).map_err(|e| fail(line, e.without_hint()))?;
    }
    Ok(samples)
}

/// A field of patterns that no record has is misspelt: without patterns every reply would be right.
fn unknown_field(
    benchmark: &Entry<Benchmark>,
    path: &Path,
    samples: &[Sample],
) -> Result<(), TaskError> {
    let scorer = &benchmark.value.scorer;
    let named = [&scorer.required, &scorer.forbidden].into_iter().flatten();
    let nowhere = |field: &&String| !samples.iter().any(|s| s.fields.contains_key(*field));
    match named.into_iter().find(nowhere) {
        Some(field) if !samples.is_empty() => Err(TaskError::Read {
            path: path.to_owned(),
            reason: format!("no record has the field `{field}`, which [scorer] names"),
            hint: format!(
                "`required` and `forbidden` name fields of the records, which hold the patterns: correct the name in {}",
                benchmark.source
            ),
        }),
        _ => Ok(()),
    }
}

fn sample(
    benchmark: &Benchmark,
    line: usize,
    record: Map<String, Value>,
) -> Result<Sample, String> {
    let (data, scorer) = (&benchmark.data, &benchmark.scorer);
    let messages = match data.conversation {
        true => Some(conversation(&data.question, field(&record, &data.question)?)?),
        false => None,
    };
    let question = match &messages {
        Some(messages) => messages.last().map(|m| m.content.clone()).unwrap_or_default(),
        None => text(&record, &data.question)?,
    };
    let answer = match scorer.kind.has_answers() {
        true => answer(data, &record)?,
        false => String::new(),
    };
    let (choices, answer) = match &data.choices {
        None => (Vec::new(), answer),
        Some(choices) => {
            let wrong = choices.wrong.iter().map(|name| text(&record, name));
            let all = std::iter::once(Ok(answer)).chain(wrong);
            (all.collect::<Result<Vec<_>, _>>()?, choices::FIRST.to_owned())
        }
    };
    let (reasoning, target) = match &data.answer_after {
        None => (None, answer.trim().to_owned()),
        Some(mark) => {
            let missing =
                || format!("the field `{}` has no `{mark}` before its answer", data.answer);
            let (reasoning, target) = answer.rsplit_once(mark.as_str()).ok_or_else(missing)?;
            (Some(reasoning.trim().to_owned()), target.trim().to_owned())
        }
    };
    let id = match &data.id {
        Some(name) => scalar_text(name, field(&record, name)?)?,
        None => record_id(&record, line)?,
    };
    let request_id = match data.request_id {
        RequestId::Id => id.clone(),
        RequestId::Line => line.to_string(),
    };
    let tools = match &data.tools {
        Some(name) => tools::read(name, field(&record, name)?)?,
        None => Vec::new(),
    };
    let criteria = match &scorer.criteria {
        Some(name) => criteria::read(name, field(&record, name)?)?,
        None => Vec::new(),
    };
    let tags = match &data.tags {
        Some(name) => criteria::tags(name, field(&record, name)?)?,
        None => Vec::new(),
    };
    let fields = record;
    Ok(Sample {
        id,
        request_id,
        line,
        question,
        target,
        reasoning,
        choices,
        tools,
        messages,
        criteria,
        tags,
        fields,
    })
}

fn answer(data: &Data, record: &Map<String, Value>) -> Result<String, String> {
    match field(record, &data.answer)? {
        Value::Array(items) if items.len() == 1 => scalar_text(&data.answer, &items[0]),
        other => scalar_text(&data.answer, other),
    }
}

fn field<'r>(record: &'r Map<String, Value>, name: &str) -> Result<&'r Value, String> {
    record.get(name).ok_or_else(|| format!("the record has no field `{name}`"))
}

fn text(record: &Map<String, Value>, name: &str) -> Result<String, String> {
    match field(record, name)? {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("the field `{name}` holds {}, not a string", kind(other))),
    }
}

/// The messages of a conversation, or of the only turn in a list of turns.
fn conversation(name: &str, value: &Value) -> Result<Vec<ChatMessage>, String> {
    let inner = match value.as_array().map(Vec::as_slice) {
        Some([only @ Value::Array(_)]) => only,
        _ => value,
    };
    let messages: Vec<ChatMessage> = serde_json::from_value(inner.clone()).map_err(|e| {
        format!("the field `{name}` holds no conversation, a list of `role` and `content`: {e}")
    })?;
    if messages.is_empty() {
        return Err(format!("the conversation in the field `{name}` is empty"));
    }
    Ok(messages)
}
