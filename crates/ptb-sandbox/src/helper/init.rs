//! PID 1 of the inside: finishes the set-up, starts the command, reaps, ends everything.
//!
//! It has no capability once the command runs, is not dumpable (so nothing inside can trace it or look
//! into it), ignores every signal from inside (the kernel sees to that), and dies with the helper. Its
//! end is the end of all: the kernel kills what is left of its namespace before the helper's wait returns.

use super::{Streams, confine, graft, root, seccomp};
use crate::layout::AGENT_UID;
use crate::spec::WallSpec;
use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{Doing, Event, Exit, Failure, LINGER, Mode};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{DumpableBehavior, Gid, Pid, Signal, Uid, WaitOptions, WaitStatus};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What PID 1 is born with.
pub(super) struct Birth<'a> {
    pub(super) spec: &'a WallSpec,
    pub(super) mode: Mode,
    /// Opened by the helper when it is root; else opened here.
    pub(super) grafts: Option<Vec<graft::Graft>>,
    pub(super) streams: Streams,
    pub(super) link: OwnedFd,
}

/// Lives as PID 1, and ends the process.
pub(super) fn live(birth: Birth<'_>) -> ! {
    let link = birth.link.try_clone();
    let code = match (build_and_run(birth), link) {
        (Ok(()), _) => 0,
        (Err(failure), Ok(link)) => {
            tell(&link, &Event::Failed(failure));
            1
        }
        (Err(_), Err(_)) => 1,
    };
    std::process::exit(code)
}

fn build_and_run(birth: Birth<'_>) -> Result<(), Failure> {
    let Birth { spec, mode, grafts, streams, link } = birth;
    await_mapping(&link)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::fresh_session_keyring();
    let grafts = match grafts {
        _ if spec.weak(Weakness::HostRoot) => Vec::new(),
        Some(grafts) => grafts,
        None => graft::open_all(spec)?,
    };
    become_agent(spec)?;
    if !spec.weak(Weakness::ShareUts) {
        let named = rustix::system::sethostname(spec.hostname.as_bytes());
        named.doing(|| "setting the host name".to_owned())?;
    }
    if !spec.weak(Weakness::ShareNet) {
        sys::loopback_up().doing(|| "starting the loopback interface".to_owned())?;
    }
    root::enter(spec, grafts)?;
    hide()?;
    if spec.weak(Weakness::InitDumpable) {
        let seen = rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable);
        seen.doing(|| "staying dumpable".to_owned())?;
        let _ = rustix::process::set_ptracer(rustix::process::PTracer::Any);
    }
    if !spec.weak(Weakness::NoDeathSignal) {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "asking to die with the helper".to_owned())?;
    }
    if mode == Mode::Probe {
        seccomp::install(&seccomp::programs()?)?;
        tell(&link, &Event::Started);
        return Ok(());
    }
    let children = sys::child_events().doing(|| "watching for children".to_owned())?;
    confine::give_up_capabilities(spec)?;
    let main = start(spec, streams)?;
    tell(&link, &Event::Started);
    Init { spec, link, children, main, end_by: None }.watch()
}

/// Until the helper has written the user map, this process is nobody. The end of the link means that
/// the helper is gone: its death signal is not set yet.
fn await_mapping(link: &OwnedFd) -> Result<(), Failure> {
    let mut go = [0];
    match rustix::io::read(link, &mut go).doing(|| "waiting for the helper".to_owned())? {
        0 => std::process::exit(1),
        _ => Ok(()),
    }
}

/// Takes on the user of the inside. The capabilities over the new namespaces stay for the set-up.
fn become_agent(spec: &WallSpec) -> Result<(), Failure> {
    let what = || "becoming the agent's user".to_owned();
    let shares = spec.weak(Weakness::ShareUser);
    let (uid, gid) =
        if shares { (spec.identity.uid, spec.identity.gid) } else { (AGENT_UID, AGENT_UID) };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if rustix::process::getuid() == uid && rustix::process::getgid() == gid {
        return Ok(());
    }
    rustix::thread::set_keep_capabilities(true).doing(what)?;
    rustix::thread::set_thread_groups(&[]).doing(what)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).doing(what)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).doing(what)?;
    let mut sets = rustix::thread::capabilities(None).doing(what)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets).doing(what)
}

