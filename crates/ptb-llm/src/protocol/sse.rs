//! Server-sent events, read as they come: lines and events may be split anywhere.
//!
//! After <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>: lines end with
//! LF, CR or CR LF, several `data` lines are joined by LF, an empty line ends an event, one without data is none.

use memchr::memchr2;

/// An event longer than this is passed over: no model's answer has one.
const LONGEST: usize = 64 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name, where it has one.
    pub name: Option<&'a str>,
    /// Its data.
    pub data: &'a str,
}

/// Reads events out of chunks.
#[derive(Debug)]
pub struct SseParser {
    longest: usize,
    line: Vec<u8>,
    name: String,
    data: String,
    has_data: bool,
    after_cr: bool,
    began: bool,
    overlong: bool,
}

impl Default for SseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl SseParser {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        Self::within(LONGEST)
    }

    /// A reader that passes over events with more than `longest` bytes of data.
    pub fn within(longest: usize) -> Self {
        Self {
            longest,
            line: Vec::new(),
            name: String::new(),
            data: String::new(),
            has_data: false,
            after_cr: false,
            began: false,
            overlong: false,
        }
    }

    /// Reads the next bytes; `each` gets every event that they complete.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.hold(bytes);
                return;
            };
            self.after_cr = bytes[end] == b'\r';
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                self.take(head, &mut each);
            } else {
                self.hold(head);
                let line = std::mem::take(&mut self.line);
                self.take(&line, &mut each);
                // The room is kept for the next split line.
                self.line = line;
                self.line.clear();
            }
            bytes = rest;
        }
    }

    /// What was begun and not ended by an empty line: the rest of a stream that broke off.
    pub fn tail(&self) -> Option<String> {
        let line = String::from_utf8_lossy(&self.line);
        let text = match (self.has_data, line.is_empty()) {
            (false, true) => return None,
            (true, true) => self.data.clone(),
            (false, false) => line.into_owned(),
            (true, false) => format!("{}\n{line}", self.data),
        };
        Some(text)
    }

    fn hold(&mut self, bytes: &[u8]) {
        match self.line.len() + bytes.len() > self.longest {
            true => self.overlong = true,
            false => self.line.extend_from_slice(bytes),
        }
    }

    fn take(&mut self, line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        let line = match std::mem::replace(&mut self.began, true) {
            true => line,
            false => line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line),
        };
        if line.is_empty() {
            return self.end(each);
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"data" if self.data.len() + value.len() > self.longest => self.overlong = true,
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                match std::str::from_utf8(value) {
                    Ok(text) => self.data.push_str(text),
                    Err(_) => self.data.push_str(&String::from_utf8_lossy(value)),
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if self.has_data && !self.overlong {
            let name = Some(self.name.as_str()).filter(|name| !name.is_empty());
            each(Event { name, data: &self.data });
        }
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.overlong = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Option<String>, String);

    fn read<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Owned>, Option<String>) {
        let (mut parser, mut events) = (SseParser::new(), Vec::new());
        for chunk in chunks {
            parser.push(chunk, |e| events.push((e.name.map(str::to_owned), e.data.to_owned())));
        }
        (events, parser.tail())
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = "\u{feff}event: a\ndata: 1\n\n: comment\r\ndata:2\r\ndata: 3\r\n\r\nevent: none\n\n\
                    data\rdata: x: y\r\rid: 7\ndata: last";
        let (events, tail) = read([text.as_bytes()]);
        let named = |name: &str, data: &str| {
            (Some(name.to_owned()).filter(|n| !n.is_empty()), data.to_owned())
        };
        assert_eq!(events, [named("a", "1"), named("", "2\n3"), named("", "\nx: y")]);
        assert_eq!(tail.as_deref(), Some("data: last"));
    }

    proptest! {
        #[test]
        fn splits_change_nothing(
            text in "(event: [a-c]|data: ?[a-z\u{e4}{}]{0,6}|:x|\r\n|\n|\r|data){0,40}",
            cuts in proptest::collection::vec(0usize..400, 0..20),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let mut from = 0;
            let pieces: Vec<&[u8]> = cuts.iter().map(|to| &bytes[std::mem::replace(&mut from, *to)..*to]).collect();
            prop_assert_eq!(read(pieces), read([bytes]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let whole = read([bytes.as_slice()]);
            prop_assert_eq!(read(bytes.chunks(1)), whole);
        }
    }
}
