//! A benchmark's samples: from a local path, from the local cache of the Hugging Face hub, or from a
//! generator of ours. Nothing is ever fetched.

mod arithmetic;
mod baseline;
mod choices;
mod criteria;
mod csv;
pub mod hub;
mod jsonl;
mod parquet;
mod random;
mod record;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ptb_core::registry::{Benchmark, Data, Entry, Form, Generator, HubData};
use serde_json::{Map, Value};

use crate::error::TaskError;
use crate::prompt::ChatMessage;
pub use criteria::Criterion;
use hub::HubCache;

/// Largest data file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 30;
/// How data are named: `ptb run` knows no `--data`.
const OWN_DATA: &str = "name the dataset's folder or test file: --data PATH, or in an experiment file NAME = \"PATH\" \
                        under [data]";

/// Records with their 1-based lines or rows.
type Records = Vec<(usize, Map<String, Value>)>;

/// One question with its reference answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// The record's own id, else its 1-based line number; unique in the dataset.
    pub id: String,
    /// What the seeds of its requests are derived from: the id, or the line where the benchmark's file says so.
    pub request_id: String,
    /// 1-based line or row in its file.
    pub line: usize,
    /// The question, as the record has it.
    pub question: String,
    /// The reference answer. Of a multiple-choice question, the letter of the right choice as shown; of a pairwise
    /// comparison, the reply that is compared with; of scorers without reference answers, nothing.
    pub target: String,
    /// The worked solution before the answer, where records have one.
    pub reasoning: Option<String>,
    /// The choices of a multiple-choice question, as they are shown.
    pub choices: Vec<String>,
    /// The functions that may be called, as OpenAI's API describes them
    /// (`{"type": "function", "function": {"name", "description", "parameters"}}`).
    pub tools: Vec<Value>,
    /// The conversation that asks the question, where records bring their own.
    pub messages: Option<Vec<ChatMessage>>,
    /// What a good reply does and a bad one does, where a rubric scores.
    pub criteria: Vec<Criterion>,
    /// Tags like `theme:hedging`.
    pub tags: Vec<String>,
    /// The whole record.
    pub fields: Map<String, Value>,
}

/// A benchmark's samples in the order of their file.
#[derive(Debug)]
pub struct Dataset {
    /// The test split. Choices stand as in the file, the right one first; see [`Dataset::asked_under`].
    pub samples: Arc<[Sample]>,
    /// SHA-256 of the test split's file, or of the generated records as JSON Lines; with a baseline's replies, over
    /// the SHA-256 of both files.
    pub sha256: String,
    source: Source,
    train: OnceLock<Vec<Sample>>,
    benchmark: Entry<Benchmark>,
}

/// Where the train split comes from, when it is asked for.
#[derive(Debug)]
enum Source {
    File(PathBuf),
    Hub(HubCache, HubData),
    Generated(Vec<Sample>),
}

impl Dataset {
    /// The train split. It is read when first asked for, because only few-shot prompts need it.
    ///
    /// # Errors
    /// As [`load`]; a dataset without a train split is one too.
    pub fn train(&self) -> Result<&[Sample], TaskError> {
        if let Some(train) = self.train.get() {
            return Ok(train);
        }
        let train = match &self.source {
            Source::Generated(train) => return Ok(train),
            Source::File(path) => read_split(&self.benchmark, path, None)?.0,
            Source::Hub(cache, hub) => {
                let file = hub.train.as_deref().ok_or_else(|| TaskError::Benchmark {
                    benchmark: self.benchmark.id.clone(),
                    reason: "its data has no train split".to_owned(),
                    hint: "name `train` in [data.hub]".to_owned(),
                })?;
                let path = cache.dataset_file(&hub.repo, &hub.revision, file)?;
                read_split(&self.benchmark, &path, hub.train_sha256.as_deref())?.0
            }
        };
        Ok(self.train.get_or_init(|| train))
    }

