//! The record's files: appended to, never torn in the middle.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::GatewayError;

const LEVEL: i32 = 3;

/// JSON Lines, compressed by zstd: a frame for each opening, flushed after each line, so that what was written can be
/// read whatever happens to the writer.
pub(super) struct Store {
    path: PathBuf,
    encoder: Option<zstd::stream::write::Encoder<'static, File>>,
    /// The file's length after the last whole line.
    good: u64,
}

impl Store {
    /// Opens a record, or begins one; with it comes the highest number in it. What a killed writer left unfinished is
    /// mended first: the lines that are whole stay, since nothing could be read behind a torn frame.
    pub(super) fn open(path: &Path) -> Result<(Self, u64), GatewayError> {
        let last = mend(path).map_err(failed("mend", path))?;
        let mut store = Self { path: path.to_owned(), encoder: None, good: 0 };
        store.good = match std::fs::metadata(path) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(failed("look at", path)(e)),
        };
        store.begin().map_err(failed("open", path))?;
        Ok((store, last))
    }

    /// Begins a frame behind the last whole line.
    fn begin(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.set_len(self.good)?;
        self.encoder = Some(zstd::stream::write::Encoder::new(file, LEVEL)?);
        Ok(())
    }

    /// Writes a line, to which its end is added. After an error nothing of it is there, and it may be tried again.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.encoder.is_none() {
            self.begin()?;
        }
        let Some(encoder) = &mut self.encoder else { return Ok(()) };
        let written = encoder
            .write_all(line)
            .and_then(|()| encoder.write_all(b"\n"))
            .and_then(|()| encoder.flush())
            .and_then(|()| encoder.get_ref().metadata());
        match written {
            Ok(meta) => {
                self.good = meta.len();
                Ok(())
            }
            Err(e) => {
                // The frame is torn: it ends at the last whole line, and the next line begins another. A frame
                // without an end is not read past, so what is whole of it is rewritten.
                self.encoder = None;
                self.cut();
                Err(e)
            }
        }
    }

    /// Takes back what was written of a line, and closes the frame before it.
    fn cut(&mut self) {
        let file = OpenOptions::new().write(true).open(&self.path);
        let back = file.and_then(|file| file.set_len(self.good)).and_then(|()| mend(&self.path));
        match back.and_then(|_| std::fs::metadata(&self.path)) {
            Ok(meta) => self.good = meta.len(),
            Err(e) => tracing::error!("cannot mend {}: {e}", self.path.display()),
        }
    }

    /// Size on disk, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.good
    }

    /// Ends the frame.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.encoder.take() {
            Some(encoder) => encoder.finish()?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Makes a record whose last frame has no end one that has, by writing its whole lines anew. The highest number in it.
fn mend(path: &Path) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let mut last = 0;
    let ends_well = file.metadata()?.len() == 0
        || each_line(&file, |line| {
            last = last.max(number(line));
            Ok(())
        })?;
    if ends_well {
        return Ok(last);
    }
    let mut from = file;
    from.seek(SeekFrom::Start(0))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut encoder =
        zstd::stream::write::Encoder::new(tempfile::NamedTempFile::new_in(folder)?, LEVEL)?;
    each_line(&from, |line| encoder.write_all(line))?;
    let new = encoder.finish()?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|e| e.error)?;
    Ok(last)
}

/// Goes through whole lines, their ends included; whether the record ends with one, and its last frame has an end.
fn each_line(file: &File, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
    let mut lines = BufReader::new(zstd::stream::read::Decoder::new(file)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        // An error is the torn end.
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(true),
            Ok(_) if line.last() == Some(&b'\n') => each(&line)?,
            Ok(_) | Err(_) => return Ok(false),
        }
    }
}

fn number(line: &[u8]) -> u64 {
    #[derive(serde::Deserialize)]
    struct Numbered {
        #[serde(default)]
        number: u64,
    }
    serde_json::from_slice(line).map_or(0, |Numbered { number }| number)
}

/// Plain JSON Lines, appended to.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self, GatewayError> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(failed("open", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes a line, to which its end is added; after an error nothing of it is there.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let whole = [line, b"\n"].concat();
        self.file.write_all(&whole).inspect_err(|_| {
            if let Err(e) = self.file.set_len(before) {
                tracing::error!("cannot take back a torn line of {}: {e}", self.path.display());
            }
        })
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GatewayError {
    let path = path.to_owned();
    move |source| GatewayError::Record { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        let reader = zstd::stream::read::Decoder::new(File::open(path).unwrap()).unwrap();
        BufReader::new(reader).lines().map_while(Result::ok).collect()
    }

    #[test]
    fn each_line_can_be_read_at_once_and_openings_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.jsonl.zst");
        let mut store = Store::open(&path).unwrap().0;
        store.write(b"{\"a\":1}").unwrap();
        store.write(b"{\"a\":2}").unwrap();
        assert_eq!(lines(&path), ["{\"a\":1}", "{\"a\":2}"]);
        store.finish().unwrap();
        let mut store = Store::open(&path).unwrap().0;
        store.write(b"{\"a\":3}").unwrap();
        store.finish().unwrap();
        assert_eq!(lines(&path).len(), 3);
    }

    #[test]
    fn a_writer_killed_at_any_byte_loses_only_what_was_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.jsonl.zst");
        let mut store = Store::open(&path).unwrap().0;
        let mut sizes = Vec::new();
        for n in 1..=20 {
            store.write(format!("{{\"number\":{n}}}").as_bytes()).unwrap();
            sizes.push(store.size());
        }
        // Killed: the frame has no end.
        std::mem::forget(store);
        let bytes = std::fs::read(&path).unwrap();
        for kept in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..kept]).unwrap();
            let whole = sizes.iter().filter(|size| **size <= kept as u64).count();
            let (mut store, last) = Store::open(&path).unwrap();
            assert_eq!(last, whole as u64, "{kept} bytes");
            store.write(b"{\"number\":99}").unwrap();
            store.finish().unwrap();
            let all = lines(&path);
            assert_eq!((all.len(), all[whole].as_str()), (whole + 1, "{\"number\":99}"));
        }
    }

    #[test]
    fn a_line_that_could_not_be_written_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.jsonl.zst");
        let mut store = Store::open(&path).unwrap().0;
        store.write(b"{\"a\":1}").unwrap();
        // A file that may only be read stands for a full disk.
        let read_only = File::open(&path).unwrap();
        store.encoder = Some(zstd::stream::write::Encoder::new(read_only, LEVEL).unwrap());
        store.write(b"{\"a\":2}").unwrap_err();
        assert_eq!(lines(&path), ["{\"a\":1}"]);
        store.write(b"{\"a\":3}").unwrap();
        store.finish().unwrap();
        assert_eq!(lines(&path), ["{\"a\":1}", "{\"a\":3}"]);
    }
}
