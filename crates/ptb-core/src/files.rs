//! Files that are the truth: written whole or appended, read with bounds, carrying a schema version.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Largest JSON file of our own that is read back, in bytes.
const MAX_JSON: u64 = 256 << 20;

/// A file that could not be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done (`read`, `write`, ...).
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("{} is not a valid {kind} file: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What it should be.
        kind: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// A newer version of this program wrote the file.
    #[error(
        "{} has schema {found} but this program knows {kind} only up to {known}; \
         hint: read these results with the newer ptb that wrote them",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// Its version.
        found: u64,
        /// Ours.
        known: u32,
    },
}

impl FileError {
    /// Wraps an I/O error with what was being done to which path.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Whether the file simply is not there.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A kind of JSON file with a version. The version is written as the key `schema`.
pub trait Schema: Serialize + DeserializeOwned {
    /// Name in messages.
    const KIND: &'static str;
    /// The newest version this program reads and the one it writes.
    const VERSION: u32;
}

#[derive(Deserialize)]
struct Head {
    schema: Option<u64>,
}

/// Opens a file that somebody else may have put there: devices and fifos are refused and not waited for.
fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    use std::os::unix::fs::OpenOptionsExt;
    // Without O_NONBLOCK a fifo of that name would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    match meta.is_file() {
        true => Ok((file, meta)),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Reads a regular file of at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, meta) = open_regular(path)?;
    if meta.len() > limit {
        return Err(io::Error::other(format!(
            "it has {} bytes, more than the {limit} allowed",
            meta.len()
        )));
    }
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it grew over the {limit} bytes allowed")));
    }
    Ok(bytes)
}

/// Writes bytes whole: temporary name in the same folder, fsync, rename, fsync of the folder.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        set_mode(temporary.as_file())?;
        temporary.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(FileError::io("write", path))
}

/// Temporary files are created 0600; results are meant to be read by colleagues (umask permitting).
fn set_mode(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// Writes a versioned JSON file whole, `schema` first, two-space indentation, final newline.
pub fn write_json<T: Schema>(path: &Path, value: &T) -> Result<(), FileError> {
    write_with(path, value, serde_json::to_vec_pretty)
}

/// As [`write_json`], on one line: for what holds a stranger's JSON, which indentation makes many times larger.
pub fn write_json_line<T: Schema>(path: &Path, value: &T) -> Result<(), FileError> {
    write_with(path, value, serde_json::to_vec)
}

type Fields = serde_json::Map<String, serde_json::Value>;

fn write_with<T: Schema>(
    path: &Path,
    value: &T,
    text: impl FnOnce(&Fields) -> serde_json::Result<Vec<u8>>,
) -> Result<(), FileError> {
    let invalid = |e: serde_json::Error| FileError::Invalid {
        path: path.to_owned(),
        kind: T::KIND,
        reason: e.to_string(),
    };
    let mut object = Fields::new();
    object.insert("schema".to_owned(), T::VERSION.into());
    if let serde_json::Value::Object(fields) = serde_json::to_value(value).map_err(invalid)? {
        object.extend(fields);
    }
    let mut text = text(&object).map_err(invalid)?;
    text.push(b'\n');
    write_whole(path, &text)
}

/// Reads a versioned JSON file; a newer version is refused with a hint.
pub fn read_json<T: Schema>(path: &Path) -> Result<T, FileError> {
    let bytes = read_bounded(path, MAX_JSON).map_err(FileError::io("read", path))?;
    let invalid =
        |reason: String| FileError::Invalid { path: path.to_owned(), kind: T::KIND, reason };
    let head: Head = serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string()))?;
    match head.schema {
        None => Err(invalid("it has no `schema`".to_owned())),
        Some(found) if found > u64::from(T::VERSION) => {
            Err(FileError::Newer { path: path.to_owned(), kind: T::KIND, found, known: T::VERSION })
        }
        Some(_) => serde_json::from_slice(&bytes).map_err(|e| invalid(e.to_string())),
    }
}

/// An append-only JSON Lines log. Each line is written with one call and carries `schema`.
#[derive(Debug)]
pub struct JsonLog {
    file: File,
    path: PathBuf,
}

