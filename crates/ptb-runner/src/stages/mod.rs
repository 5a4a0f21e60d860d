//! The stages in their order, and their recovery.

mod ends;
mod evaluate;
mod interrupted;
mod judge;
mod launches;
mod model_door;
mod next;
mod prepare;
mod record;
mod room;
mod solve;
mod standstill;
mod telemetry;
mod workspace;

use std::path::{Path, PathBuf};

use ptb_core::cell::RunSpec;
use ptb_core::files::{Schema, read_json};
use ptb_core::registry::Submit;
use ptb_core::run::{End, RunDir, Score, Stage, StageFailure, StageState, Submission};
use ptb_eval::weights_dir;
use ptb_model::Links;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Notice};
use crate::failure::{Ended, harness, stopped};
use crate::store::{OpenError, Store};
use crate::tree;

pub(crate) use solve::weights_bytes;
pub use telemetry::TelemetryLine;

/// `solve.json`: how the counting attempt ended and what it submitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SolveRecord {
    /// How it ended.
    pub end: End,
    /// Seconds of the budget that it used.
    pub seconds: f64,
    /// Exit code of the agent, where it had one.
    pub code: Option<i32>,
    /// Which files count.
    pub submission: Submission,
}

impl Schema for SolveRecord {
    const KIND: &'static str = "solve record";
    /// 2: the end is typed; it was words.
    const VERSION: u32 = 2;
}

/// One run under way.
pub(crate) struct Run<'a> {
    pub(crate) store: Store,
    pub(crate) context: &'a Context,
}

/// Carries out what is not done of a run.
pub async fn run(dir: RunDir, spec: RunSpec, context: &Context) -> Ended {
    let context = Context { cancel: context.cancel.child_token(), ..context.clone() };
    let store = match Store::open(dir, spec, context.cancel.clone()).await {
        Ok(store) => store,
        Err(OpenError::Held(message)) => return Ended::Held(message),
        Err(OpenError::Failed(failure)) => return Ended::Failed(Stage::Prepare, failure),
    };
    let mut run = Run { store, context: &context };
    if run.store.record.is_done() {
        return match run.score() {
            Ok(score) => Ended::Already(Box::new(score)),
            Err(failure) => Ended::Failed(Stage::Record, failure),
        };
    }
    for stage in Stage::ALL {
        if *run.store.record.stage(stage) == StageState::Done {
            continue;
        }
        if let Err(failure) = run.stage(stage).await {
            // Where even this cannot be written, the stage stays `running` and is run again.
            let _ = run.store.set(stage, StageState::Failed(failure.clone())).await;
            return Ended::Failed(stage, failure);
        }
    }
    match run.score() {
        Ok(score) => Ended::Done(Box::new(score)),
        Err(failure) => Ended::Failed(Stage::Record, failure),
    }
}

impl Run<'_> {
    async fn stage(&mut self, stage: Stage) -> Result<(), StageFailure> {
        if self.context.cancel.is_cancelled() {
            return Err(stopped());
        }
        self.store.set(stage, StageState::Running).await?;
        self.tell(Notice::Stage(stage));
        match stage {
            Stage::Prepare => self.prepare().await?,
            Stage::Solve => self.solve().await?,
            Stage::Judge => self.judge().await?,
            Stage::Evaluate => self.evaluate().await?,
            Stage::Record => self.record().await?,
        }
        self.store.set(stage, StageState::Done).await
    }

    fn tell(&self, notice: Notice) {
        (self.context.progress)(&self.store.record.slug, notice);
    }

    fn dir(&self) -> &RunDir {
        &self.store.dir
    }

    fn spec(&self) -> &RunSpec {
        &self.store.record.spec
    }

    fn score(&self) -> Result<Score, StageFailure> {
        read_json(&self.dir().score(&self.spec().edition)).map_err(harness)
    }

    fn solve_path(&self) -> PathBuf {
        self.dir().path().join("solve.json")
    }

    fn solve_record(&self) -> Result<SolveRecord, StageFailure> {
        read_json(&self.solve_path()).map_err(harness)
    }

    /// The base model's folder.
    fn base(&self) -> Result<PathBuf, StageFailure> {
        Ok(weights_dir(&self.spec().model.value.base).map_err(harness)?.0)
    }

    /// The instruct model's folder, where it is on this machine.
    fn instruct(&self) -> Option<PathBuf> {
        let weights = self.spec().model.value.instruct.as_ref()?;
        weights_dir(weights).ok().map(|(path, _)| path)
    }

    /// Where the submission lies, and where links in it may lead.
    fn submitted(&self) -> Result<(PathBuf, Links), StageFailure> {
        match self.spec().agent.submits() {
            Some(Submit::Base) => Ok((self.base()?, Links::Follow)),
            Some(Submit::Instruct) => match self.instruct() {
                Some(path) => Ok((path, Links::Follow)),
                None => Err(harness(
                    "the instruct model is not on this machine; hint: fetch it, then run again",
                )),
            },
            None => Ok((self.dir().final_model(), Links::Inside)),
        }
    }
}

/// Runs something that blocks for long on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StageFailure> {
    tokio::task::spawn_blocking(work).await.map_err(harness)
}

/// Removes a folder, if it is there, without following links.
pub(crate) fn remove_dir(path: &Path) -> Result<(), StageFailure> {
    tree::remove(path).map_err(|e| harness(format!("cannot remove {}: {e}", path.display())))
}
