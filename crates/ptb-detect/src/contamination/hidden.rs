//! Texts in base64, as a string of a record or a line of a file may hold them.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Shortest run of base64 digits, without `+` and `/`, that is looked at.
pub(super) const LEAST: usize = 20;
/// Shortest text that a whole run stands for.
const LEAST_TEXT: usize = 24;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Texts that a document holds in base64, each with its place. Line ends inside of a run, also as `\n`, are skipped.
pub(super) fn texts(document: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < document.len() {
        if !is_digit(document[at]) {
            at += 1;
            continue;
        }
        let (digits, end) = run(document, at);
        if digits.len() * 3 / 4 >= LEAST_TEXT
            && let Some(text) = decode(&digits)
        {
            found.push((at, text));
        }
        at = end.max(at + 1);
    }
    found
}

/// The digits from a place on, and where they end.
fn run(document: &[u8], from: usize) -> (Vec<u8>, usize) {
    let mut digits = Vec::new();
    let mut at = from;
    while let Some(&byte) = document.get(at) {
        if is_digit(byte) {
            digits.push(byte);
            at += 1;
            continue;
        }
        // Long lines are broken at 64 or 76 digits; a line end after fewer is the text's own.
        let gap = match &document[at..] {
            [b'\r', b'\n', next, ..] if is_digit(*next) => 2,
            [b'\n', next, ..] if is_digit(*next) => 1,
            [b'\\', b'n', next, ..] if is_digit(*next) => 2,
            _ => break,
        };
        if digits.len() < 60 {
            break;
        }
        at += gap;
    }
    (digits, at)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let engine =
        if digits.iter().any(|b| matches!(b, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    // A look at the beginning spares most of what is no text.
    let head = engine.decode(&digits[..digits.len().min(64) / 4 * 4]).ok()?;
    if !is_text(&head) {
        return None;
    }
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    let text = engine.decode(&digits[..whole]).ok()?;
    is_text(&text).then_some(text)
}

/// Nearly all bytes are what texts consist of.
fn is_text(bytes: &[u8]) -> bool {
    let odd =
        bytes.iter().filter(|b| (**b < 32 && !matches!(b, b'\t' | b'\n' | b'\r')) || **b == 127);
    odd.count() * 50 <= bytes.len()
        && String::from_utf8_lossy(bytes).chars().filter(|c| *c == '\u{fffd}').count() * 20
            <= bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_other_long_words_are_not() {
        let text =
            "Jill and her friends watch 4 movies every Saturday, and then some more of them.";
        let coded = base64::prelude::BASE64_STANDARD.encode(text);
        let document =
            format!("{{\"x\": \"{coded}\", \"hash\": \"{}\"}}", "0123456789abcdef".repeat(4));
        let found = texts(document.as_bytes());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, text.as_bytes());
        let (one, two) = coded.split_at(76);
        assert_eq!(texts(format!("{one}\n{two}").as_bytes())[0].1, text.as_bytes());
        let url = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode("what? ".repeat(9) + "ÿÿ>>>");
        assert_eq!(texts(url.as_bytes()).len(), 1);
    }
}