impl JsonLog {
    /// Opens a log for appending. A torn last line (a crash while writing) is cut off first.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(FileError::io("create", dir))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(FileError::io("open", path))?;
        cut_torn_line(&file).map_err(FileError::io("repair", path))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Appends one line. A full disk leaves no torn line behind.
    pub fn append<T: Schema>(&mut self, value: &T) -> Result<(), FileError> {
        let mut line = format!("{{\"schema\":{}", T::VERSION).into_bytes();
        let body = serde_json::to_vec(value).map_err(|e| FileError::Invalid {
            path: self.path.clone(),
            kind: T::KIND,
            reason: e.to_string(),
        })?;
        if body.len() > 2 {
            line.push(b',');
        }
        line.extend_from_slice(&body[1..]);
        line.push(b'\n');
        let before = self.file.metadata().map_err(FileError::io("read", &self.path))?.len();
        self.file.write_all(&line).map_err(|e| {
            // Best effort: the reader drops a torn line as well.
            let _ = self.file.set_len(before);
            FileError::io("append to", &self.path)(e)
        })
    }

    /// Flushes to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync_data().map_err(FileError::io("write", &self.path))
    }
}

fn cut_torn_line(mut file: &File) -> io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut end = file.metadata()?.len();
    let mut block = [0u8; 4096];
    let original = end;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let part = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(newline) = part.iter().rposition(|b| *b == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < original { file.set_len(end) } else { Ok(()) }
}

/// Longest line of a log: an answer of a server, as it is escaped, has room in it.
const MAX_LINE: u64 = 512 << 20;

/// Reads a JSON Lines log of our own. A torn last line is left out; any other bad line is an error
/// that names it.
pub fn read_log<T: Schema>(path: &Path) -> Result<Vec<T>, FileError> {
    use std::io::BufRead;
    let (file, _) = open_regular(path).map_err(FileError::io("read", path))?;
    let mut reader = io::BufReader::new(file);
    let (mut out, mut line, mut number) = (Vec::new(), Vec::new(), 0usize);
    loop {
        line.clear();
        number += 1;
        let mut bounded = reader.by_ref().take(MAX_LINE);
        let n = bounded.read_until(b'\n', &mut line).map_err(FileError::io("read", path))?;
        if n as u64 == MAX_LINE {
            let reason = format!("line {number}: it has more than the {MAX_LINE} bytes allowed");
            return Err(FileError::Invalid { path: path.to_owned(), kind: T::KIND, reason });
        }
        if n == 0 || line.last() != Some(&b'\n') {
            return Ok(out);
        }
        let invalid = |e: serde_json::Error| FileError::Invalid {
            path: path.to_owned(),
            kind: T::KIND,
            reason: format!("line {number}: {e}"),
        };
        let head: Head = serde_json::from_slice(&line).map_err(invalid)?;
        if let Some(found) = head.schema.filter(|v| *v > u64::from(T::VERSION)) {
            return Err(FileError::Newer {
                path: path.to_owned(),
                kind: T::KIND,
                found,
                known: T::VERSION,
            });
        }
        out.push(serde_json::from_slice(&line).map_err(invalid)?);
    }
}

/// SHA-256 of bytes, in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file's contents, streamed, in lower-case hexadecimal.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&block[..n]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        text: String,
    }
    impl Schema for Note {
        const KIND: &'static str = "note";
        const VERSION: u32 = 2;
    }

    fn note(text: &str) -> Note {
        Note { text: text.to_owned() }
    }

    #[test]
    fn versioned_files_go_round_and_refuse_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/note.json");
        write_json(&path, &note("a")).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\n  \"schema\": 2,\n  \"text\": \"a\"\n}\n"
        );
        assert_eq!(read_json::<Note>(&path).unwrap(), note("a"));
        fs::write(&path, r#"{"schema":1,"text":"old"}"#).unwrap();
        assert_eq!(read_json::<Note>(&path).unwrap(), note("old"));
        fs::write(&path, r#"{"schema":3,"text":"new","more":1}"#).unwrap();
        let e = read_json::<Note>(&path).unwrap_err().to_string();
        assert!(e.contains("schema 3") && e.contains("hint:"), "{e}");
        fs::write(&path, r#"{"text":"a"}"#).unwrap();
        assert!(read_json::<Note>(&path).is_err());
    }

    #[test]
    fn logs_survive_a_torn_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.jsonl");
        JsonLog::open(&path).unwrap().append(&note("one")).unwrap();
        let mut torn = fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"schema\":2,\"te");
        fs::write(&path, torn).unwrap();
        assert_eq!(read_log::<Note>(&path).unwrap(), [note("one")]);
        JsonLog::open(&path).unwrap().append(&note("two")).unwrap();
        assert_eq!(read_log::<Note>(&path).unwrap(), [note("one"), note("two")]);
    }

    #[test]
    fn reads_are_bounded_and_only_of_regular_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        fs::write(&path, vec![0; 100]).unwrap();
        assert!(read_bounded(&path, 99).is_err());
        assert_eq!(read_bounded(&path, 100).unwrap().len(), 100);
        assert!(read_bounded(Path::new("/dev/zero"), 10).is_err());
    }
}
