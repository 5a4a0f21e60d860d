//! `ptb show`.

use std::path::{Path, PathBuf};

use ptb_report::{RunSummary, find};

use crate::args::ShowArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &ShowArgs) -> Outcome {
    let fault = |e: ptb_report::ReportError| Fault::new(e.exit_code(), e);
    let summary = RunSummary::read(&locate(&args.run)).map_err(fault)?;
    print::out(&if args.json { summary.json().map_err(fault)? } else { summary.text() })
}

/// A run directory by path; else by id or name below `./results`.
pub(super) fn locate(run: &Path) -> PathBuf {
    let word = run.to_string_lossy();
    if run.exists() || word.contains('/') {
        return run.to_owned();
    }
    let found = find(Path::new("results")).map(|f| f.runs).unwrap_or_default();
    let matches = |path: &Path| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        name == word
            || name.ends_with(&format!("-{word}"))
            || name.rsplit_once('-').is_some_and(|(slug, _)| slug == word)
    };
    found.iter().map(|r| r.path()).find(|p| matches(p)).unwrap_or(run).to_owned()
}
