//! Texts on their way from a line of output to the records: as they stood in their JSON, for as long as can be.
//!
//! A tool's output of many megabytes is copied from the line into the trajectory without being unescaped and
//! escaped again. Only what a person is shown of it, its head and tail, is decoded.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Deepest nesting of a JSON value that is written as it came: readers of the trajectory have limits of 128.
const DEEPEST: usize = 64;
/// Longest number, in characters: Python refuses integers of more than 4300 digits.
const LONGEST_NUMBER: usize = 64;

/// A text: a JSON string literal with its quotes, or characters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Text<'a> {
    /// A valid JSON string literal.
    Json(&'a str),
    /// The characters themselves.
    Plain(&'a str),
}

impl<'a> Text<'a> {
    /// A JSON string's text; of any other value its JSON.
    pub(crate) fn of(raw: &'a RawValue) -> Self {
        match raw.get().starts_with('"') {
            true => Self::Json(raw.get()),
            false => Self::Plain(raw.get()),
        }
    }

    /// What stands between the quotes, or the characters.
    fn inner(&self) -> &'a str {
        match self {
            Self::Json(literal) => literal.get(1..literal.len().saturating_sub(1)).unwrap_or(""),
            Self::Plain(text) => text,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner().is_empty()
    }

    /// Bytes as it stands here.
    pub(crate) fn size(&self) -> usize {
        self.inner().len()
    }

    /// The characters.
    pub(crate) fn decode(&self) -> Cow<'a, str> {
        match self {
            Self::Plain(text) => Cow::Borrowed(text),
            Self::Json(literal) if memchr::memchr(b'\\', literal.as_bytes()).is_none() => {
                Cow::Borrowed(self.inner())
            }
            Self::Json(literal) => Cow::Owned(decode(literal)),
        }
    }

    /// The characters of about the first `head` and the last `tail` bytes, and the bytes between.
    pub(crate) fn ends(&self, head: usize, tail: usize) -> Ends<'a> {
        let inner = self.inner();
        if inner.len() <= head + tail {
            return Ends { head: self.decode(), left_out: 0, tail: Cow::Borrowed("") };
        }
        let Self::Json(_) = self else { return cut(inner, head, tail) };
        let from = inner.len() - tail;
        let (a, b) = (
            (head.saturating_sub(64)..=head).rev().find(|p| is_seam(inner, *p)),
            (from..(from + 64).min(inner.len())).find(|p| is_seam(inner, *p)),
        );
        let (Some(a), Some(b)) = (a, b) else { return cut_owned(&self.decode(), head, tail) };
        let piece = |s: &str| Cow::Owned(decode(&format!("\"{s}\"")));
        Ends { head: piece(&inner[..a]), left_out: b - a, tail: piece(&inner[b..]) }
    }
}

fn decode(literal: &str) -> String {
    serde_json::from_str(literal).unwrap_or_else(|_| literal.to_owned())
}

/// Whether a literal can be cut here: no escape, and no pair of escapes, reaches over this place.
fn is_seam(inner: &str, at: usize) -> bool {
    inner.is_char_boundary(at) && !inner.as_bytes()[at.saturating_sub(6)..at].contains(&b'\\')
}

fn cut(text: &str, head: usize, tail: usize) -> Ends<'_> {
    let a = text.floor_char_boundary(head);
    let b = text.ceil_char_boundary(text.len() - tail.min(text.len())).max(a);
    Ends { head: Cow::Borrowed(&text[..a]), left_out: b - a, tail: Cow::Borrowed(&text[b..]) }
}

fn cut_owned(text: &str, head: usize, tail: usize) -> Ends<'static> {
    let Ends { head, left_out, tail } = cut(text, head, tail);
    Ends { head: Cow::Owned(head.into_owned()), left_out, tail: Cow::Owned(tail.into_owned()) }
}

/// Both ends of a text.
#[derive(Debug, PartialEq)]
pub(crate) struct Ends<'a> {
    pub(crate) head: Cow<'a, str>,
    /// Bytes between the two, as they stood; 0 when the head is all.
    pub(crate) left_out: usize,
    pub(crate) tail: Cow<'a, str>,
}

/// A JSON string literal under construction, without its quotes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JsonText(String);

impl JsonText {
    /// Adds a text.
    pub(crate) fn push(&mut self, text: Text<'_>) {
        match text {
            Text::Json(_) => self.0.push_str(text.inner()),
            Text::Plain(text) => {
                let literal = serde_json::to_string(text).unwrap_or_default();
                self.0.push_str(Text::Json(&literal).inner());
            }
        }
    }

    /// Adds a text on a line of its own.
    pub(crate) fn push_line(&mut self, text: Text<'_>) {
        if !self.0.is_empty() && !text.is_empty() {
            self.0.push_str("\\n");
        }
        self.push(text);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What stands between the quotes.
    pub(crate) fn escaped(&self) -> &str {
        &self.0
    }
}

impl From<&str> for JsonText {
    fn from(text: &str) -> Self {
        let mut made = Self::default();
        made.push(Text::Plain(text));
        made
    }
}

/// A JSON string's characters; nothing for any other value.
pub(crate) fn string<'a>(raw: Option<&'a RawValue>) -> Option<Cow<'a, str>> {
    let raw = raw?;
    raw.get().starts_with('"').then(|| Text::Json(raw.get()).decode())
}

