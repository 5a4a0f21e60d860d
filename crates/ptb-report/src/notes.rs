//! What a reader of the table must know, one sentence each. The forms show the same sentences.

use std::collections::{BTreeMap, BTreeSet};

use ptb_core::run::Mark;

use crate::bootstrap::Basis;
use crate::read::Run;
use crate::report::{BenchmarkScore, Column, Report};
use crate::text::percent;
use crate::weights::Origin;

/// Names listed in one sentence; the JSON form has them all.
const MAX_NAMED: usize = 5;

pub(crate) fn notes(report: &Report, runs: &[Run]) -> Vec<String> {
    let mut notes = comparable(report, runs);
    notes.push(format!("edition {}; scores in %", report.edition));
    if report.rows.is_empty() {
        return notes;
    }
    notes.extend(weights(&report.benchmarks));
    notes.extend(provisional_weights(report));
    notes.extend(marks(report));
    notes.extend(unknown(report));
    notes.extend(partial(report));
    notes.extend(unequal(report));
    notes.extend(spreads(report));
    notes.extend(asked(runs));
    notes.extend(open(runs));
    notes.extend(limits(runs));
    notes.extend(unwalled(runs));
    notes
}

/// What the scores compare with.
fn comparable(report: &Report, runs: &[Run]) -> Vec<String> {
    let scripts: BTreeSet<String> =
        runs.iter().filter(|run| run.by_script).map(|run| run.benchmark.clone()).collect();
    let own = "prompts are this project's own, so scores compare with each other and not with published ones";
    let all_scripts = scripts.len() == report.benchmarks.len();
    let measured = (!scripts.is_empty()).then(|| {
        format!(
            "measured by evaluate.py of the benchmark's own folder, with prompts of its own: {}; such scores compare \
             with others of the same program{}",
            some_of(&scripts),
            if all_scripts { "" } else { ", not with those of the other benchmarks" }
        )
    });
    let own = (scripts.is_empty() || !all_scripts).then(|| own.to_owned());
    own.into_iter().chain(measured).collect()
}

fn scores(report: &Report) -> impl Iterator<Item = &BenchmarkScore> {
    report.rows.iter().flat_map(|row| row.scores.iter().flatten())
}

/// At most [`MAX_NAMED`] of the names, and how many more there are.
fn some_of(names: &BTreeSet<String>) -> String {
    let named: Vec<&str> = names.iter().take(MAX_NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Single => "the only benchmark".to_owned(),
        Origin::Equal => "equal by choice".to_owned(),
        Origin::Edition { edition } => format!("from edition {edition}"),
        Origin::Benchmark => "from [weight] of the benchmark".to_owned(),
        Origin::Baselines { models } => {
            format!("from the baselines of {}", crate::text::count(*models, "base model"))
        }
        Origin::Unknown { .. } => "unknown".to_owned(),
    }
}

/// Each benchmark's weight, gathered by where it comes from.
fn weights(columns: &[Column]) -> Vec<String> {
    let reasons: Vec<&String> = columns
        .iter()
        .filter_map(|c| match &c.origin {
            Origin::Unknown { reason } => Some(reason),
            _ => None,
        })
        .collect();
    if !reasons.is_empty() {
        let told =
            reasons.iter().map(|reason| format!("weights and averages are unknown: {reason}"));
        return told.collect();
    }
    let mut by_origin: Vec<(String, Vec<String>)> = Vec::new();
    for column in columns {
        let words = origin_words(&column.origin);
        let weight = column.weight.map_or("unknown".to_owned(), percent);
        let entry = format!("{} {weight} %", column.benchmark);
        match by_origin.iter_mut().find(|(origin, _)| *origin == words) {
            Some((_, entries)) => entries.push(entry),
            None => by_origin.push((words, vec![entry])),
        }
    }
    let parts: Vec<String> = by_origin
        .iter()
        .map(|(origin, entries)| format!("{} ({origin})", entries.join(", ")))
        .collect();
    vec![format!("weights: {}", parts.join("; "))]
}

/// Weights by baselines move while baselines are missing on some base models of the table.
fn provisional_weights(report: &Report) -> Option<String> {
    let moving: BTreeSet<String> = report
        .benchmarks
        .iter()
        .filter(|column| {
            let here = scores(report).filter(|s| s.benchmark == column.benchmark);
            let models: BTreeSet<&str> =
                here.flat_map(|s| s.models.iter().map(|m| m.model.as_str())).collect();
            matches!(column.origin, Origin::Baselines { models: known } if known < models.len())
        })
        .map(|column| column.benchmark.clone())
        .collect();
    (!moving.is_empty()).then(|| {
        format!(
            "some base models lack a baseline on {}: weights change when it is there",
            some_of(&moving)
        )
    })
}

