//! Whose doing a full disk is. An agent that fills it fails by its own fault; one whose room others took must not
//! lose its score for that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// With less than this left, in bytes, writing a model has most likely failed.
const SCARCE: u64 = 64 << 20;

/// How much room there was when an attempt began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room(u64);

impl Room {
    /// The room on the disk of `folder`.
    pub(super) fn on(folder: &Path) -> Self {
        Self(free(folder))
    }

    /// Says so when hardly any room is left on the disk of `folder` and what the attempt keeps there is less
    /// than half of what has gone since.
    pub(super) fn taken_by_others(self, folder: &Path) -> Option<String> {
        let now = free(folder);
        let (gone, ours) = (self.0.saturating_sub(now), kept(folder));
        (now < SCARCE && ours < gone / 2).then(|| {
            format!(
                "the disk of {} filled up while the agent worked ({} MiB are left; the attempt holds {} MiB of the {} MiB that went); hint: make room, then run again: the attempt is kept, another one starts",
                folder.display(),
                now >> 20,
                ours >> 20,
                gone >> 20
            )
        })
    }
}

/// Bytes that this process may still write; all there are where the system does not tell.
fn free(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes on the disk below a folder, links not followed.
fn kept(folder: &Path) -> u64 {
    let (mut bytes, mut waiting): (u64, Vec<PathBuf>) = (0, vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            bytes = bytes.saturating_add(meta.blocks().saturating_mul(512));
            if meta.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_without_following_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/b"), vec![1; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let bytes = kept(dir.path());
        assert!((1 << 20..2 << 20).contains(&bytes), "{bytes}");
        assert_eq!(Room::on(dir.path()).taken_by_others(dir.path()), None);
    }
}
