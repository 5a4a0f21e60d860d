//! What a command behind a wall uses of the machine, sample by sample.
//!
//! A [`Sampler`] belongs to one launched command; [`Gpus`] may be shared by several. A sample blocks for some
//! milliseconds: take it on a thread that may. Everything is read from outside, through the host's `/proc` and the
//! driver's library; nothing of it can be written by the inside but the names of processes, which are made harmless
//! here.

mod gpu;
mod machine;
mod memory_kills;
mod processes;
mod procfs;

pub use gpu::{Gpu, GpuName, GpuProcess, Gpus, Whose};
pub use machine::{Machine, Pressure};
pub use memory_kills::MemoryKills;
pub use processes::{Busy, Processes};

use machine::Meter;
use processes::Tree;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One look at a command and its machine. What is counted is counted since the sample before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the sample before, or since the sampler was made.
    pub interval: f64,
    /// The command and all that it started.
    pub processes: Processes,
    /// The machine, with everybody's work on it.
    pub machine: Machine,
    /// The GPUs that were asked for; absent where they are not looked at.
    pub gpus: Option<Vec<Gpu>>,
}

/// Takes samples of one launched command.
#[derive(Debug)]
pub struct Sampler {
    tree: Tree,
    machine: Meter,
    disk: PathBuf,
    last: Instant,
}

impl Sampler {
    /// A sampler of the command whose helper is `helper` ([`crate::Running::helper_pid`]); free bytes are those of the
    /// disk that `disk` is on. To be made when the command starts: what it used before counts to the first sample.
    #[must_use]
    pub fn new(helper: u32, disk: &Path) -> Self {
        Self {
            tree: Tree::new(helper),
            machine: Meter::default(),
            disk: disk.to_owned(),
            last: Instant::now(),
        }
    }

    /// Looks once.
    pub fn sample(&mut self, gpus: Option<&Gpus>) -> Sample {
        let now = Instant::now();
        let interval = now.duration_since(std::mem::replace(&mut self.last, now));
        // A sample right after another divides by hardly anything.
        let interval = interval.max(Duration::from_millis(1)).as_secs_f64();
        let (machine, swaps) = self.machine.look(&self.disk);
        let (processes, owners) = self.tree.look(interval, swaps);
        let gpus = gpus.map(|gpus| gpus.look(&owners));
        Sample { interval, processes, machine, gpus }
    }
}
