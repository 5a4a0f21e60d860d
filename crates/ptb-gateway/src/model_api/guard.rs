//! Keeps the key out of what the provider sends, should it repeat it: in one piece, cut anywhere by the network, or
//! handed out in morsels over the events of a stream.
//!
//! Stars take the key's place, byte for byte, so that nothing else changes. What may be the beginning of the key is held
//! back until it is known. Across events that begins with its fourth character, for a word that ends like the key
//! begins must not delay a stream: up to three characters of the key may come in.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;

use bytes::Bytes;
use ptb_llm::Key;

/// So many characters of the key at the end of a text hold an event back.
const SUSPICIOUS: usize = 4;
/// So many lines are held for the rest of a key; then it does not come.
const MOST_LINES: usize = 32;
/// So many bytes are held back at most. Of a longer line only a key in one piece is covered.
const MOST_HELD: usize = 4 << 20;
/// Fields of a stream's events that are told apart.
const MOST_FIELDS: usize = 64;

/// Covers the key in one answer.
pub(super) struct Guard {
    key: Option<Pattern>,
    /// Whether it is a stream of events.
    events: bool,
    /// What has come and was not passed on.
    held: Vec<u8>,
    /// Where the line begins that has not been read, in `held`.
    read: usize,
    /// Until where it has been searched for its end, in `held`.
    searched: usize,
    /// Whether that line is one that is too long to be read.
    overlong: bool,
    /// Offset of `held` in the answer.
    offset: usize,
    fields: HashMap<u64, Matched>,
    /// Lines read since a text last ended like the key begins.
    lines: usize,
}

/// The key, with how far a failed match is one that began later (Knuth, Morris and Pratt's table).
struct Pattern {
    bytes: Vec<u8>,
    back: Vec<usize>,
}

/// How much of the key the texts of one field end with, and where in the answer that stands.
#[derive(Default)]
struct Matched {
    length: usize,
    places: VecDeque<Range<usize>>,
}

impl Guard {
    /// A guard of one answer; without a key it lets everything through.
    pub(super) fn new(key: Option<&Key>, events: bool) -> Self {
        Self {
            key: key.and_then(Key::to_find).map(Pattern::new),
            events,
            held: Vec::new(),
            read: 0,
            searched: 0,
            overlong: false,
            offset: 0,
            fields: HashMap::new(),
            lines: 0,
        }
    }

    /// A whole text, of which nothing is passed on before its end.
    pub(super) fn whole(key: Option<&Key>, text: Bytes) -> Bytes {
        let mut guard = Self::new(key, false);
        let Some(pattern) = guard.key.take() else { return text };
        let mut text = text.to_vec();
        pattern.cover(&mut text);
        let mut matched = HashMap::new();
        for place in pattern.strings(&text, 0, &mut matched) {
            text[place].fill(b'*');
        }
        text.into()
    }

    /// Takes what has come, and gives what may be passed on.
    pub(super) fn push(&mut self, bytes: Bytes) -> Bytes {
        let Some(pattern) = &self.key else { return bytes };
        // What came before has been looked through; a key may begin in its last bytes.
        let known = self.held.len().saturating_sub(pattern.bytes.len() - 1);
        self.held.extend_from_slice(&bytes);
        pattern.cover(self.held.get_mut(known..).unwrap_or_default());
        let mut safe = self.held.len() - pattern.begun(&self.held);
        if self.events {
            self.read_lines(safe);
            safe = safe.min(self.safe(safe));
        }
        self.pass(safe)
    }

    /// How many bytes are held back.
    pub(super) fn holds(&self) -> usize {
        self.held.len()
    }

    /// The rest, when nothing more comes.
    pub(super) fn finish(&mut self) -> Bytes {
        if self.key.is_some() && self.events && !self.overlong {
            self.read_line(self.held.len());
        }
        self.pass(self.held.len())
    }

    fn pass(&mut self, until: usize) -> Bytes {
        if until == 0 {
            return Bytes::new();
        }
        // What is passed on takes no more room than it needs, nor does what stays.
        let rest = self.held.get(until..).unwrap_or_default().to_vec();
        let mut passed = std::mem::replace(&mut self.held, rest);
        passed.truncate(until);
        self.offset += until;
        self.read = self.read.saturating_sub(until);
        self.searched = self.searched.saturating_sub(until);
        passed.into()
    }

    /// Reads the lines that have come to their end.
    fn read_lines(&mut self, known: usize) {
        let end = |held: &[u8], from: usize| {
            memchr::memchr2(b'\n', b'\r', held.get(from..known)?).map(|at| from + at + 1)
        };
        while let Some(end) = end(&self.held, self.searched) {
            match std::mem::take(&mut self.overlong) {
                true => self.read = end,
                false => self.read_line(end),
            }
            self.searched = end;
        }
        self.searched = self.searched.max(known);
    }

