//! A report as data: every number that a form shows, with where it comes from. Scores, shares and
//! errors are fractions, 0 to 1; times are seconds.

use std::collections::BTreeMap;

use ptb_core::failure::ExitCode;
use ptb_core::files::Schema;
use ptb_core::run::{Counts, Mark, Submission};
use serde::{Deserialize, Serialize};

use crate::bootstrap::Interval;
use crate::error::Problem;
use crate::usage::{TokenCounts, Usage};
use crate::weights::{Baselines, Origin};

/// The leaderboard of some run directories under one edition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Edition whose scores are shown.
    pub edition: String,
    /// Benchmarks: the edition's in its order, then others by id.
    pub benchmarks: Vec<Column>,
    /// Agents, the best average first, unknown averages last.
    pub rows: Vec<Row>,
    /// Every run that has a score, by row and path.
    pub runs: Vec<RunLine>,
    /// Runs without a score yet, and why.
    pub unfinished: Vec<Unfinished>,
    /// Run directories that could not be used.
    pub problems: Vec<Problem>,
    /// What a reader of the table must know, one sentence each.
    pub notes: Vec<String>,
}

/// A benchmark of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Id.
    pub benchmark: String,
    /// Share in the average; absent when unknown.
    pub weight: Option<f64>,
    /// Where the weight comes from.
    pub origin: Origin,
    /// The experiment's baselines, where known.
    pub baselines: Option<Baselines>,
}

/// An agent: a name, and the axes in which it differs from others of the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the agent.
    pub agent: String,
    /// Hours, model, options and so on, only where they differ.
    pub axes: BTreeMap<String, String>,
    /// Whether it is a baseline: nothing ran.
    pub baseline: bool,
    /// Weighted average; absent while anything it rests on is unknown, partial or absent.
    pub average: Option<f64>,
    /// Standard deviation (n - 1) over complete repeats of their averages.
    pub std: Option<f64>,
    /// Number of complete repeats.
    pub repeats: usize,
    /// Bootstrap interval of the average.
    pub interval: Option<Interval>,
    /// Budget used; absent for baselines.
    pub solve: Option<SolveTime>,
    /// What the agents used of their models; absent where none was asked.
    #[serde(default)]
    pub usage: Option<RowUsage>,
    /// Runs with a score.
    pub runs: usize,
    /// Runs without a score yet.
    pub unfinished: usize,
    /// One entry for every benchmark of the table, in its order; absent where the agent has no run.
    pub scores: Vec<Option<BenchmarkScore>>,
}

/// Seconds of the budget that the counting attempts used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SolveTime {
    /// Mean over scored runs.
    pub mean: f64,
    /// Standard deviation (n - 1) over scored runs.
    pub std: Option<f64>,
}

/// What the runs of a row used of the models that drive their agents. What is not known of each run is absent, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RowUsage {
    /// Runs whose agents asked a model, those without a score yet included.
    pub runs: usize,
    /// Their tokens, all together.
    pub tokens: Option<TokenCounts>,
    /// Tokens of one run, prompts and generated ones together: the mean.
    pub tokens_mean: Option<f64>,
    /// What they cost all together, in US dollars.
    pub cost_usd: Option<f64>,
    /// What one run cost, in US dollars: the mean.
    pub cost_usd_mean: Option<f64>,
}

impl RowUsage {
    /// Of these runs' usages; none where there are none.
    pub(crate) fn of<'a>(usages: impl Iterator<Item = &'a Usage>) -> Option<Self> {
        let usages: Vec<&Usage> = usages.collect();
        let runs = usages.len();
        let known = |u: &&Usage| u.is_complete().then_some(u.tokens);
        let tokens: Option<Vec<TokenCounts>> = usages.iter().map(known).collect();
        let costs: Option<Vec<f64>> = usages.iter().map(|u| u.cost_usd).collect();
        let (tokens, cost) = (
            tokens.map(|all| all.into_iter().sum::<TokenCounts>()),
            costs.map(|all| all.iter().sum::<f64>()),
        );
        (runs > 0).then(|| Self {
            runs,
            tokens,
            tokens_mean: tokens.map(|t| t.all() as f64 / runs as f64),
            cost_usd: cost,
            cost_usd_mean: cost.map(|c| c / runs as f64),
        })
    }
}

