//! Handing a prepared directory to the agent's user.

use crate::spec::Identity;
use crate::{Result, WallError};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Deepest directory that is followed; deeper ones are an attack or a mistake.
const MAX_DEPTH: usize = 128;

/// Makes the agent the owner of a directory and everything in it. Does nothing when it is already
/// (always so for an ordinary user, whose own id the agent has outside).
///
/// Goes by open handles and never through symlinks, whose own owner alone changes. A file with
/// several hard links is refused unless it is the agent's already: another name of it may be anywhere.
///
/// # Errors
/// [`WallError::Give`] with the path in question: shared files, device nodes, more than 128 levels,
/// and what the kernel refuses.
pub fn give_to_agent(dir: &Path, to: Identity) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fail = |error: rustix::io::Errno| failed(dir, error);
    let handle = rustix::fs::open(dir, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&handle).map_err(fail)?;
    give_handle(&handle, &stat, dir, to)?;
    give_below(&handle, dir, to, 0)
}

fn failed(path: &Path, error: rustix::io::Errno) -> WallError {
    give_error(path, error.to_string(), "check that the harness owns it, or runs as root")
}

fn give_error(path: &Path, why: impl Into<String>, hint: &str) -> WallError {
    WallError::Give { path: path.to_owned(), why: why.into(), hint: hint.to_owned() }
}

fn give_handle(handle: &OwnedFd, stat: &Stat, path: &Path, to: Identity) -> Result<()> {
    if owned(stat, to) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
    rustix::fs::fchown(handle, Some(uid), Some(gid)).map_err(|error| failed(path, error))
}

fn owned(stat: &Stat, to: Identity) -> bool {
    stat.st_uid == to.uid && stat.st_gid == to.gid
}

fn give_below(dir: &OwnedFd, path: &Path, to: Identity, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(give_error(path, "it is more than 128 directories deep", "flatten it"));
    }
    let entries = Dir::read_from(dir).map_err(|error| failed(path, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| failed(path, error))?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            give_entry(dir, name, &join(path, name), to, depth)?;
        }
    }
    Ok(())
}

fn join(path: &Path, name: &CStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    path.join(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

fn give_entry(dir: &OwnedFd, name: &CStr, path: &Path, to: Identity, depth: usize) -> Result<()> {
    let fail = |error: rustix::io::Errno| failed(path, error);
    // A handle first, then everything through it: nothing can be swapped in between.
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(fail)?;
    let stat = rustix::fs::fstat(&handle).map_err(fail)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let inner = rustix::fs::openat(&handle, c".", flags, Mode::empty()).map_err(fail)?;
            give_handle(&inner, &stat, path, to)?;
            give_below(&inner, path, to, depth + 1)
        }
        _ if owned(&stat, to) => Ok(()),
        FileType::BlockDevice | FileType::CharacterDevice => {
            Err(give_error(path, "it is a device node", "take it out of the workspace"))
        }
        FileType::RegularFile if stat.st_nlink > 1 => Err(give_error(
            path,
            "it has other hard links, which would change their owner too",
            "copy the file into the workspace instead of linking it",
        )),
        _ => {
            let (uid, gid) = (Uid::from_raw(to.uid), Gid::from_raw(to.gid));
            rustix::fs::chownat(&handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
                .map_err(fail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    /// Root hands over for real; an ordinary user can only hand to itself.
    fn receiver() -> Identity {
        Identity::for_this_process()
    }

    #[test]
    fn a_tree_changes_hands_and_links_out_of_it_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let (work, out) = (dir.path().join("work"), dir.path().join("out"));
        std::fs::create_dir_all(work.join("a/b")).unwrap();
        std::fs::write(work.join("a/b/file"), "x").unwrap();
        std::fs::write(&out, "secret").unwrap();
        symlink(&out, work.join("link")).unwrap();
        symlink(dir.path(), work.join("a/up")).unwrap();
        let before = std::fs::metadata(&out).unwrap().uid();
        give_to_agent(&work, receiver()).unwrap();
        for path in ["", "a", "a/b", "a/b/file", "link", "a/up"] {
            let owner = std::fs::symlink_metadata(work.join(path)).unwrap().uid();
            assert_eq!(owner, receiver().uid, "{path}");
        }
        assert_eq!(std::fs::metadata(&out).unwrap().uid(), before);
        give_to_agent(&work, receiver()).unwrap();
    }

    #[test]
    fn a_hard_link_to_another_owner_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        std::fs::create_dir(&work).unwrap();
        std::fs::write(dir.path().join("out"), "shared").unwrap();
        std::fs::hard_link(dir.path().join("out"), work.join("in")).unwrap();
        let me = std::fs::metadata(&work).unwrap();
        let other = Identity { uid: me.uid() + 7, gid: me.gid() + 7 };
        let error = give_entry_of(&work, other).unwrap_err().to_string();
        assert!(error.contains("hard links") && error.contains("hint: copy"), "{error}");
        assert_eq!(std::fs::metadata(dir.path().join("out")).unwrap().uid(), me.uid());
        give_to_agent(&work, Identity { uid: me.uid(), gid: me.gid() }).unwrap();
    }

    fn give_entry_of(work: &Path, to: Identity) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(work, flags, Mode::empty()).unwrap();
        give_below(&handle, work, to, 0)
    }

    #[test]
    fn a_symlink_as_the_workspace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        symlink("/usr", dir.path().join("work")).unwrap();
        assert!(give_to_agent(&dir.path().join("work"), receiver()).is_err());
    }
}
