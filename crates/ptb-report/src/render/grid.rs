//! The cells of the table and of the Markdown form, as words and numbers for people.

use crate::bootstrap::Basis;
use crate::report::{BenchmarkScore, Report, Row};
use crate::text::{hms, money, percent, short, shown};

/// Longest label of a row, in characters.
const MAX_LABEL: usize = 60;

/// A header and rows of equal length, the label first. The text is clean but not escaped.
pub(super) struct Grid {
    pub(super) header: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

pub(super) fn grid(report: &Report) -> Grid {
    let fixed = ["agent", "average", "95 %", "time", "runs"];
    let benchmarks = report.benchmarks.iter().map(|c| shown(&c.benchmark, MAX_LABEL));
    // Scores first: where a screen is narrow, what they cost is in a block of its own.
    let used = report.rows.iter().any(|row| row.usage.is_some());
    let costs = ["tokens/run", "USD/run", "USD in all"].into_iter().filter(|_| used);
    let header = fixed.iter().map(|s| (*s).to_owned()).chain(benchmarks);
    let cells = |of: &Row| row(of).into_iter().chain(usage(of).into_iter().filter(|_| used));
    Grid {
        header: header.chain(costs.map(str::to_owned)).collect(),
        rows: report.rows.iter().map(|row| cells(row).collect()).collect(),
    }
}

/// What one run used and cost, and what all did.
fn usage(row: &Row) -> [String; 3] {
    let Some(usage) = &row.usage else { return Default::default() };
    let unknown = || "unknown".to_owned();
    let usd = |cost: Option<f64>| cost.map_or_else(unknown, money);
    [usage.tokens_mean.map_or_else(unknown, short), usd(usage.cost_usd_mean), usd(usage.cost_usd)]
}

fn row(row: &Row) -> Vec<String> {
    let spread = row.std.map(|std| format!(" ±{}", percent(std))).unwrap_or_default();
    let interval =
        row.interval.map(|i| (format!("{}–{}", percent(i.low), percent(i.high)), i.basis));
    let all = row.runs + row.unfinished;
    let fixed = [
        shown(&row.label(), MAX_LABEL),
        row.average.map_or("unknown".to_owned(), |a| percent(a) + &spread),
        match interval {
            Some((interval, Basis::Repeats)) => interval,
            Some((interval, _)) => format!("({interval})"),
            None => String::new(),
        },
        row.solve.map_or_else(String::new, |solve| hms(solve.mean)),
        if row.unfinished == 0 { all.to_string() } else { format!("{}/{all}", row.runs) },
    ];
    fixed.into_iter().chain(row.scores.iter().map(|s| cell(s.as_ref()))).collect()
}

fn cell(score: Option<&BenchmarkScore>) -> String {
    let Some(score) = score else { return "–".to_owned() };
    let unknown = score.models.iter().any(|m| m.base_missing);
    let mut text = match score.mean {
        Some(mean) => percent(mean),
        None if unknown => "unknown".to_owned(),
        None => "–".to_owned(),
    };
    if score.known < score.wanted && !unknown {
        text.push_str(&format!(" ({}/{})", score.known, score.wanted));
    }
    for (mark, runs) in &score.marks {
        text.push_str(&format!(" {mark}{runs}"));
    }
    text
}