/// A count of tokens: a whole number that is not negative.
pub(crate) fn count(raw: Option<&RawValue>) -> u64 {
    raw.and_then(|r| serde_json::from_str(r.get()).ok()).unwrap_or(0)
}

/// An amount of money or time: finite and not negative.
pub(crate) fn amount(raw: Option<&RawValue>) -> Option<f64> {
    let number: f64 = serde_json::from_str(raw?.get()).ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// Whether it is `true`.
pub(crate) fn truth(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|r| r.get() == "true")
}

/// Whether a valid JSON text is an object that every reader takes.
pub(crate) fn is_tame_object(json: &str) -> bool {
    json.starts_with('{') && is_tame(json)
}

/// Whether every reader takes a valid JSON text: it is not too deep and has no absurd numbers.
pub(crate) fn is_tame(json: &str) -> bool {
    let (bytes, mut at, mut depth) = (json.as_bytes(), 0, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                let len = rest
                    .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
                    .unwrap_or(rest.len());
                let finite = rest[..len].parse::<f64>().is_ok_and(f64::is_finite);
                if len > LONGEST_NUMBER || !finite {
                    return false;
                }
                at += len - 1;
            }
            _ => {}
        }
        if depth > DEEPEST {
            return false;
        }
        at += 1;
    }
    true
}

/// Where the string ends whose first character is at `at`: the place of its closing quote.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(n) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += n;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// A line with its lone surrogate escapes replaced. JavaScript's `JSON.stringify` writes `\ud83d` when a program cut
/// a text within a character; no reader of Unicode text takes that.
pub(crate) fn whole_characters(line: &str) -> Cow<'_, str> {
    let bytes = line.as_bytes();
    let suspect = memchr::memmem::find_iter(bytes, b"\\u")
        .any(|at| matches!(bytes.get(at + 2..at + 4), Some([b'd' | b'D', x]) if x.to_ascii_lowercase() > b'7'));
    if !suspect {
        return Cow::Borrowed(line);
    }
    let (mut made, mut from, mut at) = (String::with_capacity(line.len()), 0, 0);
    while let Some(n) = memchr::memchr(b'\\', bytes.get(at..).unwrap_or_default()) {
        at += n;
        match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at += 12,
            (Some(0xD800..=0xDFFF), _) => {
                made.push_str(&line[from..at]);
                made.push_str("\\ufffd");
                at += 6;
                from = at;
            }
            _ => at += 2,
        }
    }
    made.push_str(&line[from..]);
    Cow::Owned(made)
}

/// The UTF-16 unit of an escape `\uXXXX` at this place.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let [b'\\', b'u', digits @ ..] = bytes.get(at..at + 6)? else { return None };
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_stay() {
        let cases = [
            (r#""a\ud83d""#, r#""a\ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83dx""#, r#""\\\ufffdx""#),
            (r#""\ude00\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#),
            (r#""\u001b[0m\uD800\uD800""#, r#""\u001b[0m\ufffd\ufffd""#),
            (r"\ud8", r"\ud8"),
        ];
        for (given, wanted) in cases {
            assert_eq!(whole_characters(given), wanted);
        }
    }

    #[test]
    fn wild_values_are_not_tame() {
        for tame in [r#"{}"#, r#"{"a":[1,-2.5e3,{"b":"]]]{{"}]}"#, r#"{"a":"\"}\\"}"#] {
            assert!(is_tame_object(tame), "{tame}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
        let long = format!("{{\"a\":{}}}", "9".repeat(5000));
        for wild in ["[]", "5", r#"{"a":1e999}"#, &deep, &long] {
            assert!(!is_tame_object(wild), "{wild}");
        }
    }

    proptest! {
        #[test]
        fn both_ends_are_parts_of_the_text(text in "(\\PC|[\\\\\"\n\u{1b}😀é]){0,400}", head in 0usize..200, tail in 0usize..200) {
            let literal = serde_json::to_string(&text).unwrap();
            let given = Text::Json(&literal);
            prop_assert_eq!(given.decode(), &*text);
            let ends = given.ends(head, tail);
            prop_assert!(text.starts_with(&*ends.head));
            prop_assert!(text.ends_with(&*ends.tail));
            prop_assert!(ends.left_out > 0 || ends.head.len() + ends.tail.len() == text.len());
            let mut copy = JsonText::default();
            copy.push(given);
            let copied: String = serde_json::from_str(&format!("\"{}\"", copy.escaped())).unwrap();
            prop_assert_eq!(copied, text);
        }

        #[test]
        fn escapes_of_units_become_readable(units in proptest::collection::vec(0xD700u16..0xE100, 0..20)) {
            let literal: String = units.iter().map(|u| format!("\\u{u:04x}")).collect();
            let literal = format!("\"{literal}\"");
            let read: String = serde_json::from_str(&whole_characters(&literal)).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }
    }
}
