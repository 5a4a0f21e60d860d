//! Processes of one place: found by a word in their command lines or environments.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal to a program that a test started.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// A process: its id and when it started (ids are used again).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    started: String,
    pub(crate) line: String,
}

fn process(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    Some(Process { pid, started: (*fields.get(19)?).to_owned(), line })
}

/// Live processes whose command line or environment holds `marker`.
pub(crate) fn marked(marker: &str) -> Vec<Process> {
    let holds = |bytes: Vec<u8>| bytes.windows(marker.len()).any(|w| w == marker.as_bytes());
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            ["cmdline", "environ"]
                .iter()
                .any(|file| fs::read(format!("/proc/{pid}/{file}")).is_ok_and(holds))
        })
        .filter_map(process)
        .collect()
}

/// All live descendants of a process.
pub(crate) fn below(pid: u32) -> Vec<Process> {
    let mut found = Vec::new();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|c| c.parse().ok()) {
            found.extend(process(child));
            found.extend(below(child));
        }
    }
    found
}

/// Waits until none of the processes is left, and none that is marked.
pub(crate) fn assert_gone(marker: &str, known: &[Process], patience: Duration) {
    let begun = Instant::now();
    loop {
        let mut left: Vec<Process> = known
            .iter()
            .filter(|p| process(p.pid).is_some_and(|now| now.started == p.started))
            .cloned()
            .collect();
        left.extend(marked(marker));
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < patience, "left over after {patience:?}: {left:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < patience, "waited {patience:?} for: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
