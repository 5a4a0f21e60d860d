//! Another model's replies, read beside the samples that they answer.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Environment, Value};
use ptb_core::registry::Baseline;
use serde_json::Map;

use super::{LARGEST_FILE, Sample, jsonl, read_error};
use crate::error::TaskError;
use crate::lines::scalar_text;

/// What is right about the file.
const HINT: &str = "it has one line a sample, with the fields that [data.baseline] names, and lies where that says";

/// Gives every sample the baseline's reply as its target; the SHA-256 of the replies' file.
pub(super) fn add(
    baseline: &Baseline,
    test: &Path,
    samples: &mut [Sample],
) -> Result<String, TaskError> {
    let path = place(baseline, test);
    let bytes = ptb_core::files::read_bounded(&path, LARGEST_FILE)
        .map_err(|e| read_error(&path, &e.to_string(), HINT))?;
    let mut replies = HashMap::new();
    let template = template(baseline).map_err(|e| read_error(&path, &e.to_string(), HINT))?;
    for (line, record) in jsonl::read(&path, &bytes)? {
        let fail = |reason: String| TaskError::Record {
            path: path.clone(),
            line,
            reason,
            hint: HINT.to_owned(),
        };
        let id = record.get(&baseline.id).map(|id| scalar_text(&baseline.id, id));
        let id = id.ok_or_else(|| fail(format!("the line has no field `{}`", baseline.id)))?;
        let id = id.map_err(fail)?;
        let reply = reply(&template, &record).map_err(|e| fail(e.to_string()))?;
        if replies.insert(id.clone(), reply).is_some() {
            return Err(fail(format!("the id `{id}` was there before")));
        }
    }
    for sample in samples {
        let missing =
            || format!("it has no reply of {} to the sample {}", baseline.model, sample.id);
        sample.target =
            replies.remove(&sample.id).ok_or_else(|| read_error(&path, &missing(), HINT))?;
    }
    Ok(ptb_core::files::sha256_hex(&bytes))
}

/// Beside the test file, as its own folders say or without them.
fn place(baseline: &Baseline, test: &Path) -> PathBuf {
    let path = test.with_file_name(&baseline.file);
    match baseline.file.file_name().map(|name| test.with_file_name(name)) {
        Some(flat) if !path.is_file() && flat.is_file() => flat,
        _ => path,
    }
}

fn template(baseline: &Baseline) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = crate::prompt::environment()?;
    environment.add_template_owned("reply", baseline.reply.clone())?;
    Ok(environment)
}

fn reply(
    template: &Environment<'static>,
    record: &Map<String, serde_json::Value>,
) -> Result<String, minijinja::Error> {
    template.get_template("reply")?.render(Value::from(Serde(record.clone())))
}
