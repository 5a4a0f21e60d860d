//! Texts cut into pieces that threads can read apart from each other.

use std::io::{self, Read};

use serde_json::Value;

use super::sniff::Text;
use super::{Layout, Piece, Sink};
use crate::contamination::document::Form;

/// Bytes of a piece, about.
const PIECE: usize = 1 << 20;
/// Longest record that is kept whole.
const LONGEST: usize = 8 << 20;
/// What a piece repeats of the one before, where a text goes on.
const OVERLAP: usize = 24 << 10;
/// Largest notebook that is read cell by cell.
const NOTEBOOK: u64 = 64 << 20;

/// Cuts one text.
pub(super) fn cut(
    sink: &mut dyn Sink,
    name: &str,
    kind: Text,
    mut rest: Box<dyn Read>,
) -> io::Result<()> {
    let file = sink.file(name);
    let mut cutter = Cutter { sink, file, form: Form::Json, buffer: Vec::new(), line: 1 };
    match kind {
        Text::JsonLines => cutter.lines(rest),
        Text::JsonList => cutter.rows(rest, &mut ListEnds::default(), Number::Row),
        Text::Table(_) => {
            cutter.form = Form::Plain;
            cutter.rows(rest, &mut RecordEnds::default(), Number::Line)
        }
        Text::Notebook => {
            let mut bytes = Vec::new();
            rest.by_ref().take(NOTEBOOK).read_to_end(&mut bytes)?;
            match serde_json::from_slice::<Value>(&bytes) {
                Ok(value) => cutter.cells(&value),
                Err(e) => {
                    cutter.sink.unread(
                        name,
                        format!(
                            "it is a notebook that cannot be read as one ({e}); it was read as text"
                        ),
                    );
                    cutter.running(Box::new(io::Cursor::new(bytes).chain(rest)))
                }
            }
        }
        Text::Json => cutter.running(rest),
        Text::Source => {
            cutter.form = Form::Source;
            cutter.running(rest)
        }
        Text::Prose => {
            cutter.form = Form::Plain;
            cutter.running(rest)
        }
    }
}

/// What a row's number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Number {
    Row,
    Line,
}

struct Cutter<'s> {
    sink: &'s mut dyn Sink,
    file: usize,
    form: Form,
    buffer: Vec<u8>,
    /// Number of the buffer's first line, or row.
    line: u64,
}

