//! One evaluation from the snapshot to the last line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ptb_core::failure::FailureKind;
use ptb_core::run::now_rfc3339;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::feedback::{told_metrics, told_sample};
use super::record::{self, EvaluationEnd, EvaluationRecord, ScoreRecord};
use super::request::{Asked, Place};
use super::{
    EvaluationFault, EvaluationRequest, EvaluationSetup, FaultKind, ModelSource, Outcome, Progress,
};
use crate::snapshot::{Kept, Order, SnapshotError, Source};

/// Progress within one stage is passed on at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// An accepted request.
pub(super) struct Job {
    pub(super) setup: Arc<EvaluationSetup>,
    pub(super) asked: Asked,
    pub(super) place: Place,
    pub(super) turn: OwnedSemaphorePermit,
    pub(super) lines: mpsc::Sender<Value>,
    /// Room for the last line, so that a client who does not read cannot hold the turn.
    pub(super) last: mpsc::OwnedPermit<Value>,
    pub(super) cancel: CancellationToken,
}

/// Does what was asked, records it, and sends exactly one `result` or `error`.
pub(super) async fn work(job: Job) {
    let began = Instant::now();
    let consumed_seconds = (job.setup.clock)().consumed_seconds.max(0.0) as u64;
    let mut model = None;
    let result = run(&job, consumed_seconds, &mut model).await;
    let record = EvaluationRecord {
        time: now_rfc3339(),
        consumed_seconds,
        seconds: began.elapsed().as_secs_f64(),
        request: (&job.asked).into(),
        snapshot_sha256: match &model {
            Some(ModelSource::Snapshot { sha256, .. }) => Some(sha256.clone()),
            _ => None,
        },
        known: match &model {
            Some(ModelSource::Known { name, .. }) => Some(name.clone()),
            _ => None,
        },
        end: match &result {
            Ok(outcome) => EvaluationEnd::Scored(ScoreRecord::from(&outcome.metrics)),
            Err(fault) => EvaluationEnd::Failed(fault.clone()),
        },
    };
    let log = job.setup.log.clone();
    let written = blocking(move || record::append(&log, &record)).await;
    match written {
        Ok(Ok(())) => {}
        Ok(Err(e)) => tracing::error!("an evaluation could not be recorded: {e}"),
        Err(fault) => tracing::error!("an evaluation could not be recorded: {}", fault.message),
    }
    tokio::time::sleep(job.setup.pace.saturating_sub(began.elapsed())).await;
    drop(job.turn);
    tell(job.lines, job.last, &job.setup, &job.place, model, result).await;
}

/// Sends what the agent may know.
async fn tell(
    lines: mpsc::Sender<Value>,
    last: mpsc::OwnedPermit<Value>,
    setup: &EvaluationSetup,
    place: &Place,
    model: Option<ModelSource>,
    result: Result<Outcome, EvaluationFault>,
) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(fault) => {
            let fault = told_fault(fault, place, model.as_ref());
            last.send(json!({
                "event": "error", "kind": fault.kind, "message": fault.message, "hint": fault.hint,
            }));
            return;
        }
    };
    for sample in outcome.samples.iter().filter_map(|s| told_sample(s, setup.feedback)) {
        if lines.send(json!({"event": "sample", "sample": sample})).await.is_err() {
            return;
        }
    }
    last.send(json!({
        "event": "result", "metrics": told_metrics(&outcome.metrics, setup.feedback),
    }));
}

/// A fault as the agent may read it: no paths of the host, nothing of what is the harness's matter.
fn told_fault(
    fault: EvaluationFault,
    place: &Place,
    model: Option<&ModelSource>,
) -> EvaluationFault {
    if fault.kind == FaultKind::Harness {
        return EvaluationFault::new(
            FaultKind::Harness,
            "the evaluation failed, by no fault of the model",
            "try again; if it fails again, go on without it: the final evaluation is not affected",
        );
    }
    let (Place::Workspace(Source { shown, .. }), Some(ModelSource::Snapshot { path, .. })) =
        (place, model)
    else {
        return fault;
    };
    let ours = path.display().to_string();
    EvaluationFault {
        kind: fault.kind,
        message: fault.message.replace(&ours, shown),
        hint: fault.hint.replace(&ours, shown),
    }
}

