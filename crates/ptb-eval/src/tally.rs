//! Grades and metrics, computed from completions alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use ptb_core::registry::{Benchmark, Entry};
use ptb_core::run::{Metrics, Part, SeedMetrics};
use ptb_tasks::data::Sample;
use ptb_tasks::metrics::{Formula, SampleScores, aggregate, bootstrap_interval};
use ptb_tasks::score::Grade;
use ptb_tasks::score::rubric::Points;
use serde_json::Value;

use crate::error::EvalError;
use crate::store::SampleRecord;

/// One seed's records as far as metrics are made of them, in the samples' order.
#[derive(Debug)]
pub(crate) struct Graded {
    pub(crate) seed: u64,
    pub(crate) marks: Vec<Mark>,
}

impl Graded {
    /// What metrics need of `records`, which were graded. Records of other samples than `samples` are left out.
    pub(crate) fn new(seed: u64, records: &[SampleRecord], samples: &[Sample]) -> Self {
        let place = |(i, s): (usize, &'_ Sample)| (s.id.clone(), i);
        let place_of: HashMap<String, usize> = samples.iter().enumerate().map(place).collect();
        let mark = |r: &SampleRecord| Some(Mark::new(r, *place_of.get(&r.id)?));
        Self { seed, marks: records.iter().filter_map(mark).collect() }
    }
}

/// What metrics need of a graded record: hundreds of thousands of these are held where the records are not.
#[derive(Debug)]
pub(crate) struct Mark {
    /// The sample's place in the dataset.
    sample: usize,
    score: Option<f64>,
    /// What metrics are over where it is not the score.
    rows: Box<[f64]>,
    grades: Box<[Grade]>,
    error: Option<Box<str>>,
    answered: bool,
    truncated: bool,
    reduced: bool,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Mark {
    fn new(record: &SampleRecord, sample: usize) -> Self {
        Self {
            sample,
            score: record.score,
            rows: record.rows.as_slice().into(),
            grades: record.grades.as_slice().into(),
            error: record.error.as_deref().map(Box::from),
            answered: record.answer.is_some(),
            truncated: record.truncated,
            reduced: record.reduced_to.is_some(),
            prompt_tokens: record.prompt_tokens,
            completion_tokens: record.completion_tokens,
        }
    }

    /// What metrics are over: its rows, else its score; nothing where it has none.
    fn rows(&self) -> impl Iterator<Item = f64> {
        let score = self.score.filter(|_| self.rows.is_empty());
        self.rows.iter().copied().chain(score)
    }
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

/// The metrics over all seeds; every seed has the same samples.
pub(crate) fn tally(facts: &Facts<'_>, by_seed: &[Graded]) -> Result<Metrics, EvalError> {
    let all = || by_seed.iter().flat_map(|g| &g.marks);
    let samples = by_seed.first().map_or(0, |g| g.marks.len());
    let scores: Vec<SampleScores> = (0..samples)
        .map(|index| SampleScores {
            index,
            scores: by_seed
                .iter()
                .filter_map(|g| g.marks.get(index))
                .flat_map(Mark::rows)
                .collect(),
        })
        .collect();
    let first_error = || all().find_map(|m| m.error.clone()).unwrap_or_default().into_string();
    let formula = facts.formula();
    let estimate = aggregate(formula, &scores).ok_or_else(|| EvalError::Nothing(first_error()))?;
    let seeds = by_seed.iter().map(|g| {
        let scores: Vec<f64> = g.marks.iter().flat_map(Mark::rows).collect();
        let n = g.marks.iter().filter(|m| m.score.is_some()).count();
        SeedMetrics { seed: g.seed, accuracy: formula.accuracy(&scores), n }
    });
    let count = |test: fn(&Mark) -> bool| all().filter(|r| test(r)).count();
    Ok(Metrics {
        benchmark: facts.benchmark.id.clone(),
        accuracy: estimate.accuracy,
        stderr: estimate.stderr,
        stderr_clustered: (formula == Formula::Rows)
            .then(|| aggregate(Formula::Mean, &scores).map(|e| e.stderr))
            .flatten(),
        interval: bootstrap_interval(formula, &scores),
        n: estimate.n,
        errors: count(|m| m.error.is_some()),
        truncated: count(|m| m.truncated),
        reduced: count(|m| m.reduced),
        unparsed: count(|m| !m.answered && m.error.is_none()),
        prompt_tokens: all().map(|m| m.prompt_tokens).sum(),
        completion_tokens: all().map(|m| m.completion_tokens).sum(),
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
    let all = by_seed.iter().flat_map(|g| &g.marks);
    let pairs: Vec<(&Mark, &Sample)> =
        all.filter_map(|m| Some((m, facts.samples.get(m.sample)?))).collect();
    let of_name = |name: &String| {
        let mut parts = by_value(facts.formula(), &pairs, name);
        parts.extend(by_criterion(&pairs, name));
        (name.clone(), parts)
    };
    let parts = facts.benchmark.value.evaluate.breakdown.iter().map(of_name);
    parts.filter(|(_, parts): &(_, BTreeMap<_, _>)| !parts.is_empty()).collect()
}

/// The parts of samples by a field's value, or by their tags.
fn by_value(formula: Formula, pairs: &[(&Mark, &Sample)], name: &str) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, (HashSet<usize>, Vec<f64>)> = BTreeMap::new();
    for (mark, sample) in pairs.iter().filter(|(mark, _)| mark.score.is_some()) {
        let values = match sample.fields.get(name) {
            Some(value) => vec![value.as_str().map_or_else(|| value.to_string(), str::to_owned)],
            None => sample.tags.iter().filter_map(|tag| value_of(tag, name)).collect(),
        };
        for value in values {
            let (places, scores) = parts.entry(value).or_default();
            places.insert(mark.sample);
            scores.extend(mark.rows());
        }
    }
    let part = |(places, scores): (HashSet<usize>, Vec<f64>)| Part {
        accuracy: formula.accuracy(&scores),
        n: places.len(),
    };
    parts.into_iter().map(|(value, of)| (value, part(of))).collect()
}

/// The parts of a rubric by the tags of its criteria: points met over positive points, over all replies together.
fn by_criterion(pairs: &[(&Mark, &Sample)], name: &str) -> BTreeMap<String, Part> {
    let graded = || pairs.iter().filter(|(mark, _)| mark.score.is_some());
    let tags = graded().flat_map(|(_, sample)| &sample.criteria).flat_map(|c| &c.tags);
    let values: BTreeMap<&String, String> =
        tags.filter_map(|tag| Some((tag, value_of(tag, name)?))).collect();
    let part = |tag: &String| {
        let (mut points, mut places) = (Points::default(), HashSet::new());
        for (mark, sample) in graded() {
            if points.add(sample, &mark.grades, tag) {
                places.insert(mark.sample);
            }
        }
        Some(Part { accuracy: points.share()?, n: places.len() })
    };
    values.into_iter().filter_map(|(tag, value)| Some((value, part(tag)?))).collect()
}

/// What follows `name:` in a tag.
fn value_of(tag: &str, name: &str) -> Option<String> {
    tag.strip_prefix(name)?.strip_prefix(':').map(str::to_owned)
}
