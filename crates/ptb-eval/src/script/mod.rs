//! Benchmarks that are programs: a folder with `evaluate.py`, run unchanged behind a wall of the evaluation's own.
//!
//! The program loads the model, asks it and scores it; what it writes becomes the metrics. It sees a copy of its
//! folder, of the model what servers see of it ([`ptb_infer::ShownModel`]) and chat templates to read, the Python it
//! runs on, GPUs, and what was fetched from the hub before. A result is kept, and used again where every file that is
//! shown, the program and the limit are the same. A program that fails on a submission is tried on the base model:
//! what works there and fails twice on the submission is the submission's fault.
//!
//! It must never run an agent's copy of the program, run it without a wall, show a file that was not judged, or make a
//! score out of its failure.

mod error;
mod place;
mod subject;
mod trial;
mod written;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ptb_core::files::{FileError, Schema, read_json, write_json, write_json_line};
use ptb_core::registry::{Benchmark, Entry, Script};
use ptb_core::run::{Metrics, SeedMetrics};
use ptb_infer::{ProcessOutput, PythonHome};
use ptb_model::Links;
use ptb_sandbox::{EndReason, Ended, Namespaces, Running, Wall};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio_util::sync::CancellationToken;

pub use error::ScriptError;
use place::Place;
use subject::Subject;
use written::Written;

use crate::error::EvalError;
use crate::provenance::note_script;
use crate::serve::Told;

/// Environment variable that names the Python to use.
pub(crate) const PYTHON: &str = "PTB_SCRIPT_PYTHON";
/// Environment variable that sets another time limit, in seconds.
pub(crate) const SECONDS: &str = "PTB_SCRIPT_SECONDS";
/// Time that a program may take: what the original harness allows.
const TIME: Duration = Duration::from_secs(8 * 3600);
/// Longest time that may be set: a week.
const MAX_SECONDS: u64 = 7 * 24 * 3600;
/// What messages call it.
const PROGRAM: &str = "evaluate.py";
const LOG: &str = "script.log";
const KEPT: &str = "script.json";

/// What a program is to evaluate.
#[derive(Debug, Clone)]
pub struct ScriptSpec {
    /// The benchmark, a script one.
    pub benchmark: Entry<Benchmark>,
    /// The submission.
    pub model_dir: PathBuf,
    /// Where links in it may lead.
    pub links: Links,
    /// The base model: its tokenizer stands among the submission's weights, and it tells whose fault a failure is.
    /// Absent where it cannot be had: the tokenizer is the submission's own then, and every failure the harness's.
    pub base: Option<PathBuf>,
    /// The first so many samples; absent means all.
    pub limit: Option<usize>,
    /// Time that it may take.
    pub time: Duration,
    /// `eval/<id>/`.
    pub out: PathBuf,
}

impl ScriptSpec {
    /// The time that a program may take: that of the environment's `PTB_SCRIPT_SECONDS`, else eight hours.
    ///
    /// # Errors
    /// [`ScriptError::Time`] where that is no number of seconds up to a week.
    pub fn time_from_env() -> Result<Duration, ScriptError> {
        let named = std::env::var_os(SECONDS).filter(|text| !text.is_empty());
        let Some(text) = named.map(|text| text.to_string_lossy().into_owned()) else {
            return Ok(TIME);
        };
        let seconds = text.parse().ok().filter(|s| (1..=MAX_SECONDS).contains(s));
        seconds.map(Duration::from_secs).ok_or(ScriptError::Time { text })
    }
}

/// `eval/<id>/script.json`: what the metrics beside it were measured of.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// SHA-256 over all that the result depends on.
    key: String,
}

impl Schema for Kept {
    const KIND: &'static str = "script evaluation";
    const VERSION: u32 = 1;
}

/// Whether programs can be run here: a wall, a Python, a time limit that is one.
///
/// # Errors
/// What is missing.
pub fn check_script() -> Result<(), ScriptError> {
    PythonHome::program(PYTHON).map_err(|why| ScriptError::NoPython { why })?;
    ScriptSpec::time_from_env()?;
    Namespaces::new().probe()?;
    Ok(())
}

/// Runs a benchmark's own program on a model, or takes what it gave before, and writes `metrics.json`.
///
/// # Errors
/// A model that cannot be opened is the submission's fault, and so is one on which the program fails twice though it
/// works on the base model; whatever else the program does wrong is not.
pub async fn evaluate_script(
    spec: ScriptSpec,
    tell: &(dyn Fn(Told) + Send + Sync),
    cancel: &CancellationToken,
) -> Result<Metrics, EvalError> {
    let Some(script) = spec.benchmark.value.script().cloned() else {
        return Err(EvalError::Nothing(format!("{} is no script benchmark", spec.benchmark.id)));
    };
    let seen = spec.clone();
    let subject = blocking(move || Subject::read(&seen)).await?;
    if let Some(metrics) = kept(&spec, &subject) {
        tell(Told::Said("the result is there from before".to_owned()));
        return Ok(metrics);
    }
    std::fs::create_dir_all(&spec.out).map_err(FileError::io("make", &spec.out))?;
    for name in ["metrics.json", KEPT, LOG, trial::BASE_LOG, trial::AGAIN_LOG] {
        // What is left of another model must not be taken for this one's.
        let _ = std::fs::remove_file(spec.out.join(name));
    }
    let harness = Harness { script, tell, cancel };
    let first = harness.run(&spec, &subject, LOG).await;
    let written = match first {
        Ok(written) => written,
        Err(e) => trial::of_failure(&harness, &spec, &subject, e).await?,
    };
    let metrics = metrics(&spec, &subject, written);
    write_json_line(&spec.out.join("metrics.json"), &metrics)?;
    write_json(&spec.out.join(KEPT), &Kept { key: subject.key })?;
    Ok(metrics)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EvalError> + Send + 'static,
) -> Result<T, EvalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| EvalError::Nothing(format!("preparing ended: {e}")))?
}

