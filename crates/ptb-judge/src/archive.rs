//! What the agent left: a manifest of everything, and a copy of all but the weights.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use ptb_core::files::{FileError, Schema, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Largest file that is copied.
const MAX_COPY: u64 = 64 << 20;
/// Most bytes that are copied in all.
const MAX_COPIED: u64 = 2 << 30;
/// Most bytes of one file that are hashed; sparse files can claim any size.
const MAX_HASHED: u64 = 64 << 30;
/// Most entries that are listed.
const MAX_ITEMS: usize = 200_000;
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
    /// Path inside the workspace; bytes that are not UTF-8 as `\xNN`.
    pub path: String,
    /// What it is.
    pub kind: ItemKind,
    /// Size in bytes (files).
    pub bytes: u64,
    /// SHA-256 (files; absent where too large or unreadable).
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
    /// Why the list is not complete, when it is not.
    pub cut: Option<String>,
}

impl Schema for Manifest {
    const KIND: &'static str = "manifest";
    const VERSION: u32 = 1;
}

/// The copy could not be written (what cannot be *read* is noted in the manifest instead).
#[derive(Debug, Error)]
#[error("cannot keep the workspace: {0}")]
pub struct ArchiveError(#[from] FileError);

/// Lists and hashes everything below `from` and copies it, without weights, to `to`. Nothing may be
/// running in `from` any more. Repeating it gives the same result.
pub fn archive(from: &Path, to: &Path) -> Result<Manifest, ArchiveError> {
    if to.exists() {
        fs::remove_dir_all(to).map_err(FileError::io("replace", to))?;
    }
    fs::create_dir_all(to).map_err(FileError::io("create", to))?;
    let mut walk = Walk { from, to, manifest: Manifest::default(), copied: 0 };
    walk.folder(Path::new(""), 0)?;
    Ok(walk.manifest)
}

struct Walk<'a> {
    from: &'a Path,
    to: &'a Path,
    manifest: Manifest,
    copied: u64,
}

impl Walk<'_> {
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
            if self.manifest.items.len() >= MAX_ITEMS {
                self.cut(format!("more than {MAX_ITEMS} entries"));
                return Ok(());
            }
            self.entry(&relative.join(name), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, relative: &Path, depth: usize) -> Result<(), ArchiveError> {
        let path = self.from.join(relative);
        let Ok(meta) = fs::symlink_metadata(&path) else { return Ok(()) };
        let kind = meta.file_type();
        let mut item = Item {
            path: readable(relative.as_os_str()),
            kind: ItemKind::Special,
            bytes: 0,
            sha256: None,
            target: None,
            kept: false,
        };
        if kind.is_dir() {
            item.kind = ItemKind::Folder;
            let target = self.to.join(relative);
            fs::create_dir_all(&target).map_err(FileError::io("create", &target))?;
            item.kept = true;
            self.manifest.items.push(item);
            return self.folder(relative, depth + 1);
        }
        if kind.is_symlink() {
            item.kind = ItemKind::Link;
            item.target = fs::read_link(&path).ok().map(|t| readable(t.as_os_str()));
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
        self.manifest.items.push(item);
        Ok(())
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
        if sparse || meta.len() > MAX_HASHED {
            return Ok(());
        }
        let keep = !weights && meta.len() <= MAX_COPY && self.copied + meta.len() <= MAX_COPIED;
        let Ok(source) = open(&self.from.join(relative)) else { return Ok(()) };
        let target = self.to.join(relative);
        let copy = if keep {
            Some(File::create(&target).map_err(FileError::io("create", &target))?)
        } else {
            None
        };
        item.sha256 = hash_and_copy(source, copy, meta.len(), &target)?;
        item.kept = keep;
        self.copied += if keep { meta.len() } else { 0 };
        Ok(())
    }

    fn cut(&mut self, why: String) {
        self.manifest.cut.get_or_insert(why);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Hashes at most `limit` bytes and writes them to `copy`. A read error gives no hash; a write error
/// (a full disk) is ours and is an error.
fn hash_and_copy(
    source: File,
    mut copy: Option<File>,
    limit: u64,
    target: &Path,
) -> Result<Option<String>, ArchiveError> {
    let (mut source, mut hasher, mut block) =
        (source.take(limit), Sha256::new(), vec![0u8; 1 << 16]);
    loop {
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

/// A path as text: bytes that are not UTF-8 as `\xNN`.
fn readable(path: &OsStr) -> String {
    path.as_bytes().utf8_chunks().fold(String::new(), |mut out, chunk| {
        out.push_str(chunk.valid());
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

        let manifest = archive(from, &to).unwrap();
        assert_eq!(manifest.items.len(), 8);
        let weights = item(&manifest, "final_model/model.safetensors");
        assert!(weights.sha256.is_some() && !weights.kept);
        assert!(item(&manifest, "train.py").kept);
        assert!(item(&manifest, "bad\\xffname\n").kept);
        assert_eq!(item(&manifest, "link").target.as_deref(), Some("/etc/passwd"));
        assert_eq!(item(&manifest, "fifo").kind, ItemKind::Special);
        assert_eq!(item(&manifest, "sparse").sha256, None);
        assert!(!to.join("link").exists() && !to.join("final_model/model.safetensors").exists());
        assert_eq!(archive(from, &to).unwrap(), manifest);
    }
}
