//! Looks at run directories, as any other program could: by reading their files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The run directories of an experiment, sorted by name.
pub(crate) fn runs(results: &Path, experiment: &str) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(results.join(experiment).join("runs")).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    runs.sort();
    runs
}

/// The one run directory of an experiment.
pub(crate) fn only_run(results: &Path, experiment: &str) -> PathBuf {
    let runs = runs(results, experiment);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

pub(crate) fn json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The state of a stage in `run.json`, as one word; none where there is no such file yet.
pub(crate) fn stage_state(run: &Path, stage: &str) -> Option<String> {
    let record: Value = serde_json::from_slice(&fs::read(run.join("run.json")).ok()?).ok()?;
    match &record["stages"][stage] {
        Value::String(word) => Some(word.clone()),
        Value::Object(state) => state.keys().next().cloned(),
        _ => None,
    }
}

/// `scores/main.json`.
pub(crate) fn score(run: &Path) -> Value {
    json(&run.join("scores/main.json"))
}

/// Fails unless each sample is there once.
pub(crate) fn assert_each_sample_once(run: &Path, count: usize) {
    let text = fs::read_to_string(run.join("eval/final/42/samples.jsonl")).unwrap();
    let ids: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let distinct: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), distinct.len()), (count, count), "{ids:?}");
}

/// Files that a rerun must reproduce, byte for byte: metrics, scores, completions.
pub(crate) fn results_of(run: &Path) -> Vec<(String, String)> {
    let mut paths =
        vec![run.join("eval/final/metrics.json"), run.join("eval/final/42/samples.jsonl")];
    let scores = fs::read_dir(run.join("scores")).unwrap();
    paths.extend(scores.map(|e| e.unwrap().path()));
    paths.sort();
    let read = |p: &PathBuf| {
        (
            p.strip_prefix(run).unwrap().display().to_string(),
            fs::read_to_string(p).unwrap_or_default(),
        )
    };
    paths.iter().map(read).collect()
}
