//! Agent folders: `solve.sh` and whatever it needs, copied into the workspace.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ptb_core::files::{sha256_file, sha256_hex};
use thiserror::Error;
use walkdir::WalkDir;

/// Most bytes that an agent folder may hold.
const MAX_BYTES: u64 = 256 << 20;
/// Most files that an agent folder may hold.
const MAX_FILES: usize = 10_000;

/// What is wrong with an agent folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It is not an agent.
    #[error("{} has no solve.sh; hint: an agent folder holds a shell script of that name", .0.display())]
    NoSolve(PathBuf),
    /// It holds something that is neither file nor folder.
    #[error("{} is not a plain file; hint: an agent folder holds plain files and folders alone, copy what links point to", .0.display())]
    NotPlain(PathBuf),
    /// It is too large.
    #[error("{} holds more than {MAX_FILES} files or {} MiB; hint: keep data elsewhere and declare it under [[binds]]", .0.display(), MAX_BYTES >> 20)]
    TooLarge(PathBuf),
    /// The system refused.
    #[error("cannot read the agent folder's {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

struct Item {
    path: PathBuf,
    relative: PathBuf,
    executable: bool,
}

fn items(folder: &Path) -> Result<Vec<Item>, FolderError> {
    if !folder.join("solve.sh").is_file() {
        return Err(FolderError::NoSolve(folder.to_owned()));
    }
    let (mut items, mut bytes) = (Vec::new(), 0u64);
    for entry in WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|e| FolderError::Io {
            path: e.path().unwrap_or(folder).to_owned(),
            source: e.into(),
        })?;
        let kind = entry.file_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            return Err(FolderError::NotPlain(entry.into_path()));
        }
        let io = |source: io::Error| FolderError::Io { path: entry.path().to_owned(), source };
        let meta = entry.metadata().map_err(|e| io(e.into()))?;
        bytes = bytes.saturating_add(meta.len());
        if bytes > MAX_BYTES || items.len() >= MAX_FILES {
            return Err(FolderError::TooLarge(folder.to_owned()));
        }
        let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
        let executable = meta.permissions().mode() & 0o100 != 0;
        items.push(Item { path: entry.path().to_owned(), relative, executable });
    }
    Ok(items)
}

/// SHA-256 over the names, executable bits and contents of a folder's files, in order of name.
pub fn hash_folder(folder: &Path) -> Result<String, FolderError> {
    let mut lines = String::new();
    for item in items(folder)? {
        let hash = sha256_file(&item.path)
            .map_err(|source| FolderError::Io { path: item.path.clone(), source })?;
        lines.push_str(&format!("{:?} {} {hash}\n", item.relative, item.executable));
    }
    Ok(sha256_hex(lines.as_bytes()))
}

/// Copies a folder's files into the workspace (which the caller then gives to the agent).
pub fn copy_folder(folder: &Path, workspace: &Path) -> Result<(), FolderError> {
    for item in items(folder)? {
        let target = workspace.join(&item.relative);
        let copy = || -> io::Result<()> {
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::copy(&item.path, &target)?;
            let mode = if item.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))
        };
        copy().map_err(|source| FolderError::Io { path: item.path.clone(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_hashed_by_content_and_copied_whole() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(matches!(hash_folder(from.path()), Err(FolderError::NoSolve(_))));
        fs::write(from.path().join("solve.sh"), "true").unwrap();
        let first = hash_folder(from.path()).unwrap();
        fs::create_dir(from.path().join("data")).unwrap();
        fs::write(from.path().join("data/a"), "1").unwrap();
        assert_ne!(hash_folder(from.path()).unwrap(), first);
        copy_folder(from.path(), to.path()).unwrap();
        assert_eq!(hash_folder(to.path()).unwrap(), hash_folder(from.path()).unwrap());
    }

    #[test]
    fn links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("solve.sh"), "true").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("x")).unwrap();
        assert!(matches!(hash_folder(dir.path()), Err(FolderError::NotPlain(_))));
    }
}
