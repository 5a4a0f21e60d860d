//! What an attempt uses of its machine: `telemetry.jsonl` while it goes on, `telemetry.json` at its end.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ptb_core::files::{JsonLog, Schema, write_json};
use ptb_core::run::{GpuSummary, Spread, StageFailure, Telemetry};
use ptb_gateway::{EvaluationDoor, Traffic};
use ptb_sandbox::telemetry::{Gpu, Gpus, Machine, Processes, Sample, Sampler};
use serde::{Deserialize, Serialize};

use super::standstill::{Look, Pulse, Standstill};
use super::{Run, blocking};
use crate::context::Notice;
use crate::output::Recorder;
use crate::preflight::gpu_devices;

/// Between two samples once a launch has gone on for a while, and before its first; a short standstill is looked for
/// oftener.
const EVERY: Duration = Duration::from_secs(10);
const FIRST: Duration = Duration::from_secs(1);
const OFTENEST: Duration = Duration::from_millis(100);
/// A standstill is seen by so many samples at least.
const LOOKS: u32 = 6;
/// Names of the files in an attempt's folder.
const LOG: &str = "telemetry.jsonl";
const SUMMARY: &str = "telemetry.json";

/// A line of `telemetry.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TelemetryLine {
    /// Seconds since the attempt began, as in `output.jsonl`.
    pub seconds: f64,
    /// Which launch of the agent, from 1.
    pub launch: u32,
    /// Whether nothing happened since the line before, by the measure of standstills.
    pub idle: bool,
    /// Seconds since the line before, or since the launch.
    pub interval: f64,
    /// The agent's processes.
    pub processes: Processes,
    /// The machine.
    pub machine: Machine,
    /// The run's GPUs.
    pub gpus: Option<Vec<Gpu>>,
}

impl Schema for TelemetryLine {
    const KIND: &'static str = "telemetry";
    const VERSION: u32 = 1;
}

/// What is watched over an attempt.
pub(super) struct Observatory {
    keeper: Arc<Mutex<Keeper>>,
    gpus: Option<Arc<Gpus>>,
    limit: Option<Duration>,
    disk: PathBuf,
}

/// Where else one sees that something happens.
pub(super) struct Signs<'a> {
    pub(super) recorder: &'a Recorder,
    pub(super) evaluation: &'a EvaluationDoor,
    /// Set once the model API serves.
    pub(super) traffic: &'a OnceLock<Traffic>,
}

impl Signs<'_> {
    fn now(&self) -> Pulse {
        Pulse {
            printed: self.recorder.heard(),
            moved: self.traffic.get().map_or(0, Traffic::bytes),
            evaluating: self.evaluation.is_busy(),
        }
    }
}

impl Observatory {
    /// Opens the log and finds the GPUs. What cannot be had costs nothing but its part of the record.
    pub(super) async fn open(
        attempt: &Path,
        gpus: u32,
        limit: Option<Duration>,
    ) -> Result<Self, StageFailure> {
        let (folder, disk, wanted) = (attempt.to_owned(), attempt.to_owned(), gpus);
        let (keeper, gpus) = blocking(move || {
            let found = look_for(gpus).map(Arc::new);
            (Keeper::open(&folder, found.as_ref().map(|gpus| &**gpus)), found.ok())
        })
        .await?;
        // Work of a GPU that nobody sees must not be taken for a standstill.
        let limit = limit.filter(|_| wanted == 0 || gpus.is_some());
        Ok(Self { keeper: Arc::new(Mutex::new(keeper)), gpus, limit, disk })
    }

    /// The limit of standstills.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// Samples a launch for as long as it is polled, and returns when the agent has stood still for too long. `tell` is
    /// told once when the record cannot be written.
    pub(super) async fn watch(
        &self,
        helper: u32,
        signs: Signs<'_>,
        tell: impl Fn(String),
    ) -> Result<(), StageFailure> {
        let launch = self.lock().begins();
        let every = self.limit.map_or(EVERY, |limit| (limit / LOOKS).clamp(OFTENEST, EVERY));
        let mut still = Standstill::new(self.limit, signs.now());
        let disk = self.disk.clone();
        let mut sampler = blocking(move || Sampler::new(helper, &disk)).await?;
        let mut pause = FIRST.min(every);
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(every);
            let gpus = self.gpus.clone();
            let (back, sample) = blocking(move || {
                let sample = sampler.sample(gpus.as_deref());
                (sampler, sample)
            })
            .await?;
            sampler = back;
            let look = still.look(&sample, signs.now());
            let (keeper, seconds) = (Arc::clone(&self.keeper), signs.recorder.begun().elapsed());
            let told = blocking(move || lock(&keeper).take(seconds, launch, sample, look)).await?;
            told.into_iter().for_each(&tell);
            if look.over {
                return Ok(());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Keeper> {
        lock(&self.keeper)
    }
}

/// A panic elsewhere leaves sums, which are never half-changed in a way that matters.
fn lock(keeper: &Mutex<Keeper>) -> std::sync::MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The GPUs that a run with so many of them is given.
fn look_for(count: u32) -> Result<Gpus, String> {
    if count == 0 {
        return Err("the run has no GPU".to_owned());
    }
    let number = |path: &PathBuf| path.to_str()?.strip_prefix("/dev/nvidia")?.parse().ok();
    let minors: Vec<u32> = gpu_devices().iter().filter_map(number).take(count as usize).collect();
    Gpus::open(&minors)
}

impl Run<'_> {
    /// Writes what an attempt used. Where that cannot be, it is told.
    pub(super) async fn tell_telemetry(&mut self, attempt: &Path, seen: &Observatory) {
        let summary = seen.lock().summary();
        if let Err(e) = self.store.write(&attempt.join(SUMMARY), &summary).await {
            self.tell(Notice::Line(format!("{SUMMARY} cannot be written: {}", e.message)));
        }
    }
}

/// A mean over time under way.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    seconds: f64,
    max: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>, seconds: f64) {
        let Some(value) = value else { return };
        self.sum += value * seconds;
        self.seconds += seconds;
        self.max = self.max.max(value);
    }

    fn spread(&self) -> Spread {
        let mean = if self.seconds > 0.0 { self.sum / self.seconds } else { 0.0 };
        Spread { mean: rounded(mean), max: rounded(self.max) }
    }
}

