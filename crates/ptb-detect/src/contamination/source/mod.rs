//! Where documents come from: files, what is packed in them, and the pieces in which they go to the readers.
//!
//! What a file is, its content tells, never its name. Everything is read as a stream, with bounds; what could not be
//! read, or was left out, is told.

mod archive;
mod files;
mod pieces;
mod sniff;
mod table;

use std::io::Read;

pub(super) use files::walk;

use super::document::Form;
use sniff::What;

/// How the documents of a piece lie in its bytes.
#[derive(Debug)]
pub(super) enum Layout {
    /// One on each line.
    Lines,
    /// Each begins at an offset and has a number.
    Rows(Vec<(usize, u64)>),
    /// Text that goes on from piece to piece: so many bytes of it were in the piece before, too.
    Running(usize),
}

/// A part of a file, to be read by one thread.
#[derive(Debug)]
pub(super) struct Piece {
    /// Number of the file.
    pub(super) file: usize,
    pub(super) form: Form,
    pub(super) layout: Layout,
    pub(super) bytes: Vec<u8>,
    /// 1-based number of its first line.
    pub(super) line: u64,
}

/// Bounds of what is read.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Unpacked bytes of one packed file: so many in any case.
    pub unpacked: u64,
    /// And so many for each packed byte.
    pub ratio: u64,
    /// Bytes of a packed file that has to be held whole (a table or an archive inside of another).
    pub held: u64,
    /// Archives inside of archives are followed so deep.
    pub depth: usize,
    /// Most files that are looked at.
    pub files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unpacked: 1 << 30, ratio: 200, held: 256 << 20, depth: 2, files: 1_000_000 }
    }
}

/// Takes pieces, and is told what could not be read.
pub(super) trait Sink {
    /// A name for what follows; gives its number.
    fn file(&mut self, name: &str) -> usize;
    /// A part of a file. False when nothing more is wanted.
    fn piece(&mut self, piece: Piece) -> bool;
    /// Something of a file was not read.
    fn unread(&mut self, name: &str, reason: String);
}

/// One file, by its own handle or unpacked from another.
pub(super) enum Source {
    /// On the disk: can be read from any place.
    File(std::fs::File),
    /// Unpacked; its size is not known.
    Stream(Box<dyn Read>),
}

/// Reads one file of whatever kind; `depth` counts the packages it lies in.
pub(super) fn read(sink: &mut dyn Sink, limits: &Limits, name: &str, source: Source, depth: usize) {
    let outcome = match source {
        Source::File(file) => read_file(sink, limits, name, file, depth),
        Source::Stream(stream) => read_stream(sink, limits, name, stream, depth),
    };
    if let Err(e) = outcome {
        sink.unread(name, e.to_string());
    }
}

fn read_file(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    file: std::fs::File,
    depth: usize,
) -> std::io::Result<()> {
    let size = file.metadata()?.len();
    let (head, rest) = sniff::head(Box::new(files::Dense::new(file.try_clone()?)))?;
    match sniff::what(&head) {
        What::Zip => archive::zip(sink, limits, name, file, size, depth),
        What::Parquet => table::parquet(sink, limits, name, table::Bytes::File(file), size),
        What::Weights => {
            sink.unread(name, "it holds weights, which are no text".to_owned());
            Ok(())
        }
        what => streamed(sink, limits, name, what, rest, Some(size), depth),
    }
}

fn read_stream(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    stream: Box<dyn Read>,
    depth: usize,
) -> std::io::Result<()> {
    let (head, rest) = sniff::head(stream)?;
    match sniff::what(&head) {
        What::Zip if depth >= limits.depth => {
            sink.unread(
                name,
                "it is an archive in archives, deeper than they are followed".to_owned(),
            );
            Ok(())
        }
        What::Zip => {
            let held = hold(limits, rest)?;
            let size = held.len() as u64;
            archive::zip(sink, limits, name, std::io::Cursor::new(held), size, depth)
        }
        What::Parquet => {
            let held = hold(limits, rest)?;
            let size = held.len() as u64;
            table::parquet(sink, limits, name, table::Bytes::Held(held.into()), size)
        }
        What::Weights => {
            sink.unread(name, "it holds weights, which are no text".to_owned());
            Ok(())
        }
        what => streamed(sink, limits, name, what, rest, None, depth),
    }
}

/// What can be read from its beginning to its end.
fn streamed(
    sink: &mut dyn Sink,
    limits: &Limits,
    name: &str,
    what: What,
    rest: Box<dyn Read>,
    size: Option<u64>,
    depth: usize,
) -> std::io::Result<()> {
    match what {
        What::Gzip | What::Zstd | What::Tar if depth >= limits.depth + 2 => {
            sink.unread(name, "it is packed in packages, deeper than they are followed".to_owned());
            Ok(())
        }
        What::Gzip | What::Zstd => archive::unpack(sink, limits, name, what, rest, size, depth),
        What::Tar => archive::tar(sink, limits, name, rest, depth),
        What::Arrow(form) => table::arrow(sink, limits, name, form, rest),
        What::Closed(kind) => {
            sink.unread(name, format!("it is packed as {kind}, which is not unpacked"));
            Ok(())
        }
        What::Text(kind) => pieces::cut(sink, name, kind, rest),
        What::Zip | What::Parquet | What::Weights => Ok(()),
    }
}

/// The whole of something that cannot be read as a stream.
fn hold(limits: &Limits, rest: Box<dyn Read>) -> std::io::Result<Vec<u8>> {
    let mut held = Vec::new();
    rest.take(limits.held + 1).read_to_end(&mut held)?;
    match held.len() as u64 > limits.held {
        true => Err(std::io::Error::other(format!(
            "inside of its package it is longer than the {} bytes that are held at once",
            limits.held
        ))),
        false => Ok(held),
    }
}
