//! The clock's memory: an append-only JSON Lines file, one line every few seconds.
//!
//! `{"schema":1,"boot":"…","at":12.5,"consumed":7.25}`: seconds of the boot clock and seconds consumed.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the line's form.
const SCHEMA: u32 = 1;
/// Ten years of lines would be 6 GB; what is read is bounded far below, at some months.
const MOST_BYTES: u64 = 256 << 20;

/// What can go wrong with a [`crate::Clock`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClockError {
    /// The budget is no sensible number of hours.
    #[error(
        "{hours} is no budget\nhint: give hours above 0 and at most 87600; 0.5 is half an hour"
    )]
    Hours {
        /// What was given.
        hours: f64,
    },
    /// The journal could not be read or written.
    #[error("cannot {doing} the clock's journal {}\nhint: check space and permissions", path.display())]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The journal.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A line before the last is not what this program writes.
    #[error("line {line} of the clock's journal {} is damaged\nhint: remove the journal; the budget then starts afresh", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
    },
    /// A newer program wrote it.
    #[error("the clock's journal {} has schema {schema}, newer than {SCHEMA}\nhint: use the version of ptb that wrote it, or a later one", path.display())]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its version.
        schema: u32,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    schema: u32,
    boot: String,
    at: f64,
    consumed: f64,
}

/// An open journal, at its end.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens or makes a journal, and tells what is consumed. A last line without its end was being
    /// written when the machine died; it is cut off.
    pub(super) fn open(path: &Path) -> Result<(Self, Duration), ClockError> {
        let reading = |source| ClockError::File { doing: "read", path: path.to_owned(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(reading)?;
        let mut text = Vec::new();
        (&file).take(MOST_BYTES).read_to_end(&mut text).map_err(reading)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let consumed = consumed(path, &text[..whole])?;
        let writing = |source| ClockError::File { doing: "write", path: path.to_owned(), source };
        if whole < text.len() {
            file.set_len(whole as u64).map_err(writing)?;
        }
        file.seek(std::io::SeekFrom::Start(whole as u64)).map_err(writing)?;
        Ok((Self { path: path.to_owned(), file }, consumed))
    }

    /// Adds a line and waits until it is on the disk.
    pub(super) fn write(
        &mut self,
        boot: &str,
        at: Duration,
        consumed: Duration,
    ) -> Result<(), ClockError> {
        let line = Line {
            schema: SCHEMA,
            boot: boot.to_owned(),
            at: at.as_secs_f64(),
            consumed: consumed.as_secs_f64(),
        };
        let failed = |source| ClockError::File { doing: "write", path: self.path.clone(), source };
        let mut text = serde_json::to_vec(&line).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        // A half-written line of a full disk must not stay in front of the next one.
        let end = self.file.stream_position().map_err(failed)?;
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|error| {
            let _ = self.file.set_len(end);
            let _ = self.file.seek(std::io::SeekFrom::Start(end));
            failed(error)
        })
    }
}

/// The greatest sum of all lines: time does not come back.
fn consumed(path: &Path, text: &[u8]) -> Result<Duration, ClockError> {
    let mut most = Duration::ZERO;
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (at, line) in lines.enumerate() {
        let damaged = || ClockError::Damaged { path: path.to_owned(), line: at + 1 };
        let version: Version = serde_json::from_slice(line).map_err(|_| damaged())?;
        if version.schema > SCHEMA {
            return Err(ClockError::Newer { path: path.to_owned(), schema: version.schema });
        }
        let line: Line = serde_json::from_slice(line).map_err(|_| damaged())?;
        let sum = Duration::try_from_secs_f64(line.consumed).map_err(|_| damaged())?;
        most = most.max(sum);
    }
    Ok(most)
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(text: &str) -> Result<Duration, ClockError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock.jsonl");
        std::fs::write(&path, text).unwrap();
        Journal::open(&path).map(|(_, consumed)| consumed)
    }

    const GOOD: &str = r#"{"schema":1,"boot":"b","at":1.0,"consumed":7.5}"#;

    #[test]
    fn a_torn_last_line_is_cut_off_and_the_journal_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock.jsonl");
        std::fs::write(&path, format!("{GOOD}\n{}", &GOOD[..20])).unwrap();
        let (mut journal, consumed) = Journal::open(&path).unwrap();
        assert_eq!(consumed, Duration::from_millis(7500));
        journal.write("b", Duration::from_secs(2), Duration::from_secs(9)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| serde_json::from_str::<Line>(line).is_ok()));
        assert_eq!(Journal::open(&path).unwrap().1, Duration::from_secs(9));
    }

    #[test]
    fn damage_before_the_end_is_named() {
        let error = opened(&format!("{GOOD}\nnonsense\n{GOOD}\n")).unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the clock's journal"), "{error}");
        let negative = GOOD.replace("7.5", "-1");
        assert!(matches!(opened(&format!("{negative}\n")), Err(ClockError::Damaged { .. })));
        let huge = GOOD.replace("7.5", "1e300");
        assert!(matches!(opened(&format!("{huge}\n")), Err(ClockError::Damaged { .. })));
    }

    #[test]
    fn a_newer_journal_is_refused_with_a_hint() {
        let error = opened("{\"schema\":2,\"other\":true}\n").unwrap_err().to_string();
        assert!(error.contains("schema 2, newer than 1\nhint: "), "{error}");
    }

    #[test]
    fn an_empty_or_missing_journal_has_consumed_nothing() {
        assert_eq!(opened("").unwrap(), Duration::ZERO);
    }
}
