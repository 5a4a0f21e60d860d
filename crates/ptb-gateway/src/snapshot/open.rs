//! Opening what an agent named, by handle, below its workspace, without following anything.
//!
//! `openat2` with `BENEATH | NO_SYMLINKS | NO_MAGICLINKS | NO_XDEV` lets the kernel refuse every way
//! out, in one step that cannot be raced. Where the call is missing (kernels before 5.6), each part
//! of the path is opened below the one before with `O_NOFOLLOW`, which is as safe and needs more calls.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;

use super::error::SnapshotError;
use super::names::printable;

/// Which call opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `openat2`.
    Openat2,
    /// Part by part.
    Walk,
}

impl Way {
    /// The best way that this kernel has.
    pub(super) fn of_this_kernel(root: impl AsFd) -> Self {
        match openat2(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve()) {
            Err(Errno::NOSYS) => Self::Walk,
            _ => Self::Openat2,
        }
    }
}

fn resolve() -> ResolveFlags {
    ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV
}

/// What tells two states of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    device: u64,
    inode: u64,
    /// Size in bytes.
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Signature {
    pub(super) fn of(file: &File) -> std::io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

/// A model's directory, held by handle: whatever its path becomes, this stays what is read.
pub(super) struct ModelHandle {
    fd: OwnedFd,
    way: Way,
    owner: u32,
    /// The directory as the agent named it, for messages.
    shown: String,
}

impl ModelHandle {
    /// Opens `relative` below the directory `root` (which is ours to trust, unlike all below it).
    pub(super) fn open(
        root: &Path,
        relative: &Path,
        shown: &str,
        way: Option<Way>,
    ) -> Result<Self, SnapshotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root_fd = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|e| SnapshotError::io("open the workspace")(e.into()))?;
        let owner = rustix::fs::fstat(&root_fd)
            .map_err(|e| SnapshotError::io("read the workspace")(e.into()))?
            .st_uid;
        let way = way.unwrap_or_else(|| Way::of_this_kernel(&root_fd));
        let parts = relative.components().filter(|part| *part != Component::CurDir);
        let shown = printable(shown);
        if parts.clone().any(|part| !matches!(part, Component::Normal(_))) {
            let workspace = "the workspace".to_owned();
            return Err(SnapshotError::Outside { path: shown, workspace });
        }
        let opened = match way {
            Way::Openat2 => {
                let path = if parts.clone().next().is_none() { Path::new(".") } else { relative };
                openat2(&root_fd, path, flags, Mode::empty(), resolve())
            }
            Way::Walk => parts.clone().try_fold(root_fd, |below, part| {
                walk_step(&below, part.as_os_str(), flags | OFlags::NOFOLLOW)
                    .and_then(|next| same_device(below, next))
            }),
        };
        match opened {
            Ok(fd) => Ok(Self { fd, way, owner, shown }),
            Err(e) => Err(directory_error(e, shown)),
        }
    }

    /// The names in it, at most `limit` (more is an error), each with whether it is a plain file.
    pub(super) fn entries(&self, limit: u64) -> Result<Vec<(Vec<u8>, FileType)>, SnapshotError> {
        let failed = |e: Errno| self.unreadable(None, e);
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entries.len() as u64 >= limit {
                return Err(SnapshotError::TooMuch {
                    path: self.shown.clone(),
                    what: "entries:",
                    found: limit + 1,
                    limit,
                    hint: "save the model into a directory of its own",
                });
            }
            let kind = match entry.file_type() {
                FileType::Unknown => self.kind_of(name).map_err(failed)?,
                kind => kind,
            };
            entries.push((name.to_bytes().to_vec(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    fn kind_of(&self, name: &CStr) -> Result<FileType, Errno> {
        let stat = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }

    /// Opens a regular file in it. Neither a link, nor a pipe, a socket or a device gets through, and
    /// none of them can hold the caller.
    pub(super) fn file(&self, name: &str) -> Result<(File, Signature), SnapshotError> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match self.way {
            Way::Openat2 => openat2(&self.fd, name, flags, Mode::empty(), resolve()),
            Way::Walk => openat(&self.fd, name, flags, Mode::empty()),
        };
        let file = match opened {
            Ok(fd) => File::from(fd),
            Err(Errno::LOOP | Errno::XDEV) => {
                return Err(SnapshotError::Link { path: self.path(name) });
            }
            Err(Errno::NXIO | Errno::NODEV) => return Err(self.not_plain(name, "a special file")),
            Err(Errno::NOENT) => return Err(SnapshotError::Changed { path: self.path(name) }),
            Err(e) => return Err(self.unreadable(Some(name), e)),
        };
        let failed = |source| SnapshotError::Unreadable { path: self.path(name), source };
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() {
            return Err(self.not_plain(name, "no regular file"));
        }
        // A hard link to a file that the agent may not read would borrow the harness's rights.
        if meta.nlink() > 1 && meta.uid() != self.owner {
            return Err(SnapshotError::Foreign { path: self.path(name) });
        }
        let signature = Signature::of(&file).map_err(failed)?;
        Ok((file, signature))
    }

    /// A path in messages.
    pub(super) fn path(&self, name: &str) -> String {
        format!("{}/{}", self.shown, printable(name))
    }

    /// The directory in messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn not_plain(&self, name: &str, what: &'static str) -> SnapshotError {
        SnapshotError::NotPlain { path: self.path(name), what }
    }

    fn unreadable(&self, name: Option<&str>, e: Errno) -> SnapshotError {
        let path = name.map_or_else(|| self.shown.clone(), |name| self.path(name));
        SnapshotError::Unreadable { path, source: e.into() }
    }
}

fn walk_step(below: &OwnedFd, part: &std::ffi::OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    openat(below, part, flags, Mode::empty()).map_err(|e| {
        // With O_DIRECTORY a link shows as "not a directory".
        let stat = statat(below, part, AtFlags::SYMLINK_NOFOLLOW);
        let is_link = stat.is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Symlink);
        if e == Errno::NOTDIR && is_link { Errno::LOOP } else { e }
    })
}

fn same_device(below: OwnedFd, next: OwnedFd) -> Result<OwnedFd, Errno> {
    let (a, b) = (rustix::fs::fstat(&below)?, rustix::fs::fstat(&next)?);
    if a.st_dev == b.st_dev { Ok(next) } else { Err(Errno::XDEV) }
}

fn directory_error(e: Errno, shown: String) -> SnapshotError {
    match e {
        Errno::NOENT | Errno::NAMETOOLONG => SnapshotError::Missing { path: shown },
        Errno::LOOP | Errno::XDEV => SnapshotError::Link { path: shown },
        Errno::NOTDIR => SnapshotError::NotPlain { path: shown, what: "no directory" },
        e => SnapshotError::Unreadable { path: shown, source: e.into() },
    }
}
