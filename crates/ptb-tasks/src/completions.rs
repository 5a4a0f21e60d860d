//! Grading completions that were made elsewhere: JSON Lines in, grades and metrics out (`ptb score`).

use std::collections::HashMap;
use std::io::BufRead;

use ptb_core::registry::{Benchmark, Entry, ScorerKind, ToolForm};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::data::Sample;
use crate::lines::{self, LineFault, for_each_record, kind, record_id};
use crate::metrics::{Formula, SampleScores, aggregate};
use crate::score::{Grade, Graded, Reply, ToolCall, check_grades};

/// How many ids a message names.
const NAMED: usize = 5;
/// What a line is.
const LINE: &str = "a line is an object with `id` and `completion`";
/// What the calls of a line are.
const CALLS: &str = "write \"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": 1}}], where the API has the same \
                     within `function`";

/// What the grades of a line are.
const RUBRIC: &str =
    "write a verdict for each criterion: \"grades\": [{\"criterion\": 0, \"verdict\": true}, ...]";
const PAIRWISE: &str = "write both verdicts, the model's reply being B in game 1 and A in game 2: \"grades\": \
                        [{\"game\": 1, \"verdict\": \"B>A\"}, {\"game\": 2, \"verdict\": \"A>>B\"}]";

/// One line out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GradedLine {
    /// The sample's id.
    pub id: String,
    /// 0 to 1 (a rubric's may be negative); 0 beside an `error`, where it counts for nothing.
    pub score: f64,
    /// The answer that was read.
    pub answer: Option<String>,
    /// Why the scorer could not do its work; never counted as a wrong answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What metrics are over, where it is not the score ([`Graded::rows`]).
    #[serde(skip)]
    pub rows: Vec<f64>,
}

/// What all lines amount to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreMetrics {
    /// Benchmark id.
    pub benchmark: String,
    /// Mean score; none where nothing was scored.
    pub accuracy: Option<f64>,
    /// Standard error of the mean (see [`aggregate`]).
    pub stderr: Option<f64>,
    /// Samples scored.
    pub n: usize,
    /// Samples whose scorer failed.
    pub errors: usize,
    /// Completions without a readable answer, counted as wrong.
    pub unparsed: usize,
    /// Samples of the benchmark without a completion (only with `partial`).
    pub missing: usize,
}

/// Why completions cannot be graded. All of these are bad input.
#[derive(Debug, Error)]
pub enum ScoreError {
    /// The completions cannot be read.
    #[error("cannot read the completions {file}: {source}")]
    Read {
        /// Their name.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("{file}:{line}: {reason}; hint: {hint}")]
    Line {
        /// The completions' name.
        file: String,
        /// 1-based line.
        line: usize,
        /// What is wrong.
        reason: String,
        /// What is right.
        hint: &'static str,
    },
    /// Samples without a completion.
    #[error(
        "{count} of {total} samples of {benchmark} have no completion ({named}); \
         hint: add them, or grade what is there with --partial"
    )]
    Missing {
        /// Benchmark id.
        benchmark: String,
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// The first of them.
        named: String,
    },
}

/// How a reply to a sample is graded; an error is what keeps the scorer from its work.
pub type GradeBy<'a> = dyn Fn(&Sample, &Reply<'_>) -> Result<Graded, String> + Sync + 'a;

/// A reply as a line gives it.
struct Given {
    completion: String,
    tool_calls: Option<Vec<ToolCall>>,
    grades: Vec<Grade>,
}

/// Grades completions, lines of `{"id", "completion", "tool_calls"?: [{"name", "arguments"}], "grades"?:
/// [{"criterion" or "game", "verdict"}]}`; further fields are left alone. Where a language model grades, its grades
/// are wanted, and the completion is not. All are read before the first is graded, several at a time. Grades come in the samples' order.
/// Without an id field a line's number is its id. `file` names the completions in messages.
///
/// # Errors
/// A malformed line, an id that is unknown or was there before, and, unless `partial`, a sample without a line.
pub fn score_completions(
    benchmark: &Entry<Benchmark>,
    samples: &[Sample],
    reader: impl BufRead,
    file: &str,
    partial: bool,
    grade: &GradeBy<'_>,
) -> Result<(Vec<GradedLine>, ScoreMetrics), ScoreError> {
    let given = read(benchmark, samples, reader, file)?;
    let missing: Vec<&str> = samples
        .iter()
        .zip(&given)
        .filter(|(_, g)| g.is_none())
        .map(|(s, _)| s.id.as_str())
        .collect();
    if !partial && !missing.is_empty() {
        let more = if missing.len() > NAMED { ", ..." } else { "" };
        return Err(ScoreError::Missing {
            benchmark: benchmark.id.clone(),
            count: missing.len(),
            total: samples.len(),
            named: format!("{}{more}", missing.get(..NAMED).unwrap_or(&missing).join(", ")),
        });
    }
    let pairs = samples.par_iter().zip(&given);
    let line =
        |(sample, given): (&Sample, &Option<Given>)| Some(graded(sample, given.as_ref()?, grade));
    let graded: Vec<Option<GradedLine>> = pairs.map(line).collect();
    let metrics = metrics(benchmark, &graded, missing.len());
    Ok((graded.into_iter().flatten().collect(), metrics))
}

