//! Running without isolation: a session of its own, the deadline, and killing of what it started.
//!
//! The helper makes itself the reaper of orphans, so that every descendant stays below it, whatever it
//! does with sessions and forks. Ending means signalling the whole tree, again and again until it is
//! empty. A helper killed with SIGKILL cannot do that; the report of this wall says so.

use super::init::{exit_of, read_failure, timespec};
use super::{Streams, confine, report};
use crate::spec::WallSpec;
use crate::sys;
use crate::wire::{CANCEL, Cut, Doing, Event, Exit, Failure, KILL, LINGER};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Between two rounds of killing.
const ROUND: Duration = Duration::from_millis(20);

/// Runs a request to its end.
pub(super) fn run(
    spec: &WallSpec,
    streams: Streams,
    control: &mut UnixStream,
) -> Result<(), Failure> {
    let what = || "supervising".to_owned();
    let myself = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(myself)).doing(what)?;
    let children = sys::child_events().doing(what)?;
    let clock = rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)
        .doing(what)?;
    let (reader, writer) = std::io::pipe().doing(what)?;
    let child = sys::clone_process(0).doing(|| "starting the command's process".to_owned())?;
    let Some(main) = child else {
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let failure = confine::become_command(spec, &streams, false, &[]);
        let text = serde_json::to_vec(&failure).unwrap_or_default();
        let _ = (&writer).write_all(&text);
        std::process::exit(127)
    };
    drop((writer, streams));
    if let Some(failure) = read_failure(reader) {
        return Err(failure);
    }
    report(control, &Event::Started)?;
    if let Some(remaining) = spec.deadline {
        let it_value = timespec(remaining.max(Duration::from_nanos(1)));
        let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value };
        rustix::time::timerfd_settime(&clock, TimerfdTimerFlags::empty(), &once).doing(what)?;
    }
    let started = Instant::now();
    let mut bare = Bare { spec, main, exit: None, cut: None, kill_at: None, killed: false };
    bare.watch(control, &children, &clock)?;
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let Bare { exit: main, cut, killed, .. } = bare;
    report(control, &Event::Ended { main, cut, killed, millis })
}

struct Bare<'a> {
    spec: &'a WallSpec,
    main: Pid,
    exit: Option<Exit>,
    cut: Option<Cut>,
    /// When ending has begun: the moment from which everything is killed.
    kill_at: Option<Instant>,
    killed: bool,
}

impl Bare<'_> {
    fn watch(
        &mut self,
        control: &mut UnixStream,
        children: &OwnedFd,
        clock: &OwnedFd,
    ) -> Result<(), Failure> {
        let mut harness_gone = false;
        while self.reap(control)? {
            let wait = self.pursue().map(timespec);
            let listen = if harness_gone { PollFlags::empty() } else { PollFlags::IN };
            let mut ready = [
                PollFd::new(children, PollFlags::IN),
                PollFd::new(&*control, listen),
                PollFd::new(clock, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, wait.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::new("supervising", &error.into())),
            }
            let [child, harness, time] = ready.map(|fd| !fd.revents().is_empty());
            if child {
                let _ = rustix::io::read(children, &mut [0; 128]);
            }
            if harness && !harness_gone {
                harness_gone = !self.hear(control);
            }
            if time {
                let _ = rustix::io::read(clock, &mut [0; 8]);
                self.end(Some(Cut::Deadline), self.spec.grace);
            }
        }
        Ok(())
    }

    /// Takes the ends of processes; false when none are left.
    fn reap(&mut self, control: &mut UnixStream) -> Result<bool, Failure> {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => {
                    if let Some(exit) = exit_of(status) {
                        self.exit = Some(exit);
                        report(control, &Event::MainExited(exit))?;
                        self.end(None, LINGER);
                    }
                }
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    /// An order of the harness; false when it is gone.
    fn hear(&mut self, control: &mut UnixStream) -> bool {
        let mut byte = [0];
        match control.read(&mut byte) {
            Ok(1) if byte[0] == CANCEL => self.end(Some(Cut::Cancelled), self.spec.grace),
            Ok(1) if byte[0] == KILL => self.end(Some(Cut::Cancelled), Duration::ZERO),
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => {
                self.end(Some(Cut::Cancelled), Duration::ZERO);
                return false;
            }
        }
        true
    }

    /// Begins the end: TERM for all now, KILL after the patience. The first reason counts.
    fn end(&mut self, why: Option<Cut>, patience: Duration) {
        if self.cut.is_none() && self.exit.is_none() {
            self.cut = why;
        }
        let at = Instant::now() + patience;
        self.kill_at = Some(self.kill_at.map_or(at, |old| old.min(at)));
        signal_tree(Signal::TERM);
        signal_tree(Signal::CONT);
    }

    /// Kills when patience is over, and tells how long to wait before looking again.
    fn pursue(&mut self) -> Option<Duration> {
        let left = self.kill_at?.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Some(left);
        }
        self.killed = true;
        signal_tree(Signal::KILL);
        Some(ROUND)
    }
}

/// Signals every descendant of this process.
fn signal_tree(signal: Signal) {
    for pid in descendants(rustix::process::getpid()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// All processes below `top`, from one reading of `/proc`.
fn descendants(top: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut todo = vec![top.as_raw_nonzero().get()];
    while let Some(pid) = todo.pop() {
        let next = children.get(&pid).into_iter().flatten();
        todo.extend(next.copied().filter(|child| found.insert(*child)));
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The parent's id: the second field after the name, which is in parentheses and may hold any.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
