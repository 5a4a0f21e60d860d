//! The helper's own loop: makes the namespaces, keeps the deadline, holds the life-line.
//!
//! It stays outside, in the host's namespaces, where nothing of the inside can see or signal it.

use super::init::{self, Birth, exit_of, timespec};
use super::{Streams, graft, report};
use crate::layout::AGENT_UID;
use crate::spec::WallSpec;
use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{CANCEL, Cut, Doing, Event, Exit, Failure, KILL, LINGER, Mode};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::FileType;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use rustix::thread::CapabilitySet;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long PID 1 may take beyond its patience before the helper kills it.
const MARGIN: Duration = Duration::from_secs(2);
/// The order to PID 1 in milliseconds of grace.
type Order = [u8; 8];

/// Runs a request to its end. What fails before the command runs comes back as the failure.
pub(super) fn run(
    spec: &WallSpec,
    mode: Mode,
    streams: Streams,
    control: &mut UnixStream,
) -> Result<(), Failure> {
    let privileged = is_privileged();
    let opened_here = privileged && !spec.weak(Weakness::HostRoot);
    let grafts = if opened_here { Some(graft::open_all(spec)?) } else { None };
    if privileged {
        own_streams(spec, &streams)?;
    }
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .doing(|| "making a socket pair".to_owned())?;
    let child = sys::clone_process(namespaces(spec)).doing(|| CLONING.to_owned())?;
    let Some(init) = child else {
        drop(ours);
        close_copy(control);
        init::live(Birth { spec, mode, grafts, streams, link: theirs })
    };
    drop((grafts, streams, theirs));
    let pidfd = rustix::process::pidfd_open(init, PidfdFlags::empty())
        .doing(|| "opening PID 1".to_owned())?;
    let mapped = map_user(spec, init, privileged)
        .and_then(|()| rustix::io::write(&ours, b"g").doing(|| "starting PID 1".to_owned()));
    let helper = Supervisor { spec, control, link: ours, pidfd, init, state: State::default() };
    match mapped {
        Ok(_) => helper.watch(),
        Err(failure) => {
            helper.kill();
            let _ = rustix::process::waitpid(Some(init), WaitOptions::empty());
            Err(failure)
        }
    }
}

/// What the parent looks for when it explains why namespaces are refused.
pub(crate) const CLONING: &str = "creating namespaces";
/// As [`CLONING`], for the user map.
pub(crate) const MAPPING: &str = "mapping the agent's user";

/// Whether this process may open mounts and map any user: root with the power over mounts.
fn is_privileged() -> bool {
    let root = rustix::process::geteuid().is_root();
    let sets = rustix::thread::capabilities(None);
    root && sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

fn namespaces(spec: &WallSpec) -> i32 {
    let kinds = [
        (libc::CLONE_NEWUSER, Weakness::ShareUser),
        (libc::CLONE_NEWPID, Weakness::SharePid),
        (libc::CLONE_NEWIPC, Weakness::ShareIpc),
        (libc::CLONE_NEWUTS, Weakness::ShareUts),
        (libc::CLONE_NEWNET, Weakness::ShareNet),
    ];
    let kept = kinds.iter().filter(|(_, weakness)| !spec.weak(*weakness));
    let cgroup = if std::path::Path::new("/proc/self/ns/cgroup").exists() {
        libc::CLONE_NEWCGROUP
    } else {
        0
    };
    kept.fold(libc::CLONE_NEWNS | cgroup, |flags, (flag, _)| flags | flag)
}

/// Pipes have an owner, which decides whether `/dev/stdout` can be opened by name. Only pipes: any
/// other file that the harness gives as an output is not ours to give away.
fn own_streams(spec: &WallSpec, streams: &Streams) -> Result<(), Failure> {
    let uid = rustix::fs::Uid::from_raw(spec.identity.uid);
    let gid = rustix::fs::Gid::from_raw(spec.identity.gid);
    let is_pipe = |fd: &&OwnedFd| {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        kind == Ok(FileType::Fifo)
    };
    for fd in [&streams.output, &streams.errors].into_iter().filter(is_pipe) {
        let given = rustix::fs::fchown(fd, Some(uid), Some(gid));
        given.doing(|| "giving the output pipes to the agent".to_owned())?;
    }
    Ok(())
}

/// Makes user 1000 of the inside the agent of the outside, and the inside the kernel's first choice
/// when memory runs out.
fn map_user(spec: &WallSpec, init: Pid, privileged: bool) -> Result<(), Failure> {
    let place = |name: &str| format!("/proc/{}/{name}", init.as_raw_nonzero());
    let write = |name: &str, text: String| {
        let path = place(name);
        std::fs::write(&path, text).doing(|| format!("{MAPPING} ({path})"))
    };
    let _ = std::fs::write(place("oom_score_adj"), "500");
    if spec.weak(Weakness::ShareUser) {
        return Ok(());
    }
    if !privileged {
        write("setgroups", "deny".to_owned())?;
    }
    write("gid_map", format!("{AGENT_UID} {} 1", spec.identity.gid))?;
    write("uid_map", format!("{AGENT_UID} {} 1", spec.identity.uid))
}

/// Lets go of the child's copy of a stream, by putting another in its place: the harness must see
/// its stream end when the helper ends.
fn close_copy(stream: &mut UnixStream) {
    if let Ok((nothing, _)) = UnixStream::pair() {
        *stream = nothing;
    }
}

#[derive(Default)]
struct State {
    started: Option<Instant>,
    failed: Option<Failure>,
    main: Option<Exit>,
    cut: Option<Cut>,
    killed: bool,
    /// When PID 1 should long be over.
    kill_at: Option<Instant>,
    harness_gone: bool,
    link_over: bool,
    /// Messages of PID 1 so far.
    heard: u32,
}

struct Supervisor<'a> {
    spec: &'a WallSpec,
    control: &'a mut UnixStream,
    link: OwnedFd,
    pidfd: OwnedFd,
    init: Pid,
    state: State,
}

