//! Runs on slots of this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use ptb_core::cell::RunSpec;
use ptb_core::run::RunDir;
use ptb_runner::{
    Context, Ended, Notice, Preflight, agents, knock_graders, preflight, readable, run, versions,
};

use crate::experiment::Experiment;

/// Pause between two looks at a run that another worker holds.
const HELD_PAUSE: Duration = Duration::from_secs(2);

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
/// ended, in the experiment's order. Runs that another worker holds are left for last, and waited for. When
/// cancelled, runs under way are ended cleanly and the rest is left.
pub async fn run_local(
    mut experiment: Experiment,
    results: &Path,
    context: &Context,
) -> Result<Vec<Outcome>, Preflight> {
    let name = experiment.name.clone();
    let tell = |line| (context.progress)(&name, Notice::Line(line));
    tokio::task::block_in_place(|| versions(&mut experiment.runs, &tell))?;
    preflight(&mut experiment.runs, results)?;
    let runs = experiment_dir(results, &experiment).join("runs");
    let places: Vec<PathBuf> = experiment
        .runs
        .iter()
        .map(|spec| runs.join(format!("{}-{}", spec.slug(), spec.id())))
        .collect();
    readable(places.iter().map(PathBuf::as_path))?;
    tokio::task::block_in_place(|| agents(&experiment.runs, &places, &tell))?;
    for line in knock_graders(&experiment.runs, &places).await? {
        tell(line);
    }
    let outcomes = experiment.runs.iter().zip(places).map(|(spec, path)| async move {
        let (slug, id) = (spec.slug(), spec.id());
        let ended = once(spec, &path, context).await;
        Outcome { slug, id, path, ended }
    });
    let slots = experiment.slots.max(1);
    let mut outcomes: Vec<Outcome> =
        futures::stream::iter(outcomes).buffered(slots).collect().await;
    for (outcome, spec) in outcomes.iter_mut().zip(&experiment.runs) {
        while matches!(outcome.ended, Ended::Held(_)) && !context.cancel.is_cancelled() {
            tokio::select! {
                () = context.cancel.cancelled() => {}
                () = tokio::time::sleep(HELD_PAUSE) => {
                    outcome.ended = run(RunDir::new(&outcome.path), spec.clone(), context).await;
                }
            }
            if !matches!(outcome.ended, Ended::Held(_)) {
                (context.progress)(&outcome.slug, Notice::Ended(outcome.ended.to_string()));
            }
        }
    }
    Ok(outcomes)
}

/// Carries out one run, unless another worker holds it.
async fn once(spec: &RunSpec, path: &Path, context: &Context) -> Ended {
    let ended = run(RunDir::new(path), spec.clone(), context).await;
    (context.progress)(
        &spec.slug(),
        match &ended {
            Ended::Held(message) => Notice::Line(format!("{message} (it is waited for)")),
            ended => Notice::Ended(ended.to_string()),
        },
    );
    ended
}