    fn read_line(&mut self, end: usize) {
        let (Some(pattern), Some(line)) = (&self.key, self.held.get(self.read..end)) else {
            return;
        };
        if !line.trim_ascii().is_empty() {
            self.lines += 1;
        }
        let from = self.offset + self.read;
        let before: usize = self.fields.values().map(|m| m.length).sum();
        let found = pattern.strings(line, from, &mut self.fields);
        if !found.is_empty() || before != self.fields.values().map(|m| m.length).sum::<usize>() {
            self.lines = 0;
        }
        for place in found {
            // What is not held any more are the few characters that were passed on.
            let start = place.start.saturating_sub(self.offset);
            if let Some(place) = self.held.get_mut(start..place.end.saturating_sub(self.offset)) {
                place.fill(b'*');
            }
        }
        self.read = end;
    }

    /// Up to where all is known, of what has been read; lines are passed on whole, as long as they can be held. `known` is
    /// up to where there is no key in one piece.
    fn safe(&mut self, known: usize) -> usize {
        if self.lines > MOST_LINES {
            self.give_up();
        }
        let mut safe = self.whole_lines();
        if self.held.len() - safe > MOST_HELD {
            self.give_up();
            safe = self.whole_lines();
        }
        self.overlong |= self.held.len() - self.read > MOST_HELD;
        if self.overlong {
            self.read = known;
            safe = known;
        }
        safe
    }

    /// Waits no longer for the rest of a key.
    fn give_up(&mut self) {
        self.fields.clear();
        self.lines = 0;
    }

    fn whole_lines(&self) -> usize {
        let open = self.fields.values().filter(|matched| matched.length >= SUSPICIOUS);
        let first =
            open.filter_map(|m| m.places.iter().find(|p| p.start >= self.offset)).map(|p| p.start);
        let first = first.min().map_or(self.read, |start| start - self.offset).min(self.read);
        // Not within an event: a client that sees half a line sees nothing.
        let lines = self.held.get(..first).unwrap_or_default();
        memchr::memrchr2(b'\n', b'\r', lines).map_or(0, |at| at + 1)
    }
}

impl Pattern {
    fn new(bytes: &[u8]) -> Self {
        let mut back = vec![0; bytes.len()];
        for at in 1..bytes.len() {
            let mut length = back[at - 1];
            while length > 0 && bytes[at] != bytes[length] {
                length = back[length - 1];
            }
            back[at] = length + usize::from(bytes[at] == bytes[length]);
        }
        Self { bytes: bytes.to_vec(), back }
    }

    /// Puts stars over the key where it stands in one piece.
    fn cover(&self, text: &mut [u8]) {
        let mut from = 0;
        while let Some(at) = memchr::memmem::find(&text[from..], &self.bytes) {
            let end = from + at + self.bytes.len();
            text[from + at..end].fill(b'*');
            from = end;
        }
    }

    /// How many of a text's last bytes may be the beginning of the key.
    fn begun(&self, text: &[u8]) -> usize {
        let most = text.len().min(self.bytes.len() - 1);
        (1..=most).rev().find(|n| text.ends_with(&self.bytes[..*n])).unwrap_or(0)
    }

    /// How much of the key a text ends with when one more character comes.
    fn next(&self, mut length: usize, byte: u8) -> usize {
        if length == self.bytes.len() {
            length = self.back[length - 1];
        }
        while length > 0 && self.bytes[length] != byte {
            length = self.back[length - 1];
        }
        length + usize::from(self.bytes[length] == byte)
    }

    /// Follows the key through the strings of a line of JSON, field by field; `from` is where the line stands. Gives the
    /// places of the characters of each key that has come to its end.
    fn strings(
        &self,
        line: &[u8],
        from: usize,
        fields: &mut HashMap<u64, Matched>,
    ) -> Vec<Range<usize>> {
        let (mut name, mut at, mut found) = (&b""[..], 0, Vec::new());
        while let Some(open) = line.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let start = at + open + 1;
            let end = string_end(line, start);
            at = end + 1;
            let text = line.get(start..end).unwrap_or_default();
            let after = line.get(at..).unwrap_or_default().trim_ascii_start();
            if after.starts_with(b":") {
                name = text;
                continue;
            }
            let name = hashed(name);
            if !fields.contains_key(&name) {
                if fields.len() >= MOST_FIELDS {
                    fields.retain(|_, matched| matched.length > 0);
                }
                fields.insert(name, Matched::default());
            }
            if let Some(matched) = fields.get_mut(&name) {
                self.follow(text, from + start, matched, &mut found);
            }
        }
        found
    }

    fn follow(
        &self,
        text: &[u8],
        from: usize,
        matched: &mut Matched,
        found: &mut Vec<Range<usize>>,
    ) {
        let mut at = 0;
        while let Some((byte, length)) = character(text.get(at..).unwrap_or_default()) {
            matched.length = self.next(matched.length, byte);
            matched.places.push_back(from + at..from + at + length);
            while matched.places.len() > matched.length {
                matched.places.pop_front();
            }
            if matched.length == self.bytes.len() {
                found.extend(matched.places.drain(..));
                matched.length = 0;
            }
            at += length;
        }
    }
}