/// Six decimals: what is measured is no more exact, and files are for people too.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Writes the lines and adds up.
struct Keeper {
    log: Option<JsonLog>,
    path: PathBuf,
    summary: Telemetry,
    cpu: Mean,
    busy: Mean,
    gpus: Vec<GpuKeeper>,
}

#[derive(Default)]
struct GpuKeeper {
    utilisation: Mean,
    memory: Mean,
    power: Mean,
    summary: GpuSummary,
}

impl Keeper {
    fn open(attempt: &Path, gpus: Result<&Gpus, &String>) -> Self {
        let log = JsonLog::open(&attempt.join(LOG));
        let named = gpus.map(|gpus| {
            gpus.names().map(|gpu| GpuSummary {
                minor: gpu.minor,
                name: gpu.name.clone(),
                uuid: gpu.uuid.clone(),
                memory_total: gpu.memory,
                ..GpuSummary::default()
            })
        });
        let summary = Telemetry {
            fault: log.as_ref().err().map(ToString::to_string),
            gpus_absent: gpus.err().cloned(),
            ..Telemetry::default()
        };
        let keeper = |summary| GpuKeeper { summary, ..GpuKeeper::default() };
        Self {
            log: log.ok(),
            path: attempt.join(SUMMARY),
            summary,
            cpu: Mean::default(),
            busy: Mean::default(),
            gpus: named.into_iter().flatten().map(keeper).collect(),
        }
    }

    /// One more launch; its number, from 1.
    fn begins(&mut self) -> u32 {
        self.summary.launches += 1;
        self.summary.launches
    }

    /// Takes a sample: words for people the first time that it cannot be kept.
    fn take(
        &mut self,
        seconds: Duration,
        launch: u32,
        sample: Sample,
        look: Look,
    ) -> Option<String> {
        self.add(&sample, look);
        // So that a harness that is killed leaves one; the last is written at the attempt's end.
        if let Err(e) = write_json(&self.path, &self.summary()) {
            tracing::warn!("{SUMMARY} is behind: {e}");
        }
        let Sample { interval, processes, machine, gpus } = sample;
        let seconds = (seconds.as_secs_f64() * 1000.0).round() / 1000.0;
        let idle = look.idle;
        let line = TelemetryLine { seconds, launch, idle, interval, processes, machine, gpus };
        let failed = match &mut self.log {
            Some(log) => log.append(&line).err().map(|e| e.to_string()),
            None => self.summary.fault.clone(),
        };
        let first =
            self.summary.fault.is_none() || (self.log.is_none() && self.summary.samples == 1);
        let failed = failed?;
        self.summary.fault = Some(failed.clone());
        first.then(|| format!("{LOG} is not complete: {failed}"))
    }

    fn add(&mut self, sample: &Sample, look: Look) {
        let (s, p, seconds) = (&mut self.summary, &sample.processes, sample.interval);
        s.seconds += seconds;
        s.samples += 1;
        s.cpu_seconds += p.cpu_seconds;
        s.most_processes = s.most_processes.max(p.count);
        s.most_threads = s.most_threads.max(p.threads);
        s.peak_resident = s.peak_resident.max(p.resident);
        s.peak_proportional = s.peak_proportional.max(p.proportional);
        s.peak_swap = s.peak_swap.max(p.swap);
        s.disk_read += p.read_bytes;
        s.disk_written += p.written_bytes;
        s.idle_seconds += if look.idle { seconds } else { 0.0 };
        s.longest_idle = s.longest_idle.max(look.quiet.as_secs_f64());
        let machine = &sample.machine;
        s.least_memory_available = least(s.least_memory_available, machine.memory_available);
        s.least_disk_free = least(s.least_disk_free, machine.disk_free);
        self.cpu.add(Some(p.cpu_cores), seconds);
        self.busy.add(machine.busy, seconds);
        for gpu in sample.gpus.iter().flatten() {
            let of = self.gpus.iter_mut().find(|keeper| keeper.summary.minor == gpu.minor);
            let Some(keeper) = of else { continue };
            s.gpu_hours += gpu.utilisation.unwrap_or(0.0) * seconds / 3600.0;
            keeper.add(gpu, seconds);
        }
    }

