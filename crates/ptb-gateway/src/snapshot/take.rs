//! Taking a snapshot: list, copy and hash, look again, check, rename into place.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ptb_core::files::{hex, sha256_hex};
use rustix::fs::FileType;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::error::{CheckFault, SnapshotError};
use super::names::{is_model_file, printable};
use super::open::{ModelHandle, Signature, Way};

/// How often a directory that changes under the copy is tried.
const TRIES: u32 = 3;
/// Pause before the next try.
const PAUSE: Duration = Duration::from_millis(300);
/// Bytes read at a time.
const BLOCK: usize = 1 << 20;
/// Names of left-out files that are kept; the rest is counted.
const NAMED: usize = 64;
/// Space that stays free on our disk, in bytes.
const SPARE: u64 = 256 << 20;

/// A model's directory as the agent named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The workspace on the host. It is trusted; nothing below it is.
    pub workspace: PathBuf,
    /// The model's directory below it.
    pub relative: PathBuf,
    /// How the agent named it, for messages.
    pub shown: String,
}

/// How much a snapshot may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotLimits {
    /// Bytes of all model files together.
    pub bytes: u64,
    /// Model files.
    pub files: u64,
    /// Entries of the directory, whatever they are.
    pub entries: u64,
}

impl SnapshotLimits {
    /// Bounds for a model that may have `bytes` bytes: 256 files, 4096 entries.
    pub fn of_bytes(bytes: u64) -> Self {
        Self { bytes, files: 256, entries: 4096 }
    }
}

/// How a copy is judged: whether it is a whole, well-formed model.
pub type Check = dyn Fn(&Path) -> Result<(), CheckFault> + Send + Sync;

/// What taking a snapshot needs to know beside its source.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// Bounds.
    pub limits: SnapshotLimits,
    /// Is it whole?
    pub check: &'a Check,
    /// Stops the copying.
    pub cancel: &'a CancellationToken,
}

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// What was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// SHA-256 over the lines `<sha256 of the file>  <name>\n`, in order of name.
    pub sha256: String,
    /// Bytes of all files.
    pub bytes: u64,
    /// The files, in order of name.
    pub files: Vec<SnapshotFile>,
    /// What was left out, made printable: at most 64 names.
    pub left_out: Vec<String>,
    /// How many were left out.
    pub left_out_count: u64,
}

/// Copies the model at `source` to the new directory `into`, which must not exist. The copy appears
/// under its name only when it is whole, checked and on the disk; on any error nothing is left.
///
/// # Errors
/// See [`SnapshotError`]; [`SnapshotError::kind`] tells whose fault it is.
pub fn take(source: &Source, into: &Path, order: Order<'_>) -> Result<Taken, SnapshotError> {
    let parent = into.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(SnapshotError::io("make the snapshots' folder"))?;
    let (copy, taken) = copy_settled(source, parent, order)?;
    let copy = copy.keep();
    let placed = fs::rename(&copy, into).and_then(|()| File::open(parent)?.sync_all());
    if let Err(e) = placed {
        let _ = fs::remove_dir_all(&copy);
        return Err(SnapshotError::io(format!("rename a snapshot to {}", into.display()))(e));
    }
    Ok(taken)
}

/// A checked copy under a temporary name, tried again while the original changes.
pub(super) fn copy_settled(
    source: &Source,
    parent: &Path,
    order: Order<'_>,
) -> Result<(tempfile::TempDir, Taken), SnapshotError> {
    for _ in 1..TRIES {
        match copy_once(source, parent, order, None) {
            Err(SnapshotError::Changed { .. }) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    copy_once(source, parent, order, None)
}

pub(super) fn copy_once(
    source: &Source,
    parent: &Path,
    order: Order<'_>,
    way: Option<Way>,
) -> Result<(tempfile::TempDir, Taken), SnapshotError> {
    let dir = ModelHandle::open(&source.workspace, &source.relative, &source.shown, way)?;
    let (items, left_out, left_out_count) = list(&dir, order.limits)?;
    let bytes = items.iter().map(|item| item.signature.size).sum();
    check_space(parent, bytes)?;
    let copy = tempfile::Builder::new()
        .prefix(".tmp-")
        .tempdir_in(parent)
        .map_err(SnapshotError::io("make a snapshot's folder"))?;
    let mut files = Vec::with_capacity(items.len());
    for item in &items {
        files.push(copy_file(&dir, item, copy.path(), order.cancel)?);
    }
    // The set as a whole must have stood still, not each file in its turn.
    if list(&dir, order.limits)?.0 != items {
        return Err(SnapshotError::Changed { path: dir.shown().to_owned() });
    }
    let settle = || {
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755))?;
        File::open(copy.path())?.sync_all()
    };
    settle().map_err(SnapshotError::io("write a snapshot"))?;
    whole(&dir, copy.path(), order.check)?;
    let lines = files.iter().map(|f| format!("{}  {}\n", f.sha256, f.name)).collect::<String>();
    let sha256 = sha256_hex(lines.as_bytes());
    Ok((copy, Taken { sha256, bytes, files, left_out, left_out_count }))
}

/// A model file and the state that it was seen in.
#[derive(Debug, PartialEq, Eq)]
struct Item {
    name: String,
    signature: Signature,
}

type Listing = (Vec<Item>, Vec<String>, u64);

