//! One wall with one Python that forks a child for each job.

use crate::python::Python;
use crate::{CodeError, Result};
use ptb_sandbox::{Limits, Running, Sizes, Wall, WallSpec};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

/// The zygote's program: parts of one script, in the order of their use.
const SCRIPT: &str = concat!(
    include_str!("py/values.py"),
    include_str!("py/frames.py"),
    include_str!("py/program.py"),
    include_str!("py/checker.py"),
    include_str!("py/confine.py"),
    include_str!("py/zygote.py"),
    "\nmain()\n"
);

/// How long a Python may take from its start to its first word.
const BIRTH: Duration = Duration::from_secs(60);
/// How long it may take to end a child.
const BURIAL: Duration = Duration::from_secs(10);

/// What a zygote's children run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The model's program.
    Program,
    /// The benchmark's tests.
    Checker,
}

/// What all zygotes of a pool have in common.
pub(crate) struct Setup {
    pub(crate) wall: std::sync::Arc<dyn Wall>,
    pub(crate) python: Python,
    pub(crate) memory: u64,
    pub(crate) cpu_seconds: u64,
    /// The filter of system calls, in hexadecimal digits.
    pub(crate) filter: String,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    /// The signal, or 0 when it exited. The zygote kills what still lives, so it may be ours.
    pub(crate) signal: i32,
    /// Processor time that it took, in milliseconds.
    pub(crate) cpu_millis: u64,
}

/// The zygote cannot be used any more.
#[derive(Debug)]
pub(crate) struct Harmed;

/// A running zygote, seen from here.
pub(crate) struct Zygote {
    door: UnixStream,
    running: Running,
    /// Whether its children can read nothing but the language's library.
    pub(crate) alone: bool,
}

impl Zygote {
    /// Starts a wall with a Python in it, and waits until that is ready to fork.
    pub(crate) fn start(runtime: &Runtime, setup: &Setup, role: Role) -> Result<Self> {
        let place = Place::new().map_err(|error| {
            CodeError::start(
                format_args!("a directory for its socket cannot be made: {error}"),
                "check TMPDIR: its path must be short and its disk not full",
            )
        })?;
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(place.socket()).and_then(|listener| {
                std::fs::set_permissions(place.socket(), PermissionsExt::from_mode(0o666))?;
                Ok(listener)
            });
            let listener = listener.map_err(|error| {
                CodeError::start(
                    format_args!("its socket cannot be made: {error}"),
                    "check TMPDIR: its path must be short and its disk not full",
                )
            })?;
            let mut running = setup.wall.launch(setup.spec(&place, role))?;
            running.started().await?;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted.ok(),
                _ = running.wait() => None,
                () = tokio::time::sleep(BIRTH) => None,
            };
            let met = accepted.and_then(|(stream, _)| greet(stream).ok());
            match met {
                Some((door, alone)) => Ok(Self { door, running, alone }),
                None => Err(stillborn(running).await),
            }
        })
    }

    /// Has a child forked that speaks over this socket.
    pub(crate) fn begin(&self, channel: &UnixStream) -> Result<(), Harmed> {
        let descriptors = [channel.as_fd()];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut message = SendAncillaryBuffer::new(&mut room);
        if !message.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Harmed);
        }
        let order = [IoSlice::new(b"b")];
        match rustix::net::sendmsg(&self.door, &order, &mut message, SendFlags::NOSIGNAL) {
            Ok(1) => Ok(()),
            _ => Err(Harmed),
        }
    }

    /// Orders the end of the child and of all that it may have started.
    pub(crate) fn order_end(&self) -> Result<(), Harmed> {
        match rustix::net::send(&self.door, b"e", SendFlags::NOSIGNAL) {
            Ok(1) => Ok(()),
            _ => Err(Harmed),
        }
    }

    /// Waits until the end that was ordered has come.
    pub(crate) fn ended(&self) -> Result<Death, Harmed> {
        self.door.set_read_timeout(Some(BURIAL)).map_err(|_| Harmed)?;
        let mut word = [0; 12];
        (&self.door).read_exact(&mut word).map_err(|_| Harmed)?;
        let number =
            |at: usize| u32::from_le_bytes([word[at], word[at + 1], word[at + 2], word[at + 3]]);
        if word[..4] != *b"done" {
            return Err(Harmed);
        }
        let signal = i32::try_from(number(4)).map_err(|_| Harmed)?;
        Ok(Death { signal, cpu_millis: number(8).into() })
    }

    /// Ends the wall with everything in it, and waits for that.
    pub(crate) fn bury(mut self, runtime: &Runtime) {
        self.running.canceller().kill();
        let ended = self.running.wait();
        // The kernel does the killing; when the helper is slow to say so, dropping it is as good.
        let _ = runtime.block_on(async { tokio::time::timeout(BURIAL, ended).await });
    }
}

