//! The attacker: what runs inside. Prints `BREACH …` when an attempt worked, `HELD …` when it failed.
//!
//! Each attempt is one function from its arguments to an [`Attempt`]; the table of tests names it.

mod files;
mod kernel;
mod processes;
mod social;

pub(crate) use social::address;

use std::io::Write as _;
use std::process::ExitCode;

/// `Ok` tells what was gained, `Err` what stood in the way.
pub(crate) type Attempt = Result<String, String>;

type Run = fn(&[&str]) -> Attempt;

const ATTEMPTS: &[(&str, Run)] = &[
    ("read", files::read),
    ("hard-link", files::hard_link),
    ("open-by-handle", files::open_by_handle),
    ("mknod", files::mknod),
    ("write", files::write),
    ("fill", files::fill),
    ("inodes", files::inodes),
    ("big-file", files::big_file),
    ("search", files::search),
    ("cmdlines", processes::cmdlines),
    ("environs", processes::environs),
    ("look", processes::look),
    ("fd-read", processes::fd_read),
    ("fd-openat", processes::fd_openat),
    ("seize", processes::seize),
    ("vm-read", processes::vm_read),
    ("steal-fd", processes::steal_fd),
    ("kill", processes::kill),
    ("pidfd-kill", processes::pidfd_kill),
    ("kill-parent", processes::kill_parent),
    ("stop-parent", processes::stop_parent),
    ("forks", processes::forks),
    ("threads", processes::threads),
    ("survive", processes::survive),
    ("connect-unix", social::connect_unix),
    ("send-unix", social::send_unix),
    ("connect-tcp", social::connect_tcp),
    ("send-udp", social::send_udp),
    ("socket", social::socket),
    ("shared-memory", social::shared_memory),
    ("tty", social::open_tty),
    ("tiocsti", social::tiocsti),
    ("remount", kernel::remount),
    ("mount", kernel::mount),
    ("unmount", kernel::unmount),
    ("fsopen", kernel::fsopen),
    ("mount-setattr", kernel::mount_setattr),
    ("chroot", kernel::chroot),
    ("pivot-root", kernel::pivot_root),
    ("hostname", kernel::hostname),
    ("suid", kernel::suid),
    ("setuid", kernel::setuid),
    ("add-key", kernel::add_key),
    ("keyring", kernel::keyring),
    ("unshare-user", kernel::unshare_user),
    ("clone-user", kernel::clone_user),
    ("clone3-user", kernel::clone3_user),
    ("setns", kernel::setns),
    ("io-uring", kernel::io_uring),
    ("userfaultfd", kernel::userfaultfd),
    ("personality", kernel::personality),
    ("perf", kernel::perf),
    ("syslog", kernel::syslog),
    ("int80", kernel::int80),
];

/// Runs the attempt that the arguments name.
pub(crate) fn main(args: &[String]) -> ExitCode {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let found = args.first().and_then(|name| ATTEMPTS.iter().find(|(known, _)| known == name));
    let line = match found.map(|(_, run)| run(&args[1..])) {
        Some(Ok(gain)) => format!("BREACH {gain}\n"),
        Some(Err(obstacle)) => format!("HELD {obstacle}\n"),
        None => format!("no attempt is called {:?}\n", args.first()),
    };
    let _ = std::io::stdout().write_all(line.as_bytes());
    ExitCode::SUCCESS
}

/// The kernel's refusal as text.
pub(crate) fn no(error: impl Into<std::io::Error>) -> String {
    error.into().to_string()
}

/// A raw call: its result, or the refusal.
pub(crate) fn call(result: libc::c_long) -> Result<libc::c_long, String> {
    if result < 0 { Err(no(std::io::Error::last_os_error())) } else { Ok(result) }
}