    /// Frees the train split; it is read again when it is asked for again.
    pub fn forget_train(&mut self) {
        self.train.take();
    }

    /// The test split as it is asked under a run seed, which orders choices (see [`ptb_core::registry::Choices`]).
    /// Without choices it is [`Dataset::samples`] itself.
    pub fn asked_under(&self, seed: u64) -> Arc<[Sample]> {
        if self.benchmark.value.data.choices.is_none() {
            return Arc::clone(&self.samples);
        }
        let mut samples = self.samples.to_vec();
        choices::shuffle(&mut samples, seed);
        samples.into()
    }
}

/// Loads a benchmark's test split. `data` (a folder with `test.jsonl`, or a test file: JSON Lines, CSV or Parquet
/// by the name's ending) wins over the benchmark's own source; a hub dataset is looked for in the cache that the environment names.
///
/// # Errors
/// A file that is not there, or a record in it that is wrong, named with its line. Every target is checked to
/// be one that the benchmark's scorer can compare with.
pub fn load(benchmark: &Entry<Benchmark>, data: Option<&Path>) -> Result<Dataset, TaskError> {
    load_with(benchmark, data, &HubCache::from_env())
}

/// As [`load`], with a cache of the hub at a known place.
///
/// # Errors
/// As [`load`].
pub fn load_with(
    benchmark: &Entry<Benchmark>,
    data: Option<&Path>,
    cache: &HubCache,
) -> Result<Dataset, TaskError> {
    let own = &benchmark.value.data;
    if benchmark.value.script().is_some() {
        return Err(TaskError::Benchmark {
            benchmark: benchmark.id.clone(),
            reason: "it is a script, evaluate.py, which alone knows its data, prompts and scoring"
                .to_owned(),
            hint: "evaluate a model with `ptb eval`, or in an experiment".to_owned(),
        });
    }
    if let Some(path) = data.or(own.path.as_deref()) {
        let (test, train) = splits_at(path, own)?;
        return from_file(benchmark, &test, None, Source::File(train));
    }
    if let Some(hub) = &own.hub {
        let test = cache.dataset_file(&hub.repo, &hub.revision, &hub.test)?;
        let source = Source::Hub(cache.clone(), hub.clone());
        return from_file(benchmark, &test, hub.test_sha256.as_deref(), source);
    }
    match (&own.generator, &own.elsewhere) {
        (Some(generator), _) => generate(benchmark, generator),
        (None, Some(elsewhere)) => Err(TaskError::Benchmark {
            benchmark: benchmark.id.clone(),
            reason: format!("its data are on no hub; they are {}", elsewhere.from),
            hint: format!("fetch them, then {OWN_DATA}"),
        }),
        (None, None) => Err(TaskError::Benchmark {
            benchmark: benchmark.id.clone(),
            reason: "it names no data".to_owned(),
            hint: "add `hub`, `path`, `generator` or `elsewhere` to [data]".to_owned(),
        }),
    }
}

fn from_file(
    benchmark: &Entry<Benchmark>,
    test: &Path,
    sha256: Option<&str>,
    source: Source,
) -> Result<Dataset, TaskError> {
    let (mut samples, mut sha256) = read_split(benchmark, test, sha256)?;
    let own = &benchmark.value.data;
    if let Some(baseline) = &own.baseline {
        let replies = baseline::add(baseline, test, &mut samples)?;
        sha256 = ptb_core::files::sha256_hex(format!("{sha256}{replies}").as_bytes());
    }
    if let Some(seed) = own.shuffle {
        random::shuffle(&mut samples, seed);
    }
    if samples.is_empty() {
        return Err(read_error(test, "it has no records", "give a file with one record a line"));
    }
    Ok(Dataset {
        samples: samples.into(),
        sha256,
        source,
        train: OnceLock::new(),
        benchmark: benchmark.clone(),
    })
}