/// The metrics that are there, if they are of the same.
fn kept(spec: &ScriptSpec, subject: &Subject) -> Option<Metrics> {
    let kept: Kept = read_json(&spec.out.join(KEPT)).ok()?;
    let metrics: Metrics = read_json(&spec.out.join("metrics.json")).ok()?;
    (kept.key == subject.key && metrics.script.is_some()).then_some(metrics)
}

/// What all runs of an evaluation have in common.
struct Harness<'a> {
    script: Script,
    tell: &'a (dyn Fn(Told) + Send + Sync),
    cancel: &'a CancellationToken,
}

impl Harness<'_> {
    /// One run of the program, to its end; `log` names its output's file.
    async fn run(
        &self,
        spec: &ScriptSpec,
        subject: &Subject,
        log: &str,
    ) -> Result<Written, EvalError> {
        let no_python = |why| ScriptError::NoPython { why };
        let python = PythonHome::program(PYTHON).map_err(no_python)?;
        let python = PythonHome::of(python).await.map_err(no_python)?;
        let wall = Namespaces::new();
        let (seen, script, mut subject) = (spec.clone(), self.script.clone(), subject.clone());
        let (place, subject) = blocking(move || {
            let place = Place::new(&seen, &script, &mut subject)?;
            Ok((place, subject))
        })
        .await?;
        let wanted = place.wall(spec, &subject, &python);
        note_script(
            &spec.out,
            json!({
                "engine": "script",
                "folder_sha256": spec.benchmark.sha256,
                "command": wanted.command,
                "python": python.program,
                "versions": python.versions,
                "isolation": { "wall": wall.name() },
                "seconds_allowed": spec.time.as_secs(),
                "tokenizer": subject.tokenizer(),
                "shown": subject.shown,
                "log": log,
            }),
        )?;
        let log = spec.out.join(log);
        (self.tell)(Told::Said(format!("running {PROGRAM}; its output goes to {}", log.display())));
        let killed = killed_for_memory();
        let mut output = ProcessOutput::new(Some(&log));
        let mut running = wall.launch(wanted).map_err(ScriptError::from)?;
        output.collect(running.stdout.take());
        output.collect(running.stderr.take());
        running.started().await.map_err(ScriptError::from)?;
        let ended = tokio::select! {
            ended = end_of(&mut running) => ended,
            () = self.cancel.cancelled() => {
                running.cancel();
                running.wait().await;
                return Err(EvalError::Stopped);
            }
        };
        let said = output.whole().await;
        let starved = killed_for_memory() > killed;
        succeeded(&ended, spec, starved, &said, &log)?;
        let result = place.result();
        let written = blocking(move || {
            // The place is removed with whatever was left in it.
            let written = written::read(&result);
            drop(place);
            Ok(written?)
        });
        written.await
    }
}

/// The program's own end is that of everything: what it left running could write another result.
async fn end_of(running: &mut Running) -> Ended {
    running.main_ended().await;
    running.canceller().kill();
    running.wait().await
}

/// Processes that the kernel has ended for want of memory since it started; 0 where it does not count them.
fn killed_for_memory() -> u64 {
    let counts = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = counts.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

/// Whether the program ended well.
fn succeeded(
    ended: &Ended,
    spec: &ScriptSpec,
    starved: bool,
    said: &str,
    log: &Path,
) -> Result<(), EvalError> {
    let failed = |how: String, killed| ScriptError::of_end(how, killed && starved, said, log);
    let e = match &ended.reason {
        EndReason::Exited(0) => return Ok(()),
        // Children of it may have been killed.
        EndReason::Exited(code) => failed(format!("ended with exit code {code}"), true),
        EndReason::Signaled(signal) => {
            failed(format!("was killed by signal {signal}"), *signal == 9)
        }
        EndReason::Deadline => {
            ScriptError::Late { seconds: spec.time.as_secs(), log: log.to_owned() }
        }
        EndReason::Cancelled => return Err(EvalError::Stopped),
        EndReason::SetupFailed(why) => failed(format!("did not start: {why}"), false),
        EndReason::Lost => failed("was lost: the sandbox's helper was killed".to_owned(), true),
    };
    Err(e.into())
}

/// The metrics that a program's result comes to.
fn metrics(spec: &ScriptSpec, subject: &Subject, written: Written) -> Metrics {
    let Written { accuracy, stderr, n, whole } = written;
    let seed = spec.benchmark.value.evaluate.seeds.first().copied().unwrap_or_default();
    Metrics {
        benchmark: spec.benchmark.id.clone(),
        accuracy,
        stderr,
        stderr_clustered: None,
        interval: None,
        n,
        errors: 0,
        truncated: 0,
        reduced: 0,
        unparsed: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        breakdowns: Default::default(),
        complete: spec.limit.is_none(),
        seeds: vec![SeedMetrics { seed, accuracy, n }],
        weights_sha256: subject.weights_sha256.clone(),
        data_sha256: spec.benchmark.sha256.clone(),
        sampling: json!({}),
        grader: None,
        script: Some(whole),
    }
}
