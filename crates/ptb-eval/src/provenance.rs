//! `eval/<id>/provenance.json`: what made an evaluation's completions and what graded them. It stands beside the
//! metrics and not in them, because the same completions give the same metrics wherever they were made.

use std::collections::BTreeSet;
use std::path::Path;

use ptb_core::files::{FileError, Schema, read_json, write_json};
use ptb_infer::Running;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const FILE: &str = "provenance.json";

/// What made an evaluation's completions and what graded them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalProvenance {
    /// The engines that were asked, in order, each with its name, what stood between it and the machine
    /// (`ptb_infer::Isolation`), and, of another project's server, versions and command line
    /// (`ptb_infer::Launched`).
    #[serde(default)]
    pub engines: Vec<Value>,
    /// The Python that ran programs, where the scorer runs any (`ptb_code::Python`), and whether it could read
    /// nothing but its library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<Value>,
    /// The language models that were asked for verdicts, where one grades: a line each time, with what was done and
    /// spent (`ptb_llm::Totals`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grading: Vec<Value>,
}

impl Schema for EvalProvenance {
    const KIND: &'static str = "evaluation's provenance";
    const VERSION: u32 = 1;
}

/// The names of engines that were asked so far, each once.
pub(crate) fn engines_before(out: &Path) -> Vec<String> {
    let provenance = read_json::<EvalProvenance>(&out.join(FILE)).unwrap_or_default();
    let names = provenance.engines.iter().filter_map(|e| e["engine"].as_str().map(str::to_owned));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Notes an engine that is about to be asked, unless it is as the one before.
pub(crate) fn note_engine(out: &Path, name: &str, engine: &Running) -> Result<(), FileError> {
    let entry = json!({
        "engine": name,
        "isolation": engine.isolation(),
        "launched": engine.launched(),
    });
    change(out, |provenance| {
        if provenance.engines.last() != Some(&entry) {
            provenance.engines.push(entry);
        }
    })
}

/// Notes a benchmark's own program that is about to be run.
pub(crate) fn note_script(out: &Path, entry: Value) -> Result<(), FileError> {
    change(out, |provenance| provenance.engines.push(entry))
}

/// Notes what runs programs.
pub(crate) fn note_grader(out: &Path, grader: Value) -> Result<(), FileError> {
    change(out, |provenance| provenance.grader = Some(grader))
}

/// What the verdicts of an evaluation (the folder `eval/<id>/`) have cost so far, in US dollars.
pub fn spent(out: &Path) -> f64 {
    let provenance = read_json::<EvalProvenance>(&out.join(FILE)).unwrap_or_default();
    provenance.grading.iter().filter_map(|entry| entry["totals"]["cost"].as_f64()).sum()
}

/// Notes who was asked for verdicts, and what that took.
pub(crate) fn note_grading(out: &Path, entry: Value) -> Result<(), FileError> {
    change(out, |provenance| provenance.grading.push(entry))
}

fn change(out: &Path, change: impl FnOnce(&mut EvalProvenance)) -> Result<(), FileError> {
    let path = out.join(FILE);
    let mut provenance = match read_json::<EvalProvenance>(&path) {
        Ok(provenance) => provenance,
        Err(e) if e.is_missing() => EvalProvenance::default(),
        Err(e) => return Err(e),
    };
    let before = provenance.clone();
    change(&mut provenance);
    if provenance == before { Ok(()) } else { write_json(&path, &provenance) }
}