async fn run(
    job: &Job,
    consumed_seconds: u64,
    model: &mut Option<ModelSource>,
) -> Result<Outcome, EvaluationFault> {
    let source = match &job.place {
        Place::Known(known) => {
            ModelSource::Known { name: known.name.clone(), path: known.host.clone() }
        }
        Place::Workspace(source) => snapshot(job, source, consumed_seconds).await?,
    };
    *model = Some(source.clone());
    let asked = &job.asked;
    let request = EvaluationRequest {
        model: source.clone(),
        limit: asked.limit,
        max_tokens: asked.max_tokens,
        max_connections: asked.max_connections,
        gpu_memory_utilization: asked.gpu_memory_utilization,
    };
    let outcome = evaluate(job, request).await?;
    if let ModelSource::Snapshot { sha256, .. } = source {
        let snapshots = Arc::clone(&job.setup.snapshots);
        let (score, n) = (outcome.metrics.accuracy, outcome.metrics.n);
        if let Err(e) = blocking(move || snapshots.scored(&sha256, score, n)).await? {
            tracing::error!("the score of a snapshot could not be kept: {e}");
        }
    }
    Ok(outcome)
}

async fn snapshot(
    job: &Job,
    source: &Source,
    consumed_seconds: u64,
) -> Result<ModelSource, EvaluationFault> {
    let (setup, source, cancel) = (Arc::clone(&job.setup), source.clone(), job.cancel.clone());
    let kept: Result<Kept, SnapshotError> = blocking(move || {
        let order = Order { limits: setup.limits, check: &*setup.check, cancel: &cancel };
        setup.snapshots.take(&source, order, consumed_seconds)
    })
    .await?;
    let Kept { path, record } = kept.map_err(snapshot_fault)?;
    let taken = record.taken;
    let _ = job.lines.try_send(json!({
        "event": "snapshot", "sha256": taken.sha256, "bytes": taken.bytes,
        "files": taken.files.len(), "left_out": taken.left_out, "left_out_count": taken.left_out_count,
    }));
    Ok(ModelSource::Snapshot { path, sha256: taken.sha256 })
}

fn snapshot_fault(e: SnapshotError) -> EvaluationFault {
    let kind = match e.kind() {
        FailureKind::Agent => FaultKind::Model,
        FailureKind::Scheduler => FaultKind::Cancelled,
        FailureKind::Harness | FailureKind::Provider => FaultKind::Harness,
    };
    let text = e.to_string();
    let (message, hint) = text.rsplit_once("hint: ").unwrap_or((&text, ""));
    EvaluationFault::new(kind, message.trim_end_matches([';', ' ', '\n']), hint)
}

/// Runs the evaluator in a task of its own: if it panics, the client is told and the door stays open.
async fn evaluate(job: &Job, request: EvaluationRequest) -> Result<Outcome, EvaluationFault> {
    let (sender, mut progress) = mpsc::channel::<Progress>(64);
    let (evaluator, cancel) = (Arc::clone(&job.setup.evaluator), job.cancel.clone());
    let mut task = tokio::spawn(async move { evaluator.evaluate(request, sender, cancel).await });
    let mut passed = Passed::default();
    let too_late = async {
        job.cancel.cancelled().await;
        tokio::time::sleep(job.setup.cancel_grace).await;
    };
    tokio::pin!(too_late);
    loop {
        tokio::select! {
            ended = &mut task => {
                while let Ok(now) = progress.try_recv() {
                    passed.on(&job.lines, now);
                }
                return ended.unwrap_or_else(|e| Err(harness(format!("the evaluator ended badly: {e}"))));
            }
            Some(now) = progress.recv() => passed.on(&job.lines, now),
            () = &mut too_late => {
                task.abort();
                // The turn is held until it is really gone.
                let _ = (&mut task).await;
                let message = "the evaluator did not end when it was cancelled";
                return Err(harness(message.to_owned()));
            }
        }
    }
}

/// What was passed on last.
#[derive(Default)]
struct Passed(Option<(Instant, String)>);

impl Passed {
    /// Passes progress on, unless the client has just been told or does not keep up.
    fn on(&mut self, lines: &mpsc::Sender<Value>, now: Progress) {
        let whole = now.total > 0 && now.done >= now.total;
        let fresh = self
            .0
            .as_ref()
            .is_some_and(|(at, stage)| *stage == now.stage && at.elapsed() < PROGRESS_PAUSE);
        if fresh && !whole {
            return;
        }
        let line = json!({
            "event": "progress", "stage": now.stage, "done": now.done, "total": now.total,
        });
        // Half of the room stays for what must arrive.
        if lines.capacity() > lines.max_capacity() / 2 {
            let _ = lines.try_send(line);
        }
        self.0 = Some((Instant::now(), now.stage));
    }
}

fn harness(message: String) -> EvaluationFault {
    EvaluationFault::new(FaultKind::Harness, message, "see the harness's log")
}

/// Runs work that blocks on files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EvaluationFault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| harness(format!("work on files ended badly: {e}")))
}
