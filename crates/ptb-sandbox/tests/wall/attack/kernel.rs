//! Attempts on mounts, namespaces, privileges, keys and the kernel's wider surface.
#![expect(unsafe_code, reason = "attempts are raw system calls")]

use super::{Attempt, call, files, no};
use std::ffi::CString;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

/// `remount PATH PROBE`: writable by the old way, then a file in it.
pub(crate) fn remount(args: &[&str]) -> Attempt {
    let path = c(args[0]);
    let flags = libc::MS_REMOUNT | libc::MS_BIND | libc::MS_NOSUID | libc::MS_NODEV;
    let null = std::ptr::null();
    // SAFETY: NUL-terminated paths; no data.
    call(unsafe { libc::mount(null, path.as_ptr(), null, flags, null.cast()) }.into())?;
    files::write(&[args[1]])
}

/// `mount PATH`: something of one's own over a place.
pub(crate) fn mount(args: &[&str]) -> Attempt {
    let path = c(args[0]);
    let kind = c"tmpfs".as_ptr();
    // SAFETY: NUL-terminated strings; no data.
    call(unsafe { libc::mount(kind, path.as_ptr(), kind, 0, std::ptr::null()) }.into())?;
    Ok(format!("mounted over {}", args[0]))
}

/// `unmount PATH`: what a mask hides.
pub(crate) fn unmount(args: &[&str]) -> Attempt {
    let path = c(args[0]);
    // SAFETY: a NUL-terminated path.
    call(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }.into())?;
    Ok(format!("unmounted {}", args[0]))
}

/// `fsopen`: a file system by the new calls.
pub(crate) fn fsopen(_: &[&str]) -> Attempt {
    // SAFETY: a NUL-terminated name and plain numbers.
    call(unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0) })?;
    Ok("a file system".to_owned())
}

/// `mount-setattr PATH PROBE`: writable by the new way.
pub(crate) fn mount_setattr(args: &[&str]) -> Attempt {
    let path = c(args[0]);
    let clear = libc::mount_attr {
        attr_set: 0,
        attr_clr: libc::MOUNT_ATTR_RDONLY,
        propagation: 0,
        userns_fd: 0,
    };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the structure has the size that is told.
    call(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            0,
            &raw const clear,
            size,
        )
    })?;
    files::write(&[args[1]])
}

/// `chroot PATH`
pub(crate) fn chroot(args: &[&str]) -> Attempt {
    std::os::unix::fs::chroot(args[0]).map_err(no)?;
    Ok("another root".to_owned())
}

/// `pivot-root`: `EINVAL` would mean that only the arguments were wrong.
pub(crate) fn pivot_root(_: &[&str]) -> Attempt {
    // SAFETY: NUL-terminated paths.
    let result =
        unsafe { libc::syscall(libc::SYS_pivot_root, c"/proc".as_ptr(), c"/proc/self".as_ptr()) };
    let error = std::io::Error::last_os_error();
    match (result, error.raw_os_error()) {
        (0, _) => Ok("pivoted".to_owned()),
        (_, Some(libc::EINVAL | libc::EBUSY)) => Ok("may pivot".to_owned()),
        _ => Err(no(error)),
    }
}

/// `hostname`
pub(crate) fn hostname(_: &[&str]) -> Attempt {
    rustix::system::sethostname(b"mine").map_err(no)?;
    Ok("renamed".to_owned())
}

/// `suid PROGRAM`: a set-user-id program that root planted, or, with `tell`, what it is.
pub(crate) fn suid(args: &[&str]) -> Attempt {
    if args[0] == "tell" {
        let uid = rustix::process::geteuid().as_raw();
        return if uid == 0 { Ok("root".to_owned()) } else { Err(format!("user {uid}")) };
    }
    let mode = std::fs::metadata(args[0]).map_err(no)?.permissions().mode();
    if mode & 0o4000 == 0 {
        return Err("CRASH: the program was not prepared".to_owned());
    }
    Err(no(Command::new(args[0]).args(["attack", "suid", "tell"]).exec()))
}

/// `setuid`
pub(crate) fn setuid(_: &[&str]) -> Attempt {
    let root = rustix::process::Uid::ROOT;
    rustix::thread::set_thread_res_uid(root, root, root).map_err(no)?;
    Ok("root".to_owned())
}

/// `add-key`
pub(crate) fn add_key(_: &[&str]) -> Attempt {
    const SESSION: i64 = -3;
    let (kind, name) = (c"user".as_ptr(), c"planted".as_ptr());
    // SAFETY: NUL-terminated strings and the payload's own length.
    let key = call(unsafe {
        libc::syscall(libc::SYS_add_key, kind, name, c"x".as_ptr(), 1usize, SESSION)
    })?;
    Ok(format!("key {key}"))
}