fn marks(report: &Report) -> Option<String> {
    let all = [
        (Mark::NotSubmitted, "nothing was submitted"),
        (Mark::EvaluationFailed, "the evaluation failed by the model's fault"),
        (Mark::Judged, "judged as against the rules"),
    ];
    let used = |mark: Mark| scores(report).any(|s| s.marks.contains_key(mark.symbol()));
    let legend: Vec<String> = all
        .iter()
        .filter(|(mark, _)| used(*mark))
        .map(|(mark, words)| format!("{} {words}", mark.symbol()))
        .collect();
    (!legend.is_empty()).then(|| {
        format!(
            "marked runs, with their number, count with the base model's score: {}",
            legend.join("; ")
        )
    })
}

fn unknown(report: &Report) -> Option<String> {
    let missing: BTreeSet<String> = scores(report)
        .flat_map(|s| s.models.iter().map(move |m| (s, m)))
        .filter(|(_, m)| m.base_missing)
        .map(|(s, m)| format!("{} on {}", m.model, s.benchmark))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "unknown: the score of the base model that marked runs count with is missing ({}); run the agent `base` \
             with the same engine, seeds, limit and max_tokens",
            some_of(&missing)
        )
    })
}

fn partial(report: &Report) -> Option<String> {
    let any =
        scores(report).any(|s| s.known < s.wanted && !s.models.iter().any(|m| m.base_missing));
    any.then(|| {
        "(k/n): k of n base models have a score yet; such a score is not averaged further"
            .to_owned()
    })
}

/// Rows over other base models, or without a benchmark, do not compare.
fn unequal(report: &Report) -> Vec<String> {
    let mut models: BTreeMap<&str, BTreeSet<Vec<&str>>> = BTreeMap::new();
    for score in scores(report) {
        let set = score.models.iter().map(|m| m.model.as_str()).collect();
        models.entry(&score.benchmark).or_default().insert(set);
    }
    let differing: BTreeSet<String> =
        models.iter().filter(|(_, sets)| sets.len() > 1).map(|(b, _)| (*b).to_owned()).collect();
    let mut notes = Vec::new();
    if !differing.is_empty() {
        notes.push(format!(
            "rows have different base models on {}: they do not compare there, nor in the average",
            some_of(&differing)
        ));
    }
    if report.rows.iter().any(|row| row.scores.iter().any(Option::is_none)) {
        notes.push("–: no run on the benchmark; a row without one has no average".to_owned());
    }
    notes
}

fn spreads(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    if report.rows.iter().any(|row| row.std.is_some()) {
        notes.push("± is the standard deviation over repeats".to_owned());
    }
    let of = |basis: &[Basis]| {
        report.rows.iter().filter_map(|row| row.interval).any(|i| basis.contains(&i.basis))
    };
    if of(&[Basis::Repeats]) {
        notes.push("95 % interval: bootstrap over the repeats of each cell".to_owned());
    }
    if of(&[Basis::Samples, Basis::Mixed]) {
        notes.push(
            "95 % interval in parentheses: from the standard error over samples (baselines, and cells with \
             one run), which leaves out the luck between runs"
                .to_owned(),
        );
    }
    notes
}

fn unwalled(runs: &[Run]) -> Option<String> {
    let count = runs.iter().filter(|run| run.unwalled).count();
    (count > 0)
        .then(|| format!("{} without isolation (sandbox none)", crate::text::count(count, "run")))
}

/// Baselines whose prompt or sampling is not that of every submission.
fn asked(runs: &[Run]) -> Option<String> {
    let asked: BTreeSet<String> =
        runs.iter().filter_map(|run| Some(format!("{} ({})", run.agent, run.asked()?))).collect();
    (!asked.is_empty())
        .then(|| format!("baselines that are asked in a way of their own: {}", some_of(&asked)))
}

/// Agents that could see references.
fn open(runs: &[Run]) -> Option<String> {
    let of: BTreeSet<String> =
        runs.iter().filter(|run| run.open).map(|run| run.benchmark.clone()).collect();
    (!of.is_empty()).then(|| {
        format!(
            "feedback `open`: agents' own evaluations showed verdicts, and references where there are any, on {}",
            some_of(&of)
        )
    })
}

fn limits(runs: &[Run]) -> Option<String> {
    let limited: BTreeSet<String> = runs
        .iter()
        .filter_map(|run| Some(format!("{} on {}", run.benchmark, run.limit?)))
        .collect();
    (!limited.is_empty())
        .then(|| format!("evaluated on a part of the samples: {}", some_of(&limited)))
}
