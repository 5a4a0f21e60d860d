//! Runs on slots of this machine.

use std::path::{Path, PathBuf};

use futures::StreamExt;
use ptb_core::run::RunDir;
use ptb_runner::{Context, Ended, Notice, Preflight, preflight, readable, run};

use crate::experiment::Experiment;

/// One run and how it ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Short name.
    pub slug: String,
    /// Id.
    pub id: String,
    /// The run directory.
    pub path: PathBuf,
    /// How it ended.
    pub ended: Ended,
}

/// The folder of an experiment's results.
pub fn experiment_dir(results: &Path, experiment: &Experiment) -> PathBuf {
    results.join(&experiment.name)
}

/// Carries out what is not done of an experiment, so many runs at once as it has slots, and tells how each
/// ended, in the experiment's order. When cancelled, runs under way are ended cleanly and the rest is left.
pub async fn run_local(
    mut experiment: Experiment,
    results: &Path,
    context: &Context,
) -> Result<Vec<Outcome>, Preflight> {
    preflight(&mut experiment.runs, results)?;
    let runs = experiment_dir(results, &experiment).join("runs");
    let places: Vec<PathBuf> = experiment
        .runs
        .iter()
        .map(|spec| runs.join(format!("{}-{}", spec.slug(), spec.id())))
        .collect();
    readable(places.iter().map(PathBuf::as_path))?;
    let outcomes = experiment.runs.iter().zip(places).map(|(spec, path)| {
        let (slug, id) = (spec.slug(), spec.id());
        async move {
            let ended = run(RunDir::new(&path), spec.clone(), context).await;
            (context.progress)(&slug, Notice::Ended(ended.to_string()));
            Outcome { slug, id, path, ended }
        }
    });
    let slots = experiment.slots.max(1);
    Ok(futures::stream::iter(outcomes).buffered(slots).collect().await)
}