/// Replies in the places of their samples.
fn read(
    benchmark: &Entry<Benchmark>,
    samples: &[Sample],
    reader: impl BufRead,
    file: &str,
) -> Result<Vec<Option<Given>>, ScoreError> {
    let places: HashMap<&str, usize> =
        samples.iter().enumerate().map(|(i, s)| (s.id.as_str(), i)).collect();
    let mut given: Vec<Option<Given>> = samples.iter().map(|_| None).collect();
    let mut hint = LINE;
    let read = for_each_record(reader, lines::LONGEST_LINE, |number, mut record| {
        let id = record_id(&record, number)?;
        let unknown =
            || format!("`{}` is not a sample of {}", crate::error::shorten(&id), benchmark.id);
        let place = *places.get(id.as_str()).ok_or_else(unknown)?;
        let slot = given.get_mut(place).filter(|slot| slot.is_none());
        let slot = slot.ok_or_else(|| format!("sample `{id}` has a completion already"))?;
        let tool_calls = tool_calls(record.remove("tool_calls")).inspect_err(|_| hint = CALLS)?;
        let scorer = &benchmark.value.scorer;
        let graded = scorer.kind.is_graded();
        let grades = match graded {
            true => grades(record.remove("grades"))
                .and_then(|grades| check_grades(scorer, &samples[place], &grades).map(|()| grades))
                .inspect_err(|_| {
                    hint = if scorer.kind == ScorerKind::Rubric { RUBRIC } else { PAIRWISE }
                })?,
            false => Vec::new(),
        };
        let completion = match record.remove("completion") {
            Some(Value::String(text)) => text,
            // A reply that is calls alone has no text, and grades say all.
            Some(Value::Null) | None if tool_calls.is_some() || graded => String::new(),
            Some(other) => {
                return Err(format!("`completion` holds {}, not a string", kind(&other)));
            }
            None => return Err("the line has no `completion`".to_owned()),
        };
        *slot = Some(Given { completion, tool_calls, grades });
        Ok(())
    });
    read.map_err(|fault| match fault {
        LineFault::Io(source) => ScoreError::Read { file: file.to_owned(), source },
        LineFault::Bad(line, reason) => {
            ScoreError::Line { file: file.to_owned(), line, reason, hint }
        }
    })?;
    Ok(given)
}

fn tool_calls(value: Option<Value>) -> Result<Option<Vec<ToolCall>>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|e| {
            format!("`tool_calls` is not a list of objects with `name` and `arguments`: {e}")
        }),
    }
}

fn grades(value: Option<Value>) -> Result<Vec<Grade>, String> {
    let value = value.ok_or("the line has no `grades`, and there is no formula without them")?;
    serde_json::from_value(value).map_err(|_| {
        "`grades` is not a list of objects with `criterion` or `game`, and `verdict`".to_owned()
    })
}

fn graded(sample: &Sample, given: &Given, grade: &GradeBy<'_>) -> GradedLine {
    let id = sample.id.clone();
    // No model is named, so calls may look as any family writes them.
    let reply = Reply {
        text: &given.completion,
        tool_calls: given.tool_calls.as_deref(),
        form: ToolForm::Gemma,
        grades: &given.grades,
    };
    match grade(sample, &reply) {
        Ok(g) => GradedLine { id, score: g.score, answer: g.answer, error: None, rows: g.rows },
        Err(e) => GradedLine { id, score: 0.0, answer: None, error: Some(e), rows: Vec::new() },
    }
}

fn metrics(
    benchmark: &Entry<Benchmark>,
    graded: &[Option<GradedLine>],
    missing: usize,
) -> ScoreMetrics {
    let lines = || graded.iter().enumerate().filter_map(|(index, g)| Some((index, g.as_ref()?)));
    let scored = lines().filter(|(_, g)| g.error.is_none());
    let rows = |g: &GradedLine| if g.rows.is_empty() { vec![g.score] } else { g.rows.clone() };
    let scores: Vec<SampleScores> =
        scored.clone().map(|(index, g)| SampleScores { index, scores: rows(g) }).collect();
    let estimate = aggregate(Formula::of(benchmark.value.scorer.kind), &scores);
    ScoreMetrics {
        benchmark: benchmark.id.clone(),
        accuracy: estimate.map(|e| e.accuracy),
        stderr: estimate.map(|e| e.stderr),
        n: scores.len(),
        errors: lines().filter(|(_, g)| g.error.is_some()).count(),
        unparsed: scored.filter(|(_, g)| g.answer.is_none()).count(),
        missing,
    }
}
