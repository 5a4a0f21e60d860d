//! The allowlist: which places of the host the inside sees, and where the rest of it is built.
//!
//! Everything here is data. [`exposes`] and the helper that builds the root read the same tables, so
//! that what is promised and what is mounted cannot drift apart.

use std::path::{Component, Path, PathBuf};

/// Name of the user inside.
pub const AGENT_USER: &str = "agent";
/// User and group id inside.
pub const AGENT_UID: u32 = 1000;
/// Home directory inside; private, in memory.
pub const AGENT_HOME: &str = "/home/agent";
/// The workspace inside; the host's directory, writable.
pub const TASK_DIR: &str = "/home/agent/task";
/// Directory of the door inside.
pub const DOOR_DIR: &str = "/run/ptb";
/// The door: a Unix socket that the gateway serves.
pub const DOOR_SOCKET: &str = "/run/ptb/door.sock";
/// Programs of the project inside.
pub const PROGRAMS_DIR: &str = "/opt/ptb/bin";

/// Directories of the host shown read-only; symlinks among them are rebuilt as symlinks.
pub(crate) const SYSTEM: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/libexec"];

/// Directories below [`SYSTEM`] that are covered by an empty one: programs do not need them and
/// people keep their own things there.
pub(crate) const COVERED: [&str; 5] =
    ["/usr/src", "/usr/local/src", "/usr/local/etc", "/usr/etc", "/usr/lib/debug"];

/// Entries of `/etc` shown read-only where they exist. Public parts of certificate stores, how
/// libraries and names are found, what the system is; nothing that configures a person's tools.
/// `profile` is not among them: it would set another PATH for the login shells that some scaffolds use.
pub(crate) const ETC: [&str; 30] = [
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "magic.mime",
    "mime.types",
    "networks",
    "nsswitch.conf",
    "os-release",
    "pki/ca-trust/extracted",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "redhat-release",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// Device nodes shown.
pub(crate) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Symlinks in `/dev`.
pub(crate) const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Files of `/proc` hidden behind `/dev/null`.
pub(crate) const PROC_HIDDEN: [&str; 12] = [
    "kcore",
    "keys",
    "key-users",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
];

/// Directories of `/proc` made read-only.
pub(crate) const PROC_READ_ONLY: [&str; 4] = ["bus", "fs", "irq", "sys"];

/// Directories of `/proc` covered by an empty one.
pub(crate) const PROC_COVERED: [&str; 3] = ["acpi", "asound", "scsi"];

/// Whether a path of the host would be readable inside through the fixed part of the root (not
/// through binds, see [`crate::WallSpec::exposes`]). Follows symlinks; a path that does not exist
/// is judged by its nearest parent that does.
#[must_use]
pub fn exposes(path: &Path) -> bool {
    let path = settle(path);
    let below = |root: &Path| path.starts_with(root) || path.starts_with(settle(root));
    if COVERED.iter().any(|place| is_plain_dir(place) && below(Path::new(place))) {
        return false;
    }
    SYSTEM.iter().any(|place| below(Path::new(place)))
        || ETC.iter().any(|entry| below(&Path::new("/etc").join(entry)))
}

/// Whether a covered place is a directory of its own: only such a one is covered.
pub(crate) fn is_plain_dir(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// The path with its symlinks resolved as far as it exists.
pub(crate) fn settle(path: &Path) -> PathBuf {
    let mut rest = Vec::new();
    let mut head = path;
    loop {
        if let Ok(real) = head.canonicalize() {
            return rest.iter().rev().fold(real, |path, part| climb(path, part));
        }
        let mut parts = head.components();
        match parts.next_back() {
            Some(last @ (Component::Normal(_) | Component::ParentDir | Component::CurDir)) => {
                rest.push(last);
                head = parts.as_path();
            }
            _ => return path.to_owned(),
        }
    }
}

/// The secret place that showing `place` would show: one that it holds, or, where `within` counts,
/// one that it lies in. Places are compared by path and by identity (device and inode), so that a
/// second mount of the same directory does not hide it.
pub(crate) fn shown_secret<'a>(
    place: &Path,
    secrets: &'a [PathBuf],
    within: bool,
) -> Option<&'a PathBuf> {
    let place = settle(place);
    secrets.iter().find(|secret| {
        let secret = settle(secret);
        let lies_in = |inner: &Path, outer: &Path| {
            inner.starts_with(outer) || inner.ancestors().any(|above| same_place(above, outer))
        };
        lies_in(&secret, &place) || (within && lies_in(&place, &secret))
    })
}

fn same_place(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (std::fs::metadata(a), std::fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn climb(mut path: PathBuf, part: &Component<'_>) -> PathBuf {
    match part {
        Component::ParentDir => {
            path.pop();
        }
        Component::Normal(name) => path.push(name),
        _ => {}
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_part_shows_programs_and_not_people() {
        for shown in ["/usr/bin/env", "/bin/sh", "/etc/ld.so.cache", "/usr/local/bin/x/not/there"] {
            assert!(exposes(Path::new(shown)), "{shown}");
        }
        for hidden in ["/root", "/home", "/etc/shadow", "/etc/ssl/private", "/var", "/tmp", "/srv"]
        {
            assert!(!exposes(Path::new(hidden)), "{hidden}");
        }
        if is_plain_dir("/usr/src") {
            assert!(!exposes(Path::new("/usr/src/clone/answers")));
        }
    }

    #[test]
    fn a_secret_is_found_above_below_and_at_a_place() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("results");
        std::fs::create_dir_all(secret.join("run/workspace")).unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let secrets = [secret.clone()];
        let shows = |path: &Path, within| shown_secret(path, &secrets, within).is_some();
        assert!(shows(dir.path(), false) && shows(&secret, false));
        assert!(shows(&secret.join("run/workspace"), true));
        assert!(!shows(&secret.join("run/workspace"), false));
        assert!(!shows(&dir.path().join("data"), true));
        std::os::unix::fs::symlink(&secret, dir.path().join("data/link")).unwrap();
        assert!(shows(&dir.path().join("data/link"), true));
    }

    #[test]
    fn a_symlink_or_a_climb_into_a_shown_place_is_seen_through() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("innocent");
        std::os::unix::fs::symlink("/usr/share", &link).unwrap();
        assert!(exposes(&link.join("data")));
        assert!(!exposes(dir.path()));
        assert!(!exposes(Path::new("/usr/../root")));
        assert!(exposes(Path::new("/root/../usr/share")));
        assert_eq!(settle(Path::new("/nowhere/a/../b")), Path::new("/nowhere/b"));
    }
}
