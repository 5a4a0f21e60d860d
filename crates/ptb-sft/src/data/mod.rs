//! Training data: JSON Lines in three forms, turned into token ids and the positions that are learnt.
//!
//! | line | what is learnt |
//! | --- | --- |
//! | `{"messages": [{"role", "content"}...]}` | the assistant's contents and the `<\|im_end\|>` after each |
//! | `{"prompt", "completion"}` | the completion and the end of text after it |
//! | `{"text"}` | all of it and the end of text after it |

mod encode;
mod line;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::draw::{Draw, Stream};
use crate::error::SftError;
use crate::files::open_regular;

pub use encode::Encoder;
pub use line::{Message, Record, Role};

/// Bytes of one line.
const LINE: u64 = 16 << 20;
/// Bytes of all lines: their tokens are held in memory.
const TOTAL: u64 = 8 << 30;
/// Faulty lines that are named.
const NAMED: usize = 5;
/// Lines that are read before they are encoded together.
const BLOCK: usize = 4096;

/// One example as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Tokens.
    pub ids: Vec<u32>,
    /// For each token whether it is learnt, that is, predicted from those before it.
    pub learn: Vec<bool>,
}

impl Example {
    /// Positions that are learnt; the first token has nothing before it.
    pub fn counted(&self) -> usize {
        self.learn.iter().skip(1).filter(|l| **l).count()
    }
}

/// All examples and what is to be told of them.
#[derive(Debug, Clone, Default)]
pub struct Data {
    /// In the order of the file.
    pub examples: Vec<Example>,
    /// Whether any of them is a chat: then a turn's end ends a generation.
    pub chat: bool,
    /// Examples left out as too long.
    pub skipped: usize,
    /// Examples cut.
    pub cut: usize,
    /// Where they were read from, if they were.
    pub file: Option<PathBuf>,
}

impl Data {
    /// Reads a file of JSON Lines, a regular one. Empty lines are passed over.
    ///
    /// # Errors
    /// A file that cannot be read, is too large or holds nothing to learn, and faulty lines: the first of them are
    /// named.
    pub fn read(path: &Path, encoder: &Encoder) -> Result<Self, SftError> {
        let failed = |e: &std::io::Error| {
            let error = SftError::io("read the data in", path, e);
            let hint = match e.kind() {
                std::io::ErrorKind::InvalidInput => "name a file of JSON Lines".to_owned(),
                _ => error.hint,
            };
            SftError::input(error.message, hint)
        };
        let file = open_regular(path).map_err(|e| failed(&e))?;
        let name = path.display().to_string();
        let size = file.metadata().map_err(|e| failed(&e))?.len();
        if size > TOTAL {
            let message = format!("{name} has {size} bytes, and at most {TOTAL} are read");
            return Err(SftError::input(message, "train on a part of it, or on its parts in turn"));
        }
        let reader = BufReader::with_capacity(1 << 20, file.take(TOTAL));
        let data = Self::read_from(reader, &name, encoder)?;
        Ok(Self { file: Some(path.to_owned()), ..data })
    }

