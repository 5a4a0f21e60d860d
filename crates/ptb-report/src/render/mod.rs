//! The forms of a report. Each is a pure function of it, and each makes text of agents harmless in its own
//! way.

mod csv;
mod grid;
pub(crate) mod json;
mod markdown;
mod table;

use crate::error::Problem;
use crate::report::{Report, Unfinished};
use crate::text::{MAX_SHOWN, shown};

/// Lines of unfinished runs and of problems in forms for people; the JSON form has them all.
const MAX_LISTED: usize = 20;

/// Sections under the table: a heading and its lines.
fn sections(report: &Report) -> Vec<(String, Vec<String>)> {
    let mut sections = Vec::new();
    if !report.unfinished.is_empty() {
        let heading = format!("without a score yet ({})", report.unfinished.len());
        sections.push((heading, listed(report.unfinished.iter().map(unfinished))));
    }
    if !report.problems.is_empty() {
        let heading = format!("could not be used ({})", report.problems.len());
        sections.push((heading, listed(report.problems.iter().map(problem))));
    }
    sections
}

fn listed(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = lines.len().saturating_sub(MAX_LISTED);
    let mut listed: Vec<String> =
        lines.take(MAX_LISTED).map(|l| shown(&l, 3 * MAX_SHOWN)).collect();
    if more > 0 {
        listed.push(format!("and {more} more"));
    }
    listed
}

fn unfinished(run: &Unfinished) -> String {
    // Nobody's fault: whoever ran it, or a scheduler, ended it.
    if run.fault.as_deref() == Some("scheduler") {
        let path = shown_path(&run.path);
        return format!("{path}: {} was stopped; the same command goes on", run.stage);
    }
    let fault = run.fault.as_ref().map(|fault| format!(" ({fault})")).unwrap_or_default();
    let reason = run.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}: {} {}{fault}{reason}", shown_path(&run.path), run.stage, run.state)
}

/// Most messages name the file, and with it the run.
fn problem(problem: &Problem) -> String {
    let path = shown_path(&problem.path);
    match problem.message.contains(&problem.path) {
        true => problem.message.clone(),
        false => format!("{path}: {}", problem.message),
    }
}

fn shown_path(path: &str) -> String {
    shown(path, MAX_SHOWN)
}
