//! The embedded wall: Linux namespaces, without any installed program.

use crate::layout::{AGENT_HOME, DOOR_SOCKET, PROGRAMS_DIR, TASK_DIR, shown_secret};
use crate::report::Report;
use crate::running::Running;
use crate::spec::{Identity, WallSpec};
use crate::wall::{Inside, Wall};
use crate::wire::{Event, HELPER_FLAG, HELPER_NAME, MAX_REQUEST, Mode, Request};
use crate::{Result, WallError, probe};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// User, mount, PID, IPC, UTS, cgroup and network namespaces, a root of its own, a seccomp filter.
#[derive(Debug, Clone)]
pub struct Namespaces {
    helper: PathBuf,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new()
    }
}

/// What the wall promises and by what means, in the order of the design.
const PROMISES: [(&str, bool, &str); 10] = [
    ("files", true, "own root on tmpfs: an allowlist of read-only binds, old root detached"),
    ("user", true, "own user namespace, one user mapped, no capability, no_new_privs, nosuid"),
    ("processes", true, "own PID namespace; all ended with PID 1, which dies with the harness"),
    ("network", true, "own network namespace with loopback alone; abstract sockets included"),
    ("ipc", true, "own IPC namespace, fresh session keyring"),
    (
        "system-calls",
        true,
        "seccomp: keys, mounts, namespaces, VM sockets, io_uring and others refused",
    ),
    ("descriptors", true, "standard streams alone; a session without terminal"),
    ("deadline", true, "TERM, grace, KILL by a helper outside, on the boot-time clock"),
    ("process-count", true, "RLIMIT_NPROC"),
    ("disk-in-memory", true, "sized /tmp, /home/agent and /dev/shm"),
];

impl Namespaces {
    /// Name of this wall.
    pub const NAME: &'static str = "namespaces";

    /// The wall whose helper is this very program; its `main` must call [`crate::enter_if_helper`].
    #[must_use]
    pub fn new() -> Self {
        Self { helper: "/proc/self/exe".into() }
    }

    /// With another program as the helper, of the same build of this crate.
    #[must_use]
    pub fn with_helper(helper: impl Into<PathBuf>) -> Self {
        Self { helper: helper.into() }
    }
}

impl Wall for Namespaces {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn probe(&self) -> Result<Report> {
        let mut spec = WallSpec::new("/usr", ["true"]);
        // Nothing is run; /usr stands for a workspace that surely exists.
        spec.deadline = Some(Duration::from_secs(10));
        let identity = spec.identity;
        let mut started = start(&self.helper, Mode::Probe, spec, Stdio::null())?;
        let (control, helper) = (&started.control, &mut started.child);
        let _ = control.set_read_timeout(Some(Duration::from_secs(20)));
        let mut line = String::new();
        let read = BufReader::new(control.take(64 << 10)).read_line(&mut line);
        let verdict = match (read, serde_json::from_str(&line)) {
            (Ok(n), Ok(Event::Started)) if n > 0 => {
                Ok(Report::new(Self::NAME, identity.uid, &PROMISES))
            }
            (Ok(n), Ok(Event::Failed(failure))) if n > 0 => Err(probe::diagnose(&failure)
                .unwrap_or_else(|| {
                    WallError::bad_spec(failure.to_string(), probe::plain_hint(&failure))
                })),
            _ => Err(silent(&self.helper)),
        };
        let _ = control.shutdown(std::net::Shutdown::Both);
        let _ = helper.wait();
        verdict
    }

    fn launch(&self, spec: WallSpec) -> Result<Running> {
        spec.check()?;
        let declared = spec.binds.iter().map(|bind| (&bind.source, true));
        let own = [&spec.workspace].into_iter().chain(&spec.door).chain(&spec.programs);
        let own = own.chain(spec.state.iter().map(|bind| &bind.source));
        for (source, within) in own.map(|path| (path, false)).chain(declared) {
            if let Some(secret) = shown_secret(source, &spec.secrets, within) {
                let (source_path, secret) = (source.clone(), secret.clone());
                return Err(WallError::Secret { source_path, secret });
            }
        }
        launch(&self.helper, Mode::Namespaces, spec)
    }

    fn inside(&self, spec: &WallSpec) -> Inside {
        Inside {
            home: AGENT_HOME.into(),
            task: TASK_DIR.into(),
            door: spec.door.as_ref().map(|_| DOOR_SOCKET.into()),
            programs: vec![PROGRAMS_DIR.into()],
            moves_binds: true,
        }
    }
}

/// A helper that has its request.
struct Helper<C> {
    child: C,
    control: UnixStream,
}

fn silent(program: &Path) -> WallError {
    helper_error(
        program,
        "it ended without an answer",
        "the program's main must begin with ptb_sandbox::enter_if_helper()",
    )
}

fn helper_error(program: &Path, why: impl ToString, hint: &str) -> WallError {
    WallError::Helper { program: program.to_owned(), why: why.to_string(), hint: hint.to_owned() }
}

/// The helper's command line: nothing of this process goes with it but the socket as standard input.
fn helper_command(program: &Path, control: UnixStream) -> Command {
    let mut command = Command::new(program);
    command.arg0(HELPER_NAME).arg(HELPER_FLAG).stdin(OwnedFd::from(control)).current_dir("/");
    command
}

fn prepare(
    program: &Path,
    mode: Mode,
    mut spec: WallSpec,
) -> Result<(Command, UnixStream, Vec<u8>)> {
    let failed = |error: std::io::Error| helper_error(program, error, "free descriptors or memory");
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let weaken = std::mem::take(&mut spec.weaken);
    let keeps = weaken.contains(&crate::Weakness::KeepEnv);
    let text = serde_json::to_vec(&Request { mode, spec, weaken }).map_err(|error| {
        WallError::bad_spec(error.to_string(), "use paths that are valid UTF-8")
    })?;
    if text.len() > MAX_REQUEST {
        return Err(WallError::bad_spec(
            "command and environment are longer than 16 MiB",
            "pass long texts through a file",
        ));
    }
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut command = helper_command(program, theirs);
    if !keeps {
        command.env_clear();
    }
    Ok((command, ours, [&length[..], &text].concat()))
}

fn start(
    program: &Path,
    mode: Mode,
    spec: WallSpec,
    output: Stdio,
) -> Result<Helper<std::process::Child>> {
    let (mut command, control, text) = prepare(program, mode, spec)?;
    let child = command.stdout(output).stderr(Stdio::null()).spawn();
    let child =
        child.map_err(|error| helper_error(program, error, "check that it is executable"))?;
    drop(command);
    (&control).write_all(&text).map_err(|_| silent(program))?;
    Ok(Helper { child, control })
}

/// Starts a helper inside a tokio runtime.
pub(crate) fn launch(program: &Path, mode: Mode, spec: WallSpec) -> Result<Running> {
    let failed = |error: std::io::Error| {
        helper_error(program, error, "check that it is executable and descriptors are left")
    };
    let (mut command, control, text) = prepare(program, mode, spec)?;
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let child = command.spawn().map_err(failed)?;
    // The command holds the helper's end of the socket; only without it the stream can end.
    drop(command);
    (&control).write_all(&text).map_err(|_| silent(program))?;
    control.set_nonblocking(true).map_err(failed)?;
    let control = tokio::net::UnixStream::from_std(control).map_err(failed)?;
    Ok(Running::new(child, control))
}

/// The identity that [`Report`]s of walls without one of their own tell.
pub(crate) fn own_identity() -> Identity {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Identity { uid: uid.as_raw(), gid: gid.as_raw() }
}
