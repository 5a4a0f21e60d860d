//! Grades and metrics, computed from completions alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use ptb_core::registry::{Benchmark, Entry};
use ptb_core::run::{Metrics, Part, SeedMetrics};
use ptb_tasks::data::Sample;
use ptb_tasks::metrics::{Formula, SampleScores, aggregate, bootstrap_interval};
use ptb_tasks::score::rubric::Points;
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
    pub(crate) benchmark: &'a Entry<Benchmark>,
    pub(crate) weights_sha256: &'a str,
    pub(crate) data_sha256: &'a str,
    pub(crate) settings: &'a Value,
    pub(crate) complete: bool,
    /// The dataset's samples.
    pub(crate) samples: &'a [Sample],
    /// Who graded, where a language model does.
    pub(crate) grader: Option<Value>,
}

impl Facts<'_> {
    fn formula(&self) -> Formula {
        Formula::of(self.benchmark.value.scorer.kind)
    }
}

/// What metrics are over: a record's rows, else its score; nothing where it has none.
fn rows(record: &SampleRecord) -> impl Iterator<Item = f64> {
    let score = record.score.filter(|_| record.rows.is_empty());
    record.rows.iter().copied().chain(score)
}

/// The metrics over all seeds; every seed has the same samples.
pub(crate) fn tally(facts: &Facts<'_>, by_seed: &[Graded]) -> Result<Metrics, EvalError> {
    let all = || by_seed.iter().flat_map(|g| &g.records);
    let samples = by_seed.first().map_or(0, |g| g.records.len());
    let scores: Vec<SampleScores> = (0..samples)
        .map(|index| SampleScores {
            index,
            scores: by_seed.iter().filter_map(|g| g.records.get(index)).flat_map(rows).collect(),
        })
        .collect();
    let first_error = || all().find_map(|r| r.error.clone()).unwrap_or_default();
    let formula = facts.formula();
    let estimate = aggregate(formula, &scores).ok_or_else(|| EvalError::Nothing(first_error()))?;
    let seeds = by_seed.iter().map(|g| {
        let scores: Vec<f64> = g.records.iter().flat_map(rows).collect();
        let n = g.records.iter().filter(|r| r.score.is_some()).count();
        SeedMetrics { seed: g.seed, accuracy: formula.accuracy(&scores), n }
    });
    let count = |test: fn(&SampleRecord) -> bool| all().filter(|r| test(r)).count();
    Ok(Metrics {
        benchmark: facts.benchmark.id.clone(),
        accuracy: estimate.accuracy,
        stderr: estimate.stderr,
        stderr_clustered: (formula == Formula::Rows)
            .then(|| aggregate(Formula::Mean, &scores).map(|e| e.stderr))
            .flatten(),
        interval: bootstrap_interval(formula, &scores),
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
        grader: facts.grader.clone(),
        script: None,
    })
}

/// Accuracies by what the benchmark names: the values of a field, else the tags that begin so, of samples and of a
/// rubric's criteria. A sample without such a field or tag is in no part, and a name without parts is left out.
fn breakdowns(facts: &Facts<'_>, by_seed: &[Graded]) -> BTreeMap<String, BTreeMap<String, Part>> {
    let sample_of: HashMap<&str, &Sample> =
        facts.samples.iter().map(|s| (s.id.as_str(), s)).collect();
    let all = by_seed.iter().flat_map(|g| &g.records);
    let pairs: Vec<(&SampleRecord, &Sample)> =
        all.filter_map(|r| Some((r, *sample_of.get(r.id.as_str())?))).collect();
    let of_name = |name: &String| {
        let mut parts = by_value(facts.formula(), &pairs, name);
        parts.extend(by_criterion(&pairs, name));
        (name.clone(), parts)
    };
    let parts = facts.benchmark.value.evaluate.breakdown.iter().map(of_name);
    parts.filter(|(_, parts): &(_, BTreeMap<_, _>)| !parts.is_empty()).collect()
}

/// The parts of samples by a field's value, or by their tags.
fn by_value(
    formula: Formula,
    pairs: &[(&SampleRecord, &Sample)],
    name: &str,
) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, (HashSet<&str>, Vec<f64>)> = BTreeMap::new();
    for (record, sample) in pairs.iter().filter(|(record, _)| record.score.is_some()) {
        let values = match sample.fields.get(name) {
            Some(value) => vec![value.as_str().map_or_else(|| value.to_string(), str::to_owned)],
            None => sample.tags.iter().filter_map(|tag| value_of(tag, name)).collect(),
        };
        for value in values {
            let (ids, scores) = parts.entry(value).or_default();
            ids.insert(&record.id);
            scores.extend(rows(record));
        }
    }
    let part = |(ids, scores): (HashSet<&str>, Vec<f64>)| Part {
        accuracy: formula.accuracy(&scores),
        n: ids.len(),
    };
    parts.into_iter().map(|(value, of)| (value, part(of))).collect()
}

/// The parts of a rubric by the tags of its criteria: points met over positive points, over all replies together.
fn by_criterion(pairs: &[(&SampleRecord, &Sample)], name: &str) -> BTreeMap<String, Part> {
    let graded = || pairs.iter().filter(|(record, _)| record.score.is_some());
    let tags = graded().flat_map(|(_, sample)| &sample.criteria).flat_map(|c| &c.tags);
    let values: BTreeMap<&String, String> =
        tags.filter_map(|tag| Some((tag, value_of(tag, name)?))).collect();
    let part = |tag: &String| {
        let (mut points, mut ids) = (Points::default(), HashSet::new());
        for (record, sample) in graded() {
            if points.add(sample, &record.grades, tag) {
                ids.insert(&record.id);
            }
        }
        Some(Part { accuracy: points.share()?, n: ids.len() })
    };
    values.into_iter().filter_map(|(tag, value)| Some((value, part(tag)?))).collect()
}

/// What follows `name:` in a tag.
fn value_of(tag: &str, name: &str) -> Option<String> {
    tag.strip_prefix(name)?.strip_prefix(':').map(str::to_owned)
}
