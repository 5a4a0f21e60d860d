//! What one run did: `ptb show RUN`.

mod usage;
mod used;
mod words;

use std::fs;
use std::path::Path;

use ptb_core::cell::{AgentAction, Feedback};
use ptb_core::failure::FailureKind;
use ptb_core::files::{Schema, read_json};
use ptb_core::registry::Submit;
use ptb_core::run::{
    Counts, End, Evidence, Mark, Metrics, RunDir, RunRecord, Score, Stage, StageState, Submission,
    Telemetry, Verdict,
};
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ReportError};
use crate::read::fault_word;
use crate::render::json::versioned;
use crate::usage::Usage;

/// Files of one kind that are read; a run has a handful.
const MAX_FILES: usize = 64;

/// One run at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run directory.
    pub path: String,
    /// Short name.
    pub slug: String,
    /// Id.
    pub id: String,
    /// When it was made, RFC 3339, UTC.
    pub created: String,
    /// Experiment.
    pub experiment: String,
    /// Name of the agent.
    pub agent: String,
    /// What the agent is: `baseline base`, `baseline instruct` (and how it was asked), `command`, `folder`.
    pub action: String,
    /// The model that drives the agent, and its options.
    pub options: Vec<(String, String)>,
    /// Version of the agent's scaffold that ran, as its package tells it.
    #[serde(default)]
    pub scaffold_version: Option<String>,
    /// Base model id.
    pub model: String,
    /// Benchmark id.
    pub benchmark: String,
    /// Which repeat.
    pub repeat: u32,
    /// Hours of the budget.
    pub hours: f64,
    /// GPUs of the budget.
    pub gpus: u32,
    /// Sandbox.
    pub sandbox: String,
    /// Engine of evaluations.
    pub engine: String,
    /// Edition.
    pub edition: String,
    /// Run seeds of the final evaluation.
    pub seeds: Vec<u64>,
    /// Samples of the final evaluation; absent means all.
    pub limit: Option<usize>,
    /// New tokens allowed per completion.
    pub max_tokens: u32,
    /// What the agent was told by its own evaluations: `score`, `samples`, `open`.
    pub feedback: Feedback,
    /// Whether a program of the benchmark's own measures: engine, seeds and tokens are its affair.
    pub script: bool,
    /// The language model that grades, where one does.
    pub grader: Option<String>,
    /// The stages, in order.
    pub stages: Vec<StageSummary>,
    /// Solves begun.
    pub attempts: u32,
    /// Seconds of the budget used.
    pub solve_seconds: f64,
    /// How the solve ended.
    pub solve_end: Option<End>,
    /// What the agent used of its model, over all attempts; absent where it asked none.
    #[serde(default)]
    pub usage: Option<Usage>,
    /// Scores, by edition.
    pub scores: Vec<ScoreSummary>,
    /// Evaluations: id and what was measured.
    pub evaluations: Vec<(String, Metrics)>,
    /// What the last attempt used of its machine.
    #[serde(default)]
    pub telemetry: Option<Telemetry>,
    /// Facts found.
    pub evidence: Vec<Evidence>,
    /// Verdicts of judges.
    pub verdicts: Vec<Verdict>,
    /// Files and folders that are there, relative to the run directory.
    pub files: Vec<String>,
    /// Files that could not be used.
    pub problems: Vec<Problem>,
}

/// A stage's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Stage.
    pub stage: String,
    /// `pending`, `running`, `done`, `failed`.
    pub state: String,
    /// Whose fault, where it failed.
    pub fault: Option<String>,
    /// What happened, where it failed.
    pub message: Option<String>,
    /// Whether a rerun may succeed, where it failed.
    pub retryable: Option<bool>,
}

/// A score under an edition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoreSummary {
    /// Edition.
    pub edition: String,
    /// Whose score counts.
    pub counts: Counts,
    /// The submission's own score.
    pub own_score: Option<f64>,
    /// Its standard error over samples.
    pub own_stderr: Option<f64>,
    /// Mark.
    pub mark: Option<Mark>,
    /// Why.
    pub reason: String,
    /// Which files were evaluated.
    pub submission: Submission,
}

/// What the agent is, in a few words.
fn action(action: &AgentAction) -> String {
    let known = |submit: Submit| match submit {
        Submit::Base => "baseline base",
        Submit::Instruct => "baseline instruct",
    };
    match action {
        AgentAction::Submit(submit) => known(*submit).to_owned(),
        AgentAction::Baseline(b) => format!("{}, {}", known(b.submit), b.asking),
        AgentAction::Command(_) => "command".to_owned(),
        AgentAction::Folder { .. } => "folder".to_owned(),
    }
}

impl Schema for RunSummary {
    const KIND: &'static str = "run summary";
    /// 2: the solve's end is typed (it was words), and there is telemetry.
    const VERSION: u32 = 2;
}

impl RunSummary {
    /// Reads a run directory. Only `run.json` must be sound; other files that cannot be used are told in
    /// `problems`.
    pub fn read(run: &Path) -> Result<Self, ReportError> {
        let dir = RunDir::new(run);
        let fail = |reason: String| ReportError::NotARun { path: run.to_owned(), reason };
        let record: RunRecord = read_json(&dir.record()).map_err(|e| fail(e.to_string()))?;
        let mut summary = Self::of_record(run, record);
        summary.read_files(&dir);
        Ok(summary)
    }

