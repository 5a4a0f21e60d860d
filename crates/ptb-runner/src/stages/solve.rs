//! Solve: one more attempt of the agent behind the wall.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ptb_agents::Places;
use ptb_core::failure::FailureKind;
use ptb_core::files::read_json;
use ptb_core::registry::Submit;
use ptb_core::run::{AttemptEnd, End, StageFailure, Submission};
use ptb_gateway::snapshot::{
    CheckFault, Order, SnapshotError, SnapshotLimits, Snapshots, Source, take,
};
use ptb_gateway::{
    ClockDoor, ClockReading, Door, EvaluationDoor, EvaluationSetup, KnownModel, ReadClock,
    Workspace,
};
use ptb_model::check_model_dir;
use ptb_sandbox::{Clock, budget_from_hours};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::ends::{Finish, provider_failed};
use super::room::Room;
use super::telemetry::Observatory;
use super::workspace::fill;
use super::{Run, SolveRecord, blocking, remove_dir, standstill};
use crate::context::Notice;
use crate::evaluator::{Behind, DoorEvaluator};
use crate::failure::harness;
use crate::{trajectory, tree};

/// A submission may have so many times the base model's bytes (bf16 saved as f32, and some).
const SIZE_FACTOR: u64 = 3;
/// Name of the file that tells an attempt's end.
pub(super) const END: &str = "end.json";
/// Name of the file by which earlier versions told that an attempt ended by its provider's fault.
const PAUSED: &str = "paused";
/// Name and size of a file that sets room aside for the records of an attempt's end.
pub(super) const RESERVE: &str = ".reserve";
const RESERVE_BYTES: usize = 1 << 20;

/// One attempt's folder and what it needs.
pub(super) struct Attempt {
    pub(super) dir: PathBuf,
    pub(super) task: PathBuf,
    pub(super) base: PathBuf,
    pub(super) clock: Arc<Clock>,
    /// Whether it goes on in the workspace of the attempt before, with its sessions.
    pub(super) continued: bool,
    snapshots: Arc<Snapshots>,
    limits: SnapshotLimits,
}

