//! Workers in threads, and the queue before them.

use crate::job::{Job, PoolOptions, Verdict};
use crate::python::{self, Python};
use crate::worker::Worker;
use crate::zygote::Setup;
use crate::{CodeError, Result, filter};
use ptb_sandbox::NoWall;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

/// Workers that wait for jobs. Dropping it ends them and every process of theirs.
#[derive(Debug)]
pub struct Pool {
    /// Gone while the pool is being dropped.
    queue: Option<mpsc::Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
    python: Python,
    reads_library_alone: bool,
}

/// A job and where its verdict goes.
type Order = (Job, mpsc::SyncSender<Result<Verdict>>);

impl Pool {
    /// Finds a Python and starts the workers, all at once. Comes back when the first of them is ready,
    /// after some tenths of a second; the others join it.
    ///
    /// # Errors
    /// When there is no Python, no wall, or the first worker to tell does not come up.
    pub fn start(options: &PoolOptions) -> Result<Self> {
        if options.wall.name() == NoWall::NAME {
            return Err(CodeError::OpenWall { name: NoWall::NAME.to_owned() });
        }
        let python = python::find(options.python.as_deref())?;
        let setup = Arc::new(Setup {
            wall: Arc::clone(&options.wall),
            python: python.clone(),
            memory: options.memory,
            cpu_seconds: options.cpu.as_secs() + u64::from(options.cpu.subsec_nanos() > 0),
            filter: filter::hexadecimal()?,
        });
        let (queue, orders) = mpsc::channel();
        let orders = Arc::new(Mutex::new(orders));
        let (ready, readiness) = mpsc::channel();
        let workers = options.workers.max(1);
        let mut pool =
            Self { queue: Some(queue), threads: Vec::new(), python, reads_library_alone: false };
        for _ in 0..workers {
            let (setup, orders, ready) = (Arc::clone(&setup), Arc::clone(&orders), ready.clone());
            let wall_clock = options.wall_clock;
            let life = move || match Worker::start(setup, wall_clock) {
                Ok(worker) => {
                    // Only the first is listened to.
                    let _ = ready.send(Ok(worker.is_alone()));
                    work(worker, &orders);
                }
                Err(error) => drop(ready.send(Err(error))),
            };
            let thread = std::thread::Builder::new().name("ptb-code".to_owned()).spawn(life);
            pool.threads.push(thread.map_err(|error| {
                CodeError::start(error, "free processes or memory on this machine")
            })?);
        }
        drop(ready);
        pool.reads_library_alone = readiness.recv().map_err(|_| CodeError::Closed)??;
        Ok(pool)
    }

    /// Runs one job and waits for its verdict. May be called from many threads; as many jobs as there
    /// are workers run at one time, the others wait.
    ///
    /// # Errors
    /// When something of ours failed, or the tests are no tests; never because of the program.
    pub fn run(&self, job: &Job) -> Result<Verdict> {
        let (answer, verdict) = mpsc::sync_channel(1);
        let queue = self.queue.as_ref().ok_or(CodeError::Closed)?;
        queue.send((job.clone(), answer)).map_err(|_| CodeError::Closed)?;
        verdict.recv().map_err(|_| CodeError::Closed)?
    }

    /// The Python that runs the programs, for the metrics' provenance.
    #[must_use]
    pub fn python(&self) -> &Python {
        &self.python
    }

    /// Whether programs can read no file but those of the language's own library (Landlock). Where the
    /// kernel has none they see what the wall shows: the system's programs and libraries.
    #[must_use]
    pub fn reads_library_alone(&self) -> bool {
        self.reads_library_alone
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.queue.take());
        for thread in self.threads.drain(..) {
            // A thread that panicked has dropped its worker, and with it the processes.
            let _ = thread.join();
        }
    }
}

/// Takes jobs until the pool is dropped.
fn work(mut worker: Worker, orders: &Mutex<mpsc::Receiver<Order>>) {
    loop {
        let order = orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((job, answer)) = order else { return };
        // Whoever asked may be gone; then nobody wants the verdict.
        let _ = answer.send(worker.run(&job));
    }
}
