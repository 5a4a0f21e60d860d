//! The command's processes: everything below the helper, in whatever PID namespace, session or process group.

use super::procfs::{self, Stat, TICKS};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// Most processes of the machine that are looked at.
const MOST: usize = 65_536;
/// Processes that are named, the busiest first.
const NAMED: usize = 5;
/// Proportional memory is asked again when so many times its cost has passed: walking page tables of large processes
/// is dear, and holds them up.
const PROPORTIONAL_EVERY: u32 = 2000;

/// The command's processes at one time. What is shared by all of them is told once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Processes {
    /// How many there are; behind a wall with a PID namespace its PID 1 is one of them.
    pub count: u64,
    /// How many were not there at the sample before.
    pub new: u64,
    /// Their threads.
    pub threads: u64,
    /// Seconds of processor time used since the sample before, also by those that came and went in between, unless
    /// their parent never took their end.
    pub cpu_seconds: f64,
    /// Processor cores kept busy: the same per second.
    pub cpu_cores: f64,
    /// Resident memory in bytes, shared pages counted for each process.
    pub resident: u64,
    /// Proportional memory in bytes (a page that n processes share counts 1/n for each), in samples where it was asked.
    pub proportional: Option<u64>,
    /// Swapped memory in bytes.
    pub swap: u64,
    /// Bytes read from storage since the sample before.
    pub read_bytes: u64,
    /// Bytes written to storage since the sample before.
    pub written_bytes: u64,
    /// Processes whose reads and writes the kernel does not tell.
    pub untold: u64,
    /// The busiest since the sample before.
    pub busiest: Vec<Busy>,
}

/// A busy process. The name is its own choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Busy {
    /// Its number on the host.
    pub pid: i32,
    /// What it calls itself, at most 15 bytes, control characters replaced.
    pub name: String,
    /// Cores that it alone kept busy.
    pub cpu_cores: f64,
    /// Resident memory in bytes.
    pub resident: u64,
}

/// Whose a process is.
#[derive(Debug, Default)]
pub(super) struct Owners {
    pub(super) command: HashSet<i32>,
    /// This program's and what it started, the command's among them.
    pub(super) house: HashSet<i32>,
}

/// What is remembered of a process.
#[derive(Debug, Clone, Copy)]
struct Known {
    start: u64,
    own: i64,
    storage: Option<(u64, u64)>,
}

/// The command's processes over time.
#[derive(Debug)]
pub(super) struct Tree {
    helper: i32,
    known: HashMap<i32, Known>,
    /// Sum of all ticks, own and of children, as of the sample before.
    ticks: i64,
    storage: (u64, u64),
    proportional_due: Instant,
    buffer: Vec<u8>,
}

impl Tree {
    pub(super) fn new(helper: u32) -> Self {
        let helper = i32::try_from(helper).unwrap_or(0);
        let mut buffer = Vec::new();
        // What the helper itself read to start is not the command's.
        let storage = procfs::storage(helper, &mut buffer).unwrap_or_default();
        let proportional_due = Instant::now();
        Self { helper, known: HashMap::new(), ticks: 0, storage, proportional_due, buffer }
    }

    /// Looks at all of them; `swaps` is whether the machine has anything swapped.
    pub(super) fn look(&mut self, interval: f64, swaps: bool) -> (Processes, Owners) {
        let (all, mut owners) = (self.all(), Owners::default());
        let children = by_parent(&all);
        owners.command = below(self.helper, &children);
        owners.house = below(std::process::id() as i32, &children);
        // An orphan's new parent may have been read before it was one: who was the command's stays so.
        let stays = |(pid, known): (&i32, &Known)| {
            all.get(pid).filter(|stat| stat.start == known.start).map(|_| *pid)
        };
        owners.command.extend(self.known.iter().filter_map(stays));
        owners.command.remove(&self.helper);
        let ours: Vec<(i32, &Stat)> =
            owners.command.iter().filter_map(|pid| Some((*pid, all.get(pid)?))).collect();
        let mut told = self.count(&ours, all.get(&self.helper), interval);
        told.proportional = self.proportional(&ours);
        if swaps {
            let buffer = &mut self.buffer;
            let swap =
                |(pid, _): &(i32, &Stat)| procfs::kilobytes(*pid, "status", "VmSwap:", buffer);
            told.swap = ours.iter().filter_map(swap).sum();
        }
        (told, owners)
    }