impl Supervisor<'_> {
    fn watch(mut self) -> Result<(), Failure> {
        let clock = rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC)
            .doing(|| "making the deadline's timer".to_owned())?;
        loop {
            let left = self.state.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.state.kill_at = None;
                self.state.killed = true;
                self.kill();
            }
            let left = left.filter(|left| !left.is_zero()).map(timespec);
            let unless = |over| if over { PollFlags::empty() } else { PollFlags::IN };
            let mut ready = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(&self.link, unless(self.state.link_over)),
                PollFd::new(&*self.control, unless(self.state.harness_gone)),
                PollFd::new(&clock, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::new("supervising", &error.into())),
            }
            let [over, link, control, time] = ready.map(|fd| !fd.revents().is_empty());
            if link && !self.state.link_over {
                self.hear_init(&clock)?;
            }
            if over {
                return self.finish();
            }
            if control && !self.state.harness_gone {
                self.hear_harness();
            }
            if time {
                let _ = rustix::io::read(&clock, &mut [0; 8]);
                self.cut(Cut::Deadline);
            }
        }
    }

    /// Takes one message of PID 1. The end of the link is its end, or that of the set-up.
    fn hear_init(&mut self, clock: &OwnedFd) -> Result<(), Failure> {
        let mut text = [0; 8192];
        let length = match rustix::io::read(&self.link, &mut text) {
            Ok(0) => {
                self.state.link_over = true;
                return Ok(());
            }
            Ok(length) => length,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => return Ok(()),
            Err(_) => {
                self.state.link_over = true;
                return Ok(());
            }
        };
        self.state.heard += 1;
        match serde_json::from_slice(&text[..length]) {
            Ok(Event::Started) => {
                self.state.started = Some(Instant::now());
                self.arm(clock)?;
                if self.state.cut.is_some() {
                    self.order_end();
                }
                report(self.control, &Event::Started)
            }
            Ok(Event::Failed(failure)) => {
                self.state.failed = Some(failure);
                Ok(())
            }
            Ok(Event::MainExited(exit)) => {
                self.state.main = Some(exit);
                self.kill_after(LINGER + MARGIN);
                report(self.control, &Event::MainExited(exit))
            }
            Ok(Event::Ended { .. }) | Err(_) => Ok(()),
        }
    }

    /// Sets the deadline's timer. A deadline of zero is one nanosecond: zero would mean never.
    fn arm(&self, clock: &OwnedFd) -> Result<(), Failure> {
        let Some(remaining) = self.spec.deadline else { return Ok(()) };
        let once = Itimerspec {
            it_interval: timespec(Duration::ZERO),
            it_value: timespec(remaining.max(Duration::from_nanos(1))),
        };
        rustix::time::timerfd_settime(clock, TimerfdTimerFlags::empty(), &once)
            .map(drop)
            .doing(|| "setting the deadline".to_owned())
    }

    fn hear_harness(&mut self) {
        let mut byte = [0];
        match self.control.read(&mut byte) {
            Ok(1) if byte[0] == CANCEL => self.cut(Cut::Cancelled),
            Ok(1) if byte[0] == KILL => {
                self.cut(Cut::Cancelled);
                self.state.killed = true;
                self.kill();
            }
            Ok(1) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            _ => {
                self.state.harness_gone = true;
                if !self.spec.weak(Weakness::NoLifeline) {
                    self.state.killed = true;
                    self.kill();
                }
            }
        }
    }

    /// Orders the end, once: the first reason counts.
    fn cut(&mut self, why: Cut) {
        if self.state.cut.is_some() {
            return;
        }
        if self.state.main.is_none() {
            self.state.cut = Some(why);
        }
        self.order_end();
        self.kill_after(self.spec.grace.saturating_add(MARGIN));
    }

    /// Passes the order on. An order that comes before the command runs waits for it: PID 1 may have
    /// started it a moment ago and not said so yet.
    fn order_end(&self) {
        let grace = u64::try_from(self.spec.grace.as_millis()).unwrap_or(u64::MAX / 2);
        let order: Order = grace.to_le_bytes();
        if self.state.started.is_some() && rustix::io::write(&self.link, &order).is_err() {
            self.kill();
        }
    }

    fn kill_after(&mut self, patience: Duration) {
        let at = Instant::now().checked_add(patience);
        self.state.kill_at = match (self.state.kill_at, at) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
    }

    /// The end of PID 1 and, by the kernel, of everything inside.
    fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    fn finish(mut self) -> Result<(), Failure> {
        // What PID 1 said last may still wait in the link.
        let never = rustix::time::timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC);
        let never = never.doing(|| "making a timer".to_owned())?;
        let _ = rustix::io::ioctl_fionbio(&self.link, true);
        while !self.state.link_over {
            let before = self.state.heard;
            self.hear_init(&never)?;
            if self.state.heard == before {
                break;
            }
        }
        let status = rustix::process::waitpid(Some(self.init), WaitOptions::empty());
        if let Some(failure) = self.state.failed {
            return Err(failure);
        }
        let State { main, cut, killed, started, .. } = self.state;
        let millis = started.map_or(0, |at| at.elapsed().as_millis());
        if started.is_none() && cut.is_none() && !self.state.harness_gone {
            let status = status.ok().flatten().and_then(|(_, status)| exit_of(status));
            let why = format!("PID 1 of the wall ended by itself ({status:?})");
            return Err(Failure::new("building the wall", &std::io::Error::other(why)));
        }
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        report(self.control, &Event::Ended { main, cut, killed, millis })
    }
}