impl Setup {
    fn spec(&self, place: &Place, role: Role) -> WallSpec {
        let role = match role {
            Role::Program => "program",
            Role::Checker => "checker",
        };
        let python = self.python.program.display().to_string();
        let (memory, cpu) = (self.memory.to_string(), self.cpu_seconds.to_string());
        let mut spec =
            WallSpec::new(place.empty(), [python.as_str(), "-s", "-S", "-B", "-c", SCRIPT, role]);
        spec.door = Some(place.door());
        let door = self.wall.inside(&spec).door.unwrap_or_else(|| place.socket());
        let settings = [door.display().to_string(), memory, cpu, self.filter.clone()];
        spec.command.extend(settings);
        // The order of sets of strings is part of what a program does.
        let env = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("PYTHONHASHSEED", "0")];
        spec.env = env.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        spec.limits = Limits { file_bytes: Some(0), open_files: 256, ..Limits::default() };
        spec.sizes = Sizes { tmp: 4096, home: 4096, shm: 4096 };
        spec.grace = Duration::ZERO;
        spec.cwd = "/".into();
        let hidden = self.python.prefixes.iter().filter(|prefix| !ptb_sandbox::exposes(prefix));
        hidden.fold(spec, |spec, prefix| spec.bind_read(prefix, prefix))
    }
}

/// Directories of the host that a wall is given. Others cannot enter the outer one, so nobody but the
/// wall can come to the socket.
struct Place(TempDir);

impl Place {
    fn new() -> std::io::Result<Self> {
        let place = Self(tempfile::Builder::new().prefix("ptb-code-").tempdir()?);
        for (path, mode) in [(place.door(), 0o755), (place.empty(), 0o555)] {
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        }
        Ok(place)
    }

    fn door(&self) -> std::path::PathBuf {
        self.0.path().join("door")
    }

    fn socket(&self) -> std::path::PathBuf {
        self.door().join(Path::new(ptb_sandbox::DOOR_SOCKET).file_name().unwrap_or_default())
    }

    fn empty(&self) -> std::path::PathBuf {
        self.0.path().join("empty")
    }
}

/// The first word of a zygote: that it is ready, and whether it is alone with its library.
fn greet(stream: tokio::net::UnixStream) -> std::io::Result<(UnixStream, bool)> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(BIRTH))?;
    stream.set_write_timeout(Some(BURIAL))?;
    let mut word = [0; 5];
    (&stream).read_exact(&mut word)?;
    match &word {
        b"herea" => Ok((stream, true)),
        b"here-" => Ok((stream, false)),
        _ => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Why a zygote did not come up, in the words that its Python left.
async fn stillborn(mut running: Running) -> CodeError {
    running.canceller().kill();
    let mut said = Vec::new();
    if let Some(stderr) = running.stderr.take() {
        let read = stderr.take(16 << 10);
        tokio::pin!(read);
        let _ = tokio::time::timeout(Duration::from_secs(1), read.read_to_end(&mut said)).await;
    }
    let said = String::from_utf8_lossy(&said);
    let why = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    CodeError::start(
        format_args!("it did not become ready ({why})"),
        "Python needs its own library with ctypes; a Python below /usr or one with everything in one \
         directory serves best",
    )
}
