//! `ptb show`.

use std::path::{Path, PathBuf};

use ptb_core::files::read_log;
use ptb_core::run::{RunDir, RunRecord};
use ptb_report::{RunSummary, find, text};
use ptb_runner::OutputLine;

use crate::args::ShowArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

/// Where runs are looked for by name.
const RESULTS: &str = "results";
/// Most runs that a message names.
const NAMED: usize = 8;

pub(crate) fn run(args: &ShowArgs) -> Outcome {
    let fault = |e: ptb_report::ReportError| Fault::new(e.exit_code(), e);
    let run = locate(&args.run)?;
    if args.output {
        return output(&run);
    }
    let summary = RunSummary::read(&run).map_err(fault)?;
    if args.json {
        return print::out(&summary.json().map_err(fault)?);
    }
    let lines = summary.text();
    let wrapped = lines.lines().map(|line| text::wrap(line, print::width()) + "\n");
    print::out(&wrapped.collect::<String>())
}

/// What the agent printed in the run's last attempt, made harmless for a terminal.
fn output(run: &Path) -> Outcome {
    let dir = RunDir::new(run);
    let record: RunRecord = ptb_core::files::read_json(&dir.record()).map_err(Fault::usage)?;
    let path = dir.attempt(record.attempts).join("output.jsonl");
    let lines: Vec<OutputLine> = match read_log(&path) {
        Err(e) if e.is_missing() => {
            return Err(Fault::usage("the run has no output: a baseline, or nothing was begun"));
        }
        other => other.map_err(Fault::usage)?,
    };
    let mut all = String::new();
    for line in lines {
        all.push_str(&text::harmless(&line.text));
        if !line.more {
            all.push('\n');
        }
    }
    print::out(&all)
}

/// A run directory by path; else by name, id or the beginning of an id, below `./results`.
pub(super) fn locate(run: &Path) -> Result<PathBuf, Fault> {
    let word = run.to_string_lossy();
    // A folder of that name may be an agent's.
    if word.contains('/') || RunDir::new(run).record().is_file() {
        return Ok(run.to_owned());
    }
    let runs = find(Path::new(RESULTS)).map(|f| f.runs).unwrap_or_default();
    let matches = |path: &Path| {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let (slug, id) = name.rsplit_once('-').unwrap_or((&name, ""));
        let exact = name == word || slug == word || (word.len() >= 4 && id.starts_with(&*word));
        exact || name.starts_with(&format!("{word}-")) || is_of(path, &word)
    };
    let found: Vec<&Path> = runs.iter().map(RunDir::path).filter(|p| matches(p)).collect();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(Fault::usage(format!(
            "no run is called `{word}` below ./{RESULTS}; hint: name a run directory, or stand where {RESULTS}/ is"
        ))),
        many => {
            let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
            let mut names: Vec<String> = many.iter().filter_map(|path| name(path)).collect();
            names.truncate(NAMED);
            let more = if many.len() > names.len() { ", ..." } else { "" };
            Err(Fault::usage(format!(
                "{} runs belong to `{word}`: {}{more}; hint: name one by its id, the last part",
                many.len(),
                names.join(", ")
            )))
        }
    }
}

/// Whether a run directory lies in the results of the experiment `name`.
fn is_of(run: &Path, name: &str) -> bool {
    let experiment = run.parent().and_then(Path::parent);
    experiment.and_then(Path::file_name).is_some_and(|found| found == name)
}