    /// As JSON, `schema` first.
    pub fn json(&self) -> Result<String, ReportError> {
        versioned(self)
    }

    fn of_record(run: &Path, record: RunRecord) -> Self {
        let stages = Stage::ALL.iter().map(|s| stage(*s, record.stage(*s))).collect();
        let spec = record.spec;
        let scaffold_version = match &spec.agent.action {
            AgentAction::Command(agent) => record.provenance.versions.get(&agent.id).cloned(),
            _ => None,
        };
        let (usage, faults) = Usage::of(&RunDir::new(run), record.attempts, &spec.agent.options);
        let problem = |(path, message)| Problem { path, message };
        let driver = spec.agent.model.map(|model| ("model".to_owned(), model));
        Self {
            path: run.display().to_string(),
            slug: record.slug,
            id: record.id,
            created: record.created,
            experiment: spec.experiment,
            agent: spec.agent.name,
            action: action(&spec.agent.action),
            options: driver.into_iter().chain(spec.agent.options).collect(),
            scaffold_version,
            usage,
            model: spec.model.id,
            benchmark: spec.benchmark.id,
            repeat: spec.repeat,
            hours: spec.budget.hours,
            gpus: spec.budget.gpus,
            sandbox: spec.sandbox,
            engine: spec.engine,
            edition: spec.edition,
            seeds: spec.seeds,
            limit: spec.limit,
            max_tokens: spec.max_tokens,
            feedback: spec.feedback,
            script: spec.benchmark.value.script().is_some(),
            grader: spec.grader.map(|grader| grader.model),
            stages,
            attempts: record.attempts,
            solve_seconds: record.solve_seconds,
            solve_end: record.solve_end,
            scores: Vec::new(),
            evaluations: Vec::new(),
            telemetry: None,
            evidence: Vec::new(),
            verdicts: Vec::new(),
            files: Vec::new(),
            problems: faults.into_iter().map(problem).collect(),
        }
    }

    fn read_files(&mut self, dir: &RunDir) {
        let scores: Vec<(String, Score)> = self.json_files(&dir.path().join("scores"));
        self.scores = scores.into_iter().map(|(_, score)| score.into()).collect();
        self.evidence = self.json_files(&dir.evidence()).into_iter().map(|(_, e)| e).collect();
        self.verdicts = self.json_files(&dir.verdicts()).into_iter().map(|(_, v)| v).collect();
        let telemetry = dir.attempt(self.attempts).join("telemetry.json");
        if telemetry.exists() {
            self.telemetry = self.json_file(&telemetry);
        }
        for id in names(&dir.path().join("eval")) {
            let path = dir.eval(&id).join("metrics.json");
            if path.exists() {
                let metrics = self.json_file(&path);
                self.evaluations.extend(metrics.map(|metrics| (id, metrics)));
            }
        }
        let mut files: Vec<String> = names(dir.path())
            .into_iter()
            .filter(|name| !name.starts_with("lease-") && name != "attempts")
            .map(|name| if dir.path().join(&name).is_dir() { name + "/" } else { name })
            .collect();
        let mut attempts = names(&dir.path().join("attempts"));
        attempts.sort_by_key(|name| name.parse::<u64>().unwrap_or(u64::MAX));
        files.extend(attempts.into_iter().map(|n| format!("attempts/{n}/")));
        self.files = files;
    }

    /// The versioned files of a folder, with their names, in order of name.
    fn json_files<T: Schema>(&mut self, folder: &Path) -> Vec<(String, T)> {
        let json = names(folder).into_iter().filter(|name| name.ends_with(".json"));
        let read =
            json.filter_map(|name| Some((name.clone(), self.json_file(&folder.join(name))?)));
        read.collect()
    }

    fn json_file<T: Schema>(&mut self, path: &Path) -> Option<T> {
        let problem = |e: ptb_core::files::FileError| Problem {
            path: path.display().to_string(),
            message: e.to_string(),
        };
        read_json(path).map_err(|e| self.problems.push(problem(e))).ok()
    }
}

impl From<Score> for ScoreSummary {
    fn from(score: Score) -> Self {
        Self {
            edition: score.edition,
            counts: score.counts,
            own_score: score.own_score,
            own_stderr: score.own_stderr,
            mark: score.mark,
            reason: score.reason,
            submission: score.submission,
        }
    }
}

fn stage(stage: Stage, state: &StageState) -> StageSummary {
    let (word, failure) = match state {
        StageState::Pending => ("pending", None),
        StageState::Running => ("running", None),
        StageState::Done => ("done", None),
        StageState::Failed(failure) if failure.kind == FailureKind::Scheduler => {
            ("stopped", Some(failure))
        }
        StageState::Failed(failure) => ("failed", Some(failure)),
    };
    StageSummary {
        stage: stage.word().to_owned(),
        state: word.to_owned(),
        fault: failure.map(|f| fault_word(f.kind)),
        message: failure.map(|f| f.message.clone()),
        retryable: failure.map(|f| f.retryable),
    }
}

/// Names in a folder, sorted, hidden ones left out; a folder that is not there has none.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .take(16 * MAX_FILES)
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names.truncate(MAX_FILES);
    names
}