fn hide() -> Result<(), Failure> {
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    hidden.doing(|| "hiding PID 1".to_owned())
}

/// Starts the command; its own failure to start arrives over a pipe that `exec` closes.
fn start(spec: &WallSpec, streams: Streams) -> Result<Pid, Failure> {
    let filters = seccomp::programs()?;
    let (reader, writer) = std::io::pipe().doing(|| "making a pipe".to_owned())?;
    match sys::clone_process(0).doing(|| "starting the command's process".to_owned())? {
        None => {
            let failure = confine::become_command(spec, &streams, true, &filters);
            let text = serde_json::to_vec(&failure).unwrap_or_default();
            let _ = (&writer).write_all(&text);
            std::process::exit(127)
        }
        Some(main) => {
            drop(writer);
            drop(streams);
            read_failure(reader).map_or(Ok(main), Err)
        }
    }
}

/// What a process that should have become the command says about why it did not.
pub(super) fn read_failure(mut reader: std::io::PipeReader) -> Option<Failure> {
    let mut text = Vec::new();
    if reader.read_to_end(&mut text).is_ok() && text.is_empty() {
        return None;
    }
    let unclear = || Failure {
        doing: "executing the command".to_owned(),
        errno: None,
        why: "its process ended".to_owned(),
    };
    Some(serde_json::from_slice(&text).unwrap_or_else(|_| unclear()))
}

/// One message to the helper. The link keeps message borders.
fn tell(link: &OwnedFd, event: &Event) {
    if let Ok(text) = serde_json::to_vec(event) {
        let _ = rustix::io::write(link, &text);
    }
}

struct Init<'a> {
    spec: &'a WallSpec,
    link: OwnedFd,
    children: OwnedFd,
    main: Pid,
    /// When ending has begun: the moment at which patience is over.
    end_by: Option<Instant>,
}

impl Init<'_> {
    /// Reaps and listens until nobody is left or patience is over.
    fn watch(mut self) -> Result<(), Failure> {
        loop {
            let left = match self.end_by.map(|end| end.checked_duration_since(Instant::now())) {
                Some(None) => return Ok(()),
                Some(Some(left)) => Some(timespec(left)),
                None => None,
            };
            let mut ready = [
                PollFd::new(&self.children, PollFlags::IN),
                PollFd::new(&self.link, PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::new("waiting", &error.into())),
            }
            let heard = !ready[1].revents().is_empty();
            if heard && !self.listen() {
                return Ok(());
            }
            let _ = rustix::io::read(&self.children, &mut [0; 128]);
            if !self.reap() {
                return Ok(());
            }
        }
    }

    /// Takes an order of the helper: the grace in milliseconds. False when the helper is gone.
    fn listen(&mut self) -> bool {
        let mut order = [0; 8];
        match rustix::io::read(self.link.as_fd(), &mut order) {
            Ok(8) => {
                self.end(Duration::from_millis(u64::from_le_bytes(order)));
                true
            }
            Err(rustix::io::Errno::INTR) => true,
            _ => self.spec.weak(Weakness::NoDeathSignal),
        }
    }

    /// Asks everybody to end. Stopped processes are woken, or they could not.
    fn end(&mut self, patience: Duration) {
        let end = Instant::now() + patience;
        self.end_by = Some(self.end_by.map_or(end, |old| old.min(end)));
        for signal in [libc::SIGTERM, libc::SIGCONT] {
            if self.spec.weak(Weakness::SharePid) {
                // Without a namespace of its own 'everybody' would be the whole host.
                let named = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
                let _ = rustix::process::kill_process_group(self.main, named);
            } else {
                sys::signal_all(signal);
            }
        }
    }

    /// Takes the ends of processes; false when none are left.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.main => self.main_ended(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn main_ended(&mut self, status: WaitStatus) {
        let Some(exit) = exit_of(status) else { return };
        tell(&self.link, &Event::MainExited(exit));
        self.end(LINGER);
    }
}

/// The end that a status tells of.
pub(super) fn exit_of(status: WaitStatus) -> Option<Exit> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Some(Exit::Code(code)),
        (None, Some(signal)) => Some(Exit::Signal(signal)),
        (None, None) => None,
    }
}

/// A duration as the kernel wants it.
pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}
