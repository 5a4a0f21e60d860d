//! Walking through files: never through links, never into what is no plain file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::{Limits, Sink, Source, read};

/// Deepest folder.
const DEEPEST: usize = 64;

/// Reads a file, or every file below a folder, in the order of their names.
pub(in crate::contamination) fn walk(sink: &mut dyn Sink, limits: &Limits, path: &Path) {
    let mut seen = 0;
    // What the caller names may be a link; nothing below it may.
    match rustix::fs::stat(path).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
        Ok(FileType::Directory) => folder(sink, limits, path, 0, &mut seen),
        Ok(_) => file(sink, limits, path, OFlags::empty()),
        Err(e) => sink.unread(&shown(path), e.to_string()),
    }
}

fn folder(sink: &mut dyn Sink, limits: &Limits, path: &Path, depth: usize, seen: &mut usize) {
    if depth > DEEPEST {
        return sink.unread(&shown(path), format!("folders deeper than {DEEPEST} are not entered"));
    }
    let mut names: Vec<OsString> = match std::fs::read_dir(path) {
        Ok(entries) => entries.filter_map(|e| e.ok().map(|e| e.file_name())).collect(),
        Err(e) => return sink.unread(&shown(path), e.to_string()),
    };
    names.sort_unstable();
    for name in names {
        let path: PathBuf = path.join(name);
        *seen += 1;
        if *seen > limits.files {
            return sink
                .unread(&shown(&path), format!("only the first {} files are read", limits.files));
        }
        match rustix::fs::lstat(&path).map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Ok(FileType::Directory) => folder(sink, limits, &path, depth + 1, seen),
            Ok(FileType::RegularFile) => file(sink, limits, &path, OFlags::NOFOLLOW),
            Ok(FileType::Symlink) => {
                sink.unread(&shown(&path), "it is a link, which is not followed".to_owned())
            }
            Ok(kind) => sink.unread(&shown(&path), format!("it is no file but a {}", named(kind))),
            Err(e) => sink.unread(&shown(&path), e.to_string()),
        }
    }
}

fn named(kind: FileType) -> &'static str {
    match kind {
        FileType::Fifo => "named pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "thing of unknown kind",
    }
}

fn file(sink: &mut dyn Sink, limits: &Limits, path: &Path, flags: OFlags) {
    // Without NONBLOCK a pipe that takes the file's place would hold the reader for ever.
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened =
        rustix::fs::open(path, flags, Mode::empty()).map(File::from).map_err(io::Error::from);
    let name = shown(path);
    match opened.and_then(|file| Ok((file.metadata()?.is_file(), file))) {
        Ok((true, file)) => read(sink, limits, &name, Source::File(file), 0),
        Ok((false, _)) => sink.unread(&name, "it is no plain file".to_owned()),
        Err(e) => sink.unread(&name, e.to_string()),
    }
}

/// A path as a text: bytes that are no UTF-8 as `\xNN`.
fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    text
}

/// A file's data without its holes: what was never written is zeros, which say nothing and could go on for ever.
pub(super) struct Dense {
    file: File,
    at: u64,
    /// Where the data end that begin at or before `at`.
    end: u64,
}

impl Dense {
    pub(super) fn new(file: File) -> Self {
        Self { file, at: 0, end: 0 }
    }
}

impl Read for Dense {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.end {
            self.at = match rustix::fs::seek(&self.file, SeekFrom::Data(self.at)) {
                Ok(at) => at,
                Err(Errno::NXIO) => return Ok(0),
                // A file system without holes.
                Err(Errno::INVAL) => self.at,
                Err(e) => return Err(e.into()),
            };
            self.end = match rustix::fs::seek(&self.file, SeekFrom::Hole(self.at)) {
                Ok(end) => end,
                Err(Errno::INVAL | Errno::NXIO) => u64::MAX,
                Err(e) => return Err(e.into()),
            };
        }
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.file.read_at(&mut buffer[..room], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
