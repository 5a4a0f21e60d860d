//! The batch's own thread and the bounded queue before it.

use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::batcher::{Batcher, Limits};
use super::row::{Job, Refusal};

/// Why a request was not queued.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmitError {
    /// It never can be served.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The queue is full: later, it may.
    #[error("the queue of {0} requests is full")]
    Busy(usize),
    /// The batch's thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// Handle to the running batch. Dropping all handles ends the thread after the rows it has.
#[derive(Clone)]
pub(crate) struct Scheduler {
    jobs: Sender<Job>,
    limits: Limits,
    queue: usize,
}

impl Scheduler {
    /// Starts the thread. Parallel work runs on `pool`.
    pub(crate) fn start(
        batcher: Batcher,
        pool: rayon::ThreadPool,
        queue: usize,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = channel(queue.max(1));
        let limits = batcher.limits();
        std::thread::Builder::new()
            .name("ptb-batch".to_owned())
            .spawn(move || pool.install(|| run(batcher, receiver)))?;
        Ok(Self { jobs, limits, queue })
    }

    pub(crate) fn context(&self) -> usize {
        self.limits.context
    }

    /// Resolves when the batch's thread has ended, which it only does by a fault of this program.
    pub(crate) async fn ended(&self) {
        self.jobs.closed().await;
    }

    pub(crate) fn submit(&self, job: Job) -> Result<(), SubmitError> {
        self.limits.check(&job.request)?;
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(SubmitError::Busy(self.queue)),
            Err(TrySendError::Closed(_)) => Err(SubmitError::Stopped),
        }
    }
}

fn run(mut batcher: Batcher, mut jobs: Receiver<Job>) {
    // The first of the queue, when the batch has no room for it yet.
    let mut waiting = None;
    loop {
        let job = match waiting.take() {
            Some(job) => Ok(job),
            None if batcher.is_idle() => jobs.blocking_recv().ok_or(TryRecvError::Disconnected),
            None => jobs.try_recv(),
        };
        match job {
            Ok(job) => match batcher.admit(job) {
                Ok(()) => continue,
                Err(job) => waiting = Some(job),
            },
            Err(TryRecvError::Disconnected) if batcher.is_idle() => return,
            Err(_) => {}
        }
        batcher.step();
    }
}
