//! Who may write a run directory: lease files, never file locks (which lie on network file systems).
//!
//! A lease is `lease-<n>.json`; the highest n counts. Taking a run means creating the next n with
//! link(2), which is atomic everywhere and fails when somebody else was quicker. The holder renews a
//! heartbeat; a holder that is dead (its process is gone, its machine restarted, or its heartbeat has
//! not changed while a waiter watched) is superseded by n + 1, and from then on its own writes fail.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files::{FileError, Schema, read_json, write_json};

/// How often a holder should call [`Lease::renew`].
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// A heartbeat that a waiter sees unchanged for so long belongs to a dead holder.
pub const STALE: Duration = Duration::from_secs(60);

/// Who holds a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name.
    pub host: String,
    /// Boot id of the machine: another one means that the holder's processes are gone.
    pub boot_id: String,
    /// Process id, and the pid namespace that it is meant in.
    pub pid: u32,
    /// Inode of the pid namespace.
    pub pid_namespace: u64,
    /// Start time of the process, in clock ticks since boot: pids are reused.
    pub started: u64,
    /// Random token of this holding.
    pub token: String,
    /// Counts renewals.
    pub heartbeat: u64,
    /// Whether the holder has let go.
    pub released: bool,
}

impl Schema for Holder {
    const KIND: &'static str = "lease";
    const VERSION: u32 = 1;
}

/// Why a run is not ours to write.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Somebody alive holds it.
    #[error("{} is held by process {pid} on {host}; hint: wait for it, or end it first", dir.display())]
    Held {
        /// The run directory.
        dir: PathBuf,
        /// Its host.
        host: String,
        /// Its process.
        pid: u32,
    },
    /// Somebody took it over from us.
    #[error("{} was taken over by another worker; this one stops writing", dir.display())]
    Lost {
        /// The run directory.
        dir: PathBuf,
    },
    /// A lease file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A held run. Dropping it lets go.
#[derive(Debug)]
pub struct Lease {
    dir: PathBuf,
    number: u64,
    holder: Holder,
}

impl Lease {
    /// Takes the run at `dir`, at once or not at all. A holder on another machine whose heartbeat may be
    /// stale is watched for `patience` at most.
    pub fn acquire(dir: &Path, patience: Duration) -> Result<Self, LeaseError> {
        let begun = Instant::now();
        let mut seen: Option<(u64, u64)> = None;
        loop {
            let current = newest(dir)?;
            let next = match &current {
                None => 1,
                Some((number, holder)) => {
                    let unchanged = seen == Some((*number, holder.heartbeat));
                    if !unchanged {
                        seen = Some((*number, holder.heartbeat));
                    }
                    match liveness(holder) {
                        Liveness::Dead => number + 1,
                        Liveness::Unknown if unchanged && begun.elapsed() >= STALE => number + 1,
                        Liveness::Unknown if begun.elapsed() < patience => {
                            std::thread::sleep(Duration::from_millis(500));
                            continue;
                        }
                        _ => return Err(held(dir, holder)),
                    }
                }
            };
            if let Some(lease) = Self::create(dir, next)? {
                return Ok(lease);
            }
        }
    }

    /// Creates lease `number`, or `None` when somebody else was quicker.
    fn create(dir: &Path, number: u64) -> Result<Option<Self>, LeaseError> {
        let holder = myself();
        let path = lease_path(dir, number);
        let make = || -> std::io::Result<bool> {
            let mut temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
            let mut value = serde_json::to_value(&holder)?;
            value["schema"] = Holder::VERSION.into();
            temporary.write_all(value.to_string().as_bytes())?;
            temporary.as_file().sync_all()?;
            match fs::hard_link(temporary.path(), &path) {
                Ok(()) => Ok(true),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
                Err(e) => Err(e),
            }
        };
        if !make().map_err(FileError::io("write", &path))? {
            return Ok(None);
        }
        for (older, _) in numbers(dir)?.into_iter().filter(|(n, _)| *n < number).map(|n| (n.1, ()))
        {
            let _ = fs::remove_file(older);
        }
        Ok(Some(Self { dir: dir.to_owned(), number, holder }))
    }