/// A field's name: it may be as long as a line is.
fn hashed(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

/// Where a string's closing quote stands, or the line's end.
fn string_end(line: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(next) = line.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        match line[at + next] {
            b'"' => return at + next,
            _ => at += next + 2,
        }
    }
    line.len()
}

/// The next character of a JSON string, as far as keys have it, and its length there.
fn character(text: &[u8]) -> Option<(u8, usize)> {
    let (first, rest) = text.split_first()?;
    if *first != b'\\' {
        return Some((*first, 1));
    }
    let digits = rest.get(1..5).filter(|_| rest.first() == Some(&b'u'));
    let code = digits.and_then(|d| u32::from_str_radix(std::str::from_utf8(d).ok()?, 16).ok());
    Some(match (code, rest.first()) {
        (Some(code), _) => (u8::try_from(code).unwrap_or(0), 6),
        (None, Some(escaped @ (b'"' | b'\\' | b'/'))) => (*escaped, 2),
        (None, Some(_)) => (0, 2),
        (None, None) => (0, 1),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-real-0123456789abcdefsk-real";

    fn key() -> Key {
        Key::new(KEY).unwrap()
    }

    /// What comes out of a text that comes in such pieces.
    fn guarded(events: bool, text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut guard = Guard::new(Some(&key()), events);
        let (mut out, mut from) = (Vec::new(), 0);
        for cut in cuts.iter().map(|cut| (*cut).min(text.len())).chain([text.len()]) {
            let cut = cut.max(from);
            out.extend(guard.push(Bytes::copy_from_slice(&text[from..cut])));
            from = cut;
        }
        out.extend(guard.finish());
        out
    }

    fn event(field: &str, text: &str) -> String {
        format!("event: x\ndata: {{\"type\":\"delta\",\"delta\":{{\"{field}\":\"{text}\"}}}}\n\n")
    }

    /// All that an agent puts together out of a field's texts.
    fn said(out: &[u8], field: &str) -> String {
        let text = String::from_utf8(out.to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| {
            let json: serde_json::Value = serde_json::from_str(data).unwrap();
            Some(json["delta"][field].as_str()?.to_owned())
        })
        .collect()
    }

    #[test]
    fn a_key_over_the_events_of_a_stream_does_not_come_in() {
        for size in 1..=KEY.len() {
            let morsels = KEY.as_bytes().chunks(size).map(|m| std::str::from_utf8(m).unwrap());
            let text: String = ["The key is "]
                .into_iter()
                .chain(morsels)
                .chain([" I think."])
                .map(|morsel| {
                    format!("{}: ping\n\n{}", event("text", morsel), event("other", "sk"))
                })
                .collect();
            let out = guarded(true, text.as_bytes(), &[]);
            assert_eq!(out.len(), text.len());
            let said = said(&out, "text");
            assert!(said.starts_with("The key is ") && said.ends_with(" I think."), "{said}");
            assert!(!said.contains(&KEY[3..]) && !said.contains(&KEY[..8]), "{size} {said}");
            let every: Vec<usize> = (0..text.len()).collect();
            let slowly = guarded(true, text.as_bytes(), &every);
            assert_eq!(slowly.len(), text.len());
            assert!(!self::said(&slowly, "text").contains(&KEY[3..]), "{size}");
        }
    }

    #[test]
    fn escapes_do_not_hide_it() {
        let escaped: String = KEY.bytes().map(|b| format!("\\u{b:04x}")).collect();
        let body = format!("{{\"error\":{{\"message\":\"wrong key {escaped}, {KEY}\"}}}}");
        let out = Guard::whole(Some(&key()), Bytes::from(body.clone()));
        assert_eq!(out.len(), body.len());
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let message = json["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("wrong key ****") && !message.contains("real"), "{message}");
        let text = event("text", &escaped);
        assert!(!said(&guarded(true, text.as_bytes(), &[70]), "text").contains("real"));
    }

    #[test]
    fn what_is_no_key_is_not_delayed() {
        let mut guard = Guard::new(Some(&key()), true);
        for text in ["a text that ends like sk-", "next", "sk-r", "eal", "ity"] {
            let event = event("text", text);
            let out = guard.push(Bytes::from(event.clone()));
            let delayed = ["sk-r", "eal"].contains(&text);
            assert_eq!(out.len() >= event.len(), !delayed, "{text}");
        }
        assert!(guard.held.is_empty());
        // A beginning that is never followed by the rest.
        guard.push(Bytes::from(event("text", "sk-real-")));
        for _ in 0..=MOST_LINES {
            guard.push(Bytes::from(event("other", "x")));
        }
        assert!(guard.held.is_empty());
    }

    #[test]
    fn without_a_key_all_comes_through() {
        let text = Bytes::from(event("text", KEY));
        let mut guard = Guard::new(None, true);
        assert_eq!(guard.push(text.clone()), text);
        assert_eq!((guard.finish().len(), Guard::whole(None, text.clone())), (0, text));
        assert!(Guard::new(Some(&Key::new("EMPTY").unwrap()), true).key.is_none());
    }

    #[test]
    fn a_line_without_an_end_passes_and_little_of_it_is_held() {
        let mut guard = Guard::new(Some(&key()), true);
        let event = event("text", "hello");
        assert_eq!(guard.push(Bytes::from(event.clone())).len(), event.len());
        // The key lies over the edge of two pieces each time.
        let (mut piece, cut) = (vec![b'x'; 64 << 10], 10);
        piece[..KEY.len() - cut].copy_from_slice(&KEY.as_bytes()[cut..]);
        let edge = piece.len() - cut;
        piece[edge..].copy_from_slice(&KEY.as_bytes()[..cut]);
        let (mut passed, mut most, mut out) = (0, 0, Vec::new());
        let mut take = |bytes: &[u8], most: &mut usize| {
            *most = (*most).max(bytes.len());
            passed += bytes.len();
            // The last bytes of what was passed before stay: a key may lie over the edge.
            out.drain(..out.len().saturating_sub(KEY.len()));
            out.extend_from_slice(bytes);
            assert!(memchr::memmem::find(&out, KEY.as_bytes()).is_none());
        };
        let mut held = 0;
        for _ in 0..1024 {
            let bytes = guard.push(Bytes::from(piece.clone()));
            take(&bytes, &mut most);
            held = held.max(guard.holds());
            assert!(guard.held.capacity() <= 3 * MOST_HELD && guard.fields.len() <= MOST_FIELDS);
        }
        assert!(held <= MOST_HELD + piece.len() && most <= MOST_HELD + 2 * piece.len());
        assert!(guard.holds() < KEY.len(), "a line that is too long is no longer held");
        // The next lines are read again.
        let split =
            format!("\n\n{}{}", self::event("text", &KEY[..20]), self::event("text", &KEY[20..]));
        let bytes = [guard.push(Bytes::from(split.clone())), guard.finish()].concat();
        take(&bytes, &mut most);
        assert_eq!(passed, 1024 * piece.len() + split.len());
        let end = String::from_utf8(bytes).unwrap();
        assert!(!end.contains(&KEY[..20]) && !end.contains(&KEY[20..]), "{end}");
    }

    #[test]
    fn many_small_pieces_of_a_line_are_searched_once() {
        let mut guard = Guard::new(Some(&key()), true);
        for _ in 0..MOST_HELD / 64 {
            assert!(guard.push(Bytes::from_static(&[b'x'; 64])).is_empty());
        }
        assert_eq!(guard.push(Bytes::from_static(b"x")).len(), MOST_HELD + 1);
        assert_eq!(guard.push(Bytes::from_static(b"x")).len(), 1);
    }

    #[test]
    fn long_lines_that_may_go_on_with_a_key_are_not_gathered() {
        let mut guard = Guard::new(Some(&key()), true);
        let long = "y".repeat(MOST_HELD / 2);
        for _ in 0..MOST_LINES {
            let line = format!("{{\"a\": \"{long}\", \"b\": \"{}\"}}\n", &KEY[..8]);
            guard.push(Bytes::from(line));
            assert!(guard.holds() <= MOST_HELD);
        }
    }

    proptest! {
        #[test]
        fn a_key_is_covered_wherever_it_is_cut(
            before in "[ -~\\n]{0,40}", after in "[ -~\\n]{0,40}", events: bool,
            mut cuts in proptest::collection::vec(0_usize..120, 0..6),
        ) {
            cuts.sort_unstable();
            let text = format!("{before}{KEY}{after}");
            let out = guarded(events, text.as_bytes(), &cuts);
            prop_assert_eq!(out.len(), text.len());
            prop_assert!(memchr::memmem::find(&out, KEY.as_bytes()).is_none());
            prop_assert!(out.starts_with(before.as_bytes()) || before.contains("sk"));
        }

        #[test]
        fn what_holds_no_key_stays(
            text in proptest::collection::vec(any::<u8>(), 0..400), events: bool,
            mut cuts in proptest::collection::vec(0_usize..400, 0..6),
        ) {
            cuts.sort_unstable();
            prop_assert_eq!(guarded(events, &text, &cuts), text);
        }
    }
}
