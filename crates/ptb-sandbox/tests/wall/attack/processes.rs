//! Attempts on other processes, descriptors, and on outliving the end.
#![expect(unsafe_code, reason = "attempts are raw system calls")]

use super::{Attempt, call, no};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::parent_id;
use std::time::{Duration, Instant};

fn pid(text: &str) -> i32 {
    if text == "init" { parent_id() as i32 } else { text.parse().unwrap() }
}

/// All of `/proc/PID/NAME`, of every process but this one.
fn of_all(name: &str, wanted: &str) -> Attempt {
    let myself = std::process::id().to_string();
    let mut seen = 0;
    for entry in std::fs::read_dir("/proc").map_err(no)?.flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if id.parse::<u32>().is_err() || id == myself {
            continue;
        }
        let Ok(text) = std::fs::read(entry.path().join(name)) else { continue };
        seen += 1;
        let text = String::from_utf8_lossy(&text).into_owned();
        if text.contains(wanted) {
            return Ok(format!("{id} has it"));
        }
    }
    Err(format!("not among {seen} processes"))
}

/// `cmdlines PID`: the victim's arguments, for everybody to see, hold `role\0victim`.
pub(crate) fn cmdlines(_: &[&str]) -> Attempt {
    of_all("cmdline", "role\0victim")
}

/// `environs TEXT`
pub(crate) fn environs(args: &[&str]) -> Attempt {
    of_all("environ", args[0])
}

/// `look PATH`: whether a file or directory below `/proc/1` can be read at all.
pub(crate) fn look(args: &[&str]) -> Attempt {
    let path = args[0].replace("init", &parent_id().to_string());
    if std::fs::metadata(&path).map_err(no)?.is_dir() {
        let entries = std::fs::read_dir(&path).map_err(no)?.flatten().count();
        return if entries > 0 {
            Ok(format!("{entries} entries"))
        } else {
            Err("empty".to_owned())
        };
    }
    let mut file = std::fs::File::open(&path).map_err(no)?;
    if path.ends_with("/mem") {
        return Ok("open".to_owned());
    }
    match file.read(&mut [0; 64]).map_err(no)? {
        0 => Err("empty".to_owned()),
        n => Ok(format!("{n} bytes")),
    }
}

/// Descriptors above the standard ones.
fn inherited() -> impl Iterator<Item = i32> {
    // SAFETY: asking for flags changes nothing.
    (3..256).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0)
}

/// `fd-read MARK`
pub(crate) fn fd_read(args: &[&str]) -> Attempt {
    let read = |fd| std::fs::read_to_string(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    let found = inherited().find(|fd| read(*fd).contains(args[0]));
    found.map(|fd| format!("descriptor {fd}")).ok_or_else(|| "no such descriptor".to_owned())
}

/// `fd-openat MARK`
pub(crate) fn fd_openat(args: &[&str]) -> Attempt {
    for fd in inherited() {
        // SAFETY: a literal path; the new descriptor is owned by nobody else.
        let file = unsafe {
            let opened = libc::openat(fd, c"mark.txt".as_ptr(), libc::O_RDONLY);
            if opened < 0 {
                continue;
            }
            std::fs::File::from(OwnedFd::from_raw_fd(opened))
        };
        let mut text = String::new();
        if { file }.read_to_string(&mut text).is_ok() && text.contains(args[0]) {
            return Ok(format!("below descriptor {fd}"));
        }
    }
    Err("no such directory".to_owned())
}

/// `seize PID`: tracing without stopping, undone at once.
pub(crate) fn seize(args: &[&str]) -> Attempt {
    let pid = pid(args[0]);
    // SAFETY: no pointer is followed.
    call(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0usize, 0usize) })?;
    Ok(format!("traces {pid}"))
}

/// `vm-read PID`: one byte of another's memory, at the start of its stack.
pub(crate) fn vm_read(args: &[&str]) -> Attempt {
    let pid = pid(args[0]);
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let address = maps.split('-').next().and_then(|text| usize::from_str_radix(text, 16).ok());
    let mut byte = [0u8; 1];
    let local = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let remote = libc::iovec { iov_base: address.unwrap_or(4096) as *mut _, iov_len: 1 };
    // SAFETY: the local buffer has one byte; the remote address belongs to another process.
    call(unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) } as _)?;
    Ok(format!("read {byte:?}"))
}

/// `steal-fd PID`: descriptor 0 of another process.
pub(crate) fn steal_fd(args: &[&str]) -> Attempt {
    // SAFETY: plain numbers.
    let pidfd = call(unsafe { libc::syscall(libc::SYS_pidfd_open, pid(args[0]), 0) })?;
    // SAFETY: plain numbers.
    let fd = call(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, 0, 0) })?;
    Ok(format!("descriptor {fd}"))
}

/// `kill PID`
pub(crate) fn kill(args: &[&str]) -> Attempt {
    // SAFETY: plain numbers; the pid is one that the test started.
    call(unsafe { libc::kill(pid(args[0]), libc::SIGUSR1) }.into())?;
    Ok("signalled".to_owned())
}

/// `pidfd-kill PID`
pub(crate) fn pidfd_kill(args: &[&str]) -> Attempt {
    // SAFETY: plain numbers; the pid is one that the test started.
    let pidfd = call(unsafe { libc::syscall(libc::SYS_pidfd_open, pid(args[0]), 0) })?;
    let signal = i64::from(libc::SIGUSR1);
    // SAFETY: a null information structure is allowed.
    call(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, 0i64, 0i64) })?;
    Ok("signalled".to_owned())
}

