//! Grades and metrics, computed from completions alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use ptb_core::run::{Metrics, Part, SeedMetrics};
use ptb_tasks::data::Sample;
use ptb_tasks::metrics::{SampleScores, aggregate, bootstrap_interval};
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
    /// The dataset's samples, and the fields by whose values the accuracy is broken down.
    pub(crate) samples: &'a [Sample],
    pub(crate) breakdown: &'a [String],
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
        interval: bootstrap_interval(&scores),
        n: estimate.n,
        errors: count(|r| r.error.is_some()),
        truncated: count(|r| r.truncated),
        reduced: count(|r| r.reduced_to.is_some()),
        unparsed: count(|r| r.answer.is_none() && r.error.is_none()),
        prompt_tokens: all().map(|r| r.prompt_tokens).sum(),
        completion_tokens: all().map(|r| r.completion_tokens).sum(),
        breakdowns: breakdowns(facts, by_seed),
        complete: facts.complete,
        seeds: seeds.collect(),
        weights_sha256: facts.weights_sha256.to_owned(),
        data_sha256: facts.data_sha256.to_owned(),
        sampling: facts.settings.clone(),
    })
}

/// Accuracies by the values of the fields that the benchmark names. A sample without such a field is in no part, and a
/// field that no sample has is left out.
fn breakdowns(facts: &Facts<'_>, by_seed: &[Graded]) -> BTreeMap<String, BTreeMap<String, Part>> {
    let sample_of: HashMap<&str, &Sample> =
        facts.samples.iter().map(|s| (s.id.as_str(), s)).collect();
    let of_field = |field: &String| {
        let mut parts: BTreeMap<String, (HashSet<&str>, Vec<f64>)> = BTreeMap::new();
        for record in by_seed.iter().flat_map(|g| &g.records) {
            let value = sample_of.get(record.id.as_str()).and_then(|s| s.fields.get(field));
            let (Some(value), Some(score)) = (value, record.score) else { continue };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let (ids, scores) = parts.entry(value).or_default();
            ids.insert(&record.id);
            scores.push(score);
        }
        let part = |(ids, scores): (HashSet<&str>, Vec<f64>)| Part {
            accuracy: scores.iter().sum::<f64>() / scores.len() as f64,
            n: ids.len(),
        };
        (field.clone(), parts.into_iter().map(|(value, of)| (value, part(of))).collect())
    };
    let parts = facts.breakdown.iter().map(of_field);
    parts.filter(|(_, parts): &(_, BTreeMap<_, _>)| !parts.is_empty()).collect()
}
