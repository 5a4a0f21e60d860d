//! Standstill: an agent that does nothing at all, told apart from one that works and is silent.

use std::time::Duration;

use ptb_sandbox::telemetry::{Gpu, Sample, Whose};

/// Minutes without anything after which an agent is ended, unless its options say otherwise.
const MINUTES: f64 = 60.0;
/// An agent that is told again stands still so many times in an attempt, then it is not told any more.
pub(super) const TIMES: u32 = 3;
/// Cores that programs use who only wait: event loops wake up, runtimes collect garbage. Command-line agents that waited
/// for an answer used 0.01 (Claude Code), 0.002 (Codex), 0.001 (Gemini) and 0.02 (OpenCode), in two seconds at most 0.05.
const IDLE_CORES: f64 = 0.1;
/// Bytes a second that such programs read and write, logs mostly: 4 KiB were seen of Codex.
const IDLE_BYTES: f64 = 16384.0;

/// What happened since one looked before, beside what the sample tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pulse {
    /// Bytes that the agent has printed so far.
    pub(super) printed: u64,
    /// Bytes through the model API so far.
    pub(super) moved: u64,
    /// Whether the harness evaluates for the agent.
    pub(super) evaluating: bool,
}

/// Keeps the time in which nothing happened.
#[derive(Debug)]
pub(super) struct Standstill {
    limit: Option<Duration>,
    last: Pulse,
    quiet: Duration,
}

/// What one look tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// Whether nothing happened since the look before.
    pub(super) idle: bool,
    /// For how long nothing has happened.
    pub(super) quiet: Duration,
    /// Whether that is too long.
    pub(super) over: bool,
}

/// The limit that an agent's option says, in minutes; 0 is none.
pub(super) fn limit(option: Option<&String>) -> Option<Duration> {
    let minutes = option.and_then(|m| m.parse::<f64>().ok()).unwrap_or(MINUTES);
    Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|limit| !limit.is_zero())
}

impl Standstill {
    /// For one launch; `now` is what has been printed and moved before it.
    pub(super) fn new(limit: Option<Duration>, now: Pulse) -> Self {
        Self { limit, last: now, quiet: Duration::ZERO }
    }

    /// Takes one look.
    pub(super) fn look(&mut self, sample: &Sample, now: Pulse) -> Look {
        let silent = now.printed == self.last.printed && now.moved == self.last.moved;
        // An evaluation that ended since the look before was work as well.
        let evaluated = now.evaluating || self.last.evaluating;
        self.last = now;
        let idle = silent && !evaluated && is_idle(sample);
        self.quiet = match idle {
            true => self.quiet + Duration::from_secs_f64(sample.interval),
            false => Duration::ZERO,
        };
        let over = self.limit.is_some_and(|limit| self.quiet >= limit);
        Look { idle, quiet: self.quiet, over }
    }
}

/// Whether the agent's processes did nothing.
fn is_idle(sample: &Sample) -> bool {
    let processes = &sample.processes;
    let bytes = processes.read_bytes.saturating_add(processes.written_bytes);
    processes.new == 0
        && processes.cpu_cores < IDLE_CORES
        && (bytes as f64) < IDLE_BYTES * sample.interval
        && !sample.gpus.iter().flatten().any(works)
}

/// Whether a GPU may work for the agent: where the driver tells neither work nor processes, it may.
fn works(gpu: &Gpu) -> bool {
    let ours = gpu.processes.iter().any(|process| process.whose == Whose::Command);
    gpu.utilisation.is_none_or(|share| share > 0.0) && (ours || gpu.processes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_sandbox::telemetry::{GpuProcess, Machine, Processes};

    fn idle() -> Sample {
        let processes = Processes { count: 3, cpu_cores: 0.004, ..Processes::default() };
        Sample { interval: 10.0, processes, machine: Machine::default(), gpus: None }
    }

    fn gpu(utilisation: impl Into<Option<f64>>, whose: Option<Whose>) -> Sample {
        let process = |whose| GpuProcess { pid: 1, memory: None, whose };
        let gpu = Gpu {
            minor: 0,
            utilisation: utilisation.into(),
            memory_used: None,
            power: None,
            temperature: None,
            sm_clock: None,
            throttled: Vec::new(),
            corrected_errors: None,
            uncorrected_errors: None,
            processes: whose.map(process).into_iter().collect(),
        };
        Sample { gpus: Some(vec![gpu]), ..idle() }
    }

    /// A sample like the idle one, but for its processes.
    fn with(change: impl Fn(&mut Processes)) -> Sample {
        let mut sample = idle();
        change(&mut sample.processes);
        sample
    }

    #[test]
    fn each_sign_of_work_is_one() {
        let working = [
            with(|p| p.cpu_cores = 0.9),
            with(|p| p.new = 1),
            with(|p| p.written_bytes = 1 << 20),
            with(|p| p.read_bytes = 1 << 20),
            gpu(0.99, Some(Whose::Command)),
            gpu(0.01, None),
            gpu(None, Some(Whose::Command)),
            gpu(None, None),
        ];
        let idle = [
            idle(),
            with(|p| p.written_bytes = 4096),
            gpu(0.0, Some(Whose::Command)),
            gpu(0.99, Some(Whose::Foreign)),
            gpu(0.0, None),
        ];
        assert!(working.iter().all(|sample| !is_idle(sample)));
        assert!(idle.iter().all(is_idle));
    }

    #[test]
    fn only_an_unbroken_quiet_is_a_standstill() {
        let begin = Pulse { printed: 5, moved: 7, evaluating: false };
        let mut still = Standstill::new(Some(Duration::from_secs(30)), begin);
        let mut look = |now| still.look(&idle(), now);
        let quiet = |look: Look| (look.quiet.as_secs(), look.over);
        assert_eq!(quiet(look(begin)), (10, false));
        let printed = Pulse { printed: 6, ..begin };
        assert_eq!(quiet(look(printed)), (0, false));
        let moved = Pulse { moved: 8, ..printed };
        assert_eq!(quiet(look(moved)), (0, false));
        let evaluates = Pulse { evaluating: true, ..moved };
        assert!([evaluates, evaluates, moved].into_iter().all(|now| !look(now).idle));
        assert_eq!(quiet(look(moved)), (10, false));
        assert_eq!(quiet(look(moved)), (20, false));
        assert_eq!(quiet(look(moved)), (30, true));
        let mut never = Standstill::new(None, begin);
        assert!((0..1000).all(|_| !never.look(&idle(), begin).over));
    }

    #[test]
    fn the_option_is_in_minutes() {
        let of = |text: &str| limit(Some(&text.to_owned()));
        assert_eq!(limit(None), Some(Duration::from_secs(3600)));
        assert_eq!(of("0.05"), Some(Duration::from_secs(3)));
        assert_eq!((of("0"), of("1e300"), of("-1")), (None, None, None));
    }
}
