//! What the agent left: a manifest of everything, and a copy of all but the weights.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ptb_core::files::{FileError, Schema, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::text::plain;

/// Largest file that is copied.
const MAX_COPY: u64 = 64 << 20;
/// Most bytes that are copied in all.
const MAX_COPIED: u64 = 2 << 30;
/// Most bytes that are hashed in all.
const MAX_HASHED: u64 = 64 << 30;
/// Most entries that are listed.
const MAX_ITEMS: usize = 200_000;
/// Most bytes of text (paths and targets of links) that the manifest takes.
const MAX_TEXT: usize = 16 << 20;
/// Most reasons that `cut` gives.
const MAX_REASONS: usize = 8;
/// Longest path that the kernel takes (`PATH_MAX`, its ending zero included).
const MAX_PATH: usize = 4096;
/// Deepest folder that is entered.
const MAX_DEPTH: usize = 64;
/// Endings of files that hold weights.
const WEIGHTS: &[&str] = &["safetensors", "bin", "pt", "pth", "ckpt", "gguf", "npz", "onnx", "h5"];

/// What an entry of the workspace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; never followed.
    Link,
    /// A fifo, socket or device; never opened.
    Special,
}

/// One entry of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Path inside the workspace; bytes that are not UTF-8 as `\xNN`, control characters and those that
    /// turn the writing direction as `\u{..}`. A copy has the entry's own name.
    pub path: String,
    /// What it is.
    pub kind: ItemKind,
    /// Size in bytes (files).
    pub bytes: u64,
    /// SHA-256 (files; absent where sparse, unreadable or beyond what is hashed).
    pub sha256: Option<String>,
    /// Target (links).
    pub target: Option<String>,
    /// Whether a copy lies in `workspace/`.
    pub kept: bool,
}

/// `manifest.json`: everything the agent left, in order of path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The entries.
    pub items: Vec<Item>,
    /// Why the list or its hashes are not complete, when they are not.
    pub cut: Option<String>,
}

impl Schema for Manifest {
    const KIND: &'static str = "manifest";
    const VERSION: u32 = 1;
}

/// Why the workspace could not be kept (what cannot be *read* is noted in the manifest instead).
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// The copy could not be written.
    #[error("cannot keep the workspace: {0}")]
    File(#[from] FileError),
    /// The caller asked to stop; repeating it starts anew.
    #[error("keeping the workspace was stopped; hint: judge the run again")]
    Stopped,
}

/// Lists and hashes everything below `from` and copies it, without weights, to `to`. Nothing may be
/// running in `from` any more. Repeating it gives the same result. `stop` is asked before each entry and
/// each block of a file; once it says true, nothing more is read.
///
/// # Errors
/// When the copy cannot be written, or `stop` said so.
pub fn archive(
    from: &Path,
    to: &Path,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Manifest, ArchiveError> {
    within(from, to, stop, Bounds { hashed: MAX_HASHED, text: MAX_TEXT })
}

/// Bounds that tests make small.
#[derive(Clone, Copy)]
struct Bounds {
    hashed: u64,
    text: usize,
}

fn within(
    from: &Path,
    to: &Path,
    stop: &(dyn Fn() -> bool + Sync),
    bounds: Bounds,
) -> Result<Manifest, ArchiveError> {
    if stop() {
        return Err(ArchiveError::Stopped);
    }
    if to.exists() {
        fs::remove_dir_all(to).map_err(FileError::io("replace", to))?;
    }
    fs::create_dir_all(to).map_err(FileError::io("create", to))?;
    let mut walk = Walk {
        from,
        to,
        stop,
        bounds,
        items: Vec::new(),
        reasons: Vec::new(),
        text: 0,
        full: false,
        copied: 0,
        hashed: 0,
        known: HashMap::new(),
        folders: VecDeque::from([(PathBuf::new(), 0)]),
    };
    walk.all()?;
    walk.items.sort_by(|a, b| a.path.cmp(&b.path));
    let cut = (!walk.reasons.is_empty()).then(|| walk.reasons.join("; "));
    Ok(Manifest { items: walk.items, cut })
}

struct Walk<'a> {
    from: &'a Path,
    to: &'a Path,
    stop: &'a (dyn Fn() -> bool + Sync),
    bounds: Bounds,
    items: Vec<Item>,
    reasons: Vec<String>,
    /// Bytes of text in `items`.
    text: usize,
    /// No more entries are listed.
    full: bool,
    copied: u64,
    hashed: u64,
    /// Hashes of files with several names, by device and inode.
    known: HashMap<(u64, u64), Option<String>>,
    /// Folders to list, with their depths.
    folders: VecDeque<(PathBuf, usize)>,
}

