//! `ptb contamination`.

use ptb_core::failure::ExitCode;
use ptb_detect::{Finding, Limits, Scanned, Unread};
use ptb_judge::index_of;
use ptb_report::text::harmless;
use serde_json::json;

use super::registry;
use crate::args::ContaminationArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

/// Most things that a summary says were not read.
const MOST_UNREAD: usize = 1000;

pub(crate) fn run(args: &ContaminationArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    let benchmark = registry.benchmark(&args.benchmark).map_err(Fault::file)?;
    if let Some(missing) = args.paths.iter().find(|path| !path.exists()) {
        let hint = "name files, or folders with files in them";
        return Err(Fault::usage(format!("{} does not exist; hint: {hint}", missing.display())));
    }
    let benchmarked = index_of(benchmark, args.data.as_deref()).map_err(Fault::usage)?;
    let mut outcome = Ok(ExitCode::Done);
    let mut unread = Vec::new();
    let mut each = |finding: Finding| {
        let text = if args.json { line(&finding) } else { Ok(in_words(&finding)) };
        let told = text.and_then(|text| print::out(&text));
        if outcome.is_ok() {
            outcome = told;
        }
    };
    let mut not_read = |what: Unread| unread.push(what);
    let scanned = benchmarked.index.scan(&args.paths, &Limits::default(), &mut each, &mut not_read);
    outcome?;
    summary(args.json, &scanned, &unread, &benchmarked.notes);
    Ok(if scanned.flagged > 0 { ExitCode::Found } else { ExitCode::Done })
}

fn line(finding: &Finding) -> Result<String, Fault> {
    Ok(format!("{}\n", serde_json::to_string(finding).map_err(Fault::harness)?))
}

fn in_words(finding: &Finding) -> String {
    let items: Vec<String> =
        finding.items.iter().map(|i| format!("{} ({}, {:.2})", i.id, i.kind, i.score)).collect();
    let head = format!("{}:{}: {}", finding.file, finding.line, items.join(", "));
    format!("{}\n    {}\n", harmless(&head), harmless(&finding.quotation))
}

fn summary(json: bool, scanned: &Scanned, unread: &[Unread], notes: &[String]) {
    if json {
        let told = unread.iter().take(MOST_UNREAD).collect::<Vec<_>>();
        let summary = json!({
            "schema": 1, "files": scanned.files, "bytes": scanned.bytes, "documents": scanned.documents,
            "flagged": scanned.flagged, "unread": told, "unread_count": unread.len(), "notes": notes,
        });
        return print::err(&summary.to_string());
    }
    for what in unread.iter().take(MOST_UNREAD) {
        print::note(&harmless(&format!("not read: {}: {}", what.file, what.reason)));
    }
    for note in notes {
        print::note(&format!("note: {note}"));
    }
    print::note(&format!(
        "{} of {} documents hold test items ({} files, {:.1} MB; {} not read)",
        scanned.flagged,
        scanned.documents,
        scanned.files,
        scanned.bytes as f64 / 1e6,
        unread.len()
    ));
}
