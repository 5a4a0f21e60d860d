//! What a server prints: its end is kept for messages; its beginning and its end go to the log.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

/// Bytes kept for messages. Servers of several processes print their reason well before their end.
const TAIL: usize = 128 << 10;
/// Bytes of the beginning that a log file holds; behind them come those of the end.
const LOG_LIMIT: u64 = 16 << 20;
/// Bytes of a line that wait for its end.
const LINE: usize = 4096;

/// A server's output, collected in the background until its streams end.
#[derive(Debug)]
pub struct Output {
    kept: Arc<Mutex<Kept>>,
    readers: Vec<JoinHandle<()>>,
}

struct Kept {
    tail: VecDeque<u8>,
    /// What each stream has begun of a line: lines of two streams are not mixed.
    begun: Vec<Vec<u8>>,
    log: Option<File>,
    written: u64,
    /// Bytes behind those that were written.
    over: u64,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("bytes", &self.tail.len()).finish_non_exhaustive()
    }
}

impl Output {
    /// Nothing yet. A run without its log is still a run: one that cannot be made is left out.
    pub fn new(log: Option<&Path>) -> Self {
        // Behind what an earlier start has left: it may tell why there is another one.
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        let log = log.and_then(|path| open(path).ok());
        let kept = Kept { tail: VecDeque::new(), begun: Vec::new(), log, written: 0, over: 0 };
        Self { kept: Arc::new(Mutex::new(kept)), readers: Vec::new() }
    }

    /// Adds a stream of the server.
    pub fn collect(&mut self, stream: Option<impl AsyncRead + Unpin + Send + 'static>) {
        let Some(stream) = stream else { return };
        let kept = Arc::clone(&self.kept);
        let index = self.readers.len();
        if let Ok(mut kept) = kept.lock() {
            kept.begun.push(Vec::new());
        }
        self.readers.push(tokio::spawn(read(stream, index, kept)));
    }

    /// The end of what was printed so far.
    pub fn so_far(&self) -> String {
        let bytes: Vec<u8> = match self.kept.lock() {
            Ok(kept) => kept.tail.iter().chain(kept.begun.iter().flatten()).copied().collect(),
            Err(_) => Vec::new(),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of everything, once the streams have ended (waits for that a second at most).
    pub async fn whole(&self) -> String {
        let begin = Instant::now();
        let read = || self.readers.iter().all(JoinHandle::is_finished);
        while !read() && begin.elapsed() < Duration::from_secs(1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if read()
            && let Ok(mut kept) = self.kept.lock()
        {
            kept.close();
        }
        self.so_far()
    }
}

async fn read(mut stream: impl AsyncRead + Unpin, index: usize, kept: Arc<Mutex<Kept>>) {
    let mut buffer = [0; 4096];
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        let Ok(mut kept) = kept.lock() else { return };
        kept.lines(index, buffer.get(..n).unwrap_or_default());
        if n == 0 {
            return;
        }
    }
}

impl Kept {
    /// Takes the lines of a stream that are whole; no bytes are its end.
    fn lines(&mut self, index: usize, bytes: &[u8]) {
        let Some(begun) = self.begun.get_mut(index) else { return };
        begun.extend(bytes);
        // Progress overwrites its line without ever ending it.
        let whole = match begun.iter().rposition(|b| matches!(b, b'\n' | b'\r')) {
            _ if bytes.is_empty() => begun.len(),
            Some(last) => last + 1,
            None if begun.len() > LINE => begun.len(),
            None => return,
        };
        let lines: Vec<u8> = begun.drain(..whole).collect();
        self.take(&lines);
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(file) = self.log.as_mut() {
            let room = usize::try_from(LOG_LIMIT - self.written).unwrap_or(usize::MAX);
            let (begins, rest) = bytes.split_at(room.min(bytes.len()));
            let _ = file.write_all(begins);
            self.written += begins.len() as u64;
            self.over += rest.len() as u64;
        }
        self.tail.extend(bytes);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }

    /// Ends the log with the end of what was printed, and says how much lies between.
    fn close(&mut self) {
        for begun in std::mem::take(&mut self.begun) {
            self.take(&begun);
        }
        let Some(mut file) = self.log.take().filter(|_| self.over > 0) else { return };
        let end = self.over.min(self.tail.len() as u64);
        let left_out = self.over - end;
        if left_out > 0 {
            let _ = writeln!(file, "\n[... {left_out} bytes are left out here ...]");
        }
        let skipped = self.tail.len() - usize::try_from(end).unwrap_or(0);
        let end: Vec<u8> = self.tail.iter().copied().skip(skipped).collect();
        let _ = file.write_all(&end);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.close();
    }
}

/// A line of a server, fit for people: no control characters, no colours, at most `most` characters.
pub fn tidy(line: &str, most: usize) -> String {
    let mut out = String::new();
    let mut chars = line.trim().chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            // A colour or a movement: up to its letter.
            for c in chars.by_ref() {
                if c.is_ascii_alphabetic() {
                    break;
                }
            }
        } else if c == '\t' {
            out.push(' ');
        } else if !c.is_control() {
            out.push(c);
        }
    }
    match out.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", &out[..at]),
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_made_fit_for_a_terminal() {
        assert_eq!(
            tidy("  \u{1b}[31mred\u{1b}[0m\tand \u{7}\u{202}plain\r", 99),
            "red and \u{202}plain"
        );
        assert_eq!(tidy("\u{1b}[", 9), "");
        let long = tidy(&"é".repeat(500), 200);
        assert_eq!(long.chars().count(), 203);
    }