impl Walk<'_> {
    /// Shallow entries first: what fills the bounds from within a folder hides nothing above it or beside it.
    fn all(&mut self) -> Result<(), ArchiveError> {
        while !self.full
            && let Some((folder, depth)) = self.folders.pop_front()
        {
            self.folder(&folder, depth)?;
        }
        Ok(())
    }

    fn folder(&mut self, relative: &Path, depth: usize) -> Result<(), ArchiveError> {
        if depth > MAX_DEPTH {
            self.cut(format!("folders deeper than {MAX_DEPTH} are not listed"));
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(self.from.join(relative)) else {
            self.cut(format!("{} cannot be read", readable(relative.as_os_str())));
            return Ok(());
        };
        let mut names: Vec<_> =
            entries.filter_map(Result::ok).take(MAX_ITEMS).map(|e| e.file_name()).collect();
        names.sort();
        for name in names {
            if self.full {
                return Ok(());
            }
            self.entry(&relative.join(name), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, relative: &Path, depth: usize) -> Result<(), ArchiveError> {
        if (self.stop)() {
            return Err(ArchiveError::Stopped);
        }
        let path = self.from.join(relative);
        if path.as_os_str().len().max(self.to.join(relative).as_os_str().len()) >= MAX_PATH {
            self.cut(format!("paths of more than {MAX_PATH} bytes are not listed"));
            return Ok(());
        }
        let Ok(meta) = fs::symlink_metadata(&path) else {
            self.cut(format!("{} cannot be read", readable(relative.as_os_str())));
            return Ok(());
        };
        let kind = meta.file_type();
        let target = if kind.is_symlink() { fs::read_link(&path).ok() } else { None };
        let mut item = Item {
            path: readable(relative.as_os_str()),
            kind: ItemKind::Special,
            bytes: 0,
            sha256: None,
            target: target.map(|t| readable(t.as_os_str())),
            kept: false,
        };
        if !self.has_room(&item) {
            return Ok(());
        }
        if kind.is_dir() {
            item.kind = ItemKind::Folder;
            let target = self.to.join(relative);
            fs::create_dir_all(&target).map_err(FileError::io("create", &target))?;
            item.kept = true;
            self.items.push(item);
            self.folders.push_back((relative.to_owned(), depth + 1));
            return Ok(());
        }
        if kind.is_symlink() {
            item.kind = ItemKind::Link;
        } else if kind.is_file() {
            item.kind = ItemKind::File;
            item.bytes = meta.len();
            self.file(relative, &meta, &mut item)?;
        } else {
            debug_assert!(
                kind.is_fifo()
                    || kind.is_socket()
                    || kind.is_char_device()
                    || kind.is_block_device()
            );
        }
        self.items.push(item);
        Ok(())
    }

    /// Counts the text of an entry; false, and the list is at its end, where it does not fit.
    fn has_room(&mut self, item: &Item) -> bool {
        self.text += item.path.len() + item.target.as_ref().map_or(0, String::len);
        if self.items.len() >= MAX_ITEMS {
            self.cut(format!("more than {MAX_ITEMS} entries"));
        } else if self.text > self.bounds.text {
            self.cut(format!("paths take more than {} bytes", self.bounds.text));
        } else {
            return true;
        }
        self.full = true;
        false
    }

    fn file(
        &mut self,
        relative: &Path,
        meta: &fs::Metadata,
        item: &mut Item,
    ) -> Result<(), ArchiveError> {
        let weights =
            relative.extension().and_then(OsStr::to_str).is_some_and(|e| WEIGHTS.contains(&e));
        // A sparse file's holes are neither hashed nor copied: they cost the agent nothing and us hours.
        let sparse = meta.blocks().saturating_mul(512) < meta.len() / 2 && meta.len() > MAX_COPY;
        if sparse {
            return Ok(());
        }
        let keep = !weights && meta.len() <= MAX_COPY && self.copied + meta.len() <= MAX_COPIED;
        // A file is hashed once, however many names it has.
        let identity = (meta.dev(), meta.ino());
        let known = self.known.get(&identity).cloned();
        let hash = known.is_none() && self.hashed.saturating_add(meta.len()) <= self.bounds.hashed;
        if known.is_none() && !hash {
            self.cut(format!("more than {} bytes to hash", self.bounds.hashed));
        }
        item.sha256 = known.flatten();
        if !keep && !hash {
            return Ok(());
        }
        let Ok(source) = open(&self.from.join(relative)) else { return Ok(()) };
        let target = self.to.join(relative);
        let copy = if keep {
            Some(File::create(&target).map_err(FileError::io("create", &target))?)
        } else {
            None
        };
        let read = self.hash_and_copy(source, copy, meta.len(), &target)?;
        if hash {
            self.hashed += meta.len();
            item.sha256 = read;
            if meta.nlink() > 1 {
                self.known.insert(identity, item.sha256.clone());
            }
        }
        item.kept = keep;
        self.copied += if keep { meta.len() } else { 0 };
        Ok(())
    }

    /// Hashes at most `limit` bytes and writes them to `copy`. A read error gives no hash; a write error
    /// (a full disk) is ours and is an error.
    fn hash_and_copy(
        &self,
        source: File,
        mut copy: Option<File>,
        limit: u64,
        target: &Path,
    ) -> Result<Option<String>, ArchiveError> {
        let (mut source, mut hasher, mut block) =
            (source.take(limit), Sha256::new(), vec![0u8; 1 << 16]);
        loop {
            if (self.stop)() {
                return Err(ArchiveError::Stopped);
            }
            match source.read(&mut block) {
                Ok(0) => return Ok(Some(hex(&hasher.finalize()))),
                Ok(n) => {
                    hasher.update(&block[..n]);
                    if let Some(copy) = &mut copy {
                        copy.write_all(&block[..n]).map_err(FileError::io("write", target))?;
                    }
                }
                Err(_) => return Ok(None),
            }
        }
    }

    fn cut(&mut self, why: String) {
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&why) {
            self.reasons.push(why);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// A path as text that is safe to show; bytes that are not UTF-8 as `\xNN`.
fn readable(path: &OsStr) -> String {
    path.as_bytes().utf8_chunks().fold(String::new(), |mut out, chunk| {
        out.push_str(&plain(chunk.valid()));
        chunk.invalid().iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn item<'a>(manifest: &'a Manifest, path: &str) -> &'a Item {
        manifest.items.iter().find(|i| i.path == path).unwrap()
    }

    #[test]
    fn everything_is_listed_and_only_plain_small_files_are_kept() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path().join("workspace"));
        fs::create_dir(from.join("final_model")).unwrap();
        fs::write(from.join("final_model/model.safetensors"), "weights").unwrap();
        fs::write(from.join("train.py"), "print()").unwrap();
        fs::write(from.join(OsStr::from_bytes(b"bad\xffname\n")), "x").unwrap();
        symlink("/etc/passwd", from.join("link")).unwrap();
        symlink(".", from.join("loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            from.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        File::create(from.join("sparse")).unwrap().set_len(50 << 30).unwrap();

        let manifest = archive(from, &to, &|| false).unwrap();
        assert_eq!(manifest.items.len(), 8);
        let weights = item(&manifest, "final_model/model.safetensors");
        assert!(weights.sha256.is_some() && !weights.kept);
        assert!(item(&manifest, "train.py").kept);
        assert!(item(&manifest, r"bad\xffname\u{a}").kept);
        assert_eq!(item(&manifest, "link").target.as_deref(), Some("/etc/passwd"));
        assert_eq!(item(&manifest, "fifo").kind, ItemKind::Special);
        assert_eq!(item(&manifest, "sparse").sha256, None);
        assert!(!to.join("link").exists() && !to.join("final_model/model.safetensors").exists());
        assert_eq!(archive(from, &to, &|| false).unwrap(), manifest);
    }
    #[test]
    fn a_file_of_many_names_is_hashed_once_and_bytes_beyond_the_bound_are_not() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path().join("workspace"));
        fs::write(from.join("a.bin"), vec![7; 1000]).unwrap();
        fs::hard_link(from.join("a.bin"), from.join("b.txt")).unwrap();
        fs::hard_link(from.join("a.bin"), from.join("c.bin")).unwrap();
        fs::write(from.join("d.txt"), "beyond").unwrap();
        let bounds = Bounds { hashed: 1005, text: 1 << 20 };
        let manifest = within(from, &to, &|| false, bounds).unwrap();
        let hash = &item(&manifest, "a.bin").sha256;
        assert!(hash.is_some());
        assert_eq!(hash, &item(&manifest, "b.txt").sha256);
        assert_eq!(hash, &item(&manifest, "c.bin").sha256);
        assert_eq!(fs::read(to.join("b.txt")).unwrap(), vec![7; 1000]);
        let beyond = item(&manifest, "d.txt");
        assert!(beyond.sha256.is_none() && beyond.kept);
        assert_eq!(manifest.cut.as_deref(), Some("more than 1005 bytes to hash"));
    }

    #[test]
    fn names_cannot_blow_up_the_manifest_nor_disguise_themselves() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path().join("workspace"));
        let folder = "\u{1}".repeat(200);
        fs::create_dir(from.join(&folder)).unwrap();
        for i in 0..20 {
            fs::write(from.join(&folder).join(format!("{i:02}\u{202e}txt")), "x").unwrap();
        }
        fs::write(from.join("train.py"), "x").unwrap();
        let bounds = Bounds { hashed: 1 << 20, text: 10_000 };
        let manifest = within(from, &to, &|| false, bounds).unwrap();
        let text: usize = manifest.items.iter().map(|i| i.path.len()).sum();
        assert!(text <= 10_000 && manifest.items.len() > 5, "{text}");
        assert_eq!(manifest.cut.as_deref(), Some("paths take more than 10000 bytes"));
        assert!(item(&manifest, "train.py").kept, "what lies deeper cannot crowd it out");
        let path = format!("{}/00\\u{{202e}}txt", "\\u{1}".repeat(200));
        assert!(item(&manifest, &path).kept);
        assert!(to.join(&folder).join("00\u{202e}txt").is_file());
    }

    #[test]
    fn it_stops_between_entries_and_within_a_file() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (from.path(), to.path().join("workspace"));
        fs::write(from.join("long"), vec![0; 4 << 20]).unwrap();
        for last in [0, 1, 3, 20] {
            let asked = AtomicUsize::new(0);
            let stop = || asked.fetch_add(1, Ordering::Relaxed) >= last;
            assert!(matches!(archive(from, &to, &stop), Err(ArchiveError::Stopped)), "{last}");
            assert_eq!(asked.into_inner(), last + 1, "asked no more once it was told");
        }
        // What a stopped one left does not show in a later one.
        let manifest = archive(from, &to, &|| false).unwrap();
        assert!(item(&manifest, "long").kept && manifest.cut.is_none());
        assert_eq!(fs::metadata(to.join("long")).unwrap().len(), 4 << 20);
    }
}
