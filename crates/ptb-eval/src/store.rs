//! `eval/<id>/<seed>/samples.jsonl`: one line a sample, appended as answers come.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use ptb_core::files::{FileError, JsonLog, Schema, read_log, write_whole};
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
    /// Whether it was cut at the token limit.
    pub truncated: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the completion.
    pub completion_tokens: u64,
    /// The answer that was read, where one was.
    pub answer: Option<String>,
    /// 0 to 1; absent where the scorer failed.
    pub score: Option<f64>,
    /// Why the scorer failed.
    pub error: Option<String>,
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
    /// Opens the file and gives what is reusable in it: at most one record for each id, its key as `wanted`
    /// says. Whatever else is there is dropped, and the file rewritten whole.
    pub(crate) fn open(
        dir: &Path,
        wanted: &HashMap<String, String>,
    ) -> Result<(Self, HashMap<String, SampleRecord>), FileError> {
        let path = dir.join("samples.jsonl");
        let lines: Vec<SampleRecord> = match read_log(&path) {
            Ok(lines) => lines,
            Err(e) if e.is_missing() => Vec::new(),
            Err(e) => return Err(e),
        };
        let count = lines.len();
        let mut kept = HashMap::new();
        for record in lines {
            if wanted.get(&record.id) == Some(&record.key) {
                kept.entry(record.id.clone()).or_insert(record);
            }
        }
        if kept.len() < count {
            fs::remove_file(&path).map_err(FileError::io("replace", &path))?;
            let mut log = JsonLog::open(&path)?;
            kept.values().try_for_each(|r| log.append(r))?;
        }
        Ok((Self { log: JsonLog::open(&path)?, path }, kept))
    }

    pub(crate) fn append(&mut self, record: &SampleRecord) -> Result<(), FileError> {
        self.log.append(record)
    }

    /// Rewrites the file in the samples' order, so that the same completions give the same bytes.
    pub(crate) fn finish(self, records: &[SampleRecord]) -> Result<(), FileError> {
        let mut text = Vec::new();
        for record in records {
            let mut line = serde_json::Map::new();
            line.insert("schema".to_owned(), SampleRecord::VERSION.into());
            if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(record) {
                line.extend(fields);
            }
            text.extend_from_slice(serde_json::Value::Object(line).to_string().as_bytes());
            text.push(b'\n');
        }
        write_whole(&self.path, &text)
    }
}