/// What an agent reached on a benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkScore {
    /// Benchmark id.
    pub benchmark: String,
    /// Mean over base models of the mean over repeats. Over the known models alone while some have no
    /// score yet (then it is not averaged further); absent when a base score it rests on is missing.
    pub mean: Option<f64>,
    /// Standard deviation (n - 1) over complete repeats.
    pub std: Option<f64>,
    /// Base models with a score.
    pub known: usize,
    /// Base models that should have one.
    pub wanted: usize,
    /// Runs by mark (`*`, `†`, `‡`).
    pub marks: BTreeMap<String, usize>,
    /// The mean over repeats for each base model.
    pub models: Vec<ModelScore>,
}

impl BenchmarkScore {
    /// The mean, when every base model that should have a score has one.
    pub fn complete(&self) -> Option<f64> {
        self.mean.filter(|_| self.known == self.wanted)
    }
}

/// A cell's score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelScore {
    /// Base model id.
    pub model: String,
    /// Mean over repeats; absent when unknown.
    pub score: Option<f64>,
    /// Runs with a score.
    pub runs: usize,
    /// Whether a run counts with a base score that is missing.
    pub base_missing: bool,
}

/// A run that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunLine {
    /// The run directory.
    pub path: String,
    /// Id.
    pub id: String,
    /// Label of its row.
    pub row: String,
    /// Name of the agent.
    pub agent: String,
    /// Experiment.
    pub experiment: String,
    /// Base model id.
    pub model: String,
    /// Benchmark id.
    pub benchmark: String,
    /// Which repeat.
    pub repeat: u32,
    /// The score that counts; absent when it is a base score that is missing.
    pub score: Option<f64>,
    /// Whose it is.
    pub counts: Counts,
    /// The submission's own score.
    pub own_score: Option<f64>,
    /// Standard error of the own score over samples.
    pub own_stderr: Option<f64>,
    /// The base model's score on the same evaluation, where known.
    pub base_score: Option<f64>,
    /// Mark, where the base score counts.
    pub mark: Option<Mark>,
    /// Why.
    pub reason: String,
    /// Which files were evaluated.
    pub submission: Submission,
    /// Seconds of the budget used.
    pub solve_seconds: f64,
    /// Tokens that the agent used of its model; absent where it asked none, or where that is not known.
    #[serde(default)]
    pub tokens: Option<TokenCounts>,
    /// What they cost, in US dollars; absent where that is not known.
    #[serde(default)]
    pub cost_usd: Option<f64>,
}

/// A run without a score yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// The run directory.
    pub path: String,
    /// Id.
    pub id: String,
    /// Label of its row.
    pub row: String,
    /// Base model id.
    pub model: String,
    /// Benchmark id.
    pub benchmark: String,
    /// Which repeat.
    pub repeat: u32,
    /// The stage it is at.
    pub stage: String,
    /// `pending`, `running`, `failed`, or `unscored` (done, but not under this edition).
    pub state: String,
    /// Whose fault, where it failed (`agent`, `harness`, `provider`, `scheduler`).
    pub fault: Option<String>,
    /// Why, where it is known.
    pub reason: Option<String>,
}

impl Row {
    /// Name and axes as shown: `claude/claude-opus-4-6 [effort high, hours 5]`.
    pub fn label(&self) -> String {
        label(&self.agent, &self.axes)
    }
}

/// The label of a row.
pub(crate) fn label(agent: &str, axes: &BTreeMap<String, String>) -> String {
    if axes.is_empty() {
        return agent.to_owned();
    }
    let axes: Vec<String> = axes.iter().map(|(axis, value)| format!("{axis} {value}")).collect();
    format!("{agent} [{}]", axes.join(", "))
}

impl Report {
    /// How a program that shows the report ends: bad input when run directories could not be used.
    pub fn exit_code(&self) -> ExitCode {
        if self.problems.is_empty() { ExitCode::Done } else { ExitCode::Usage }
    }
}

impl Schema for Report {
    const KIND: &'static str = "report";
    const VERSION: u32 = 1;
}
