//! From run directories to a report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ptb_core::registry::{Edition, Entry, Registry};
use ptb_core::run::RunDir;

use crate::axes::{Axes, Differing, belongs};
use crate::baseline::BaselineScores;
use crate::choice::{Options, WeightsChoice};
use crate::error::{Problem, ReportError};
use crate::read::{self, Outcome, Run};
use crate::report::{Column, Report, Row, RunLine, Unfinished, label};
use crate::weights::{Claims, Rule, resolve};
use crate::{notes, rows};

/// The edition of reports of no runs.
const DEFAULT_EDITION: &str = "main";

impl Report {
    /// The report of everything below `results`: a folder of experiments, one experiment, or one run.
    pub fn of(results: &Path, registry: &Registry, options: &Options) -> Result<Self, ReportError> {
        let found = read::find(results)?;
        let mut report = Self::build(&found.runs, registry, options)?;
        report.problems.extend(found.problems);
        report.problems.sort();
        Ok(report)
    }

    /// The report of these run directories. Their order does not matter. The registry gives the editions
    /// and the `[weight]` of benchmarks it knows; for others the one in the run's own spec counts.
    pub fn build(
        dirs: &[RunDir],
        registry: &Registry,
        options: &Options,
    ) -> Result<Self, ReportError> {
        let (mut runs, mut problems) = read::read(dirs);
        let edition = edition(&runs, registry, options)?;
        runs.retain_mut(|run| match run.load_score(&edition.id) {
            Ok(()) => true,
            Err(problem) => {
                problems.push(problem);
                false
            }
        });
        problems.sort();
        assemble(&runs, problems, edition, registry, options)
    }
}

fn edition<'r>(
    runs: &[Run],
    registry: &'r Registry,
    options: &Options,
) -> Result<&'r Entry<Edition>, ReportError> {
    if let Some(name) = &options.edition {
        return Ok(registry.edition(name)?);
    }
    let named: BTreeSet<&str> = runs.iter().map(|run| run.edition.as_str()).collect();
    let mut names = named.iter().copied();
    match (names.next(), names.next()) {
        (name, None) => Ok(registry.edition(name.unwrap_or(DEFAULT_EDITION))?),
        _ => Err(ReportError::Editions(named.into_iter().map(str::to_owned).collect())),
    }
}

fn assemble(
    runs: &[Run],
    problems: Vec<Problem>,
    edition: &Entry<Edition>,
    registry: &Registry,
    options: &Options,
) -> Result<Report, ReportError> {
    let baselines = BaselineScores::of(runs);
    let benchmarks = columns(runs, edition, registry, &options.weights, &baselines)?;
    let differing = Differing::of(runs);
    let groups = group(runs, &differing);
    let mut report = Report {
        edition: edition.id.clone(),
        benchmarks,
        rows: Vec::with_capacity(groups.len()),
        runs: Vec::with_capacity(runs.len()),
        unfinished: Vec::new(),
        problems,
        notes: Vec::new(),
    };
    let mut listed = BTreeSet::new();
    for ((agent, _, axes), runs) in &groups {
        report.rows.push(rows::row((agent, axes), runs, &report.benchmarks, &baselines));
        let row = label(agent, axes);
        for run in runs.iter().filter(|run| listed.insert(&run.path)) {
            list(run, &row, &baselines, &mut report);
        }
    }
    report.rows.sort_by(rank);
    report.notes = notes::notes(&report, runs);
    Ok(report)
}

/// Agent, whether it is a baseline (an agent may be called like one; they share no row), and axes.
type RowKey<'a> = (&'a str, bool, Axes);

/// Runs by row. A run to which some axes of the rows do not apply is in each row whose other axes are its own.
fn group<'a>(runs: &'a [Run], differing: &Differing) -> BTreeMap<RowKey<'a>, Vec<&'a Run>> {
    let mut groups: BTreeMap<RowKey, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        let key = (run.agent.as_str(), run.baseline, differing.axes(run));
        groups.entry(key).or_default().push(run);
    }
    let keys: Vec<RowKey> = groups.keys().cloned().collect();
    for key in &keys {
        let wider = |other: &&RowKey| {
            (other.0, other.1) == (key.0, key.1)
                && other.2.len() > key.2.len()
                && belongs(&key.2, &other.2)
        };
        let wider: Vec<&RowKey> = keys.iter().filter(wider).collect();
        if wider.is_empty() {
            continue;
        }
        let shared = groups.remove(key).unwrap_or_default();
        for other in wider {
            groups.entry(other.clone()).or_default().extend(&shared);
        }
    }
    groups
}

