//! `eval/<id>/<seed>/samples.jsonl`: one line a sample, appended as answers come.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use ptb_core::files::{FileError, JsonLog, Schema, read_log, write_whole};
use ptb_tasks::score::{Grade, ToolCall};
use serde::{Deserialize, Serialize};

/// One answered sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRecord {
    /// The sample's id.
    pub id: String,
    /// SHA-256 over everything that made the completion.
    pub key: String,
    /// The request's own seed.
    pub seed: u32,
    /// What the model wrote.
    pub completion: String,
    /// The calls that the server read out of the reply, where it reads any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Whether it was cut at the token limit.
    pub truncated: bool,
    /// The token limit it was made with, where failures had lowered the evaluation's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduced_to: Option<u32>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the completion.
    pub completion_tokens: u64,
    /// The answer that was read, where one was.
    pub answer: Option<String>,
    /// 0 to 1 (a rubric's may be negative); absent where the scorer failed.
    pub score: Option<f64>,
    /// Why the scorer failed.
    pub error: Option<String>,
    /// What a language model found, where one grades.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grades: Vec<Grade>,
    /// What metrics are over, where it is not the score (`ptb_tasks::score::Graded::rows`).
    #[serde(skip)]
    pub rows: Vec<f64>,
}

impl Schema for SampleRecord {
    const KIND: &'static str = "samples";
    const VERSION: u32 = 1;
}

/// The samples of one seed.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    log: JsonLog,
}

impl Store {
    /// Opens the folder of a seed and gives what is reusable in it: at most one record for each id, its key as
    /// `wanted` says (keys by ids). Whatever else is there (of a larger limit, other settings, other weights) is set aside in
    /// `other.jsonl`, where it is found again when it is wanted again.
    pub(crate) fn open(
        dir: &Path,
        wanted: &HashMap<String, String>,
    ) -> Result<(Self, HashMap<String, SampleRecord>), FileError> {
        let (path, aside) = (dir.join("samples.jsonl"), dir.join("other.jsonl"));
        let (current, others) = (lines(&path)?, lines(&aside)?);
        let count = current.len();
        let in_use = |r: &&SampleRecord| wanted.get(&r.id) == Some(&r.key);
        let all_in_use = current.iter().filter(in_use).count() == count;
        let (mut kept, mut rest) = (HashMap::new(), BTreeMap::new());
        for record in current.into_iter().chain(others) {
            if wanted.get(&record.id) == Some(&record.key) {
                kept.entry(record.id.clone()).or_insert(record);
            } else {
                rest.entry(record.key.clone()).or_insert(record);
            }
        }
        if !all_in_use || kept.len() != count {
            // In this order: a crash between the two leaves a record twice, never not at all.
            write_whole(&aside, &text(rest.values()))?;
            write_whole(&path, &text(kept.values()))?;
        }
        Ok((Self { log: JsonLog::open(&path)?, path }, kept))
    }

    pub(crate) fn append(&mut self, record: &SampleRecord) -> Result<(), FileError> {
        self.log.append(record)
    }

    /// Rewrites the file in the samples' order, so that the same completions give the same bytes.
    pub(crate) fn finish(self, records: &[SampleRecord]) -> Result<(), FileError> {
        write_whole(&self.path, &text(records))
    }
}

fn lines(path: &Path) -> Result<Vec<SampleRecord>, FileError> {
    match read_log(path) {
        Err(e) if e.is_missing() => Ok(Vec::new()),
        other => other,
    }
}

fn text<'a>(records: impl IntoIterator<Item = &'a SampleRecord>) -> Vec<u8> {
    let mut text = Vec::new();
    for record in records {
        // A record always serializes, to an object that is not empty.
        let fields = serde_json::to_vec(record).unwrap_or_default();
        text.extend_from_slice(format!("{{\"schema\":{},", SampleRecord::VERSION).as_bytes());
        text.extend_from_slice(fields.get(1..).unwrap_or_default());
        text.push(b'\n');
    }
    text
}