/// `kill-parent`: PID 1 is the parent. When it dies behind the wall, so does this process.
pub(crate) fn kill_parent(_: &[&str]) -> Attempt {
    let parent = parent_id();
    // SAFETY: plain numbers; the parent is this wall's PID 1.
    call(unsafe { libc::kill(parent as i32, libc::SIGKILL) }.into())?;
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        if parent_id() != parent {
            return Ok("the parent is dead".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
        if parent == 1 && Instant::now() + Duration::from_millis(1800) > end {
            break;
        }
    }
    Err("the parent lives".to_owned())
}

/// `stop-parent`: a stopped PID 1 could not end anything.
pub(crate) fn stop_parent(_: &[&str]) -> Attempt {
    let parent = parent_id();
    // SAFETY: plain numbers; the parent is this wall's PID 1.
    call(unsafe { libc::kill(parent as i32, libc::SIGSTOP) }.into())?;
    std::thread::sleep(Duration::from_millis(100));
    let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).map_err(no)?;
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with('T'));
    // SAFETY: as above.
    unsafe { libc::kill(parent as i32, libc::SIGCONT) };
    if state == Some(true) { Ok("stopped".to_owned()) } else { Err(stat) }
}

/// `forks COUNT`: that many processes at one time.
pub(crate) fn forks(args: &[&str]) -> Attempt {
    let count: usize = args[0].parse().unwrap();
    let mut children = Vec::new();
    let mut refusal = None;
    while children.len() < count && refusal.is_none() {
        // SAFETY: this program has one thread; the child only waits for its end.
        match unsafe { libc::fork() } {
            0 => unsafe {
                libc::alarm(20);
                libc::pause();
                libc::_exit(0)
            },
            -1 => refusal = Some(no(std::io::Error::last_os_error())),
            child => children.push(child),
        }
    }
    for child in &children {
        // SAFETY: children of this process, not yet waited for.
        unsafe { libc::kill(*child, libc::SIGKILL) };
    }
    match refusal {
        None => Ok(format!("{count} processes")),
        Some(why) => Err(format!("{why} after {}", children.len())),
    }
}

/// `threads COUNT`: that many threads at one time.
pub(crate) fn threads(args: &[&str]) -> Attempt {
    let count: usize = args[0].parse().unwrap();
    let mut threads = 0;
    while threads < count {
        let sleep = || std::thread::sleep(Duration::from_secs(20));
        let made = std::thread::Builder::new().stack_size(64 << 10).spawn(sleep);
        made.map_err(|error| format!("{error} after {threads}"))?;
        threads += 1;
    }
    Ok(format!("{count} threads"))
}

/// `survive KIND LOCK SECONDS`: a process that tries to outlive the run and holds a lock as long as it
/// lives. It ends by itself after some seconds, wherever it got to.
pub(crate) fn survive(args: &[&str]) -> Attempt {
    let (kind, life) = (args[0], args[2].parse().unwrap());
    let lock = std::fs::File::create(args[1]).map_err(no)?;
    // SAFETY: an open descriptor; it stays open in all children, and so does the lock.
    call(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) }.into())?;
    // SAFETY: dispositions without handlers; forks of a process with one thread.
    unsafe {
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        match kind {
            "stubborn" => {
                leave_pipes();
                linger(life)
            }
            "daemon" | "stopped" | "hydra" => {
                if libc::fork() == 0 {
                    libc::setsid();
                    if libc::fork() == 0 {
                        leave_pipes();
                        match kind {
                            "stopped" => linger_stopped(life),
                            "hydra" => hydra(life),
                            _ => linger(life),
                        }
                    }
                    libc::_exit(0);
                }
                // Time for the grandchild to be on its own.
                std::thread::sleep(Duration::from_millis(100));
            }
            other => return Err(format!("no way to survive is called {other}")),
        }
    }
    Err("set out".to_owned())
}

/// The harness waits for the end of the output: a survivor must not hold it.
unsafe fn leave_pipes() {
    // SAFETY: the standard descriptors are this process's own.
    unsafe {
        for fd in 0..3 {
            libc::close(fd);
        }
    }
}

unsafe fn linger(life: u32) -> ! {
    // SAFETY: plain calls of a process with one thread.
    unsafe {
        libc::alarm(life);
        loop {
            libc::pause();
        }
    }
}

/// Stopped, with a sibling that kills it after its time.
unsafe fn linger_stopped(life: u32) -> ! {
    // SAFETY: plain calls of a process with one thread; the sibling signals its own parent.
    unsafe {
        let me = libc::getpid();
        if libc::fork() == 0 {
            for fd in 0..64 {
                libc::close(fd);
            }
            libc::sleep(life);
            libc::kill(me, libc::SIGKILL);
            libc::_exit(0);
        }
        loop {
            libc::raise(libc::SIGSTOP);
        }
    }
}

/// A new process every few milliseconds; none lives long enough to be hit.
unsafe fn hydra(life: u32) -> ! {
    let end = Instant::now() + Duration::from_secs(life.into());
    // SAFETY: forks of a process with one thread.
    unsafe {
        while Instant::now() < end {
            libc::usleep(2000);
            if libc::fork() > 0 {
                libc::_exit(0);
            }
            libc::setsid();
        }
        libc::_exit(0)
    }
}
