//! Finding run directories and reading what a report needs of them. One that is corrupt, half written or
//! of a newer version is told by name; the others are read all the same.

use std::fs;
use std::path::Path;

use ptb_core::cell::{AgentAction, Feedback};
use ptb_core::files::read_json;
use ptb_core::registry::Submit;
use ptb_core::run::{Counts, RunDir, RunRecord, Score, Stage, StageState};

use crate::axes::{ASKED, Axes, agent_axes, evaluation_axes};
use crate::error::{Problem, ReportError};
use crate::usage::Usage;

/// Run directories below a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Those that hold `run.json`, in order of path.
    pub runs: Vec<RunDir>,
    /// Folders that cannot be read, and run directories without `run.json`.
    pub problems: Vec<Problem>,
}

/// Folders between a results folder and a run: experiment, `runs`, run.
const DEPTH: u32 = 3;

/// Finds run directories below `results`: a folder of experiments, one experiment, or one run. Links are
/// not followed. It goes on after a folder that cannot be read.
pub fn find(results: &Path) -> Result<Found, ReportError> {
    let fail = |reason: String| ReportError::Results { path: results.to_owned(), reason };
    fs::read_dir(results).map_err(|e| fail(e.to_string()))?;
    let mut found = Found::default();
    visit(results, DEPTH, &mut found);
    Ok(found)
}

fn visit(dir: &Path, depth: u32, found: &mut Found) {
    if dir.join("run.json").symlink_metadata().is_ok() {
        found.runs.push(RunDir::new(dir));
        return;
    }
    let mut problem = |message: String| {
        found.problems.push(Problem { path: dir.display().to_string(), message });
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) => return problem(format!("cannot read the folder: {e}")),
    };
    if dir.parent().and_then(Path::file_name).is_some_and(|name| name == "runs") {
        return problem(
            "it has no run.json: it was not made whole; hint: run the experiment again".to_owned(),
        );
    }
    if depth == 0 {
        return;
    }
    let mut below: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter(|e| !e.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|e| e.path())
        .collect();
    below.sort();
    below.iter().for_each(|path| visit(path, depth - 1, found));
}

/// What a report needs of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) dir: RunDir,
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) experiment: String,
    pub(crate) agent: String,
    /// Whether nothing ran: a known model was submitted.
    pub(crate) baseline: bool,
    /// The model that a baseline submitted to be asked as every submission is: what others compare with.
    pub(crate) plain: Option<Submit>,
    pub(crate) model: String,
    pub(crate) benchmark: String,
    pub(crate) repeat: u32,
    pub(crate) edition: String,
    pub(crate) limit: Option<usize>,
    /// Whether an agent ran without isolation.
    pub(crate) unwalled: bool,
    /// Whether a program of the benchmark's own measured.
    pub(crate) by_script: bool,
    /// Whether an agent was shown verdicts and references in its own evaluations.
    pub(crate) open: bool,
    pub(crate) weight: Option<f64>,
    pub(crate) agent_axes: Axes,
    pub(crate) evaluation_axes: Axes,
    pub(crate) solve_seconds: f64,
    /// What its agent used of its model, where it asked one.
    pub(crate) usage: Option<Usage>,
    pub(crate) outcome: Outcome,
    cell: String,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It has a score.
    Scored(Box<Score>),
    /// It has none yet.
    Unfinished { stage: Stage, state: &'static str, fault: Option<String>, reason: Option<String> },
}

impl Run {
    /// The run's score, when it has one.
    pub(crate) fn score(&self) -> Option<&Score> {
        match &self.outcome {
            Outcome::Scored(score) => Some(score),
            Outcome::Unfinished { .. } => None,
        }
    }

    /// How a baseline was asked, where that is not how submissions are.
    pub(crate) fn asked(&self) -> Option<&str> {
        self.agent_axes.get(ASKED).filter(|_| self.baseline).map(String::as_str)
    }

    fn new(dir: &RunDir, record: RunRecord) -> Result<Self, String> {
        if !(record.solve_seconds.is_finite() && record.solve_seconds >= 0.0) {
            return Err(format!("run.json says that {} seconds were used", record.solve_seconds));
        }
        let outcome = outcome(&record);
        // Books that cannot be read leave the cost unknown; `ptb show` says why.
        let (usage, _) = Usage::of(dir, record.attempts, &record.spec.agent.options);
        let spec = record.spec;
        let unwalled = spec.sandbox == "none" && !spec.agent.is_baseline();
        Ok(Self {
            dir: dir.clone(),
            path: dir.path().display().to_string(),
            id: record.id,
            cell: record.cell,
            solve_seconds: record.solve_seconds,
            usage,
            outcome,
            agent_axes: agent_axes(&spec),
            evaluation_axes: evaluation_axes(&spec),
            baseline: spec.agent.is_baseline(),
            plain: match &spec.agent.action {
                AgentAction::Submit(submit) => Some(*submit),
                _ => None,
            },
            by_script: spec.benchmark.value.script().is_some(),
            open: spec.feedback == Feedback::Open && !spec.agent.is_baseline(),
            weight: spec.benchmark.value.weight.as_ref().map(|w| w.value),
            experiment: spec.experiment,
            agent: spec.agent.name,
            model: spec.model.id,
            benchmark: spec.benchmark.id,
            repeat: spec.repeat,
            edition: spec.edition,
            limit: spec.limit,
            unwalled,
        })
    }

