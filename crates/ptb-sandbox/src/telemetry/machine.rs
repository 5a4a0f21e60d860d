//! The machine around the command, with everybody's work on it.

use super::procfs;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The machine at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Runnable and waiting threads, averaged over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Share of its processors' time that was busy since the sample before, 0 to 1; absent in the first.
    pub busy: Option<f64>,
    /// Memory that can be had without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// Free bytes on the workspace's disk, for ordinary users.
    pub disk_free: Option<u64>,
    /// Time that tasks lost by waiting, where the kernel tells (`/proc/pressure`).
    pub pressure: Option<Pressure>,
}

/// Share of the last ten seconds, 0 to 1, in which some task waited for a resource (`some`), or all did (`full`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// For a processor.
    pub cpu_some: f64,
    /// For memory.
    pub memory_some: f64,
    /// For memory, all at once.
    pub memory_full: f64,
    /// For storage.
    pub io_some: f64,
    /// For storage, all at once.
    pub io_full: f64,
}

/// Looks at the machine again and again.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Busy ticks and all ticks, as of the sample before.
    ticks: Option<(u64, u64)>,
    buffer: Vec<u8>,
}

impl Meter {
    /// Looks once; also whether anything is swapped.
    pub(super) fn look(&mut self, disk: &Path) -> (Machine, bool) {
        let buffer = &mut self.buffer;
        let load = procfs::read("/proc/loadavg", buffer).and_then(load);
        let ticks = procfs::read("/proc/stat", buffer).and_then(ticks);
        let busy = self.ticks.zip(ticks).and_then(|((busy_then, all_then), (busy, all))| {
            let (busy, all) = (busy.saturating_sub(busy_then), all.saturating_sub(all_then));
            (all > 0).then(|| (busy as f64 / all as f64).min(1.0))
        });
        self.ticks = ticks;
        let memory = procfs::read("/proc/meminfo", buffer).unwrap_or_default();
        let of = |name| procfs::field(memory, name).map(|kb| kb.saturating_mul(1024));
        let (available, swap, free) = (of("MemAvailable:"), of("SwapTotal:"), of("SwapFree:"));
        let disk_free =
            rustix::fs::statvfs(disk).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)).ok();
        let pressure = pressure(buffer);
        let machine = Machine { load, busy, memory_available: available, disk_free, pressure };
        (machine, swap > free)
    }
}

fn load(text: &[u8]) -> Option<[f64; 3]> {
    let mut numbers = std::str::from_utf8(text).ok()?.split_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// Busy and all ticks of all processors: the first line of `/proc/stat` is `cpu user nice system idle iowait irq softirq
/// steal guest guest_nice`, guests counted with users.
fn ticks(text: &[u8]) -> Option<(u64, u64)> {
    let line = std::str::from_utf8(text.split(|b| *b == b'\n').next()?).ok()?;
    let numbers = line.strip_prefix("cpu ")?.split_whitespace().map_while(|n| n.parse().ok());
    let numbers: Vec<u64> = numbers.take(8).collect();
    let (all, idle) = (numbers.iter().sum::<u64>(), numbers.get(3)? + numbers.get(4)?);
    Some((all.saturating_sub(idle), all))
}

fn pressure(buffer: &mut Vec<u8>) -> Option<Pressure> {
    let mut of = |what: &str| {
        let text = procfs::read(&format!("/proc/pressure/{what}"), buffer)?;
        let text = std::str::from_utf8(text).ok()?;
        let share = |who: &str| {
            let line = text.lines().find(|line| line.starts_with(who))?;
            let value = line.split("avg10=").nth(1)?.split_whitespace().next()?;
            value.parse::<f64>().ok().map(|percent| percent / 100.0)
        };
        Some((share("some")?, share("full").unwrap_or(0.0)))
    };
    let ((cpu_some, _), (memory_some, memory_full), (io_some, io_full)) =
        (of("cpu")?, of("memory")?, of("io")?);
    Some(Pressure { cpu_some, memory_some, memory_full, io_some, io_full })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        assert_eq!(load(b"0.25 1.50 2.00 1/345 6789\n"), Some([0.25, 1.5, 2.0]));
        assert_eq!(load(b"0.25 x"), None);
        let stat = b"cpu  10 20 30 400 5 1 2 3 9 9\ncpu0 1 1\n";
        assert_eq!(ticks(stat), Some((66, 471)));
        assert_eq!(ticks(b"intr 5"), None);
        let (machine, _) = Meter::default().look(Path::new("/"));
        assert!(machine.load.is_some() && machine.memory_available > Some(0));
        assert!(machine.disk_free.is_some() && machine.busy.is_none());
    }
}