    /// Fails when another worker has taken the run over. To be asked before every replaced write.
    pub fn check(&self) -> Result<(), LeaseError> {
        match numbers(&self.dir)?.last() {
            Some((newest, _)) if *newest > self.number => {
                Err(LeaseError::Lost { dir: self.dir.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Renews the heartbeat; to be called every [`HEARTBEAT`].
    pub fn renew(&mut self) -> Result<(), LeaseError> {
        self.check()?;
        self.holder.heartbeat += 1;
        Ok(write_json(&lease_path(&self.dir, self.number), &self.holder)?)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.check().is_ok() {
            self.holder.released = true;
            // A lease that cannot be released is found dead by its process id.
            let _ = write_json(&lease_path(&self.dir, self.number), &self.holder);
        }
    }
}

enum Liveness {
    Alive,
    Dead,
    Unknown,
}

fn liveness(holder: &Holder) -> Liveness {
    let me = myself();
    if holder.released {
        return Liveness::Dead;
    }
    if holder.host != me.host {
        return Liveness::Unknown;
    }
    if holder.boot_id != me.boot_id {
        return Liveness::Dead;
    }
    if holder.pid_namespace != me.pid_namespace {
        return Liveness::Unknown;
    }
    match started(holder.pid) {
        Some(ticks) if ticks == holder.started => Liveness::Alive,
        _ => Liveness::Dead,
    }
}

fn held(dir: &Path, holder: &Holder) -> LeaseError {
    LeaseError::Held { dir: dir.to_owned(), host: holder.host.clone(), pid: holder.pid }
}

fn lease_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("lease-{number}.json"))
}

/// All leases of a directory, lowest number first.
fn numbers(dir: &Path) -> Result<Vec<(u64, PathBuf)>, FileError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(FileError::io("read", dir))? {
        let path = entry.map_err(FileError::io("read", dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let number = name.strip_prefix("lease-").and_then(|n| n.strip_suffix(".json"));
        if let Some(number) = number.and_then(|n| n.parse().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

fn newest(dir: &Path) -> Result<Option<(u64, Holder)>, LeaseError> {
    loop {
        let Some((number, path)) = numbers(dir)?.pop() else { return Ok(None) };
        match read_json(&path) {
            Ok(holder) => return Ok(Some((number, holder))),
            // Superseded between listing and reading.
            Err(e) if e.is_missing() => {}
            Err(e) => return Err(e.into()),
        }
    }
}

fn myself() -> Holder {
    use std::hash::{BuildHasher, Hasher};
    use std::os::unix::fs::MetadataExt;
    let pid = std::process::id();
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    Holder {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        boot_id: boot_id(),
        pid,
        pid_namespace: fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.ino()),
        started: started(pid).unwrap_or(0),
        token: format!("{random:016x}"),
        heartbeat: 0,
        released: false,
    }
}

/// The machine's boot id, or an empty text where the kernel has none.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Start time of a living process, in clock ticks since boot (field 22 of /proc/<pid>/stat; proc(5)).
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn plant(dir: &Path, number: u64, change: impl Fn(&mut Holder)) {
        let mut holder = myself();
        change(&mut holder);
        write_json(&lease_path(dir, number), &holder).unwrap();
    }

    #[test]
    fn a_held_run_is_refused_and_a_released_one_taken() {
        let dir = dir();
        let first = Lease::acquire(dir.path(), Duration::ZERO).unwrap();
        let e = Lease::acquire(dir.path(), Duration::ZERO).unwrap_err();
        assert!(matches!(e, LeaseError::Held { .. }), "{e}");
        drop(first);
        Lease::acquire(dir.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn dead_holders_are_superseded() {
        let cases: [fn(&mut Holder); 3] = [
            |h| h.pid = u32::MAX - 1,
            |h| h.started += 1,
            |h| h.boot_id = "another boot".to_owned(),
        ];
        for change in cases {
            let dir = dir();
            plant(dir.path(), 7, change);
            let lease = Lease::acquire(dir.path(), Duration::ZERO).unwrap();
            assert_eq!(lease.number, 8);
        }
    }

    #[test]
    fn a_holder_elsewhere_is_not_robbed_at_once() {
        let dir = dir();
        plant(dir.path(), 1, |h| h.host = "elsewhere".to_owned());
        assert!(Lease::acquire(dir.path(), Duration::ZERO).is_err());
    }

    #[test]
    fn a_superseded_token_no_longer_writes() {
        let dir = dir();
        let mut first = Lease::acquire(dir.path(), Duration::ZERO).unwrap();
        plant(dir.path(), 2, |_| {});
        assert!(matches!(first.check(), Err(LeaseError::Lost { .. })));
        assert!(matches!(first.renew(), Err(LeaseError::Lost { .. })));
        drop(first);
        assert!(!newest(dir.path()).unwrap().unwrap().1.released);
    }

    #[test]
    fn of_many_at_once_one_wins() {
        let dir = dir();
        let path = dir.path();
        let held: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || Lease::acquire(path, Duration::ZERO).ok()))
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(held.iter().flatten().count(), 1);
    }
}