    /// Reads the score under an edition, when the run got that far.
    pub(crate) fn load_score(&mut self, edition: &str) -> Result<(), Problem> {
        if !matches!(&self.outcome, Outcome::Unfinished { state: "done", .. }) {
            return Ok(());
        }
        let fail = |message: String| Problem { path: self.path.clone(), message };
        self.outcome = match read_json::<Score>(&self.dir.score(edition)) {
            Ok(score) => {
                self.check(&score, edition).map_err(fail)?;
                Outcome::Scored(Box::new(score))
            }
            Err(e) if e.is_missing() && self.edition != edition => Outcome::Unfinished {
                stage: Stage::Record,
                state: "unscored",
                fault: None,
                reason: Some(format!("it was scored under edition `{}` alone", self.edition)),
            },
            Err(e) if e.is_missing() => {
                return Err(fail(format!(
                    "it is done but has no scores/{edition}.json; hint: score it again with ptb score"
                )));
            }
            Err(e) => return Err(fail(e.to_string())),
        };
        Ok(())
    }

    /// A score file must belong to the run and hold numbers that a score can be.
    fn check(&self, score: &Score, edition: &str) -> Result<(), String> {
        let file = format!("scores/{edition}.json");
        let same =
            score.cell == self.cell && score.edition == edition && score.repeat == self.repeat;
        if !(same && score.model == self.model && score.benchmark == self.benchmark) {
            return Err(format!(
                "{file} belongs to another run; hint: score it again with ptb score"
            ));
        }
        let share = |x: f64| (0.0..=1.0).contains(&x);
        match (score.own_score, score.own_stderr) {
            (None, _) if score.counts == Counts::Own => Err(format!(
                "{file} counts the run's own score but has none; hint: score it again with ptb score"
            )),
            (Some(own), _) if !share(own) => {
                Err(format!("{file} has the score {own}, which is not within 0 and 1"))
            }
            (_, Some(stderr)) if !share(stderr) => {
                Err(format!("{file} has the standard error {stderr}, which is not within 0 and 1"))
            }
            _ => Ok(()),
        }
    }
}

/// Where the run stands by its stages; one that is done reads `done` until its score is read.
fn outcome(record: &RunRecord) -> Outcome {
    let open = Stage::ALL.iter().find(|s| *record.stage(**s) != StageState::Done);
    let stage = open.copied().unwrap_or(Stage::Record);
    let (state, failure) = match record.stage(stage) {
        StageState::Done => ("done", None),
        StageState::Pending => ("pending", None),
        StageState::Running => ("running", None),
        StageState::Failed(failure) => ("failed", Some(failure)),
    };
    Outcome::Unfinished {
        stage,
        state,
        fault: failure.map(|f| fault_word(f.kind)),
        reason: failure.map(|f| f.message.clone()),
    }
}

/// The word of a kind of failure, as in files.
pub(crate) fn fault_word(kind: ptb_core::failure::FailureKind) -> String {
    use ptb_core::failure::FailureKind as Kind;
    let word = match kind {
        Kind::Agent => "agent",
        Kind::Harness => "harness",
        Kind::Provider => "provider",
        Kind::Scheduler => "scheduler",
    };
    word.to_owned()
}

/// Reads run directories, in order of path; those that cannot be used become problems.
pub(crate) fn read(dirs: &[RunDir]) -> (Vec<Run>, Vec<Problem>) {
    let mut sorted: Vec<&RunDir> = dirs.iter().collect();
    sorted.sort_by_key(|dir| dir.path());
    sorted.dedup();
    let (mut runs, mut problems) = (Vec::with_capacity(sorted.len()), Vec::new());
    for dir in sorted {
        let read = read_json::<RunRecord>(&dir.record()).map_err(|e| e.to_string());
        match read.and_then(|record| Run::new(dir, record)) {
            Ok(run) => runs.push(run),
            Err(message) => {
                problems.push(Problem { path: dir.path().display().to_string(), message });
            }
        }
    }
    (runs, problems)
}
