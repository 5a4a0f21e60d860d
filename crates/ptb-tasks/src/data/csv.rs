//! Records from CSV with a line of column names, comma separated, quoted where it must be.

use std::collections::HashSet;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::{Records, read_error};
use crate::error::TaskError;

/// Rows as records of texts, each with the 1-based line on which it begins.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Records, TaskError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().from_reader(bytes);
    let columns = reader.headers().map_err(|e| fault(path, bytes, &e))?.clone();
    let mut names = HashSet::new();
    if let Some(twice) = columns.iter().find(|name| !names.insert(*name)) {
        let reason = format!("the column `{}` is there twice", crate::error::shorten(twice));
        return Err(read_error(path, &reason, "give each column a name of its own"));
    }
    let mut records = Vec::new();
    let mut row = StringRecord::new();
    let (mut seen, mut line) = (0, 1);
    while reader.read_record(&mut row).map_err(|e| fault(path, bytes, &e))? {
        let start = row.position().map_or(seen, |p| begin(bytes, p));
        line += lines(&bytes[seen..start]);
        seen = start;
        let fields = columns.iter().zip(&row);
        let fields: Map<String, Value> =
            fields.map(|(name, text)| (name.to_owned(), text.into())).collect();
        records.push((line, fields));
    }
    Ok(records)
}

/// Where a row begins. The reader's position may stand before the rest of the line end before it, and its own count
/// of lines with it.
fn begin(bytes: &[u8], position: &csv::Position) -> usize {
    let at = (position.byte() as usize).min(bytes.len());
    at + bytes[at..].iter().take_while(|b| b"\r\n".contains(b)).count()
}

fn lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|b| **b == b'\n').count()
}

fn fault(path: &Path, bytes: &[u8], e: &csv::Error) -> TaskError {
    let line = e.position().map_or(1, |p| 1 + lines(&bytes[..begin(bytes, p)]));
    let (reason, hint) = match e.kind() {
        ErrorKind::Utf8 { .. } => ("the row is not UTF-8 text".to_owned(), "save it as UTF-8"),
        ErrorKind::UnequalLengths { expected_len, len, .. } => (
            format!("the row has {len} columns instead of {expected_len}"),
            "quote texts that hold commas, quotes or line ends",
        ),
        _ => return read_error(path, &e.to_string(), "check the file"),
    };
    TaskError::Record { path: path.to_owned(), line, reason, hint: hint.to_owned() }
}
