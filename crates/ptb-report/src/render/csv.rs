//! The CSV form: one line per agent, full precision, fractions of 1. What is unknown, absent or partial is
//! an empty field (never 0); the columns `<benchmark>_known` and `_wanted` tell which. A partial mean
//! stands in the JSON form.

use crate::error::ReportError;
use crate::report::{BenchmarkScore, Report, Row};
use crate::text::{MAX_SHOWN, shown};
use crate::usage::TokenCounts;

const FIXED: [&str; 23] = [
    "agent",
    "axes",
    "edition",
    "average",
    "std",
    "repeats",
    "low",
    "high",
    "interval",
    "solve_seconds",
    "solve_seconds_std",
    "runs",
    "unfinished",
    "baseline",
    "tokens",
    "tokens_mean",
    "tokens_input",
    "tokens_cached_input",
    "tokens_cache_writes",
    "tokens_output",
    "tokens_reasoning",
    "cost_usd",
    "cost_usd_mean",
];

impl Report {
    /// The report as CSV with a header line.
    pub fn csv(&self) -> Result<String, ReportError> {
        let fail = |reason: String| ReportError::Form { form: "csv", reason };
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut header: Vec<String> = FIXED.iter().map(|s| (*s).to_owned()).collect();
        for column in &self.benchmarks {
            let id = text(&column.benchmark);
            let of = |part: &str| format!("{id}_{part}");
            header.extend([
                id.clone(),
                of("std"),
                of("known"),
                of("wanted"),
                of("marks"),
                of("weight"),
            ]);
        }
        writer.write_record(&header).map_err(|e| fail(e.to_string()))?;
        for row in &self.rows {
            writer.write_record(self.record(row)).map_err(|e| fail(e.to_string()))?;
        }
        let bytes = writer.into_inner().map_err(|e| fail(e.to_string()))?;
        String::from_utf8(bytes).map_err(|e| fail(e.to_string()))
    }

    fn record(&self, row: &Row) -> Vec<String> {
        let axes: Vec<String> =
            row.axes.iter().map(|(axis, value)| format!("{axis}={value}")).collect();
        let interval =
            row.interval.map(|i| (i.low, i.high, format!("{:?}", i.basis).to_lowercase()));
        let mut record = vec![
            text(&row.agent),
            text(&axes.join("; ")),
            text(&self.edition),
            number(row.average),
            number(row.std),
            row.repeats.to_string(),
            number(interval.as_ref().map(|i| i.0)),
            number(interval.as_ref().map(|i| i.1)),
            interval.map(|i| i.2).unwrap_or_default(),
            number(row.solve.map(|s| s.mean)),
            number(row.solve.and_then(|s| s.std)),
            row.runs.to_string(),
            row.unfinished.to_string(),
            row.baseline.to_string(),
        ];
        record.extend(usage(row));
        for (column, score) in self.benchmarks.iter().zip(&row.scores) {
            record.extend(benchmark(score.as_ref()));
            record.push(number(column.weight));
        }
        record
    }
}

/// What the agents used, all runs together but for the means.
fn usage(row: &Row) -> [String; 9] {
    let Some(usage) = &row.usage else { return Default::default() };
    let kind = |of: fn(&TokenCounts) -> u64| {
        usage.tokens.as_ref().map(|tokens| of(tokens).to_string()).unwrap_or_default()
    };
    [
        kind(TokenCounts::all),
        number(usage.tokens_mean),
        kind(|tokens| tokens.input),
        kind(|tokens| tokens.cached_input),
        kind(TokenCounts::cache_writes),
        kind(|tokens| tokens.output),
        kind(|tokens| tokens.reasoning),
        number(usage.cost_usd),
        number(usage.cost_usd_mean),
    ]
}

fn benchmark(score: Option<&BenchmarkScore>) -> [String; 5] {
    let Some(score) = score else { return Default::default() };
    let marks: Vec<String> =
        score.marks.iter().map(|(mark, runs)| format!("{mark}{runs}")).collect();
    [
        number(score.complete()),
        number(score.std),
        score.known.to_string(),
        score.wanted.to_string(),
        text(&marks.join(" ")),
    ]
}

/// The shortest decimal that reads back as the same number.
fn number(value: Option<f64>) -> String {
    value.map(|v| v.to_string()).unwrap_or_default()
}

/// Clean text that no spreadsheet takes for a formula: one that begins like a formula gets an apostrophe.
fn text(text: &str) -> String {
    let clean = shown(text, MAX_SHOWN);
    let formula = clean.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    if formula { format!("'{clean}") } else { clean }
}
