//! Evaluations as logs of Inspect AI (`.eval`), which its `inspect log`, `inspect view` and `read_eval_log` open.
//!
//! Such a log is a zip archive of JSON files: `header.json` (what was evaluated, and its metrics), `summaries.json`
//! (a few words on every sample), `samples/ID_epoch_EPOCH.json` (one sample each), `reductions.json` and
//! `_journal/start.json`. The archive's directory says where each lies, so header, summaries or one sample are read
//! without the rest. The form is version 2 of Inspect's (`inspect_ai.log.EvalLog`); members are deflated, which
//! releases before zstandard came to logs read as well.
//!
//! A log is a by-product: `samples.jsonl` and `metrics.json` stay the truth, and nothing reads a log back. It holds
//! questions and answers of the benchmark, whatever its `publish` says: whoever publishes decides.
//!
//! [`write`] streams: it holds one sample and the compressed summaries, however many samples there are. The same
//! input gives the same bytes: ids are hashes, and no clock is read.

mod error;
mod header;
mod names;
mod sample;
mod thin;
mod whole;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Seek, Write};
use std::path::Path;

use jiff::Timestamp;
use ptb_core::files::sha256_hex;
use ptb_core::run::Metrics;
use ptb_tasks::prompt::ChatMessage;
use ptb_tasks::score::ToolCall;
use serde::Serialize;
use serde_json::{Map, Value};
use zip::write::{PreparedZipFile, SimpleFileOptions, ZipFileBuilder};
use zip::{CompressionMethod, DateTime, ZipWriter};

pub use error::LogError;
use error::Stop;
use header::Tally;
use sample::Frame;

/// The fastest level: logs are written at every evaluation and hardly ever read.
const LEVEL: i64 = 1;
/// Bytes that are put together before they are compressed or written.
const BUFFER: usize = 64 << 10;

/// What a log tells beside its samples. Its status is always `success`: a log is written when metrics are there.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// What was measured over exactly the samples of this log. Benchmark, sampling and run seeds are taken from it
    /// as well. The n-th of its seeds is epoch n, so a log of one seed has one epoch.
    pub metrics: &'a Metrics,
    /// The benchmark's name, for people.
    pub title: &'a str,
    /// Names the evaluation: ids of the log and its samples are derived from it.
    pub run_id: &'a str,
    /// The model that was evaluated.
    pub model: &'a str,
    /// What served it (`builtin`, `vllm`). The log names the model `ENGINE/MODEL`, as Inspect names models by their
    /// providers.
    pub engine: &'a str,
    /// When the log's evaluation was asked for.
    pub created: Timestamp,
    /// When the first request was made.
    pub started: Timestamp,
    /// When the last answer was there.
    pub completed: Timestamp,
    /// Where the samples come from.
    pub dataset: Dataset<'a>,
    /// What graded (`numeric`).
    pub scorer: &'a str,
    /// Whether every score is 0 or 1: they are then written as Inspect's `C` (correct) and `I` (incorrect).
    pub pass_fail: bool,
    /// Programs with their versions.
    pub packages: &'a [(&'a str, &'a str)],
    /// The source that evaluated, where it is known.
    pub revision: Option<Revision<'a>>,
    /// Whatever else is worth recording (hashes, chat template, edition).
    pub metadata: &'a Map<String, Value>,
}

/// Where a log's samples come from.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its file or address, where it may be told.
    pub location: Option<&'a str>,
    /// Ids of the samples asked, in order.
    pub ids: &'a [&'a str],
    /// Whether that is another order than the file's.
    pub shuffled: bool,
}

/// A commit.
#[derive(Debug, Clone, Copy)]
pub struct Revision<'a> {
    /// The repository's address.
    pub origin: &'a str,
    /// The commit's hash.
    pub commit: &'a str,
    /// Whether there were changes on top of it.
    pub dirty: bool,
}

/// One sample's answer under one seed.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The sample's id.
    pub id: &'a str,
    /// The place of its seed among [`Metrics::seeds`], from 1.
    pub epoch: u32,
    /// The question as the dataset has it; where it is empty, the last message stands for it.
    pub question: &'a str,
    /// The prompt.
    pub messages: Cow<'a, [ChatMessage]>,
    /// Choices as they were shown; empty where there are none.
    pub choices: &'a [String],
    /// The reference answer.
    pub target: &'a str,
    /// What the model wrote.
    pub completion: &'a str,
    /// The calls that the server read out of it.
    pub tool_calls: Option<&'a [ToolCall]>,
    /// Whether it was cut at the token limit.
    pub truncated: bool,
    /// 0 to 1; absent where it could not be scored.
    pub score: Option<f64>,
    /// The answer that was read.
    pub answer: Option<&'a str>,
    /// Why it has this score, in words.
    pub explanation: Option<&'a str>,
    /// Single grades behind the score.
    pub grades: Option<&'a Value>,
    /// Why it could not be scored. Such a sample has no score in the log, whatever `score` says.
    pub error: Option<&'a str>,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the completion.
    pub completion_tokens: u64,
    /// Seconds from the request to its answer, where they were taken.
    pub seconds: Option<f64>,
    /// Whatever else is worth recording (the request's seed, fields of the record).
    pub metadata: Option<&'a Map<String, Value>>,
}

