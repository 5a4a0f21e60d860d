//! From bytes to words: the one reader that the index, the first look and the comparison share.
//!
//! It reads raw bytes, of any encoding close to ASCII, and never fails: what is no UTF-8 parts words. In the form
//! [`Escapes::Decoded`] it undoes JSON's and Python's escapes as it goes, so that no text is copied.

use super::fold::{ALONE, DROP, PART, SEVERAL, fold, several};

/// Whether backslashes are signs of their own or begin an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Plain text.
    Plain,
    /// JSON, or the source of a program.
    Decoded,
}

/// A word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    /// Of the folded letters.
    pub(super) hash: u64,
    /// Where it begins in the bytes.
    pub(super) start: u32,
    /// Where it ends.
    pub(super) end: u32,
    /// First letter or digit as it stands: it tells numbers and capitals.
    pub(super) first: u32,
}

impl Word {
    pub(super) fn is_number(&self) -> bool {
        char::from_u32(self.first).is_some_and(char::is_numeric)
    }

    pub(super) fn is_capital(&self) -> bool {
        char::from_u32(self.first).is_some_and(char::is_uppercase)
    }
}

// What ASCII bytes mean; from `WORD` on a byte is the letter or digit it folds into.
const SPACE: u8 = 0;
const SKIP: u8 = 1;
const BACKSLASH: u8 = 2;
const COMMA: u8 = 3;
const WIDE: u8 = 4;
const WORD: u8 = b'0';

const CLASS: [u8; 256] = {
    let mut class = [SPACE; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        class[b] = match byte {
            b'0'..=b'9' | b'a'..=b'z' => byte,
            b'A'..=b'Z' => byte + 32,
            b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'\'' | 0..0x20 | 0x7f => SKIP,
            b'\\' => BACKSLASH,
            b',' => COMMA,
            0x80.. => WIDE,
            _ => SPACE,
        };
        b += 1;
    }
    class
};

/// Mixes one more folded letter in. Sequences of up to 12 letters of one case stay apart by themselves.
#[inline(always)]
fn push(state: u64, letter: u32) -> u64 {
    state.rotate_left(5).wrapping_add(letter as u64)
}

/// Spreads a word's state over all bits.
#[inline(always)]
fn finish(state: u64) -> u64 {
    let h = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    h ^ (h >> 32)
}

/// The hash of a text that is one word; for tables of words.
pub(super) fn hash_of(word: &str) -> u64 {
    let mut hash = 0;
    words(word.as_bytes(), Escapes::Plain, |w| hash = w.hash);
    hash
}

/// All words of a text.
pub(super) fn all_words(text: &[u8], escapes: Escapes) -> Vec<Word> {
    let mut found = Vec::with_capacity(text.len() / 6);
    words(text, escapes, |w| found.push(w));
    found
}

/// Tells the words of a text in order.
#[inline(always)]
pub(super) fn words(text: &[u8], escapes: Escapes, mut each: impl FnMut(Word)) {
    let mut reader = Reader { state: 0, start: usize::MAX, first: 0 };
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let class = CLASS[byte as usize];
        if class >= WORD {
            if reader.start == usize::MAX {
                reader.start = at;
                reader.first = byte as u32;
            }
            reader.state = push(reader.state, class as u32);
            at += 1;
            continue;
        }
        match class {
            SPACE => {
                reader.part(at, &mut each);
                at += 1;
            }
            SKIP => at += 1,
            COMMA => {
                let digits = reader.start != usize::MAX
                    && reader.first.wrapping_sub(b'0' as u32) < 10
                    && text.get(at + 1).is_some_and(u8::is_ascii_digit);
                if !digits {
                    reader.part(at, &mut each);
                }
                at += 1;
            }
            BACKSLASH if escapes == Escapes::Plain => {
                reader.part(at, &mut each);
                at += 1;
            }
            _ => {
                let (c, len) =
                    if class == BACKSLASH { escaped(&text[at..]) } else { decoded(&text[at..]) };
                reader.wide(c, at, len, &mut each);
                at += len;
            }
        }
    }
    reader.part(text.len(), &mut each);
}

struct Reader {
    state: u64,
    start: usize,
    first: u32,
}

impl Reader {
    #[inline(always)]
    fn part(&mut self, end: usize, each: &mut impl FnMut(Word)) {
        if self.start != usize::MAX {
            let (start, end) = (self.start as u32, end as u32);
            each(Word { hash: finish(self.state), start, end, first: self.first });
            self.start = usize::MAX;
            self.state = 0;
        }
    }

    #[inline(always)]
    fn letter(&mut self, folded: u32, c: u32, at: usize) {
        if self.start == usize::MAX {
            self.start = at;
            self.first = c;
        }
        self.state = push(self.state, folded);
    }