    /// Reads JSON Lines from anything; `name` is for messages.
    ///
    /// # Errors
    /// As [`Data::read`].
    pub fn read_from(
        mut reader: impl BufRead,
        name: &str,
        encoder: &Encoder,
    ) -> Result<Self, SftError> {
        let mut data = Self::default();
        let mut faults = Faults::default();
        let (mut number, mut ended) = (0, false);
        while !ended {
            let mut block = Vec::new();
            while block.len() < BLOCK {
                let mut line = Vec::new();
                let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line);
                if read.map_err(|e| SftError::io("read the data in", Path::new(name), &e))? == 0 {
                    ended = true;
                    break;
                }
                number += 1;
                if line.len() as u64 == LINE && !line.ends_with(b"\n") {
                    let hint = "put each example on a line of its own";
                    let message = format!("{name} line {number} is longer than {LINE} bytes");
                    return Err(SftError::input(message, hint));
                }
                // Some editors put a mark of the encoding before the first line.
                if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
                if !line.trim_ascii().is_empty() {
                    block.push((number, line));
                }
            }
            let parse = |(number, line): &(usize, Vec<u8>)| {
                let record = Record::parse(line).and_then(|record| encoder.encode(&record));
                record.map_err(|fault| (*number, fault))
            };
            let parsed: Vec<_> = block.par_iter().map(parse).collect();
            for result in parsed {
                match result {
                    Ok(encoded) => data.add(encoded),
                    Err((number, fault)) => faults.add(number, fault),
                }
            }
        }
        faults.refuse(name)?;
        data.checked(name, encoder)
    }

    /// Takes examples that a program made.
    ///
    /// # Errors
    /// Text that cannot be encoded, or nothing to learn.
    pub fn from_records(records: &[Record], encoder: &Encoder) -> Result<Self, SftError> {
        let mut data = Self::default();
        let mut faults = Faults::default();
        let encoded: Vec<_> = records.par_iter().map(|record| encoder.encode(record)).collect();
        for (i, result) in encoded.into_iter().enumerate() {
            match result {
                Ok(encoded) => data.add(encoded),
                Err(fault) => faults.add(i + 1, fault),
            }
        }
        faults.refuse("the examples")?;
        data.checked("the examples", encoder)
    }

    fn add(&mut self, encoded: encode::Encoded) {
        self.skipped += usize::from(encoded.example.is_none());
        self.cut += usize::from(encoded.cut);
        if let Some(example) = encoded.example {
            self.chat |= encoded.chat;
            self.examples.push(example);
        }
    }

    fn checked(self, name: &str, encoder: &Encoder) -> Result<Self, SftError> {
        if !self.examples.is_empty() {
            return Ok(self);
        }
        let message = match self.skipped {
            0 => format!("there is no example in {name}"),
            n => {
                format!("all {n} examples in {name} are longer than {} tokens", encoder.max_length)
            }
        };
        let hint = "give one JSON object a line, such as {\"prompt\": \"1+1=\", \"completion\": \"2\"}, \
                    and see --max-length";
        Err(SftError::input(message, hint))
    }

    /// SHA-256 of all that training meets, in hexadecimal.
    pub(crate) fn hash(&self) -> String {
        let mut sha = Sha256::new();
        for example in &self.examples {
            sha.update((example.ids.len() as u64).to_le_bytes());
            for (id, learn) in example.ids.iter().zip(&example.learn) {
                sha.update((u64::from(*id) << 1 | u64::from(*learn)).to_le_bytes());
            }
        }
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes a share of the examples out, drawn by the seed: at least one, and not all.
    pub(crate) fn hold_back(&mut self, share: f64, seed: u64) -> Vec<Example> {
        let all = self.examples.len();
        if share <= 0.0 || all < 2 {
            return Vec::new();
        }
        let count = ((all as f64 * share).round() as usize).clamp(1, all - 1);
        let mut order: Vec<usize> = (0..all).collect();
        Draw::new(seed, Stream::Validation).shuffle(&mut order);
        let mut held = vec![false; all];
        order.iter().take(count).for_each(|i| held[*i] = true);
        let (mut kept, mut back) = (Vec::new(), Vec::new());
        for (example, held) in std::mem::take(&mut self.examples).into_iter().zip(held) {
            if held { back.push(example) } else { kept.push(example) }
        }
        self.examples = kept;
        back
    }
}

/// Faulty lines, the first ones with their faults.
#[derive(Default)]
struct Faults {
    first: Vec<String>,
    count: usize,
}

impl Faults {
    fn add(&mut self, number: usize, fault: String) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(format!("line {number}: {fault}"));
        }
    }

    fn refuse(self, name: &str) -> Result<(), SftError> {
        if self.count == 0 {
            return Ok(());
        }
        let lines = if self.count == 1 { "line is" } else { "lines are" };
        let mut message = format!("{} {lines} faulty in {name}", self.count);
        for fault in &self.first {
            message.push_str("\n  ");
            message.push_str(fault);
        }
        if self.count > self.first.len() {
            message.push_str("\n  ...");
        }
        Err(SftError::input(
            message,
            "correct or remove these lines; ptb-sft --help tells the forms",
        ))
    }
}

#[cfg(test)]
mod tests;