impl Run<'_> {
    pub(super) async fn solve(&mut self) -> Result<(), StageFailure> {
        if let Some(submit) = self.spec().agent.submits() {
            let known = if submit == Submit::Base { "base" } else { "instruct" };
            let submission = Submission::Known(known.to_owned());
            return self
                .solved(SolveRecord { end: End::Baseline, seconds: 0.0, code: None, submission })
                .await;
        }
        let (attempt, ended) = match self.ended_attempt()? {
            Some(ended) => ended,
            None => self.worked().await?,
        };
        let submission = self.submission(&attempt).await?;
        let AttemptEnd { end, code, seconds } = ended;
        self.solved(SolveRecord { end, seconds, code, submission }).await
    }

    /// One more attempt, to its end.
    async fn worked(&mut self) -> Result<(Attempt, AttemptEnd), StageFailure> {
        let attempt = self.attempt().await?;
        let room = Room::on(&attempt.dir);
        // The driver of a GPU may take seconds to wake up, which are not the agent's.
        let standstill = standstill::limit(self.spec().agent.options.get("standstill"));
        let gpus = self.spec().budget.gpus;
        let seen = Observatory::open(&attempt.dir, gpus, standstill).await?;
        attempt.clock.start().map_err(harness)?;
        let ended = self.behind_the_wall(&attempt, &seen).await;
        // What was set aside for these records is given back: the agent may have filled the disk.
        let _ = fs::remove_file(attempt.dir.join(RESERVE));
        if let Err(e) = attempt.clock.stop() {
            self.tell(Notice::Line(format!("the clock's journal is not complete: {e}")));
        }
        self.tell_telemetry(&attempt.dir, &seen).await;
        let ended = self.ended(&attempt, ended, room).await;
        // Last, because it takes room that the other records need more.
        self.tell_trajectory(self.store.record.attempts).await?;
        Ok((attempt, ended?))
    }

    /// Records how an attempt ended.
    async fn ended(
        &mut self,
        attempt: &Attempt,
        ended: Result<Finish, StageFailure>,
        room: Room,
    ) -> Result<AttemptEnd, StageFailure> {
        let seconds = attempt.clock.consumed().as_secs_f64();
        self.store.update(|record| record.solve_seconds = seconds).await?;
        let Finish { end, code } = ended?;
        if let End::Provider { message, .. } = &end {
            let failure = provider_failed(message);
            self.record_end(attempt, &AttemptEnd { end, code, seconds }).await?;
            return Err(failure);
        }
        let (dir, task) = (attempt.dir.clone(), attempt.task.clone());
        let robbed = blocking(move || {
            tree::make_readable(&task);
            room.taken_by_others(&dir)
        });
        if let Some(why) = robbed.await? {
            return Err(harness(why));
        }
        let ended = AttemptEnd { end, code, seconds };
        self.record_end(attempt, &ended).await?;
        Ok(ended)
    }

    pub(super) async fn record_end(
        &mut self,
        attempt: &Attempt,
        ended: &AttemptEnd,
    ) -> Result<(), StageFailure> {
        self.store.write(&attempt.dir.join(END), ended).await?;
        self.store.event("attempt", None, format!("ended: {}", ended.end))
    }

    /// Writes what the agent did into the attempt's folder. Where that cannot be, it is told: the raw record is there.
    pub(super) async fn tell_trajectory(&self, attempt: u32) -> Result<(), StageFailure> {
        let (dir, record) = (self.dir().clone(), self.store.record.clone());
        let written = blocking(move || trajectory::write(&dir, &record, attempt)).await?;
        if let Err(e) = written {
            self.tell(Notice::Line(format!("the trajectory cannot be written: {e}")));
        }
        Ok(())
    }

    /// The last attempt, if the agent ended by itself or its time and only the submission was not taken: its
    /// work is not lost to a disk of ours.
    fn ended_attempt(&self) -> Result<Option<(Attempt, AttemptEnd)>, StageFailure> {
        let last = self.store.record.attempts;
        let dir = self.dir().attempt(last);
        if last == 0 || !dir.join("task").is_dir() {
            return Ok(None);
        }
        match read_json::<AttemptEnd>(&dir.join(END)) {
            Ok(ended) if !ended.end.submits() => Ok(None),
            Ok(ended) => Ok(Some((self.opened(dir)?, ended))),
            Err(e) if e.is_missing() => Ok(None),
            Err(e) => Err(harness(e)),
        }
    }

    async fn solved(&mut self, solve: SolveRecord) -> Result<(), StageFailure> {
        self.store.write(&self.solve_path(), &solve).await?;
        self.store
            .update(|record| {
                record.solve_seconds = solve.seconds;
                record.solve_end = Some(solve.end.clone());
            })
            .await
    }

    /// Makes the next attempt's folder: a pristine workspace and the full budget, or, asked for, the last
    /// attempt's workspace and what was left of its budget.
    async fn attempt(&mut self) -> Result<Attempt, StageFailure> {
        let last = self.store.record.attempts;
        self.close_interrupted(last).await?;
        self.store.update(|record| record.attempts += 1).await?;
        self.store.event("attempt", None, format!("{} begins", last + 1))?;
        let spec = self.spec().clone();
        let dir = self.dir().attempt(last + 1);
        let task = dir.join("task");
        fs::create_dir_all(&dir).map_err(harness)?;
        fs::write(dir.join(RESERVE), vec![0; RESERVE_BYTES]).map_err(harness)?;
        let before = self.dir().attempt(last);
        let goes_on = self.context.continue_solve || is_paused(&before);
        let mut continued = false;
        if goes_on && last > 0 && before.join("task").is_dir() {
            tree::make_readable(&before.join("task"));
            continued = before.join("home").is_dir();
            for name in ["task", "clock.jsonl", "snapshots", "home"] {
                let from = before.join(name);
                if from.exists() {
                    fs::rename(&from, dir.join(name)).map_err(harness)?;
                }
            }
        } else {
            let task = task.clone();
            blocking(move || fill(&task, &spec)).await??;
        }
        Ok(Attempt { continued, ..self.opened(dir)? })
    }

    /// An attempt's folder with its clock and snapshots.
    fn opened(&self, dir: PathBuf) -> Result<Attempt, StageFailure> {
        let base = self.base()?;
        let budget = budget_from_hours(self.spec().budget.hours).map_err(harness)?;
        let bytes = weights_bytes(&base).saturating_mul(SIZE_FACTOR).max(1 << 30);
        Ok(Attempt {
            clock: Arc::new(Clock::open(&dir.join("clock.jsonl"), budget).map_err(harness)?),
            snapshots: Arc::new(Snapshots::open(dir.join("snapshots")).map_err(harness)?),
            limits: SnapshotLimits::of_bytes(bytes),
            task: dir.join("task"),
            continued: false,
            dir,
            base,
        })
    }

    pub(super) fn evaluator(&self, attempt: &Attempt) -> DoorEvaluator {
        let (progress, slug) = (Arc::clone(&self.context.progress), self.store.record.slug.clone());
        DoorEvaluator::new(Behind {
            spec: self.spec().clone(),
            base: attempt.base.clone(),
            ptb: self.context.programs.ptb.clone(),
            out: attempt.dir.join("eval"),
            watcher: Box::new(move |notice| progress(&slug, notice)),
        })
    }

    pub(super) fn doors(
        &self,
        attempt: &Attempt,
        places: &Places,
        evaluator: &DoorEvaluator,
    ) -> (Arc<EvaluationDoor>, Vec<Arc<dyn Door>>) {
        let (clock, hours) = (Arc::clone(&attempt.clock), self.spec().budget.hours);
        let read: ReadClock = Arc::new(move || ClockReading {
            hours,
            consumed_seconds: clock.consumed().as_secs_f64(),
        });
        let evaluation = Arc::new(EvaluationDoor::new(EvaluationSetup {
            workspace: Workspace {
                host: attempt.task.clone(),
                inside: PathBuf::from(&places.task),
            },
            known: vec![KnownModel {
                name: "base".to_owned(),
                inside: PathBuf::from(&places.base_model),
                host: attempt.base.clone(),
            }],
            snapshots: Arc::clone(&attempt.snapshots),
            limits: attempt.limits,
            check: Arc::new(whole),
            feedback: self.spec().feedback,
            log: attempt.dir.join("evaluations.jsonl"),
            clock: Arc::clone(&read),
            evaluator: Arc::new(evaluator.clone()),
            keep_alive: EvaluationSetup::KEEP_ALIVE,
            cancel_grace: EvaluationSetup::CANCEL_GRACE,
            pace: EvaluationSetup::PACE,
        }));
        let release = Arc::new(evaluation.release_door());
        let doors: Vec<Arc<dyn Door>> =
            vec![Arc::new(ClockDoor::new(read)), Arc::clone(&evaluation) as Arc<dyn Door>, release];
        (evaluation, doors)
    }

    /// Takes `final_model` out of the workspace; where it is not whole, the last whole snapshot.
    async fn submission(&self, attempt: &Attempt) -> Result<Submission, StageFailure> {
        let target = self.dir().final_model();
        remove_dir(&target)?;
        let source = Source {
            workspace: attempt.task.clone(),
            relative: PathBuf::from("final_model"),
            shown: "final_model".to_owned(),
        };
        let (limits, into) = (attempt.limits, target.clone());
        let taken = blocking(move || {
            let cancel = CancellationToken::new();
            take(&source, &into, Order { limits, check: &whole, cancel: &cancel })
        })
        .await?;
        let fault = match taken {
            Ok(_) => return Ok(Submission::Final),
            Err(e) if e.kind() != FailureKind::Agent => return Err(harness(e)),
            Err(e) => e,
        };
        let last = attempt.snapshots.last_whole();
        match last {
            // A folder that is missing may be one that the deadline caught between removing and renaming;
            // it is made up for only by a snapshot of that very folder.
            Some(kept)
                if !matches!(fault, SnapshotError::Missing { .. })
                    || is_final(&kept.record.model_path, &attempt.task) =>
            {
                copy_dir(&kept.path, &target).map_err(harness)?;
                let seconds = kept.record.consumed_seconds;
                Ok(Submission::Snapshot { seconds, fault: without_hint(&fault) })
            }
            _ if matches!(fault, SnapshotError::Missing { .. }) => Ok(Submission::None),
            _ => {
                self.tell(Notice::Line(format!("final_model cannot be used: {fault}")));
                Ok(Submission::Refused { fault: without_hint(&fault) })
            }
        }
    }
}

