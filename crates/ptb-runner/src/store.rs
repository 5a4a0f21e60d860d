//! The run directory in the hands of its holder: every write asks the lease first.

use std::sync::Arc;
use std::time::Duration;

use ptb_core::cell::RunSpec;
use ptb_core::files::{FileError, JsonLog, Schema, read_json, write_json};
use ptb_core::run::{
    Event, HEARTBEAT, Lease, LeaseError, RunDir, RunRecord, Stage, StageFailure, StageState,
    now_rfc3339,
};
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::failure::harness;

/// How long a holder on another machine is watched before the run is left alone.
const PATIENCE: Duration = Duration::from_secs(75);

/// How names of temporary files begin (see [`ptb_core::files::write_whole`]).
const TEMPORARY: &str = ".tmp-";

pub(crate) struct Store {
    pub(crate) dir: RunDir,
    pub(crate) record: RunRecord,
    lease: Arc<Mutex<Lease>>,
    events: JsonLog,
    _heartbeat: DropGuard,
}

/// Why a run directory could not be opened for writing.
pub(crate) enum OpenError {
    Held(String),
    Failed(StageFailure),
}

impl From<FileError> for OpenError {
    fn from(e: FileError) -> Self {
        let FileError::Invalid { path, .. } = &e else { return Self::Failed(harness(e)) };
        let hint = match path.parent() {
            Some(run) => format!("move {} away to start that run afresh", run.display()),
            None => "move the run away to start it afresh".to_owned(),
        };
        Self::Failed(StageFailure { retryable: false, ..harness(format!("{e}; hint: {hint}")) })
    }
}

impl Store {
    /// Takes the run's lease and reads its record, or makes one. `lost` is cancelled when another worker
    /// takes the run over.
    pub(crate) async fn open(
        dir: RunDir,
        spec: RunSpec,
        lost: CancellationToken,
    ) -> Result<Self, OpenError> {
        let path = dir.path().to_owned();
        std::fs::create_dir_all(&path).map_err(FileError::io("create", &path))?;
        let lease = tokio::task::spawn_blocking(move || Lease::acquire(&path, PATIENCE))
            .await
            .map_err(|e| OpenError::Failed(harness(e)))?
            .map_err(|e| match e {
                LeaseError::Held { .. } => OpenError::Held(e.to_string()),
                LeaseError::File(e) => e.into(),
                other => OpenError::Failed(harness(other)),
            })?;
        sweep(&dir)?;
        let record = match read_json::<RunRecord>(&dir.record()) {
            Ok(mut record) => {
                // What keys no cell may have been corrected since: where data lie, where a grader is asked, its limit.
                record.spec.data = spec.data;
                record.spec.grader = spec.grader;
                record
            }
            Err(e) if e.is_missing() => RunRecord::new(spec),
            Err(e) => return Err(e.into()),
        };
        let events = JsonLog::open(&dir.events())?;
        let lease = Arc::new(Mutex::new(lease));
        let stop = CancellationToken::new();
        tokio::spawn(heartbeat(Arc::clone(&lease), stop.clone(), lost));
        Ok(Self { dir, record, lease, events, _heartbeat: stop.drop_guard() })
    }

    /// Fails when the run is no longer ours.
    pub(crate) async fn check(&self) -> Result<(), StageFailure> {
        self.lease.lock().await.check().map_err(harness)
    }

    /// Changes the record and writes it.
    pub(crate) async fn update(
        &mut self,
        change: impl FnOnce(&mut RunRecord),
    ) -> Result<(), StageFailure> {
        self.check().await?;
        change(&mut self.record);
        write_json(&self.dir.record(), &self.record).map_err(harness)
    }

    /// Sets a stage's state and notes it among the events.
    pub(crate) async fn set(
        &mut self,
        stage: Stage,
        state: StageState,
    ) -> Result<(), StageFailure> {
        let detail = match &state {
            StageState::Failed(failure) => format!("failed: {}", failure.message),
            other => format!("{other:?}").to_lowercase(),
        };
        self.update(|record| drop(record.stages.insert(stage, state))).await?;
        self.event("stage", Some(stage), detail)
    }

    /// Writes a file of the run directory whole.
    pub(crate) async fn write<T: Schema>(
        &self,
        path: &std::path::Path,
        value: &T,
    ) -> Result<(), StageFailure> {
        self.check().await?;
        write_json(path, value).map_err(harness)
    }

    /// Appends to `events.jsonl`.
    pub(crate) fn event(
        &mut self,
        event: &str,
        stage: Option<Stage>,
        detail: impl Into<String>,
    ) -> Result<(), StageFailure> {
        let event =
            Event { time: now_rfc3339(), event: event.to_owned(), stage, detail: detail.into() };
        self.events.append(&event).and_then(|()| self.events.sync()).map_err(harness)
    }
}

/// Removes what a writer left behind that died between a temporary file and its name. Only folders in which
/// nobody but the holder writes: in the run directory itself others may be about to ask for the lease.
fn sweep(dir: &RunDir) -> Result<(), FileError> {
    let evaluations = std::fs::read_dir(dir.path().join("eval")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = evaluations.map(|e| e.path()).collect();
    let seeds = folders.iter().flat_map(std::fs::read_dir).flatten().flatten();
    let seeds: Vec<_> = seeds.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    folders.extend(seeds);
    folders.extend([dir.path().join("scores"), dir.verdicts(), dir.evidence()]);
    for entry in folders.iter().flat_map(std::fs::read_dir).flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            std::fs::remove_file(&path).map_err(FileError::io("remove", &path))?;
        }
    }
    Ok(())
}

async fn heartbeat(lease: Arc<Mutex<Lease>>, stop: CancellationToken, lost: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(HEARTBEAT) => {}
        }
        match lease.lock().await.renew() {
            Err(LeaseError::Lost { .. }) => return lost.cancel(),
            // A full disk is noticed by the stage itself; the next beat may succeed.
            Err(e) => tracing::warn!("cannot renew the lease: {e}"),
            Ok(()) => {}
        }
    }
}
