//! A model's directory, held by handle: files are opened below it and nowhere else.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::error::{Fault, ModelError};

/// Where links inside of a model's directory may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// Never out of the directory: for submissions.
    #[default]
    Inside,
    /// Anywhere: for trusted places such as the hub's cache, whose snapshots are links to blobs.
    Follow,
}

/// An opened model directory. Renaming or replacing the path later does not change what is read.
#[derive(Debug)]
pub struct ModelDir {
    fd: OwnedFd,
    path: PathBuf,
    links: Links,
}

impl ModelDir {
    /// Opens a directory whose content is not trusted.
    ///
    /// # Errors
    /// When it is missing or no directory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        Self::open_with(path, Links::Inside)
    }

    /// Opens a directory and says where its links may lead.
    ///
    /// # Errors
    /// When it is missing or no directory.
    pub fn open_with(path: impl AsRef<Path>, links: Links) -> Result<Self, ModelError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_path_buf(), links }),
            Err(e) => Err(ModelError::new(path, open_fault(e))),
        }
    }

    /// Takes a directory that is already open; `path` serves messages alone.
    pub fn from_fd(fd: OwnedFd, path: impl Into<PathBuf>, links: Links) -> Self {
        Self { fd, path: path.into(), links }
    }

    /// The path it was opened by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn error(&self, name: &str, fault: Fault) -> ModelError {
        ModelError::new(self.path.join(crate::error::shorten(name, 200)), fault)
    }

    /// Opens a regular file below the directory.
    ///
    /// # Errors
    /// When it is missing, not regular, or leads out.
    pub fn file(&self, name: &str) -> Result<File, ModelError> {
        self.open_file(name).map_err(|fault| self.error(name, fault))
    }

    /// True when something of this name is there.
    pub fn has(&self, name: &str) -> bool {
        !matches!(self.open_file(name), Err(Fault::Missing))
    }

    fn open_file(&self, name: &str) -> Result<File, Fault> {
        if !is_plain(name) {
            return Err(Fault::Escapes);
        }
        // Without NONBLOCK a named pipe would hold the reader for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = match self.links {
            Links::Follow => openat(&self.fd, name, flags, Mode::empty()),
            Links::Inside => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
                match openat2(&self.fd, name, flags, Mode::empty(), resolve) {
                    // Kernels before 5.6 and some sandboxes lack the call: then no link at all.
                    Err(Errno::NOSYS) => {
                        openat(&self.fd, name, flags | OFlags::NOFOLLOW, Mode::empty())
                    }
                    other => other,
                }
            }
        };
        let file = File::from(opened.map_err(open_fault)?);
        if !file.metadata()?.is_file() {
            return Err(Fault::NotRegular);
        }
        Ok(file)
    }

    /// Reads a whole small file.
    ///
    /// # Errors
    /// As [`ModelDir::file`], and when it is longer than `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ModelError> {
        let file = self.file(name)?;
        read_bounded(file, limit).map_err(|fault| self.error(name, fault))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
        limit: u64,
    ) -> Result<T, ModelError> {
        let bytes = self.read(name, limit)?;
        parse(&bytes).map_err(|fault| self.error(name, fault))
    }
}

/// A JSON file's content as a type of ours.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => unfit::<T>(bytes, &e),
        _ => Fault::malformed(format!("it is not valid JSON: {e}")),
    })
}

/// What is wrong with a file that holds something unexpected. It is read twice more: it may break off after
/// that, which explains more, and the key is of interest.
fn unfit<T: serde::de::DeserializeOwned>(bytes: &[u8], e: &serde_json::Error) -> Fault {
    if let Err(e) = serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
        return Fault::malformed(format!("it is not valid JSON: {e}"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let key = serde_path_to_error::deserialize::<_, T>(&mut reader).err();
    Fault::unfit(key.map(|e| e.path().to_string()).filter(|key| key != "."), &e.to_string())
}

fn read_bounded(file: File, limit: u64) -> Result<Vec<u8>, Fault> {
    let size = file.metadata()?.len();
    if size > limit {
        return Err(Fault::TooLarge { size, limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // The file may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > limit => Err(Fault::TooLarge { size, limit }),
        _ => Ok(bytes),
    }
}

fn open_fault(e: Errno) -> Fault {
    match e {
        Errno::NOENT | Errno::NOTDIR => Fault::Missing,
        Errno::XDEV | Errno::LOOP => Fault::Escapes,
        Errno::NXIO | Errno::NODEV | Errno::ISDIR => Fault::NotRegular,
        Errno::NAMETOOLONG | Errno::INVAL => Fault::Escapes,
        e => Fault::Io(io::Error::from(e)),
    }
}

/// A relative path of plain names.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 1024
        && !name.contains('\0')
        && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}