/// Whether a snapshot's path, as the agent named it, is `final_model` itself.
fn is_final(path: &str, task: &Path) -> bool {
    let (path, inside) = (Path::new(path), Places::default().task);
    path.file_name().is_some_and(|n| n == "final_model")
        && path.parent().is_some_and(|p| p == Path::new(&inside) || p == task)
}

/// The fault without its hint, which is the agent's.
fn without_hint(e: &SnapshotError) -> String {
    let text = e.to_string();
    let fault = text.split("hint: ").next().unwrap_or(&text);
    fault.trim_end_matches(['\n', ' ', ';']).to_owned()
}

/// Whether a snapshot is a whole, well-formed model.
fn whole(path: &Path) -> Result<(), CheckFault> {
    check_model_dir(path).map(drop).map_err(|e| match e.is_io() {
        true => CheckFault::Machine(e.to_string()),
        false => CheckFault::Model(e.to_string()),
    })
}

/// Whether an attempt ended by its provider's fault: the next one goes on where it was.
pub(super) fn is_paused(attempt: &Path) -> bool {
    let ended = read_json::<AttemptEnd>(&attempt.join(END));
    ended.is_ok_and(|ended| matches!(ended.end, End::Provider { .. }))
        || attempt.join(PAUSED).is_file()
}

/// A folder for the door's socket. Sockets have short paths, run directories long ones.
pub(super) fn door_folder() -> Result<TempDir, StageFailure> {
    let folder = tempfile::Builder::new().prefix("ptb-door-").tempdir().map_err(harness)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).map_err(harness)?;
    Ok(folder)
}

/// Bytes of the files in a model's folder, links followed.
pub(crate) fn weights_bytes(model: &Path) -> u64 {
    let entries = fs::read_dir(model).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|e| fs::metadata(e.path()).ok()).map(|m| m.len()).sum()
}

/// Copies a snapshot, which is a folder of plain files of ours.
fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What of the budget is left when the agent is told to end (TERM), before it is ended (KILL): part of the budget,
/// so that an agent that works on to the last gets no more than one that obeys.
pub(super) fn grace(hours: f64) -> Duration {
    Duration::from_secs_f64((hours * 3600.0 * 0.05).clamp(0.0, 30.0))
}
