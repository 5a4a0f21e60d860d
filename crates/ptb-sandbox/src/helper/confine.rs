//! The last moment before the command: standard streams, limits, capabilities, filter, `exec`.

use super::{Streams, seccomp};
use crate::spec::WallSpec;
use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{Doing, Failure};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::BpfProgram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Becomes the command. Returns only if that failed.
pub(super) fn become_command(
    spec: &WallSpec,
    streams: &Streams,
    isolate: bool,
    filters: &[BpfProgram],
) -> Failure {
    let prepared = prepare(spec, streams)
        .and_then(|()| if isolate { never_again(spec, filters) } else { Ok(()) });
    match prepared {
        Ok(()) => execute(spec),
        Err(failure) => failure,
    }
}

fn prepare(spec: &WallSpec, streams: &Streams) -> Result<(), Failure> {
    if !spec.weak(Weakness::KeepSession) {
        rustix::process::setsid().doing(|| "starting a session".to_owned())?;
    }
    sys::unblock_signals();
    limits(spec)?;
    let cwd = || format!("entering the working directory {}", spec.cwd.display());
    rustix::process::chdir(&spec.cwd).doing(cwd)?;
    let what = || "connecting the standard streams".to_owned();
    rustix::stdio::dup2_stdin(&streams.input).doing(what)?;
    rustix::stdio::dup2_stdout(&streams.output).doing(what)?;
    rustix::stdio::dup2_stderr(&streams.errors).doing(what)?;
    if spec.weak(Weakness::KeepFds) {
        return Ok(());
    }
    sys::close_from(3, true).doing(|| "closing descriptors".to_owned())
}

/// Limits can be lowered by anyone but raised by few: what the host already limits more stays.
fn limits(spec: &WallSpec) -> Result<(), Failure> {
    let lower = |resource, to: u64| {
        let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX).min(to);
        let limit = Rlimit { current: Some(hard), maximum: Some(hard) };
        rustix::process::setrlimit(resource, limit).doing(|| format!("limiting {resource:?}"))
    };
    if !spec.weak(Weakness::NoProcessLimit) {
        lower(Resource::Nproc, spec.limits.processes)?;
    }
    lower(Resource::Nofile, spec.limits.open_files)?;
    lower(Resource::Core, 0)?;
    match spec.limits.file_bytes {
        Some(bytes) if !spec.weak(Weakness::NoFileLimit) => lower(Resource::Fsize, bytes),
        _ => Ok(()),
    }
}

/// The last privileged step, done by PID 1 before it starts the command: both go on without.
pub(super) fn give_up_capabilities(spec: &WallSpec) -> Result<(), Failure> {
    if spec.weak(Weakness::KeepCaps) { keep_capabilities() } else { drop_capabilities() }
}

/// Nothing that is executed from here on can gain what was given up.
fn never_again(spec: &WallSpec, filters: &[BpfProgram]) -> Result<(), Failure> {
    if !spec.weak(Weakness::AllowNewPrivs) {
        rustix::thread::set_no_new_privs(true).doing(|| "setting no_new_privs".to_owned())?;
    }
    if spec.weak(Weakness::NoSeccomp) { Ok(()) } else { seccomp::install(filters) }
}

/// Empties every capability set, the bounding set first, while that is still allowed.
fn drop_capabilities() -> Result<(), Failure> {
    let what = || "dropping capabilities".to_owned();
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // A capability that this kernel does not know yet.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(Failure::new(what(), &error.into())),
        }
    }
    rustix::thread::clear_ambient_capability_set().doing(what)?;
    let empty = CapabilitySet::empty();
    let none = CapabilitySets { effective: empty, permitted: empty, inheritable: empty };
    rustix::thread::set_capabilities(None, none).doing(what)
}

/// For tests: the command keeps what PID 1 could do inside.
fn keep_capabilities() -> Result<(), Failure> {
    let what = || "keeping capabilities".to_owned();
    let mut sets = rustix::thread::capabilities(None).doing(what)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets).doing(what)?;
    for capability in sets.permitted.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true).doing(what)?;
    }
    Ok(())
}

fn execute(spec: &WallSpec) -> Failure {
    let (program, args) = match spec.command.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", &[][..]),
    };
    let error = Command::new(program).args(args).env_clear().envs(&spec.env).exec();
    Failure::new(format!("executing {program:?}"), &error)
}