fn list(dir: &ModelHandle, limits: SnapshotLimits) -> Result<Listing, SnapshotError> {
    let (mut items, mut left, mut count) = (Vec::new(), Vec::new(), 0);
    for (name, kind) in dir.entries(limits.entries)? {
        let text = std::str::from_utf8(&name).ok().filter(|text| is_model_file(text));
        match (text, kind) {
            (Some(text), FileType::RegularFile) => {
                let (_, signature) = dir.file(text)?;
                items.push(Item { name: text.to_owned(), signature });
            }
            (Some(text), FileType::Symlink) => {
                return Err(SnapshotError::Link { path: dir.path(text) });
            }
            (Some(text), _) => return Err(dir.not_plain(text, "no regular file")),
            (None, kind) => {
                count += 1;
                if left.len() < NAMED {
                    let end = if kind == FileType::Directory { "/" } else { "" };
                    left.push(format!("{}{end}", printable(&String::from_utf8_lossy(&name))));
                }
            }
        }
    }
    check_amounts(dir, &items, limits)?;
    Ok((items, left, count))
}

fn check_amounts(
    dir: &ModelHandle,
    items: &[Item],
    limits: SnapshotLimits,
) -> Result<(), SnapshotError> {
    let path = dir.shown().to_owned();
    if items.is_empty() {
        return Err(SnapshotError::Empty { path });
    }
    let bytes = items.iter().fold(0u64, |sum, item| sum.saturating_add(item.signature.size));
    let files = items.len() as u64;
    let amounts = [
        ("bytes in model files:", bytes, limits.bytes, "save the weights once, in bf16"),
        ("model files:", files, limits.files, "save the weights in fewer shards"),
    ];
    for (what, found, limit, hint) in amounts {
        if found > limit {
            return Err(SnapshotError::TooMuch { path, what, found, limit, hint });
        }
    }
    Ok(())
}

fn check_space(parent: &Path, bytes: u64) -> Result<(), SnapshotError> {
    let action = "keep a snapshot of the model";
    let disk = rustix::fs::statvfs(parent).map_err(|e| SnapshotError::io(action)(e.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < bytes.saturating_add(SPARE) {
        let text = format!("the disk has {free} bytes free, {bytes} and some spare are needed");
        return Err(SnapshotError::io(action)(io::Error::new(io::ErrorKind::StorageFull, text)));
    }
    Ok(())
}

/// Copies one file, sharing its blocks where the file system can, and hashes what was copied.
fn copy_file(
    dir: &ModelHandle,
    item: &Item,
    into: &Path,
    cancel: &CancellationToken,
) -> Result<SnapshotFile, SnapshotError> {
    let changed = || SnapshotError::Changed { path: dir.path(&item.name) };
    let (from, signature) = dir.file(&item.name)?;
    if signature != item.signature {
        return Err(changed());
    }
    let ours = || SnapshotError::io("write a snapshot");
    let path = into.join(&item.name);
    let to = File::options().read(true).write(true).create_new(true).open(path).map_err(ours())?;
    let pump = Pump { size: signature.size, cancel, path: dir.path(&item.name) };
    let sha256 = if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        // From here on the copy is ours alone: hash it, not the original.
        pump.run(&to, None)?
    } else {
        pump.run(&from, Some(&to))?
    };
    to.set_permissions(fs::Permissions::from_mode(0o644)).map_err(ours())?;
    to.sync_all().map_err(ours())?;
    match Signature::of(&from) {
        Ok(after) if after == signature => {}
        _ => return Err(changed()),
    }
    Ok(SnapshotFile { name: item.name.clone(), bytes: signature.size, sha256 })
}

/// Reads exactly the bytes that a file was seen to have.
struct Pump<'a> {
    size: u64,
    cancel: &'a CancellationToken,
    /// The file in messages.
    path: String,
}

impl Pump<'_> {
    /// Hashes `from` to its end, and writes it to `to`.
    fn run(self, mut from: &File, mut to: Option<&File>) -> Result<String, SnapshotError> {
        let (mut block, mut hasher, mut seen) = (vec![0; BLOCK], Sha256::new(), 0u64);
        loop {
            if self.cancel.is_cancelled() {
                return Err(SnapshotError::Cancelled);
            }
            let read = match from.read(&mut block) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(SnapshotError::Unreadable { path: self.path, source }),
                Ok(read) => read,
            };
            seen += read as u64;
            if seen > self.size || (read == 0 && seen < self.size) {
                return Err(SnapshotError::Changed { path: self.path });
            }
            if read == 0 {
                return Ok(hex(&hasher.finalize()));
            }
            hasher.update(&block[..read]);
            if let Some(to) = &mut to {
                to.write_all(&block[..read]).map_err(SnapshotError::io("write a snapshot"))?;
            }
        }
    }
}

fn whole(dir: &ModelHandle, copy: &Path, check: &Check) -> Result<(), SnapshotError> {
    // The check names files of the copy; the agent knows the original.
    let ours = copy.display().to_string();
    match check(copy) {
        Ok(()) => Ok(()),
        Err(CheckFault::Model(message)) => Err(SnapshotError::NotWhole {
            path: dir.shown().to_owned(),
            message: message.replace(&ours, dir.shown()),
        }),
        Err(CheckFault::Machine(message)) => {
            Err(SnapshotError::io("check a model")(io::Error::other(message)))
        }
    }
}
