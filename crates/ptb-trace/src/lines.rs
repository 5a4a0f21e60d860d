//! Lines of a trace, out of either form in which it comes, each at most so long.

use std::borrow::Cow;
use std::io::BufRead;

use serde::Deserialize;

use crate::about::Form;

/// Longest line that is read as one, in bytes.
pub(crate) const LONGEST: usize = 64 << 20;
/// What is kept of a longer one.
const HEAD: usize = 64 << 10;

/// A line that the scaffold printed.
#[derive(Debug)]
pub(crate) struct Printed<'a> {
    /// Seconds since the attempt began.
    pub(crate) seconds: Option<f64>,
    pub(crate) stderr: bool,
    pub(crate) text: Cow<'a, str>,
    /// Whether it is no whole line: too long, or a record of the harness that cannot be read.
    pub(crate) cut: bool,
}

/// One record of `output.jsonl`.
#[derive(Deserialize)]
struct Record<'a> {
    seconds: f64,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(default)]
    more: bool,
}

/// A line of which more is to come.
#[derive(Debug, Default)]
struct Pending {
    text: String,
    seconds: Option<f64>,
    begun: bool,
    cut: bool,
}

/// Takes lines of a file apart.
#[derive(Debug)]
pub(crate) struct Feed {
    form: Form,
    longest: usize,
    pending: [Pending; 2],
}

impl Feed {
    pub(crate) fn new(form: Form, longest: usize) -> Self {
        Self { form, longest, pending: Default::default() }
    }

    /// One line of the file, without its newline. `cut`: its end is missing.
    pub(crate) fn line(&mut self, raw: &[u8], cut: bool, to: &mut dyn FnMut(Printed<'_>)) {
        let text =
            std::str::from_utf8(raw).map_or_else(|_| String::from_utf8_lossy(raw), Cow::Borrowed);
        if self.form == Form::Detect && !text.trim().is_empty() {
            self.form = match serde_json::from_str::<Record<'_>>(&text) {
                Ok(_) => Form::Recorded,
                Err(_) => Form::Bare,
            };
        }
        if self.form != Form::Recorded {
            return to(Printed { seconds: None, stderr: false, text, cut });
        }
        if text.is_empty() {
            return;
        }
        match serde_json::from_str(&text) {
            Ok(record) => self.record(record, to),
            Err(_) => to(Printed { seconds: None, stderr: false, text, cut: true }),
        }
    }

    fn record(&mut self, record: Record<'_>, to: &mut dyn FnMut(Printed<'_>)) {
        let seconds = Some(record.seconds).filter(|s| s.is_finite() && *s >= 0.0);
        let stderr = record.stream == "err";
        let pending = &mut self.pending[usize::from(stderr)];
        if !pending.begun && !record.more {
            return to(Printed { seconds, stderr, text: record.text, cut: false });
        }
        pending.begun = true;
        pending.seconds = seconds.or(pending.seconds);
        if pending.text.len() + record.text.len() > self.longest {
            pending.cut = true;
            pending.text.truncate(pending.text.floor_char_boundary(HEAD));
        }
        if !pending.cut {
            pending.text.push_str(&record.text);
        }
        if !record.more {
            flush(pending, stderr, to);
        }
    }

    /// What was not ended.
    pub(crate) fn end(&mut self, to: &mut dyn FnMut(Printed<'_>)) {
        for (pending, stderr) in self.pending.iter_mut().zip([false, true]) {
            if pending.begun {
                flush(pending, stderr, to);
            }
        }
    }
}

fn flush(pending: &mut Pending, stderr: bool, to: &mut dyn FnMut(Printed<'_>)) {
    let Pending { text, seconds, cut, .. } = std::mem::take(pending);
    to(Printed { seconds, stderr, text: Cow::Owned(text), cut });
}

/// Reads a file line by line into one buffer. Of a line that is too long the head is given.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    from: R,
    buffer: Vec<u8>,
    longest: usize,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(from: R, longest: usize) -> Self {
        Self { from, buffer: Vec::new(), longest }
    }

    /// What is read from.
    pub(crate) fn inner(&self) -> &R {
        &self.from
    }

    /// The next line without its newline, and whether it was cut.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<(&[u8], bool)>> {
        self.buffer.clear();
        let (mut cut, mut any) = (false, false);
        loop {
            let block = match self.from.fill_buf() {
                Ok(block) => block,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            if block.is_empty() {
                return Ok(any.then_some((&self.buffer, cut)));
            }
            any = true;
            let end = memchr::memchr(b'\n', block);
            let piece = &block[..end.unwrap_or(block.len())];
            if !cut {
                self.buffer.extend_from_slice(piece);
            }
            if self.buffer.len() > self.longest {
                cut = true;
                self.buffer.truncate(HEAD.min(self.longest));
            }
            let used = end.map_or(block.len(), |end| end + 1);
            self.from.consume(used);
            if end.is_some() {
                return Ok(Some((&self.buffer, cut)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], longest: usize) -> Vec<(Vec<u8>, bool)> {
        // A small buffer, so that lines reach over its end.
        let mut reader = Reader::new(std::io::BufReader::with_capacity(3, input), longest);
        let mut lines = Vec::new();
        while let Some((line, cut)) = reader.next().unwrap() {
            lines.push((line.to_vec(), cut));
        }
        lines
    }

    #[test]
    fn lines_too_long_are_cut_and_the_next_is_whole() {
        let lines = read(b"abc\n\n0123456789abcdef\nxy\nlast", 8);
        let wanted: [(&[u8], bool); 5] =
            [(b"abc", false), (b"", false), (b"01234567", true), (b"xy", false), (b"last", false)];
        assert_eq!(lines.len(), wanted.len());
        for (line, wanted) in lines.iter().zip(wanted) {
            assert_eq!((line.0.as_slice(), line.1), wanted);
        }
        assert!(read(b"", 8).is_empty());
    }

    fn printed(lines: &[&str], longest: usize) -> Vec<(Option<f64>, bool, String, bool)> {
        let (mut feed, mut all) = (Feed::new(Form::Detect, longest), Vec::new());
        let mut take = |p: Printed<'_>| all.push((p.seconds, p.stderr, p.text.into_owned(), p.cut));
        for line in lines {
            feed.line(line.as_bytes(), false, &mut take);
        }
        feed.end(&mut take);
        all
    }

    #[test]
    fn pieces_of_a_line_are_joined_by_stream() {
        let record = |stream: &str, text: &str, more: bool| {
            format!(
                r#"{{"schema":1,"seconds":1.5,"stream":"{stream}","text":"{text}","more":{more}}}"#
            )
        };
        let (a, b, c) =
            (record("out", "ab", true), record("err", "x", false), record("out", "cd", false));
        let (d, torn) = (record("out", "open", true), r#"{"schema":1,"sec"#);
        let all = printed(&[&a, &b, &c, &d, torn], 100);
        let line = |stderr, text: &str| (Some(1.5), stderr, text.to_owned(), false);
        let wanted = [
            line(true, "x"),
            line(false, "abcd"),
            (None, false, torn.to_owned(), true),
            line(false, "open"),
        ];
        assert_eq!(all, wanted);
        let all = printed(&[&a, &c], 3);
        assert_eq!(all, [(Some(1.5), false, "ab".to_owned(), true)]);
    }

    #[test]
    fn a_record_within_a_bare_trace_is_no_record() {
        let record = r#"{"schema":1,"seconds":1,"stream":"out","text":"x","more":false}"#;
        let all = printed(&["hello", record], 100);
        assert_eq!(all[1].2, record);
    }
}
