//! The few kernel calls that no safe library wraps. All unsafe code of this crate is here.
//!
//! Everything in it is called by the single-threaded helper, but for nothing: the async process
//! of the harness never forks.
#![expect(unsafe_code, reason = "raw kernel calls; each block says why it is sound")]

use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Mount attributes, as `mount_setattr(2)` names them.
pub(crate) use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};

/// A null pointer in the register width that system calls take.
const NONE: libc::c_long = 0;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// `fork` with namespace flags: the child's pid in the parent, nothing in the child.
///
/// Must be called by a process with one thread, so that the child's copy of every lock is free.
pub(crate) fn clone_process(namespaces: i32) -> io::Result<Option<Pid>> {
    let flags = libc::c_long::from(namespaces) | libc::c_long::from(libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is fork(2); null for the remaining
    // arguments is right in every architecture's order of them, as no flag reads them.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, flags, NONE, NONE, NONE, NONE) })?;
    Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
}

/// Adds and removes mount attributes of a whole mount tree, or of its top alone.
pub(crate) fn mount_attributes(
    mount: BorrowedFd<'_>,
    set: u64,
    clear: u64,
    recursive: bool,
) -> io::Result<()> {
    let attributes =
        libc::mount_attr { attr_set: set, attr_clr: clear, propagation: 0, userns_fd: 0 };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is an empty NUL-terminated string and the structure outlives the call with
    // its true size.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Closes every descriptor from `first` up, or marks them to be closed by the next `exec`.
///
/// Closing is for the helper's first moment, when nothing of this program owns a descriptor above 2.
pub(crate) fn close_from(first: u32, only_on_exec: bool) -> io::Result<()> {
    let flags = if only_on_exec { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: plain integers. Ownership: see the doc comment.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) })?;
    Ok(())
}

/// All signals back to their default action, but `SIGPIPE`, which the runtime ignores.
pub(crate) fn default_signals() {
    for signal in (1..=64).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: SIG_DFL installs no handler; signals that cannot be set answer with an error,
        // which changes nothing.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Blocks `SIGCHLD` and gives a descriptor that becomes readable when a child changes.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use, and outlives the calls; the
    // descriptor is fresh and owned by nobody else.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut()).into())?;
        let fd =
            check(libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Unblocks all signals, for a child that is about to become another program.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset before use.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// A signal to every process that this one may signal, except itself and PID 1: inside a PID
/// namespace, everything in it.
pub(crate) fn signal_all(signal: i32) {
    // SAFETY: plain integers. Failure means that nobody is left.
    unsafe { libc::kill(-1, signal) };
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: ifreq is plain data for which zeroes are valid; the name fits with its NUL; both
    // requests read or write exactly this structure.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = *from as libc::c_char;
        }
        let ioctl = |number: libc::c_ulong, request: *mut libc::ifreq| {
            check(libc::ioctl(socket.as_raw_fd(), number as _, request).into())
        };
        ioctl(libc::SIOCGIFFLAGS as _, &raw mut request)?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        ioctl(libc::SIOCSIFFLAGS as _, &raw mut request)?;
    }
    Ok(())
}

/// A fresh session keyring, so that none of the harness's keys is possessed. Kernels without
/// keyrings have nothing to leave behind.
pub(crate) fn fresh_session_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, NONE) };
}
