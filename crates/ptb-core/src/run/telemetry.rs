//! `attempts/<n>/telemetry.json`: what an attempt used of its machine, in one look.

use serde::{Deserialize, Serialize};

use crate::files::Schema;

/// The mean over time and the largest value of a series.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean, weighted with time.
    pub mean: f64,
    /// Largest value of one sample.
    pub max: f64,
}

/// What an attempt used, over all its launches. Each sample is a line of `telemetry.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Seconds that were sampled.
    pub seconds: f64,
    /// Samples taken.
    pub samples: u64,
    /// Launches of the agent.
    pub launches: u32,
    /// Processor cores that the agent's processes kept busy.
    pub cpu_cores: Spread,
    /// Seconds of processor time that they used.
    pub cpu_seconds: f64,
    /// Most processes at one time.
    pub most_processes: u64,
    /// Most threads at one time.
    pub most_threads: u64,
    /// Largest sum of resident memory, in bytes; what processes share is counted for each of them.
    pub peak_resident: u64,
    /// Largest sum of proportional memory (what is shared is divided), in bytes, where it could be asked. It is asked
    /// less often, the more it costs.
    pub peak_proportional: Option<u64>,
    /// Largest sum of swapped memory, in bytes.
    pub peak_swap: u64,
    /// Bytes read from storage.
    pub disk_read: u64,
    /// Bytes written to storage.
    pub disk_written: u64,
    /// Share of the machine's processors that was busy, with everybody's work, 0 to 1.
    pub machine_busy: Spread,
    /// Least memory that the machine had available, in bytes.
    pub least_memory_available: Option<u64>,
    /// Least free bytes on the workspace's disk.
    pub least_disk_free: Option<u64>,
    /// Seconds in which nothing happened, by the measure of standstills.
    pub idle_seconds: f64,
    /// Longest time without a break in which nothing happened, in seconds.
    pub longest_idle: f64,
    /// The run's GPUs; absent where they could not be looked at.
    pub gpus: Option<Vec<GpuSummary>>,
    /// Why there are no `gpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus_absent: Option<String>,
    /// GPU hours of work: each GPU's time, weighted with its utilisation.
    pub gpu_hours: f64,
    /// Why `telemetry.jsonl` is not complete, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What an attempt used of one GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuSummary {
    /// Its number, as in `/dev/nvidia<number>`.
    pub minor: u32,
    /// What it is.
    pub name: String,
    /// Its own id.
    pub uuid: String,
    /// All its memory, in bytes.
    pub memory_total: u64,
    /// Share of time in which a kernel ran on it, whoever's, 0 to 1.
    pub utilisation: Spread,
    /// Memory in use, whoever's, in bytes.
    pub memory_used: Spread,
    /// Largest sum of memory that the agent's processes held, in bytes.
    pub peak_agent_memory: u64,
    /// Watts.
    pub power: Spread,
    /// Highest temperature, in degrees Celsius.
    pub hottest: Option<u32>,
    /// Seconds in which its clocks were held down by power, heat or a brake.
    pub throttled_seconds: f64,
    /// Memory errors that were not corrected, as counted since the driver was loaded.
    pub uncorrected_errors: Option<u64>,
    /// Seconds in which processes that are neither the agent's nor the harness's were on it.
    pub foreign_seconds: f64,
}

impl Schema for Telemetry {
    const KIND: &'static str = "telemetry summary";
    const VERSION: u32 = 1;
}