    fn summary(&self) -> Telemetry {
        let absent = self.summary.gpus_absent.is_some();
        let gpus = self.gpus.iter().map(GpuKeeper::summary).collect();
        let s = &self.summary;
        Telemetry {
            cpu_cores: self.cpu.spread(),
            machine_busy: self.busy.spread(),
            gpus: (!absent).then_some(gpus),
            seconds: rounded(s.seconds),
            cpu_seconds: rounded(s.cpu_seconds),
            idle_seconds: rounded(s.idle_seconds),
            longest_idle: rounded(s.longest_idle),
            gpu_hours: rounded(s.gpu_hours),
            ..s.clone()
        }
    }
}

impl GpuKeeper {
    fn add(&mut self, gpu: &Gpu, seconds: f64) {
        self.utilisation.add(gpu.utilisation, seconds);
        self.memory.add(gpu.memory_used.map(|bytes| bytes as f64), seconds);
        self.power.add(gpu.power, seconds);
        let s = &mut self.summary;
        s.peak_agent_memory = s.peak_agent_memory.max(gpu.command_memory());
        s.hottest = s.hottest.max(gpu.temperature);
        s.uncorrected_errors = s.uncorrected_errors.max(gpu.uncorrected_errors);
        s.throttled_seconds += if gpu.is_throttled() { seconds } else { 0.0 };
        s.foreign_seconds += if gpu.has_foreign() { seconds } else { 0.0 };
    }

    fn summary(&self) -> GpuSummary {
        GpuSummary {
            utilisation: self.utilisation.spread(),
            memory_used: self.memory.spread(),
            power: self.power.spread(),
            throttled_seconds: rounded(self.summary.throttled_seconds),
            foreign_seconds: rounded(self.summary.foreign_seconds),
            ..self.summary.clone()
        }
    }
}

/// The lesser of what is known.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::files::read_log;

    fn sample(interval: f64, cores: f64, resident: u64) -> Sample {
        let processes = Processes {
            cpu_seconds: cores * interval,
            cpu_cores: cores,
            resident,
            written_bytes: 100,
            ..Processes::default()
        };
        let machine = Machine { disk_free: Some(resident), ..Machine::default() };
        Sample { interval, processes, machine, gpus: None }
    }

    fn look(idle: bool, quiet: u64) -> Look {
        Look { idle, quiet: Duration::from_secs(quiet), over: false }
    }

    #[test]
    fn a_summary_weighs_with_time_and_lines_are_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let why = "the run has no GPU".to_owned();
        let mut keeper = Keeper::open(dir.path(), Err(&why));
        assert_eq!(keeper.begins(), 1);
        let at = Duration::from_millis(1500);
        assert_eq!(keeper.take(at, 1, sample(1.0, 4.0, 70), look(false, 0)), None);
        assert_eq!(keeper.take(at, 1, sample(3.0, 0.0, 50), look(true, 3)), None);
        let summary = keeper.summary();
        assert_eq!(summary.cpu_cores, Spread { mean: 1.0, max: 4.0 });
        assert_eq!((summary.seconds, summary.samples, summary.cpu_seconds), (4.0, 2, 4.0));
        assert_eq!((summary.peak_resident, summary.least_disk_free), (70, Some(50)));
        assert_eq!((summary.idle_seconds, summary.longest_idle), (3.0, 3.0));
        assert_eq!((summary.disk_written, &summary.gpus, summary.fault), (200, &None, None));
        assert_eq!(summary.gpus_absent, Some(why));
        let lines: Vec<TelemetryLine> = read_log(&dir.path().join(LOG)).unwrap();
        assert_eq!((lines.len(), lines[0].seconds, lines[1].idle), (2, 1.5, true));
        assert_eq!(lines[1].processes, sample(3.0, 0.0, 50).processes);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(LOG)).unwrap();
        let mut keeper = Keeper::open(dir.path(), Err(&String::new()));
        let mut told = Vec::new();
        for _ in 0..3 {
            told.extend(keeper.take(Duration::ZERO, 1, sample(1.0, 1.0, 1), look(false, 0)));
        }
        assert!(told.len() == 1 && told[0].contains("is not complete"), "{told:?}");
        let summary = keeper.summary();
        assert!(summary.samples == 3 && summary.fault.is_some(), "{summary:?}");
    }
}
