//! Scores of the baselines, looked up by what was evaluated and how.

use std::collections::BTreeMap;

use ptb_core::registry::Submit;

use crate::aggregate::mean;
use crate::axes::Axes;
use crate::read::Run;
use crate::weights::Baselines;

/// A baseline's score on one benchmark from one base model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Known {
    /// Mean over its runs.
    pub(crate) score: f64,
    /// Mean of its runs' standard errors: repeats are the same completions, so more of them do not make it
    /// smaller. Absent when a run has none.
    pub(crate) stderr: Option<f64>,
}

/// Benchmark, base model, and how it was evaluated. The budget is not in it: nothing runs.
type Key = (String, String, Axes);

/// What the baselines reached.
#[derive(Debug, Default)]
pub(crate) struct BaselineScores {
    base: BTreeMap<Key, Known>,
    instruct: BTreeMap<Key, Known>,
}

impl BaselineScores {
    pub(crate) fn of(runs: &[Run]) -> Self {
        Self { base: known(runs, Submit::Base), instruct: known(runs, Submit::Instruct) }
    }

    /// The base model's score on the run's evaluation.
    pub(crate) fn base_of(&self, run: &Run) -> Option<Known> {
        self.base.get(&key(run)).copied()
    }

    /// Both baselines on a benchmark, over the base models that have both.
    pub(crate) fn on(&self, benchmark: &str) -> Option<Baselines> {
        let mut by_model: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, base) in self.base.iter().filter(|(key, _)| key.0 == benchmark) {
            if let Some(instruct) = self.instruct.get(key) {
                by_model.entry(&key.1).or_default().push((base.score, instruct.score));
            }
        }
        let pairs: Vec<(f64, f64)> = by_model
            .values()
            .filter_map(|ways| Baselines::of_pairs(ways))
            .map(|b| (b.base, b.instruct))
            .collect();
        Baselines::of_pairs(&pairs)
    }
}

fn key(run: &Run) -> Key {
    (run.benchmark.clone(), run.model.clone(), run.evaluation_axes.clone())
}

fn known(runs: &[Run], submit: Submit) -> BTreeMap<Key, Known> {
    let mut scores: BTreeMap<Key, Vec<(f64, Option<f64>)>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.plain == Some(submit)) {
        if let Some((own, stderr)) = run.score().and_then(|s| Some((s.own_score?, s.own_stderr))) {
            scores.entry(key(run)).or_default().push((own, stderr));
        }
    }
    let known = |all: Vec<(f64, Option<f64>)>| {
        let stderrs: Option<Vec<f64>> = all.iter().map(|(_, stderr)| *stderr).collect();
        let score = mean(&all.iter().map(|(own, _)| *own).collect::<Vec<_>>())?;
        Some(Known { score, stderr: stderrs.and_then(|s| mean(&s)) })
    };
    scores.into_iter().filter_map(|(key, all)| Some((key, known(all)?))).collect()
}
