//! From records to samples: which field is what, and whether it is what it should be.

use std::collections::HashMap;
use std::path::Path;

use ptb_core::registry::{Benchmark, Entry};
use serde_json::{Map, Value};

use super::{Records, Sample};
use crate::error::TaskError;
use crate::lines::{kind, record_id, scalar_text};
use crate::score::check_target;

/// Samples from records with their lines; ids are unique and targets are ones the scorer can compare with.
pub(super) fn samples(
    benchmark: &Entry<Benchmark>,
    path: &Path,
    records: Records,
) -> Result<Vec<Sample>, TaskError> {
    let mut lines_of: HashMap<String, usize> = HashMap::with_capacity(records.len());
    let mut samples = Vec::with_capacity(records.len());
    for (line, record) in records {
        let fail = |reason: String| TaskError::Record {
            path: path.to_owned(),
            line,
            reason,
            hint: format!("correct the line, or [data] in {}", benchmark.source),
        };
        let sample = sample(&benchmark.value, line, record).map_err(fail)?;
        check_target(&benchmark.value.scorer, &sample.target).map_err(|e| fail(e.to_string()))?;
        if let Some(before) = lines_of.insert(sample.id.clone(), line) {
            return Err(fail(format!("the id `{}` is that of line {before} as well", sample.id)));
        }
        samples.push(sample);
    }
    Ok(samples)
}

fn sample(
    benchmark: &Benchmark,
    line: usize,
    record: Map<String, Value>,
) -> Result<Sample, String> {
    let data = &benchmark.data;
    let field =
        |name: &str| record.get(name).ok_or_else(|| format!("the record has no field `{name}`"));
    let question = match field(&data.question)? {
        Value::String(text) => text.clone(),
        other => {
            return Err(format!(
                "the field `{}` holds {}, not a string",
                data.question,
                kind(other)
            ));
        }
    };
    let answer = scalar_text(&data.answer, field(&data.answer)?)?;
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
        Some(name) => scalar_text(name, field(name)?)?,
        None => record_id(&record, line)?,
    };
    Ok(Sample { id, line, question, target, reasoning, fields: record })
}
