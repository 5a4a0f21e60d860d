//! Files through the readers: pieces to threads, findings in order, memory bounded.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::decide::Kind;
use super::document::{Found, Reader};
use super::index::Index;
use super::source::{Layout, Limits, Piece, Sink, walk};

/// Bytes of pieces that are read at once.
const BATCH: usize = 32 << 20;
/// Pieces that are read at once: small files are one each.
const PIECES: usize = 4096;
/// What was found in one document: its line, the items, what stands there.
type Flagged = (u64, Vec<Found>, String);

/// Longest quotation, in bytes.
const QUOTATION: usize = 160;

/// A document that holds test items.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The file; members of archives after a `!`.
    pub file: String,
    /// 1-based line, row or cell.
    pub line: u64,
    /// Which items.
    pub items: Vec<FoundItem>,
    /// What stands there.
    #[serde(skip)]
    pub quotation: String,
}

/// A test item in a document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundItem {
    /// The item's id.
    pub id: String,
    /// In what way it is there.
    pub kind: Kind,
    /// How much of it, from 0 to 1.
    pub score: f64,
}

/// A file, or a part of one, that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// The file.
    pub file: String,
    /// Why not.
    pub reason: String,
}

/// What a scan looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Scanned {
    /// Files that were read, members of archives among them.
    pub files: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Lines, rows and cells; a text without these is one document for each piece that was read at once.
    pub documents: u64,
    /// Documents that hold items.
    pub flagged: u64,
}

impl Index {
    /// Looks through files, and through everything below folders. Findings come in the order of files and lines.
    pub fn scan(
        &self,
        paths: &[PathBuf],
        limits: &Limits,
        each: &mut dyn FnMut(Finding),
        unread: &mut dyn FnMut(Unread),
    ) -> Scanned {
        let mut scan = Scan {
            index: self,
            names: Vec::new(),
            batch: Vec::new(),
            waiting: 0,
            done: Scanned::default(),
            each,
            unread,
        };
        for path in paths {
            walk(&mut scan, limits, path);
        }
        scan.flush();
        scan.done
    }

    /// Looks through one text that is already at hand.
    pub fn find(&self, text: &str) -> Vec<FoundItem> {
        let found =
            Reader::default().read(self, text.as_bytes(), super::document::Form::Plain, false);
        found.iter().map(|f| self.item(f)).collect()
    }

    fn item(&self, found: &Found) -> FoundItem {
        let id = self.ids.get(found.item as usize).cloned().unwrap_or_default();
        FoundItem { id, kind: found.kind, score: found.score }
    }
}

struct Scan<'s> {
    index: &'s Index,
    names: Vec<String>,
    batch: Vec<Piece>,
    waiting: usize,
    done: Scanned,
    each: &'s mut dyn FnMut(Finding),
    unread: &'s mut dyn FnMut(Unread),
}

impl Sink for Scan<'_> {
    fn file(&mut self, name: &str) -> usize {
        self.done.files += 1;
        self.names.push(name.to_owned());
        self.names.len() - 1
    }

    fn piece(&mut self, piece: Piece) -> bool {
        self.waiting += piece.bytes.len();
        self.batch.push(piece);
        if self.waiting >= BATCH || self.batch.len() >= PIECES {
            self.flush();
        }
        true
    }

    fn unread(&mut self, name: &str, reason: String) {
        (self.unread)(Unread { file: name.to_owned(), reason });
    }
}

impl Scan<'_> {
    fn flush(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.waiting = 0;
        let index = self.index;
        let read: Vec<(u64, Vec<Flagged>)> = batch
            .par_iter()
            .with_max_len(1)
            .map_init(Reader::default, |reader, piece| read_piece(index, reader, piece))
            .collect();
        for (piece, (documents, found)) in batch.iter().zip(read) {
            self.done.documents += documents;
            self.done.bytes += piece.bytes.len() as u64;
            for (line, found, quotation) in found {
                self.done.flagged += 1;
                let file = self.names.get(piece.file).cloned().unwrap_or_default();
                let items = found.iter().map(|f| index.item(f)).collect();
                (self.each)(Finding { file, line, items, quotation });
            }
        }
    }
}

/// Reads the documents of a piece: how many there are, and what was found on which lines.
fn read_piece(index: &Index, reader: &mut Reader, piece: &Piece) -> (u64, Vec<Flagged>) {
    let mut findings = Vec::new();
    let mut documents = 0;
    let mut document = |from: usize, to: usize, line: u64| {
        documents += 1;
        let text = &piece.bytes[from..to];
        let found = reader.read(index, text, piece.form, false);
        if !found.is_empty() {
            let quotation = quotation(text, &found);
            findings.push((line, found, quotation));
        }
    };
    match &piece.layout {
        Layout::Lines => {
            let mut from = 0;
            let ends = memchr::memchr_iter(b'\n', &piece.bytes).chain([piece.bytes.len()]);
            for (line, end) in (piece.line..).zip(ends) {
                if end > from {
                    document(from, end, line);
                }
                from = end + 1;
            }
        }
        Layout::Rows(rows) => {
            let ends = rows.iter().skip(1).map(|(at, _)| *at).chain([piece.bytes.len()]);
            for ((from, number), to) in rows.iter().zip(ends) {
                document(*from, to, *number);
            }
        }
        Layout::Running(overlap) => {
            documents += 1;
            let found = reader.read(index, &piece.bytes, piece.form, true);
            findings = by_line(piece, *overlap, found);
        }
    }
    (documents, findings)
}

/// Findings of a running text, by the line on which they begin. What ends in the part that was read before was told
/// then.
fn by_line(piece: &Piece, overlap: usize, mut found: Vec<Found>) -> Vec<Flagged> {
    found.retain(|f| overlap == 0 || f.to as usize >= overlap);
    found.sort_by_key(|f| (f.from, f.item, f.kind));
    let mut lines: Vec<Flagged> = Vec::new();
    let (mut at, mut line) = (0, piece.line);
    for f in found {
        let from = (f.from as usize).clamp(at, piece.bytes.len());
        line += memchr::memchr_iter(b'\n', &piece.bytes[at..from]).count() as u64;
        at = from;
        match lines.last_mut() {
            Some((last, items, _)) if *last == line => items.push(f),
            _ => {
                let quotation = quotation(&piece.bytes, std::slice::from_ref(&f));
                lines.push((line, vec![f], quotation));
            }
        }
    }
    lines
}

/// What stands at the first finding, on one line.
fn quotation(text: &[u8], found: &[Found]) -> String {
    let from = found.iter().map(|f| f.from).min().unwrap_or(0) as usize;
    let rest = text.get(from..).unwrap_or_default();
    let text = String::from_utf8_lossy(&rest[..rest.len().min(QUOTATION)]);
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
