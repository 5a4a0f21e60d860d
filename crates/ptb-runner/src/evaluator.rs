//! What stands behind the evaluation door: an engine, kept warm, and the evaluation itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use ptb_core::cell::RunSpec;
use ptb_core::failure::FailureKind;
use ptb_core::registry::Asking;
use ptb_eval::{EvalError, EvalSpec, Given, GraderSpec, Prepared, Told, spent};
use ptb_gateway::{
    EvaluationFault, EvaluationRequest, Evaluator, FaultKind, ModelSource, Outcome, Progress,
    SampleFeedback,
};
use ptb_model::Links;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::context::Notice;
use crate::engine::{Served, Server};

/// How long an idle engine is kept, unless it holds a GPU.
const WARM: Duration = Duration::from_secs(300);

/// How long a grader's outage is waited out while an agent's clock runs.
const GRADER_PATIENCE: Duration = Duration::from_secs(120);

/// Evaluates snapshots for the door, one at a time.
#[derive(Clone)]
pub(crate) struct DoorEvaluator(Arc<Inner>);

struct Inner {
    behind: Behind,
    warm: Mutex<Option<Warm>>,
    uses: AtomicU64,
}

/// What an evaluator stands on.
pub(crate) struct Behind {
    pub(crate) spec: RunSpec,
    /// The base model's folder.
    pub(crate) base: PathBuf,
    /// The program that is the engine.
    pub(crate) ptb: PathBuf,
    /// `attempts/<n>/eval/`.
    pub(crate) out: PathBuf,
    /// Told how far an evaluation is, beside the agent.
    pub(crate) watcher: Box<dyn Fn(Notice) + Send + Sync>,
}

struct Warm {
    /// The snapshot's hash: weights and settings alike.
    model: String,
    server: Server,
}

impl DoorEvaluator {
    pub(crate) fn new(behind: Behind) -> Self {
        let (warm, uses) = (Mutex::new(None), AtomicU64::new(0));
        Self(Arc::new(Inner { behind, warm, uses }))
    }