    /// Every process of the machine.
    fn all(&mut self) -> HashMap<i32, Stat> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).take(MOST);
        let pids: Vec<i32> = pids.collect();
        let buffer = &mut self.buffer;
        let mut all: HashMap<i32, Stat> =
            pids.iter().filter_map(|pid| Some((*pid, Stat::of(*pid, buffer)?))).collect();
        // Whose parent has ended since has another one now.
        let orphans: Vec<i32> = all
            .iter()
            .filter(|(_, stat)| stat.parent != 0 && !all.contains_key(&stat.parent))
            .map(|(pid, _)| *pid)
            .collect();
        for pid in orphans {
            if let Some(stat) = Stat::of(pid, buffer) {
                all.insert(pid, stat);
            }
        }
        all
    }

    /// Adds up, and remembers for the next time.
    fn count(&mut self, ours: &[(i32, &Stat)], helper: Option<&Stat>, interval: f64) -> Processes {
        let page = procfs::page_size();
        let mut told = Processes { count: ours.len() as u64, ..Processes::default() };
        let mut known = HashMap::with_capacity(ours.len());
        // Without a PID namespace the helper takes the ends of orphans.
        let mut ticks = helper.map_or(0, |stat| stat.children);
        let mut storage = procfs::storage(self.helper, &mut self.buffer).unwrap_or_default();
        let (mut least, mut busiest) = (0, Vec::with_capacity(ours.len()));
        for (pid, stat) in ours {
            let before = self.known.get(pid).filter(|known| known.start == stat.start);
            told.new += u64::from(before.is_none());
            told.threads += stat.threads;
            let resident = stat.resident_pages.saturating_mul(page);
            told.resident += resident;
            let own = stat.own.saturating_sub(before.map_or(0, |known| known.own)).max(0);
            least += own;
            ticks += stat.own + stat.children;
            busiest.push((own, *pid, *stat, resident));
            let now = procfs::storage(*pid, &mut self.buffer);
            told.untold += u64::from(now.is_none());
            let now = now.or(before.and_then(|known| known.storage));
            let (read, written) = now.unwrap_or_default();
            storage = (storage.0.saturating_add(read), storage.1.saturating_add(written));
            known.insert(*pid, Known { start: stat.start, own: stat.own, storage: now });
        }
        // Whoever ended lives on in its parent's sum of children, and what was counted of it before is still in the
        // sum of all. Where a parent never took its children's end, the sum shrinks, and those that live tell the least.
        let used = ticks.saturating_sub(self.ticks).max(least);
        told.cpu_seconds = used as f64 / TICKS;
        told.cpu_cores = told.cpu_seconds / interval;
        told.read_bytes = storage.0.saturating_sub(self.storage.0);
        told.written_bytes = storage.1.saturating_sub(self.storage.1);
        (self.ticks, self.storage, self.known) = (ticks, storage, known);
        busiest.sort_unstable_by_key(|(own, pid, ..)| (std::cmp::Reverse(*own), *pid));
        let busiest = busiest.into_iter().filter(|(own, ..)| *own > 0).take(NAMED);
        told.busiest = busiest
            .map(|(own, pid, stat, resident)| Busy {
                pid,
                name: stat.name.clone(),
                cpu_cores: own as f64 / TICKS / interval,
                resident,
            })
            .collect();
        told
    }

    /// Proportional memory, where it is time to ask; what cannot be asked counts as resident.
    fn proportional(&mut self, ours: &[(i32, &Stat)]) -> Option<u64> {
        let begun = Instant::now();
        if begun < self.proportional_due {
            return None;
        }
        let page = procfs::page_size();
        let buffer = &mut self.buffer;
        let of = |(pid, stat): &(i32, &Stat)| match stat.resident_pages {
            0 => 0,
            pages => procfs::kilobytes(*pid, "smaps_rollup", "Pss:", buffer)
                .unwrap_or_else(|| pages.saturating_mul(page)),
        };
        let sum = ours.iter().map(of).sum();
        let wait = begun.elapsed().saturating_mul(PROPORTIONAL_EVERY);
        self.proportional_due = begun + wait.min(Duration::from_secs(24 * 3600));
        Some(sum)
    }
}

fn by_parent(all: &HashMap<i32, Stat>) -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    children
}

/// A process and all its descendants.
fn below(top: i32, children: &HashMap<i32, Vec<i32>>) -> HashSet<i32> {
    let (mut found, mut todo) = (HashSet::from([top]), vec![top]);
    while let Some(pid) = todo.pop() {
        let next = children.get(&pid).into_iter().flatten();
        todo.extend(next.copied().filter(|child| found.insert(*child)));
    }
    found
}
