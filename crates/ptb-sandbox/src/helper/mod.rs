//! The helper process: the same program executed again under another name, with one thread.
//!
//! Namespaces, process ids and death signals belong to threads, so a wall cannot be set up from an
//! async process with many of them. The helper has one, an empty environment, and no descriptor but
//! the socket to the harness and the command's output pipes.
//!
//! Files: `graft` opens what of the host is shown; `root` builds the inside's root; `init` is PID 1
//! of the inside; `confine` is the last moment before the command; `seccomp` is its filter;
//! `supervise` is the helper's own loop; `bare` runs without isolation.

mod bare;
mod confine;
mod graft;
mod init;
mod root;
mod seccomp;
mod supervise;

pub(crate) use supervise::{CLONING, MAPPING};

use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{Doing, Event, Failure, HELPER_FLAG, HELPER_NAME, MAX_REQUEST, Mode, Request};
use rustix::fs::SealFlags;
use rustix::io::Errno;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Becomes the wall's helper if this process was started as one, and then never returns.
///
/// Must be the first call of `main` in every program that launches walls, before any thread.
pub fn enter_if_helper() {
    let mut args = std::env::args_os();
    let named = args.next().is_some_and(|name| name == HELPER_NAME);
    if !named || args.next().is_none_or(|flag| flag != HELPER_FLAG) {
        return;
    }
    let code = match helper() {
        Ok(()) => 0,
        Err(_) => 1,
    };
    std::process::exit(code);
}

/// The command's standard streams, as the harness wants them.
struct Streams {
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
}

fn helper() -> Result<(), Failure> {
    sys::default_signals();
    // A session of its own: the terminal's signals go to the harness, which decides.
    let request = read_request()?;
    if !request.weaken.contains(&Weakness::KeepSession) {
        let _ = rustix::process::setsid();
    }
    if !request.weaken.contains(&Weakness::KeepFds) {
        sys::close_from(3, false).doing(|| "closing inherited descriptors".to_owned())?;
    }
    let control = duplicate(rustix::stdio::stdin())?;
    let output = duplicate(rustix::stdio::stdout())?;
    let errors = duplicate(rustix::stdio::stderr())?;
    let input = request_input(&request);
    let mut control = UnixStream::from(control);
    let input = match input {
        Ok(input) => input,
        Err(failure) => return report(&mut control, &Event::Failed(failure)),
    };
    leave_standard_streams()?;
    let Request { mode, mut spec, weaken } = request;
    spec.weaken = weaken;
    let streams = Streams { input, output, errors };
    let result = match mode {
        Mode::NoWall => bare::run(&spec, streams, &mut control),
        Mode::Namespaces | Mode::Probe => supervise::run(&spec, mode, streams, &mut control),
    };
    match result {
        Ok(()) => Ok(()),
        Err(failure) => report(&mut control, &Event::Failed(failure)),
    }
}

/// The request, read byte for byte from standard input: nothing else of the stream is taken.
fn read_request() -> Result<Request, Failure> {
    let what = || "reading the request".to_owned();
    let mut length = [0; 4];
    read_exactly(&mut length).doing(what)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_REQUEST {
        return Err(Failure::new(what(), &std::io::ErrorKind::InvalidData.into()));
    }
    let mut text = vec![0; length];
    read_exactly(&mut text).doing(what)?;
    serde_json::from_slice(&text).doing(what)
}

fn read_exactly(mut buffer: &mut [u8]) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => buffer = &mut buffer[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn duplicate(fd: impl AsFd) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).doing(|| "keeping a descriptor".to_owned())
}

/// Standard input of the command: nothing, or a sealed copy in memory. A copy, because a descriptor
/// of the file itself could be reopened for writing through `/proc/self/fd`.
fn request_input(request: &Request) -> Result<OwnedFd, Failure> {
    const MOST: u64 = 64 << 20;
    let path = match &request.spec.stdin {
        crate::Stdin::Null => std::path::Path::new("/dev/null"),
        crate::Stdin::File(path) => path,
    };
    let what = || format!("opening the standard input {}", path.display());
    let source = std::fs::File::open(path).doing(what)?;
    if request.spec.stdin == crate::Stdin::Null {
        return Ok(source.into());
    }
    let memory = rustix::fs::memfd_create(
        "stdin",
        rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING,
    )
    .doing(what)?;
    let mut memory = std::fs::File::from(memory);
    let copied =
        std::io::copy(&mut std::io::Read::take(source, MOST + 1), &mut memory).doing(what)?;
    if copied > MOST {
        return Err(Failure::new(what(), &std::io::ErrorKind::FileTooLarge.into()));
    }
    std::io::Seek::rewind(&mut memory).doing(what)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&memory, seals).doing(what)?;
    Ok(memory.into())
}

/// Standard streams to `/dev/null`: the command's pipes must end when the command's tree ends, not
/// when the helper does.
fn leave_standard_streams() -> Result<(), Failure> {
    let what = || "opening /dev/null".to_owned();
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").doing(what)?;
    rustix::stdio::dup2_stdin(&null).doing(what)?;
    rustix::stdio::dup2_stdout(&null).doing(what)?;
    rustix::stdio::dup2_stderr(&null).doing(what)
}

/// One event to the harness. A harness that is gone is noticed elsewhere, by its closed stream.
fn report(control: &mut UnixStream, event: &Event) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(event).doing(|| "writing an event".to_owned())?;
    line.push(b'\n');
    let _ = control.write_all(&line);
    Ok(())
}
