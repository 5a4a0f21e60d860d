//! One row: the runs of one agent, gathered into cells, columns, repeats and an average.

use std::collections::{BTreeMap, BTreeSet};

use ptb_core::run::Counts;

use crate::aggregate::{fall_back, mean, sample_std, weighted};
use crate::axes::Axes;
use crate::baseline::BaselineScores;
use crate::bootstrap::{self, Cell, Interval};
use crate::read::Run;
use crate::report::{BenchmarkScore, Column, ModelScore, Row, RowUsage, SolveTime};

/// A repeat of the experiment: its name and the repeat's number.
type Repeat<'a> = (&'a str, u32);

/// The score that counts for a run: the run's own, or its base model's. Unknown where that is missing.
pub(crate) fn counted(run: &Run, baselines: &BaselineScores) -> (Option<f64>, Option<f64>) {
    let Some(score) = run.score() else { return (None, None) };
    match score.counts {
        Counts::Own => (score.own_score, score.own_stderr),
        Counts::Base => {
            let base = baselines.base_of(run);
            (fall_back(None, base.map(|b| b.score)), base.and_then(|b| b.stderr))
        }
    }
}

/// A base model's runs on a benchmark.
#[derive(Default)]
struct CellRuns<'a> {
    /// Scores by repeat. Baselines under several budgets fill a repeat more than once.
    scores: BTreeMap<Repeat<'a>, Vec<f64>>,
    stderrs: Vec<Option<f64>>,
    unknown: bool,
}

impl CellRuns<'_> {
    fn by_repeat(&self) -> BTreeMap<Repeat<'_>, f64> {
        if self.unknown {
            return BTreeMap::new();
        }
        self.scores.iter().filter_map(|(repeat, all)| Some((*repeat, mean(all)?))).collect()
    }

    fn score(&self) -> Option<f64> {
        mean(&self.by_repeat().into_values().collect::<Vec<_>>())
    }

    /// What the bootstrap draws from. See [`bootstrap`] for why a baseline's repeats are not used.
    fn spread(&self, baseline: bool) -> Option<Cell> {
        let repeats: Vec<f64> = self.by_repeat().into_values().collect();
        if repeats.len() > 1 && !baseline {
            return Some(Cell::Repeats(repeats));
        }
        let stderrs: Option<Vec<f64>> = self.stderrs.iter().copied().collect();
        Some(Cell::Samples { score: mean(&repeats)?, stderr: mean(&stderrs?)? })
    }
}

/// Runs of a row on a benchmark, by base model; those that should have a score and have none are empty.
type ColumnRuns<'a> = BTreeMap<&'a str, CellRuns<'a>>;

/// Builds the row of `runs` (all of one agent and its axes).
pub(crate) fn row(
    (agent, axes): (&str, &Axes),
    runs: &[&Run],
    columns: &[Column],
    baselines: &BaselineScores,
) -> Row {
    let baseline = runs.iter().all(|run| run.baseline);
    let cells = gather(runs, baselines);
    let by_column: Vec<Option<&ColumnRuns>> =
        columns.iter().map(|c| cells.get(c.benchmark.as_str())).collect();
    let scores: Vec<Option<BenchmarkScore>> = columns
        .iter()
        .zip(&by_column)
        .map(|(column, cells)| Some(column_score(&column.benchmark, (*cells)?, runs)))
        .collect();
    let complete = |s: &Option<BenchmarkScore>| s.as_ref().and_then(BenchmarkScore::complete);
    let average = weighted(columns.iter().map(|c| c.weight).zip(scores.iter().map(complete)));
    let of_repeats = repeat_averages(columns, &by_column);
    let scored: Vec<&&Run> = runs.iter().filter(|run| run.score().is_some()).collect();
    let seconds: Vec<f64> = scored.iter().map(|run| run.solve_seconds).collect();
    Row {
        agent: agent.to_owned(),
        axes: axes.clone(),
        baseline,
        average,
        std: average.and_then(|_| sample_std(&of_repeats)),
        repeats: of_repeats.len(),
        interval: average.and_then(|_| interval(columns, &by_column, baseline)),
        solve: mean(&seconds)
            .filter(|_| !baseline)
            .map(|mean| SolveTime { mean, std: sample_std(&seconds) }),
        usage: RowUsage::of(runs.iter().filter_map(|run| run.usage.as_ref())),
        runs: scored.len(),
        unfinished: runs.len() - scored.len(),
        scores,
    }
}

