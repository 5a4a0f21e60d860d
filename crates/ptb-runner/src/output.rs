//! `attempts/<n>/output.jsonl`: what the agent printed, line by line, with times.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use ptb_core::files::{FileError, JsonLog, Schema};
use ptb_llm::mask::Mask;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Mutex;

use crate::tail::Tail;

/// Longest piece of a line that becomes one record, in bytes; longer lines are several records.
const LONGEST: usize = 1 << 20;
/// How what stands for a secret begins, and how long it is at most to be kept in one piece.
const MASKED: &[u8] = b"[masked:";
const LONGEST_WORD: usize = 256;
/// Bytes of a record beside its text: a program that prints empty lines writes these.
const RECORD: usize = 72;
/// Most bytes that are kept of one attempt; a program that prints without end must not fill the disk.
const MOST: u64 = 4 << 30;

/// One line of `output.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputLine {
    /// Seconds since the attempt began.
    pub seconds: f64,
    /// `out` or `err`.
    pub stream: String,
    /// The text without its newline; bytes that are not UTF-8 as U+FFFD.
    pub text: String,
    /// Whether the line goes on in the next record of this stream.
    pub more: bool,
}

impl Schema for OutputLine {
    const KIND: &'static str = "output";
    const VERSION: u32 = 1;
}

/// Where both streams of an attempt are written.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    log: Arc<Mutex<(JsonLog, u64)>>,
    begun: Instant,
    mask: Mask,
    tail: Arc<std::sync::Mutex<Tail>>,
    heard: Arc<AtomicU64>,
}

impl Recorder {
    /// Opens the file for what an attempt prints from `begun` on. What `mask` knows is not kept.
    pub(crate) fn open(path: &Path, begun: Instant, mask: Mask) -> Result<Self, FileError> {
        let log = Arc::new(Mutex::new((JsonLog::open(path)?, 0)));
        Ok(Self { log, begun, mask, tail: Arc::default(), heard: Arc::default() })
    }

    /// The last line that was printed, if anything was since this was last asked.
    pub(crate) fn news(&self) -> Option<String> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).news()
    }

    /// Bytes that were printed so far.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// When the attempt began.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Reads a stream to its end. Always reads on, also when no more is kept: a full pipe would stop the
    /// agent. Gives the first write error.
    pub(crate) async fn record(
        self,
        name: &'static str,
        mut stream: impl AsyncRead + Unpin,
    ) -> Result<(), FileError> {
        let (mut line, mut block, mut failed) = (Vec::new(), vec![0u8; 1 << 16], None);
        let (mut masked, mut open) = (self.mask.stream(), true);
        while open {
            let n = stream.read(&mut block).await.unwrap_or(0);
            self.heard.fetch_add(n as u64, Ordering::Relaxed);
            let mut known = Vec::with_capacity(n);
            match block.get(..n).filter(|read| !read.is_empty()) {
                Some(read) => masked.push(read, &mut known),
                None => {
                    open = false;
                    masked.finish(&mut known);
                }
            }
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).add(name, &known);
            let mut rest = &known[..];
            while let Some(at) = rest.iter().position(|b| *b == b'\n') {
                line.extend_from_slice(&rest[..at]);
                rest = &rest[at + 1..];
                failed = failed.or(self.pieces(name, &mut line, true).await.err());
            }
            line.extend_from_slice(rest);
            failed = failed.or(self.pieces(name, &mut line, false).await.err());
        }
        if !line.is_empty() {
            failed = failed.or(self.pieces(name, &mut line, true).await.err());
        }
        failed.map_or(Ok(()), Err)
    }

    /// Keeps of a line what is too long for one record, and all of it where it has `ended`.
    async fn pieces(&self, stream: &str, line: &mut Vec<u8>, ended: bool) -> Result<(), FileError> {
        let mut failed = None;
        while line.len() > LONGEST {
            let mut piece: Vec<u8> = line.drain(..cut(line)).collect();
            failed = failed.or(self.keep(stream, &mut piece, true).await.err());
        }
        if ended {
            failed = failed.or(self.keep(stream, line, false).await.err());
        }
        failed.map_or(Ok(()), Err)
    }

    async fn keep(&self, stream: &str, line: &mut Vec<u8>, more: bool) -> Result<(), FileError> {
        let mut log = self.log.lock().await;
        let (log, kept) = &mut *log;
        let text = match *kept {
            kept if kept > MOST => None,
            kept if kept + line.len() as u64 > MOST => {
                Some("(what follows is not kept: the output is too large)".to_owned())
            }
            _ => Some(String::from_utf8_lossy(line).into_owned()),
        };
        *kept += (line.len() + RECORD) as u64;
        line.clear();
        let Some(text) = text else { return Ok(()) };
        let seconds = (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        log.append(&OutputLine { seconds, stream: stream.to_owned(), text, more })
    }
}