impl Cutter<'_> {
    /// Fills the buffer up to a length. False at the end of the text.
    fn fill(&mut self, source: &mut dyn Read, length: usize) -> io::Result<bool> {
        let wanted = length.saturating_sub(self.buffer.len()) as u64;
        self.buffer.reserve(usize::try_from(wanted).unwrap_or(0) + 32);
        Ok(source.take(wanted).read_to_end(&mut self.buffer)? as u64 == wanted)
    }

    fn send(&mut self, layout: Layout, bytes: Vec<u8>) -> bool {
        let (file, form, line) = (self.file, self.form, self.line);
        bytes.is_empty() || self.sink.piece(Piece { file, form, layout, bytes, line })
    }

    fn lines(&mut self, mut source: Box<dyn Read>) -> io::Result<()> {
        let mut length = PIECE;
        loop {
            let more = self.fill(&mut source, length)?;
            let end = match (more, memchr::memrchr(b'\n', &self.buffer)) {
                (false, _) => self.buffer.len(),
                (true, Some(at)) => at + 1,
                (true, None) if length < LONGEST => {
                    length = LONGEST;
                    continue;
                }
                // A part of a line that is too long; the next part says a little of it again.
                (true, None) => {
                    let tail = self.buffer.split_off(self.buffer.len() - OVERLAP);
                    let part = std::mem::replace(&mut self.buffer, tail);
                    let mut whole = part;
                    whole.extend(&self.buffer);
                    if !self.send(Layout::Rows(vec![(0, self.line)]), whole) {
                        return Ok(());
                    }
                    continue;
                }
            };
            let tail = self.buffer.split_off(end);
            let piece = std::mem::replace(&mut self.buffer, tail);
            let lines = memchr::memchr_iter(b'\n', &piece).count() as u64;
            if !self.send(Layout::Lines, piece) || !more {
                return Ok(());
            }
            self.line += lines;
            length = PIECE;
        }
    }

    fn running(&mut self, mut source: Box<dyn Read>) -> io::Result<()> {
        let mut overlap = 0;
        loop {
            let more = self.fill(&mut source, PIECE)?;
            let keep = match more {
                true => {
                    let from = self.buffer.len() - OVERLAP;
                    // From a line's beginning, where there is one.
                    memchr::memchr(b'\n', &self.buffer[from..]).map_or(from, |at| from + at + 1)
                }
                false => self.buffer.len(),
            };
            let tail = self.buffer[keep..].to_vec();
            let piece = std::mem::replace(&mut self.buffer, tail);
            let lines = memchr::memchr_iter(b'\n', &piece[..keep]).count() as u64;
            if !self.send(Layout::Running(overlap), piece) || !more {
                return Ok(());
            }
            self.line += lines;
            overlap = self.buffer.len();
        }
    }

    fn rows(
        &mut self,
        mut source: Box<dyn Read>,
        ends: &mut dyn Ends,
        number: Number,
    ) -> io::Result<()> {
        let mut rows = vec![(0, self.line)];
        let mut next = self.line;
        let mut scanned = 0;
        loop {
            let more = self.fill(&mut source, scanned + PIECE)?;
            while let Some(&byte) = self.buffer.get(scanned) {
                scanned += 1;
                let ended = ends.ends(byte);
                next += u64::from(match number {
                    Number::Row => ended,
                    Number::Line => byte == b'\n',
                });
                if ended {
                    rows.push((scanned, next));
                }
            }
            let (last, number) = rows.last().copied().unwrap_or((0, next));
            if more && last == 0 && self.buffer.len() < LONGEST {
                continue;
            }
            let cut_off = more && last == 0;
            let from = match more {
                true if cut_off => self.buffer.len() - OVERLAP,
                true => last,
                false => self.buffer.len(),
            };
            let tail = self.buffer[from..].to_vec();
            let mut piece = std::mem::replace(&mut self.buffer, tail);
            if !cut_off {
                piece.truncate(from);
            }
            rows.retain(|(at, _)| *at < piece.len());
            if !self.send(Layout::Rows(std::mem::take(&mut rows)), piece) || !more {
                return Ok(());
            }
            (rows, scanned) = (vec![(0, number)], self.buffer.len());
        }
    }

    fn cells(&mut self, notebook: &Value) -> io::Result<()> {
        let (mut bytes, mut rows) = (Vec::new(), Vec::new());
        let cells = notebook.get("cells").and_then(Value::as_array).map(Vec::as_slice);
        for (i, cell) in cells.unwrap_or_default().iter().enumerate() {
            rows.push((bytes.len(), i as u64 + 1));
            // The source is a text or a list of its lines; set together, they are one string.
            let source = cell.get("source").map(joined).unwrap_or_default();
            bytes.extend(serde_json::to_vec(&source)?);
            bytes.push(b'\n');
            bytes.extend(serde_json::to_vec(&cell.get("outputs"))?);
            bytes.push(b'\n');
        }
        self.send(Layout::Rows(rows), bytes);
        Ok(())
    }
}

fn joined(source: &Value) -> String {
    match source {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Tells with which bytes records end.
trait Ends {
    fn ends(&mut self, byte: u8) -> bool;
}

/// Elements of a JSON list end with the comma between them.
#[derive(Default)]
struct ListEnds {
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl Ends for ListEnds {
    fn ends(&mut self, byte: u8) -> bool {
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.quoted = true,
            b'[' | b'{' => self.depth = self.depth.saturating_add(1),
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            b',' => return self.depth <= 1,
            _ => {}
        }
        false
    }
}

/// Records of a table end with a line that is not inside of quotes.
#[derive(Default)]
struct RecordEnds {
    quoted: bool,
}

impl Ends for RecordEnds {
    fn ends(&mut self, byte: u8) -> bool {
        self.quoted ^= byte == b'"';
        byte == b'\n' && !self.quoted
    }
}