fn generate(benchmark: &Entry<Benchmark>, generator: &Generator) -> Result<Dataset, TaskError> {
    let data = &benchmark.value.data;
    let (test, train) = match generator.kind {
        Form::Arithmetic => arithmetic::generate(generator, &data.question, &data.answer),
    }
    .map_err(|reason| TaskError::Benchmark {
        benchmark: benchmark.id.clone(),
        reason,
        hint: "ask for fewer samples in [data.generator]".to_owned(),
    })?;
    let text: String = test.iter().map(|r| format!("{}\n", Value::Object(r.clone()))).collect();
    let path = Path::new("generated");
    let samples = record::samples(benchmark, path, number(test))?;
    let train = record::samples(benchmark, path, number(train))?;
    Ok(Dataset {
        samples: samples.into(),
        sha256: ptb_core::files::sha256_hex(text.as_bytes()),
        source: Source::Generated(train),
        train: OnceLock::new(),
        benchmark: benchmark.clone(),
    })
}

fn number(records: Vec<Map<String, Value>>) -> Records {
    records.into_iter().enumerate().map(|(i, r)| (i + 1, r)).collect()
}

/// The test and train files that a path means. In a folder the test split is `test.jsonl`, or goes by a name that
/// the benchmark's file tells.
fn splits_at(path: &Path, data: &Data) -> Result<(PathBuf, PathBuf), TaskError> {
    if !path.is_dir() {
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("jsonl");
        let ending = if ["parquet", "csv"].contains(&ending) { ending } else { "jsonl" };
        return Ok((path.to_owned(), path.with_file_name(format!("train.{ending}"))));
    }
    let mut tests = vec!["test.jsonl", "test.parquet", "test.csv"];
    tests.extend(data.files.iter().map(String::as_str));
    let mut trains = vec!["train.jsonl", "train.parquet", "train.csv"];
    if let Some(hub) = &data.hub {
        let base = |name: &'_ str| name.rfind('/').map_or(0, |at| at + 1);
        tests.extend([&hub.test[..], &hub.test[base(&hub.test)..]]);
        trains.extend(hub.train.as_deref().into_iter().flat_map(|t| [t, &t[base(t)..]]));
    }
    let first_there = |names: &[&str]| names.iter().map(|n| path.join(n)).find(|p| p.is_file());
    let test = first_there(&tests).ok_or_else(|| {
        let others: Vec<&str> = tests[3..].to_vec();
        let others =
            if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
        read_error(
            path,
            "the folder has no test.jsonl",
            &format!("name a folder with test.jsonl{others}, or the test file itself"),
        )
    })?;
    Ok((test, first_there(&trains).unwrap_or_else(|| path.join("train.jsonl"))))
}

fn ends_in(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending))
}

/// Reads a file of records with the SHA-256 of its bytes, which must be the one that is expected.
fn read_split(
    benchmark: &Entry<Benchmark>,
    path: &Path,
    expected: Option<&str>,
) -> Result<(Vec<Sample>, String), TaskError> {
    let bytes = ptb_core::files::read_bounded(path, LARGEST_FILE)
        .map_err(|e| read_error(path, &e.to_string(), OWN_DATA))?;
    let sha256 = ptb_core::files::sha256_hex(&bytes);
    if let Some(expected) = expected.filter(|expected| *expected != sha256) {
        let reason = format!(
            "it is not the file that the benchmark {} names: its SHA-256 is {sha256} instead of {expected}",
            benchmark.id
        );
        let hint = format!("remove it and fetch it again, or {OWN_DATA}");
        return Err(read_error(path, &reason, &hint));
    }
    let records = if ends_in(path, "parquet") {
        parquet::read(path, bytes)?
    } else if ends_in(path, "csv") {
        csv::read(path, &bytes)?
    } else {
        jsonl::read(path, &bytes)?
    };
    Ok((record::samples(benchmark, path, records)?, sha256))
}

fn read_error(path: &Path, reason: &str, hint: &str) -> TaskError {
    TaskError::Read { path: path.to_owned(), reason: reason.to_owned(), hint: hint.to_owned() }
}
