//! Folders that an agent left: made readable, and removed, whatever they look like.
//!
//! Nothing of the agent runs any more, so nothing changes under us; but modes, depth and names are hostile.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Deepest folder that is made readable; deeper ones are only ever removed.
const MAX_DEPTH: usize = 66;

/// Gives the owner (this process, or root for it) the rights to read everything down to [`MAX_DEPTH`]: an
/// agent that takes rights away must not turn into a failure of the harness.
pub(crate) fn make_readable(folder: &Path) {
    visit(folder, 0);
}

fn visit(folder: &Path, depth: usize) {
    allow(folder, 0o700);
    if depth >= MAX_DEPTH {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => visit(&entry.path(), depth + 1),
            Ok(kind) if kind.is_file() => allow(&entry.path(), 0o600),
            _ => {}
        }
    }
}

/// Adds mode bits to a file or folder that is no link; what cannot be changed is found out by who reads it.
fn allow(path: &Path, bits: u32) {
    if let Ok(meta) = fs::symlink_metadata(path)
        && !meta.is_symlink()
        && meta.permissions().mode() & bits != bits
    {
        let _ = fs::set_permissions(path, Permissions::from_mode(meta.permissions().mode() | bits));
    }
}

/// Removes a folder, if it is there, without following links. Folders are lifted to the top before they are
/// emptied, so that neither depth nor the limit on open files matters.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
        Ok(meta) if !meta.is_dir() => return fs::remove_file(folder),
        Ok(_) => {}
    }
    let mut lifted = 0u64;
    let mut waiting: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(current) = waiting.pop() {
        allow(&current, 0o700);
        let is_top = current == folder;
        for entry in fs::read_dir(&current)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            if is_top {
                waiting.push(entry.path());
                continue;
            }
            // A name that the agent has taken already is only one more try.
            allow(&entry.path(), 0o700);
            let target = loop {
                lifted += 1;
                let target = folder.join(format!(".lifted-{lifted}"));
                if fs::symlink_metadata(&target).is_err() {
                    break target;
                }
            };
            fs::rename(entry.path(), &target)?;
            waiting.push(target);
        }
        if !is_top {
            fs::remove_dir(&current)?;
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_locked_and_linked_folders_go_away_and_targets_stay() {
        let home = tempfile::tempdir().unwrap();
        let (tree, outside) = (home.path().join("tree"), home.path().join("outside"));
        fs::write(&outside, "kept").unwrap();
        fs::create_dir_all(tree.join("a/.lifted-1/b")).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        std::os::unix::fs::symlink("..", tree.join("loop")).unwrap();
        fs::create_dir(tree.join(".lifted-1")).unwrap();
        // Deeper than a path may be long.
        let mut at =
            rustix::fs::open(&tree, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
                .unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, "deep", rustix::fs::Mode::RWXU).unwrap();
            at = rustix::fs::openat(
                &at,
                "deep",
                rustix::fs::OFlags::DIRECTORY,
                rustix::fs::Mode::empty(),
            )
            .unwrap();
        }
        fs::set_permissions(tree.join("a/.lifted-1"), Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(tree.join("a"), Permissions::from_mode(0o0)).unwrap();
        make_readable(&tree);
        fs::set_permissions(tree.join("a"), Permissions::from_mode(0o0)).unwrap();
        remove(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(fs::read_to_string(&outside).unwrap(), "kept");
        remove(&tree).unwrap();
    }
}