/// Where a line that is too long is cut: at its bound, or a little before it, where a character or what stands for a
/// secret would be cut in two. What is no text is cut anywhere.
fn cut(line: &[u8]) -> usize {
    let within = |b: &u8| (0x80..0xC0).contains(b);
    let back = line.get(LONGEST - 3..=LONGEST).unwrap_or_default();
    let at = match back.iter().rev().position(|b| !within(b)) {
        Some(back) => LONGEST - back,
        None => LONGEST,
    };
    let tail = line.get(at - LONGEST_WORD..at).unwrap_or_default();
    match tail.iter().rposition(|b| b"[]".contains(b)) {
        Some(open) if line[at - LONGEST_WORD + open..].starts_with(MASKED) => {
            at - LONGEST_WORD + open
        }
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    /// What is kept of a text that comes in pieces of seven bytes.
    async fn kept(text: &str, mask: Mask) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.jsonl");
        let recorder = Recorder::open(&path, Instant::now(), mask).unwrap();
        let (mut agent, harness) = tokio::io::duplex(7);
        let (text, recording) = (text.to_owned(), recorder.record("out", harness));
        let printing = async move {
            agent.write_all(text.as_bytes()).await.unwrap();
        };
        let (recorded, ()) = tokio::join!(recording, printing);
        recorded.unwrap();
        std::fs::read_to_string(path).unwrap()
    }

    #[tokio::test]
    async fn a_secret_is_not_kept_and_would_be_without_the_mask() {
        let (key, coded) = ("marked-key-0123456789", "bWFya2VkLWtleS0wMTIzNDU2Nzg5");
        let printed = format!("so {key} it is\n{{\"auth\": \"{coded}\"}}\nthe rest");
        let mask = Mask::new([("KEY", key)]).unwrap();
        let masked = kept(&printed, mask).await;
        assert!(!masked.contains(key) && !masked.contains(&coded[4..24]), "{masked}");
        assert!(
            masked.contains("so [masked:KEY] it is") && masked.contains("the rest"),
            "{masked}"
        );
        let open = kept(&printed, Mask::off()).await;
        assert!(open.contains(key) && open.contains(coded), "{open}");
    }

    /// The texts of the records, joined as their readers do, and each by itself.
    fn records(kept: &str) -> Vec<OutputLine> {
        kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Without its newline; the bytes are those that were printed, whatever they are.
    async fn of_bytes(printed: Vec<u8>, mask: Mask) -> Vec<OutputLine> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.jsonl");
        let recorder = Recorder::open(&path, Instant::now(), mask).unwrap();
        recorder.record("out", &printed[..]).await.unwrap();
        records(&std::fs::read_to_string(path).unwrap())
    }

    #[tokio::test]
    async fn no_character_and_no_mask_is_cut_in_two() {
        let key = "marked-key-0123456789";
        let mask = Mask::new([("KEY", key)]).unwrap();
        for unit in ["\u{e9}", "\u{20ac}", "\u{1f980}", key] {
            // Wherever the bound falls in what is printed there.
            for before in 0..=unit.len().max("[masked:KEY]".len()) {
                let printed = format!("{}{}\n", "x".repeat(LONGEST - before), unit.repeat(3));
                let lines = of_bytes(printed.clone().into_bytes(), mask.clone()).await;
                let flags: Vec<bool> = lines.iter().map(|line| line.more).collect();
                let text: String = lines.iter().map(|line| line.text.as_str()).collect();
                assert_eq!(text, mask.text(printed.trim_end()), "{unit} {before}");
                let long = text.len() > LONGEST;
                assert_eq!(flags, if long { vec![true, false] } else { vec![false] }, "{before}");
                for line in &lines {
                    assert!(line.text.len() <= LONGEST, "{}", line.text.len());
                    assert!(!line.text.contains('\u{fffd}') && !line.text.contains(key));
                    let (open, closed) =
                        (line.text.matches('[').count(), line.text.matches(']').count());
                    assert_eq!(open, closed, "{unit} {before}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_text_is_cut_at_the_bound() {
        let nothing: [(&str, &str); 0] = [];
        let lines = of_bytes(vec![0x80; LONGEST + 5], Mask::new(nothing).unwrap()).await;
        let lengths: Vec<usize> = lines.iter().map(|l| l.text.chars().count()).collect();
        assert_eq!(lengths, [LONGEST, 5]);
    }

    proptest! {
        #[test]
        fn a_cut_leaves_few_bytes_behind(tail in proptest::collection::vec(any::<u8>(), 1..400)) {
            let mut line = vec![b'x'; LONGEST];
            line.truncate(LONGEST - tail.len() / 2);
            line.extend(&tail);
            line.resize(line.len().max(LONGEST + 1), b'y');
            let at = cut(&line);
            prop_assert!((LONGEST - LONGEST_WORD - 3..=LONGEST).contains(&at), "{}", at);
        }
    }
}