/// The best average first, unknown ones last; then by name.
fn rank(a: &Row, b: &Row) -> std::cmp::Ordering {
    let value = |row: &Row| row.average.unwrap_or(f64::NEG_INFINITY);
    value(b).total_cmp(&value(a)).then_with(|| (&a.agent, &a.axes).cmp(&(&b.agent, &b.axes)))
}

/// The benchmarks of all runs, the edition's first, with their weights.
fn columns(
    runs: &[Run],
    edition: &Entry<Edition>,
    registry: &Registry,
    choice: &WeightsChoice,
    baselines: &BaselineScores,
) -> Result<Vec<Column>, ReportError> {
    let present: BTreeSet<&str> = runs.iter().map(|run| run.benchmark.as_str()).collect();
    let listed: Vec<&str> = edition.value.benchmarks.iter().map(String::as_str).collect();
    let of_edition = listed.iter().copied().filter(|b| present.contains(b));
    let others = present.iter().copied().filter(|b| !listed.contains(b));
    let table = match choice {
        WeightsChoice::Edition(name) => registry.edition(name)?,
        _ => edition,
    };
    let claims: Vec<Claims> = of_edition
        .chain(others)
        .map(|benchmark| Claims {
            benchmark: benchmark.to_owned(),
            table: table.value.weights.get(benchmark).map(|w| (table.id.clone(), *w)),
            own: own_weight(benchmark, runs, registry),
            baselines: baselines.on(benchmark),
        })
        .collect();
    let rule = match choice {
        WeightsChoice::Equal => Rule::Equal,
        WeightsChoice::Baselines => Rule::Baselines,
        WeightsChoice::Default | WeightsChoice::Edition(_) => Rule::Precedence,
    };
    let weighed = resolve(&claims, rule)?;
    let column = |(claim, w): (Claims, crate::weights::Weighed)| Column {
        benchmark: claim.benchmark,
        weight: w.weight,
        origin: w.origin,
        baselines: claim.baselines,
    };
    Ok(claims.into_iter().zip(weighed).map(column).collect())
}

/// `[weight]`: as the registry has it now, so that adding one helps runs that are done; else as a run
/// recorded it (the last by path, where they differ).
fn own_weight(benchmark: &str, runs: &[Run], registry: &Registry) -> Option<f64> {
    let now = registry.benchmark(benchmark).ok().and_then(|b| b.value.weight.as_ref());
    now.map(|w| w.value)
        .or_else(|| runs.iter().rev().filter(|r| r.benchmark == benchmark).find_map(|r| r.weight))
        .filter(|weight| weight.is_finite() && *weight > 0.0)
}

/// Lists a run among those with a score, or among those without.
fn list(run: &Run, row: &str, baselines: &BaselineScores, report: &mut Report) {
    match &run.outcome {
        Outcome::Scored(score) => report.runs.push(RunLine {
            path: run.path.clone(),
            id: run.id.clone(),
            row: row.to_owned(),
            agent: run.agent.clone(),
            experiment: run.experiment.clone(),
            model: run.model.clone(),
            benchmark: run.benchmark.clone(),
            repeat: run.repeat,
            score: rows::counted(run, baselines).0,
            counts: score.counts,
            own_score: score.own_score,
            own_stderr: score.own_stderr,
            base_score: baselines.base_of(run).map(|b| b.score),
            mark: score.mark,
            reason: score.reason.clone(),
            submission: score.submission.clone(),
            solve_seconds: run.solve_seconds,
            tokens: run.usage.as_ref().filter(|u| u.is_complete()).map(|u| u.tokens),
            cost_usd: run.usage.as_ref().and_then(|u| u.cost_usd),
        }),
        Outcome::Unfinished { stage, state, fault, reason } => report.unfinished.push(Unfinished {
            path: run.path.clone(),
            id: run.id.clone(),
            row: row.to_owned(),
            model: run.model.clone(),
            benchmark: run.benchmark.clone(),
            repeat: run.repeat,
            stage: stage.word().to_owned(),
            state: (*state).to_owned(),
            fault: fault.clone(),
            reason: reason.clone(),
        }),
    }
}