    #[tokio::test]
    async fn a_log_has_beginning_and_end_and_says_what_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let limit = LOG_LIMIT as usize;
        for (more, left_out) in [(0, None), (9, None), (TAIL, None), (TAIL + 7, Some(7))] {
            let log = dir.path().join(more.to_string());
            let mut output = Output::new(Some(&log));
            let text = [vec![b'a'; limit], vec![b'b'; more]].concat();
            output.collect(Some(std::io::Cursor::new(text.clone())));
            // With a server whose log is read while it runs, the log ends when it is dropped.
            match left_out {
                None => drop(output.whole().await),
                Some(_) => {
                    while !output.readers.iter().all(JoinHandle::is_finished) {
                        tokio::task::yield_now().await;
                    }
                    drop(output);
                }
            }
            let read = std::fs::read(&log).unwrap();
            let Some(left_out) = left_out else {
                assert!(read == text, "{more}");
                continue;
            };
            let mark = format!("\n[... {left_out} bytes are left out here ...]\n").into_bytes();
            let whole = [&text[..limit], &mark, &text[limit + left_out..]].concat();
            assert!(read == whole, "{more}");
        }
    }

    #[test]
    fn lines_of_two_streams_are_not_mixed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let output = Output::new(Some(&log));
        let mut kept = output.kept.lock().unwrap();
        kept.begun = vec![Vec::new(); 2];
        let long = "x".repeat(LINE + 1);
        for (index, bytes) in
            [(0, "2"), (1, "bro"), (0, "\n50 %\r60"), (1, "ken"), (1, "\n"), (0, ""), (1, &long)]
        {
            kept.lines(index, bytes.as_bytes());
        }
        drop(kept);
        let expected = format!("2\n50 %\rbroken\n60{long}");
        assert_eq!(output.so_far(), expected);
        assert_eq!(std::fs::read_to_string(log).unwrap(), expected);
        output.kept.lock().unwrap().lines(1, b"begun");
        assert_eq!(output.so_far(), format!("{expected}begun"));
        // However much comes at once, a line that has only begun waits.
        let mut kept = output.kept.lock().unwrap();
        kept.lines(0, format!("{}wa", "y\n".repeat(LINE)).as_bytes());
        kept.lines(1, b"!\n");
        kept.lines(0, b"ited\n");
        drop(kept);
        assert!(output.so_far().ends_with("y\nbegun!\nwaited\n"));
    }

    #[tokio::test]
    async fn the_end_is_kept_and_the_beginning_logged() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut output = Output::new(Some(&log));
        let text = format!("first\n{}\nlast line\n\n", "x".repeat(2 * TAIL));
        output.collect(Some(std::io::Cursor::new(text.clone().into_bytes())));
        let tail = output.whole().await;
        assert_eq!(tail.len(), TAIL);
        assert!(tail.ends_with("last line\n\n"));
        assert_eq!(std::fs::read_to_string(log).unwrap(), text);
    }
}