    async fn evaluation(
        &self,
        request: EvaluationRequest,
        progress: mpsc::Sender<Progress>,
        cancel: CancellationToken,
    ) -> Result<Outcome, EvaluationFault> {
        let inner = &self.0.behind;
        if inner.spec.benchmark.value.script().is_some() {
            return Err(EvaluationFault::new(
                FaultKind::Input,
                "this benchmark is evaluated by its own program, not through the door",
                "run `python3 evaluate.py --model-path DIR` in the workspace",
            ));
        }
        let mut watched = Watched { watcher: &inner.watcher, score: None };
        let tell = |what: &'static str, done, total| {
            // A full channel drops news: the next one says more.
            let _ = progress.try_send(Progress { stage: what.to_owned(), done, total });
            (inner.watcher)(Notice::Evaluating { what, done, total });
        };
        let (path, name) = match request.model {
            ModelSource::Snapshot { path, sha256 } => (path, sha256),
            ModelSource::Known { path, name } => (path, name),
        };
        let known = path == inner.base;
        let links = if known { Links::Follow } else { Links::Inside };
        let benchmark = &inner.spec.benchmark.value;
        let connections = benchmark.evaluate.max_connections;
        let grader = inner.spec.grader.clone();
        let grading = grader.map(|choice| GraderSpec::from_env(choice, GRADER_PATIENCE));
        let mut grading = grading.transpose().map_err(fault)?;
        if let Some(grading) = &mut grading {
            grading.spent_before = spent_beside(&inner.out, &name);
        }
        let eval = EvalSpec {
            grading,
            benchmark: inner.spec.benchmark.clone(),
            data: inner.spec.data.clone(),
            chat_template: inner.spec.chat_template.clone(),
            chat: inner.spec.model.value.chat.clone(),
            asking: Asking::default(),
            model_dir: path.clone(),
            links,
            tokenizer_dir: Some(inner.base.clone()),
            seeds: inner.spec.seeds.iter().take(1).copied().collect(),
            limit: request.limit.or(benchmark.evaluate.limit),
            max_tokens: request.max_tokens.unwrap_or(inner.spec.max_tokens),
            max_connections: request.max_connections.unwrap_or(connections).min(256),
            out: inner.out.join(&name),
        };
        tell("preparing", 0, 0);
        let prepared = tokio::task::spawn_blocking(move || Prepared::new(eval))
            .await
            .map_err(|e| EvaluationFault::new(FaultKind::Harness, e.to_string(), "try again"))?
            .map_err(fault)?;
        let watch = |told| match told {
            Told::Count { done, total } => tell("generating", done, total),
            Told::Verdicts { done, total } => tell("grading", done, total),
            Told::Said(line) => (inner.watcher)(Notice::Line(line)),
        };
        let result = if prepared.missing() == 0 {
            prepared.evaluate(&mut Given(None), &watch, &cancel).await
        } else {
            let context = prepared.context_needed();
            let served = Served {
                model: &path,
                links,
                base: Some(&inner.base),
                log: None,
                context,
                gpu_share: inner.spec.gpu_share,
            };
            let mut warm = self.0.warm.lock().await;
            let server = self.server(&mut warm, &name, served).await;
            if !server.is_running() {
                tell("loading", 0, 0);
            }
            let result = prepared.evaluate(server, &watch, &cancel).await;
            // The agent's next step wants the GPU that it waited beside.
            if server.holds_gpu() {
                server.stop().await;
            }
            drop(warm);
            self.cool_later();
            result
        };
        let evaluation = result.map_err(fault)?;
        watched.score = Some(evaluation.metrics.accuracy);
        let samples = evaluation.samples.into_iter().map(|s| SampleFeedback {
            id: s.id,
            prompt: s.prompt,
            completion: s.completion,
            verdict: s.score,
            target: Some(s.target),
            answer: s.answer,
        });
        Ok(Outcome { metrics: evaluation.metrics, samples: samples.collect() })
    }

    /// The warm server when it holds this model and has room for its prompts, else one that is not started yet.
    async fn server<'w>(
        &self,
        warm: &'w mut Option<Warm>,
        model: &str,
        served: Served<'_>,
    ) -> &'w mut Server {
        if let Some(mut old) = warm.take_if(|w| w.model != model) {
            old.server.stop().await;
        }
        let behind = &self.0.behind;
        let fresh = || Warm {
            model: model.to_owned(),
            server: Server::new(&behind.spec.engine, &behind.ptb, served),
        };
        let server = &mut warm.get_or_insert_with(fresh).server;
        server.again(served).await;
        server
    }

    /// Gives the engine up when nobody has used it for a while.
    fn cool_later(&self) {
        let (this, use_number) = (self.clone(), self.0.uses.fetch_add(1, Ordering::Relaxed) + 1);
        tokio::spawn(async move {
            tokio::time::sleep(WARM).await;
            if this.0.uses.load(Ordering::Relaxed) == use_number {
                this.cool().await;
            }
        });
    }

    /// Gives the engine up.
    pub(crate) async fn cool(&self) {
        if let Some(mut warm) = self.0.warm.lock().await.take() {
            warm.server.stop().await;
        }
    }
}

impl Evaluator for DoorEvaluator {
    fn evaluate(
        &self,
        request: EvaluationRequest,
        progress: mpsc::Sender<Progress>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Outcome, EvaluationFault>> {
        Box::pin(self.evaluation(request, progress, cancel))
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.cool())
    }
}

/// An evaluation that is watched: its end is told however it ends, also when it is dropped half-way.
struct Watched<'a> {
    watcher: &'a (dyn Fn(Notice) + Send + Sync),
    score: Option<f64>,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        (self.watcher)(Notice::Evaluated(self.score));
    }
}

/// What the attempt's other evaluations have cost: an agent has one limit for all that it asks for.
fn spent_beside(out: &Path, name: &str) -> f64 {
    let folders = std::fs::read_dir(out).into_iter().flatten().flatten();
    folders.filter(|f| f.file_name() != name).map(|f| spent(&f.path())).sum()
}

fn fault(e: EvalError) -> EvaluationFault {
    let kind = match e.kind() {
        FailureKind::Agent => FaultKind::Model,
        FailureKind::Scheduler => FaultKind::Cancelled,
        FailureKind::Harness | FailureKind::Provider => FaultKind::Harness,
    };
    let text = e.to_string();
    let (message, hint) = text
        .split_once("\nhint: ")
        .or(text.split_once("; hint: "))
        .unwrap_or((&text, "correct the model's files"));
    EvaluationFault::new(kind, message, hint)
}
