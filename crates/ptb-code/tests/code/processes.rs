//! Counting processes: everything below one process, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A process and the moment of its start: ids are used again.
pub(crate) type Process = (u32, u64);

/// All living processes below `top`.
pub(crate) fn below(top: u32) -> BTreeSet<Process> {
    let mut children: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for (parent, process) in all() {
        children.entry(parent).or_default().push(process);
    }
    let (mut found, mut todo) = (BTreeSet::new(), vec![top]);
    while let Some(pid) = todo.pop() {
        for process in children.remove(&pid).unwrap_or_default() {
            todo.push(process.0);
            found.insert(process);
        }
    }
    found
}

/// Waits until none of the processes lives; those that still do.
pub(crate) fn gone(processes: &BTreeSet<Process>) -> BTreeSet<Process> {
    let began = Instant::now();
    loop {
        let living: BTreeSet<_> = all().into_iter().map(|(_, process)| process).collect();
        let left: BTreeSet<_> = processes.intersection(&living).copied().collect();
        if left.is_empty() || began.elapsed() > Duration::from_secs(20) {
            return left;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every living process with its parent; zombies are not living.
fn all() -> Vec<(u32, Process)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let started = fields.get(19)?.parse().ok()?;
        (fields[0] != "Z").then_some((fields[1].parse().ok()?, (pid, started)))
    })
    .collect()
}
