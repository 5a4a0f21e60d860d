//! Grades and metrics, computed from completions alone.

use ptb_core::registry::Scorer;
use ptb_core::run::{Metrics, SeedMetrics};
use ptb_tasks::metrics::{SampleScores, aggregate};
use ptb_tasks::score::score;
use serde_json::Value;

use crate::error::EvalError;
use crate::store::SampleRecord;

/// One seed's records, graded, in the samples' order.
#[derive(Debug)]
pub(crate) struct Graded {
    pub(crate) seed: u64,
    pub(crate) records: Vec<SampleRecord>,
}

/// What metrics tell beside their numbers.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) benchmark: &'a str,
    pub(crate) weights_sha256: &'a str,
    pub(crate) data_sha256: &'a str,
    pub(crate) settings: &'a Value,
    pub(crate) complete: bool,
}

/// The record with its grade. A scorer that fails is an error, never a wrong answer.
pub(crate) fn graded(scorer: &Scorer, record: SampleRecord, target: &str) -> SampleRecord {
    match score(scorer, &record.completion, target) {
        Ok(g) => SampleRecord { answer: g.answer, score: Some(g.score), error: None, ..record },
        Err(e) => SampleRecord { answer: None, score: None, error: Some(e.to_string()), ..record },
    }
}

/// The metrics over all seeds; every seed has the same samples.
pub(crate) fn tally(facts: &Facts<'_>, by_seed: &[Graded]) -> Result<Metrics, EvalError> {
    let all = || by_seed.iter().flat_map(|g| &g.records);
    let samples = by_seed.first().map_or(0, |g| g.records.len());
    let scores: Vec<SampleScores> = (0..samples)
        .map(|index| SampleScores {
            index,
            scores: by_seed.iter().filter_map(|g| g.records.get(index)?.score).collect(),
        })
        .collect();
    let first_error = || all().find_map(|r| r.error.clone()).unwrap_or_default();
    let estimate = aggregate(&scores).ok_or_else(|| EvalError::Nothing(first_error()))?;
    let seeds = by_seed.iter().map(|g| {
        let scores: Vec<f64> = g.records.iter().filter_map(|r| r.score).collect();
        let accuracy = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
        SeedMetrics { seed: g.seed, accuracy, n: scores.len() }
    });
    let count = |test: fn(&SampleRecord) -> bool| all().filter(|r| test(r)).count();
    Ok(Metrics {
        benchmark: facts.benchmark.to_owned(),
        accuracy: estimate.accuracy,
        stderr: estimate.stderr,
        n: estimate.n,
        errors: count(|r| r.error.is_some()),
        truncated: count(|r| r.truncated),
        unparsed: count(|r| r.answer.is_none() && r.error.is_none()),
        prompt_tokens: all().map(|r| r.prompt_tokens).sum(),
        completion_tokens: all().map(|r| r.completion_tokens).sum(),
        complete: facts.complete,
        seeds: seeds.collect(),
        weights_sha256: facts.weights_sha256.to_owned(),
        data_sha256: facts.data_sha256.to_owned(),
        sampling: facts.settings.clone(),
    })
}
