//! What a pool is asked and what it answers.

use ptb_sandbox::{Namespaces, Wall};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A program, the function of it that counts, and the tests of that function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Definitions that the tests use beside the function, as data of the benchmark (`HumanEval`: the
    /// prompt, whose helper functions some tests call). They are executed with the tests, never with
    /// the program; the function itself is replaced in them.
    pub prelude: String,
    /// The program of the model: Python, executed as `__main__`.
    pub source: String,
    /// Name of the function under test.
    pub entry_point: String,
    /// Python that defines `check(candidate)`, which raises when the function is wrong.
    pub tests: String,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether `check` returned.
    pub passed: bool,
    /// Why, in a few words of ours: `all tests passed`, `an assertion failed`, `the call raised
    /// ValueError`.
    pub reason: String,
}

impl Verdict {
    pub(crate) fn passed() -> Self {
        Self { passed: true, reason: "all tests passed".to_owned() }
    }

    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self { passed: false, reason: reason.into() }
    }
}

/// How a pool is made.
#[derive(Clone)]
pub struct PoolOptions {
    /// Programs at one time. A worker costs about 100 MB while it works.
    pub workers: usize,
    /// CPU time that a program, and apart from it its tests, may take; counted in whole seconds,
    /// rounded up. Processor time, because time on the clock depends on what else the machine does.
    pub cpu: Duration,
    /// Time on the clock that a job may take: what ends a program that only waits.
    pub wall_clock: Duration,
    /// Address space of a program, and of its tests, in bytes.
    pub memory: u64,
    /// The wall. The program that makes the pool must call [`ptb_sandbox::enter_if_helper`] first in
    /// its `main` when this is [`Namespaces::new`].
    pub wall: Arc<dyn Wall>,
    /// The Python to run; by default the variable [`crate::PYTHON_VARIABLE`], else `python3` on `PATH`.
    pub python: Option<PathBuf>,
}

impl Default for PoolOptions {
    /// One worker for each processor, at most 8; 3 s of CPU time, 10 s on the clock, 512 MiB.
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
            cpu: Duration::from_secs(3),
            wall_clock: Duration::from_secs(10),
            memory: 512 << 20,
            wall: Arc::new(Namespaces::new()),
            python: None,
        }
    }
}

impl std::fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolOptions")
            .field("workers", &self.workers)
            .field("cpu", &self.cpu)
            .field("wall_clock", &self.wall_clock)
            .field("memory", &self.memory)
            .field("wall", &self.wall.name())
            .field("python", &self.python)
            .finish()
    }
}
