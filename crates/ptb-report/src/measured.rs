//! What an evaluation measured, for people: whole for `ptb eval`, in few lines for `ptb show`. It tells of samples in
//! numbers alone, never what is in them.

use std::collections::BTreeMap;

use ptb_core::run::{Metrics, Part};

use crate::text::{columns, count, cut, percent, shown, wrap};

/// Width that every line keeps.
const WIDTH: u16 = 80;
/// Longest name of a part that is shown, in columns.
const LONGEST_NAME: usize = 48;
/// Parts of one breakdown that are shown; the others are counted.
const MAX_PARTS: usize = 20;

/// All that was measured, a line for each matter; `form` tells how the model was asked, where that is not as
/// submissions are.
pub fn measured(metrics: &Metrics, form: Option<&str>) -> String {
    if metrics.script.is_some() {
        return by_script(metrics);
    }
    let form = form.map(|form| format!(" ({form})")).unwrap_or_default();
    let interval =
        metrics.interval.map(|[low, high]| format!(", 95 % interval {low:.4} to {high:.4}"));
    let samples = match metrics.complete {
        true => format!("all {}", count(metrics.n, "sample")),
        false => format!("{}, a part of the benchmark,", count(metrics.n, "sample")),
    };
    let mut lines = vec![
        format!(
            "{}{form}: accuracy {:.4} ± {:.4}{}",
            metrics.benchmark,
            metrics.accuracy,
            metrics.stderr,
            interval.unwrap_or_default()
        ),
        format!("  {samples} x {}", count(metrics.seeds.len(), "seed")),
        format!(
            "  {} cut at the token limit, {} made with a lower limit",
            metrics.truncated, metrics.reduced
        ),
        format!(
            "  {} without a readable answer, {} not scored by the harness's fault",
            metrics.unparsed, metrics.errors
        ),
        format!(
            "  {} tokens of prompts, {} of completions",
            metrics.prompt_tokens, metrics.completion_tokens
        ),
    ];
    if metrics.seeds.len() > 1 {
        let seeds = metrics.seeds.iter().map(|s| format!("{} {:.4}", s.seed, s.accuracy));
        lines.push(format!("  by seed: {}", seeds.collect::<Vec<_>>().join(", ")));
    }
    for (field, parts) in broken_down(metrics) {
        lines.push(format!("  by {}:", shown(field, LONGEST_NAME)));
        lines.extend(table(parts));
    }
    lines.iter().map(|line| wrap(line, Some(WIDTH)) + "\n").collect()
}

/// What a benchmark's own program says, which is little.
fn by_script(metrics: &Metrics) -> String {
    let Metrics { benchmark, accuracy, stderr, .. } = metrics;
    let lines = [
        format!("{benchmark}: accuracy {accuracy:.4} ± {stderr:.4}"),
        format!("  measured by its own evaluate.py over {}", samples_of_script(metrics)),
    ];
    lines.iter().map(|line| wrap(line, Some(WIDTH)) + "\n").collect()
}

fn samples_of_script(metrics: &Metrics) -> String {
    let samples = match metrics.n {
        0 => "samples that it does not count".to_owned(),
        n => count(n, "sample"),
    };
    let part = if metrics.complete { "" } else { ", a part of the benchmark" };
    format!("{samples}{part}")
}

/// The breakdowns that have parts.
fn broken_down(metrics: &Metrics) -> impl Iterator<Item = (&String, &BTreeMap<String, Part>)> {
    metrics.breakdowns.iter().filter(|(_, parts)| !parts.is_empty())
}

fn table(parts: &BTreeMap<String, Part>) -> Vec<String> {
    let named: Vec<(String, &Part)> = parts
        .iter()
        .take(MAX_PARTS)
        .map(|(name, part)| (cut(&shown(name, LONGEST_NAME), LONGEST_NAME), part))
        .collect();
    let width = named.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let row = |(name, part): &(String, &Part)| {
        let space = " ".repeat(width - columns(name));
        format!("    {name}{space}  {:.4}  {}", part.accuracy, count(part.n, "sample"))
    };
    let more = parts.len().saturating_sub(MAX_PARTS);
    let more = (more > 0).then(|| format!("    and {more} more, in the metrics as JSON"));
    named.iter().map(row).chain(more).collect()
}

/// An evaluation in one line.
pub(crate) fn in_a_line(id: &str, metrics: &Metrics) -> String {
    format!("eval/{id}: {}, {}", accuracy(metrics), counts(metrics))
}

/// An evaluation in at most three lines: the accuracy, the counts, and the breakdowns if there are any.
pub(crate) fn in_brief(id: &str, metrics: &Metrics) -> Vec<String> {
    let mut lines = vec![format!("eval/{id}: {}", accuracy(metrics)), counts(metrics)];
    let parts = |(field, parts): (&String, &BTreeMap<String, Part>)| {
        let part =
            |(name, p): (&String, &Part)| format!("{name} {} % of {}", percent(p.accuracy), p.n);
        format!("by {field}: {}", parts.iter().map(part).collect::<Vec<_>>().join(", "))
    };
    let breakdowns: Vec<String> = broken_down(metrics).map(parts).collect();
    if !breakdowns.is_empty() {
        lines.push(breakdowns.join("; "));
    }
    lines
}

/// `50.0 % ± 1.2 (95 %: 47.6 to 52.3) over 1319 samples`.
fn accuracy(metrics: &Metrics) -> String {
    let interval = metrics
        .interval
        .map(|[low, high]| format!(" (95 %: {} to {})", percent(low), percent(high)))
        .unwrap_or_default();
    let (mean, stderr) = (percent(metrics.accuracy), percent(metrics.stderr));
    let part = if metrics.complete { "" } else { " (a part of the benchmark)" };
    if metrics.script.is_some() {
        return format!("{mean} % ± {stderr} over {}", samples_of_script(metrics));
    }
    format!("{mean} % ± {stderr}{interval} over {}{part}", count(metrics.n, "sample"))
}

fn counts(metrics: &Metrics) -> String {
    if metrics.script.is_some() {
        return "measured by its own evaluate.py".to_owned();
    }
    format!(
        "{} truncated, {} with fewer tokens, {} unparsed, {} not scored",
        metrics.truncated, metrics.reduced, metrics.unparsed, metrics.errors
    )
}