/// Writes a log whole: under a temporary name in the same folder, synced, then renamed.
///
/// Samples are found in it by their ids, as `inspect` finds them. An id that cannot name a file of an archive (see
/// `names`) is replaced, and stands in the sample's metadata as `id`.
///
/// # Errors
/// - [`LogError::File`]: the system refused.
/// - [`LogError::Twice`]: two entries have one id and epoch.
/// - [`LogError::OtherSamples`]: the metrics are of other samples than `entries`.
pub fn write<'a>(
    path: &Path,
    log: &Log<'_>,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> Result<(), LogError> {
    whole::write(path, |file| archive(file, log, entries)).map_err(|stop| stop.at(path))
}

/// The archive: samples as they come, then what is known when the last has come.
fn archive<'a>(
    file: &File,
    log: &Log<'_>,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> Result<(), Stop> {
    let mut zip = ZipWriter::new(BufWriter::with_capacity(BUFFER, file));
    let frame = Frame::of(log);
    let mut summaries = Listing::start("summaries.json", "[".to_owned(), "]")?;
    let head = format!("[{{\"scorer\":{},\"samples\":[", serde_json::to_string(log.scorer)?);
    let mut reductions = Listing::start("reductions.json", head, "]}]")?;
    let (mut tally, mut names) = (Tally::default(), HashSet::new());
    for entry in entries {
        let parts = frame.parts(&entry);
        let name = parts.file_name();
        if !names.insert(name.clone()) {
            return Err(Stop::Twice(name));
        }
        member(&mut zip, &name, &parts.sample())?;
        summaries.push(&parts.summary())?;
        if let Some(reduced) = parts.reduced() {
            reductions.push(&reduced)?;
        }
        tally.add(&entry);
    }
    let expected = log.metrics.seeds.iter().map(|s| s.n).sum();
    if tally.scored != expected {
        return Err(Stop::OtherSamples { scored: tally.scored, expected });
    }
    zip.add_prepared_file(summaries.finish()?)?;
    if frame.epochs == 1 {
        zip.add_prepared_file(reductions.finish()?)?;
    }
    let header = header::header(&frame, &tally);
    member(&mut zip, "_journal/start.json", &header::start(&header))?;
    member(&mut zip, "header.json", &header)?;
    zip.finish()?.flush()?;
    Ok(())
}

/// How every member is kept: without a time, so that the same input gives the same bytes.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644)
}

/// Writes one member, in pieces, so that the size of what a model wrote is not held once more.
fn member<W: Write + Seek>(
    zip: &mut ZipWriter<W>,
    name: &str,
    value: &impl Serialize,
) -> Result<(), Stop> {
    zip.start_file(name, options().large_file(false))?;
    let mut buffered = BufWriter::with_capacity(BUFFER, zip);
    serde_json::to_writer(&mut buffered, value)?;
    Ok(buffered.flush()?)
}

/// A member that is an array, compressed in memory while samples go by: an archive's members cannot be written side
/// by side.
struct Listing {
    out: BufWriter<ZipFileBuilder>,
    empty: bool,
    tail: &'static str,
}

impl Listing {
    fn start(name: &str, head: String, tail: &'static str) -> Result<Self, Stop> {
        let mut out = BufWriter::with_capacity(BUFFER, ZipFileBuilder::new(name, options())?);
        out.write_all(head.as_bytes())?;
        Ok(Self { out, empty: true, tail })
    }

    fn push(&mut self, value: &impl Serialize) -> Result<(), Stop> {
        if !std::mem::take(&mut self.empty) {
            self.out.write_all(b",")?;
        }
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }

    fn finish(mut self) -> Result<PreparedZipFile, Stop> {
        self.out.write_all(self.tail.as_bytes())?;
        Ok(self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()?)
    }
}

/// A name in hexadecimal that follows from what it names, as long as those that Inspect draws.
fn derived(parts: &[&str]) -> String {
    let mut name = sha256_hex(parts.join("\0").as_bytes());
    name.truncate(22);
    name
}