/// Puts runs into cells. An experiment is a product, so an agent that has a run on a benchmark in it should
/// have one from each base model that it has there.
fn gather<'a>(runs: &[&'a Run], baselines: &BaselineScores) -> BTreeMap<&'a str, ColumnRuns<'a>> {
    let mut models: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for run in runs {
        models.entry(&run.experiment).or_default().insert(&run.model);
    }
    let mut cells: BTreeMap<&str, ColumnRuns> = BTreeMap::new();
    for run in runs {
        let column = cells.entry(&run.benchmark).or_default();
        for model in models.get(run.experiment.as_str()).into_iter().flatten() {
            column.entry(model).or_default();
        }
        let cell = column.entry(&run.model).or_default();
        if run.score().is_none() {
            continue;
        }
        let (score, stderr) = counted(run, baselines);
        cell.stderrs.push(stderr);
        cell.unknown |= score.is_none();
        cell.scores.entry((&run.experiment, run.repeat)).or_default().extend(score);
    }
    cells
}

fn column_score(benchmark: &str, cells: &ColumnRuns, runs: &[&Run]) -> BenchmarkScore {
    let models: Vec<ModelScore> = cells
        .iter()
        .map(|(model, cell)| ModelScore {
            model: (*model).to_owned(),
            score: cell.score(),
            runs: cell.stderrs.len(),
            base_missing: cell.unknown,
        })
        .collect();
    let known: Vec<f64> = models.iter().filter_map(|m| m.score).collect();
    let mut marks = BTreeMap::new();
    for score in runs.iter().filter(|r| r.benchmark == benchmark).filter_map(|r| r.score()) {
        if let Some(mark) = score.mark {
            *marks.entry(mark.symbol().to_owned()).or_insert(0) += 1;
        }
    }
    let unknown = models.iter().any(|m| m.base_missing);
    let of_repeats: Vec<f64> =
        repeats(cells).into_iter().filter_map(|r| repeat_mean(cells, r)).collect();
    BenchmarkScore {
        benchmark: benchmark.to_owned(),
        mean: mean(&known).filter(|_| !unknown),
        std: sample_std(&of_repeats),
        known: known.len(),
        wanted: models.len(),
        marks,
        models,
    }
}

fn repeats<'a>(cells: &'a ColumnRuns) -> BTreeSet<Repeat<'a>> {
    cells.values().flat_map(|cell| cell.scores.keys().copied()).collect()
}

/// The mean over base models of one repeat alone, when it has them all.
fn repeat_mean(cells: &ColumnRuns, repeat: Repeat) -> Option<f64> {
    let of_models: Option<Vec<f64>> =
        cells.values().map(|cell| cell.by_repeat().get(&repeat).copied()).collect();
    mean(&of_models?)
}

/// The weighted average of each repeat that has every cell.
fn repeat_averages(columns: &[Column], cells: &[Option<&ColumnRuns>]) -> Vec<f64> {
    let all: BTreeSet<Repeat> = cells.iter().flatten().flat_map(|c| repeats(c)).collect();
    let average = |repeat| {
        let of_columns = cells.iter().map(|c| repeat_mean((*c)?, repeat));
        weighted(columns.iter().map(|c| c.weight).zip(of_columns))
    };
    all.into_iter().filter_map(average).collect()
}

fn interval(columns: &[Column], cells: &[Option<&ColumnRuns>], baseline: bool) -> Option<Interval> {
    let mut draws = Vec::new();
    for (column, cells) in columns.iter().zip(cells) {
        let cells = (*cells)?;
        let share = column.weight? / cells.len() as f64;
        for cell in cells.values() {
            draws.push((share, cell.spread(baseline)?));
        }
    }
    bootstrap::interval(&draws)
}