/// `keyring`: the number of the user's own keyring, shared by all of the user's processes.
pub(crate) fn keyring(_: &[&str]) -> Attempt {
    const GET_ID: i64 = 0;
    const USER: i64 = -4;
    // SAFETY: plain numbers.
    let ring = call(unsafe { libc::syscall(libc::SYS_keyctl, GET_ID, USER, 1i64) })?;
    Ok(format!("keyring {ring}"))
}

/// `unshare-user`
pub(crate) fn unshare_user(_: &[&str]) -> Attempt {
    // SAFETY: plain numbers, in a process with one thread.
    call(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into())?;
    Ok("a user namespace".to_owned())
}

/// `clone-user`
pub(crate) fn clone_user(_: &[&str]) -> Attempt {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // SAFETY: without CLONE_VM this is fork; the child ends at once.
    let child = call(unsafe { libc::syscall(libc::SYS_clone, flags, 0i64, 0i64, 0i64, 0i64) })?;
    if child == 0 {
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    Ok("a user namespace".to_owned())
}

/// `clone3-user`: flags in memory, where a filter cannot see them.
pub(crate) fn clone3_user(_: &[&str]) -> Attempt {
    let mut args = [0u64; 8];
    args[0] = libc::CLONE_NEWUSER as u64;
    args[4] = libc::SIGCHLD as u64;
    // SAFETY: the first version of the structure, with its size.
    let child = call(unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), 64usize) })?;
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    Ok("a user namespace".to_owned())
}

/// `setns`: into the network namespace that it is in, which needs the same rights as any.
pub(crate) fn setns(_: &[&str]) -> Attempt {
    let file = std::fs::File::open("/proc/self/ns/net").map_err(no)?;
    // SAFETY: an open descriptor.
    call(unsafe { libc::setns(std::os::fd::AsRawFd::as_raw_fd(&file), 0) }.into())?;
    Ok("entered".to_owned())
}

/// `io-uring`
pub(crate) fn io_uring(_: &[&str]) -> Attempt {
    let mut parameters = [0u8; 256];
    // SAFETY: larger than the structure that the kernel fills.
    call(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) })?;
    Ok("a ring".to_owned())
}

/// `userfaultfd`
pub(crate) fn userfaultfd(_: &[&str]) -> Attempt {
    const USER_MODE_ONLY: i32 = 1;
    // SAFETY: plain numbers.
    call(unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY) })?;
    Ok("a descriptor".to_owned())
}

/// `personality`: readable memory becomes executable.
pub(crate) fn personality(_: &[&str]) -> Attempt {
    // SAFETY: plain numbers.
    call(unsafe { libc::personality(0x0040_0000) }.into())?;
    Ok("another personality".to_owned())
}

/// `perf`: counters of its own process.
pub(crate) fn perf(_: &[&str]) -> Attempt {
    // perf_event_attr: type 1 (software), size 64, config 1 (task clock), exclude kernel and hypervisor.
    let mut attributes = [0u64; 16];
    attributes[0] = 1 | (64 << 32);
    attributes[1] = 1;
    attributes[5] = 0b110_0000;
    // SAFETY: the structure has the size that it names.
    call(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0i64, -1i64, -1i64, 0i64)
    })?;
    Ok("a counter".to_owned())
}

/// `syslog`: the kernel's log.
pub(crate) fn syslog(_: &[&str]) -> Attempt {
    const READ_ALL: i32 = 3;
    let mut buffer = [0u8; 128];
    // SAFETY: the buffer has the length that is told.
    let n = call(unsafe {
        libc::syscall(libc::SYS_syslog, READ_ALL, buffer.as_mut_ptr(), buffer.len())
    })?;
    Ok(format!("{n} bytes"))
}

/// `int80`: a call by the 32-bit table, in a child, as the answer may be death.
pub(crate) fn int80(_: &[&str]) -> Attempt {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: fork of a process with one thread; call 20 of that table is getpid, without arguments.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let mut answer: u64 = 20;
            std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _);
            libc::_exit(i32::from(answer as i32 != libc::getpid()));
        }
        let mut status = 0;
        call(libc::waitpid(child, &raw mut status, 0).into())?;
        if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
            return Ok("a 32-bit call".to_owned());
        }
        Err(format!("status {status:#x}"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    Err("another architecture".to_owned())
}