    fn wide(&mut self, c: u32, at: usize, len: usize, each: &mut impl FnMut(Word)) {
        let folded = fold(c);
        match folded {
            PART => self.part(at, each),
            DROP => {}
            SEVERAL => {
                for folded in several(c).filter(|folded| *folded != PART) {
                    self.letter(folded, c, at);
                }
            }
            alone if alone & ALONE != 0 => {
                self.part(at, each);
                self.letter(alone, c, at);
                self.part(at + len, each);
            }
            _ => self.letter(folded, c, at),
        }
    }
}

/// The character behind a backslash, and how many bytes it takes.
fn escaped(text: &[u8]) -> (u32, usize) {
    match text.get(1) {
        Some(b'u') => match hex(text, 2, 4) {
            Some(high @ 0xd800..0xdc00) if text.get(6..8) == Some(b"\\u") => {
                match hex(text, 8, 4) {
                    Some(low @ 0xdc00..0xe000) => {
                        (0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12)
                    }
                    _ => (b' ' as u32, 6),
                }
            }
            Some(c) => (c, 6),
            None => (b' ' as u32, 1),
        },
        Some(b'x') => hex(text, 2, 2).map_or((b' ' as u32, 1), |c| (c, 4)),
        Some(b'U') => hex(text, 2, 8).map_or((b' ' as u32, 1), |c| (c, 10)),
        Some(b'\'') => (b'\'' as u32, 2),
        Some(b'n' | b't' | b'r' | b'b' | b'f' | b'\\' | b'"' | b'/') => (b' ' as u32, 2),
        _ => (b' ' as u32, 1),
    }
}

fn hex(text: &[u8], from: usize, len: usize) -> Option<u32> {
    let mut value = 0u32;
    for byte in text.get(from..from + len)? {
        value = value << 4 | (*byte as char).to_digit(16)?;
    }
    Some(value)
}

/// The UTF-8 character at the beginning, and its length; of other bytes a character that parts words.
fn decoded(text: &[u8]) -> (u32, usize) {
    let tail = |i: usize| text.get(i).filter(|b| **b & 0xc0 == 0x80).map(|b| (b & 0x3f) as u32);
    let lead = text[0] as u32;
    let read = match lead {
        0xc2..0xe0 => tail(1).map(|a| ((lead & 0x1f) << 6 | a, 2)),
        0xe0..0xf0 => tail(1).zip(tail(2)).map(|(a, b)| ((lead & 0x0f) << 12 | a << 6 | b, 3)),
        0xf0..0xf5 => tail(1)
            .zip(tail(2))
            .zip(tail(3))
            .map(|((a, b), c)| ((lead & 7) << 18 | a << 12 | b << 6 | c, 4)),
        _ => None,
    };
    read.unwrap_or((b' ' as u32, 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(text: &str, escapes: Escapes) -> Vec<u64> {
        all_words(text.as_bytes(), escapes).iter().map(|w| w.hash).collect()
    }

    #[test]
    fn disguises_of_a_text_have_the_same_words() {
        let plain = hashes("Janet's ducks lay 16000 eggs per day", Escapes::Plain);
        assert_eq!(plain.len(), 7);
        for other in [
            "janet’s   DUCKS\nlay 16,000 eggs -- per (day)",
            "Ja\u{200b}net's du\u{ad}cks lay １６０００ eggs per day.",
            "Jänet’s duсks láy 16000 eggs per day",
            "J\0a\0n\0e\0t\0's d\0u\0cks lay 16000 eggs per day",
        ] {
            assert_eq!(hashes(other, Escapes::Plain), plain, "{other}");
        }
        let json = serde_json::to_string("Janet’s ducks lay\n16000 \"eggs\" per\tday").unwrap();
        assert_eq!(hashes(&json, Escapes::Decoded), plain);
        let escaped = "\"Janet\\u2019s \\ud835\\udc1d\\u0075cks lay\\n16000 eggs per day\"";
        assert_eq!(hashes(escaped, Escapes::Decoded), plain);
    }

    #[test]
    fn scripts_without_spaces_have_a_word_per_character() {
        assert_eq!(hashes("お酢の詩", Escapes::Plain).len(), 4);
        assert_eq!(hashes("привет мир", Escapes::Plain).len(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_words_lie_in_order(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for escapes in [Escapes::Plain, Escapes::Decoded] {
                let mut end = 0;
                for word in all_words(&bytes, escapes) {
                    prop_assert!(word.start >= end && word.end > word.start);
                    prop_assert!(word.end as usize <= bytes.len());
                    end = word.end;
                }
            }
        }

        #[test]
        fn a_string_and_its_json_have_the_same_words(text in "[a-zA-Z0-9 ,.éß酢\\u{200b}\"\n\t]{0,60}") {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(hashes(&text, Escapes::Plain), hashes(&json, Escapes::Decoded));
        }
    }
}
