//! What becomes of a character before words are compared: one table for all of Unicode's first plane.
//!
//! Compatibility forms are decomposed (Unicode's NFKD, <https://www.unicode.org/reports/tr15/>), case and accents are
//! dropped, letters of other scripts that look like Latin ones become these, and what cannot be seen (zero-width
//! characters, controls, variation selectors) is dropped without parting the word it stands in.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A character that parts words.
pub(super) const PART: u32 = 0;
/// A character that is as good as not there.
pub(super) const DROP: u32 = 1;
/// Added to a character that is a word by itself, as scripts without spaces have them.
pub(super) const ALONE: u32 = 1 << 31;
/// A character that folds into several; see [`several`].
pub(super) const SEVERAL: u32 = 2;

static TABLE: LazyLock<Vec<u32>> =
    LazyLock::new(|| (0..0x1_0000).map(|c| char::from_u32(c).map_or(PART, work_out)).collect());

/// What a character folds into: [`PART`], [`DROP`], [`SEVERAL`], or a code above those, with [`ALONE`] or without.
pub(super) fn fold(c: u32) -> u32 {
    match TABLE.get(c as usize) {
        Some(folded) => *folded,
        None => char::from_u32(c).map_or(PART, work_out),
    }
}

/// The characters that one folds into, for those of which [`fold`] says [`SEVERAL`].
pub(super) fn several(c: u32) -> impl Iterator<Item = u32> {
    char::from_u32(c).into_iter().flat_map(|c| c.nfkd()).filter(|c| !is_combining_mark(*c)).map(
        |c| {
            let lower = c.to_lowercase().next().unwrap_or(c);
            if lower.is_alphanumeric() { look_alike(lower) as u32 } else { PART }
        },
    )
}

fn work_out(c: char) -> u32 {
    if is_unseen(c) || is_combining_mark(c) {
        return DROP;
    }
    if ('\u{ac00}'..='\u{d7a3}').contains(&c) {
        return c as u32;
    }
    let mut parts = c.nfkd().filter(|c| !is_combining_mark(*c));
    let (first, more) = (parts.next(), parts.next().is_some());
    let Some(first) = first else { return DROP };
    if more {
        return if c.is_alphanumeric() || first.is_alphanumeric() { SEVERAL } else { PART };
    }
    let mut lower = first.to_lowercase();
    let first = lower.next().unwrap_or(first);
    if !first.is_alphanumeric() {
        return if matches!(first, '\u{2019}' | '\u{2bc}' | '\u{2018}' | '\u{201b}') {
            DROP
        } else {
            PART
        };
    }
    let first = look_alike(first);
    if is_alone(first) { first as u32 | ALONE } else { first as u32 }
}

/// Characters without a look of their own. Line ends and tabs part words.
fn is_unseen(c: char) -> bool {
    let unseen = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    unseen || (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}'))
}

/// Scripts that are written without spaces between words: Thai to Khmer, kana, Han.
fn is_alone(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{20000}'..='\u{3ffff}')
}

/// The Latin letter that a Cyrillic or Greek one is drawn like.
fn look_alike(c: char) -> char {
    match c {
        'а' | 'α' => 'a',
        'е' => 'e',
        'о' | 'ο' => 'o',
        'р' | 'ρ' => 'p',
        'с' => 'c',
        'х' | 'χ' => 'x',
        'у' => 'y',
        'і' | 'ι' => 'i',
        'ѕ' => 's',
        'ј' => 'j',
        'ԁ' => 'd',
        'ԛ' => 'q',
        'ԝ' => 'w',
        'һ' => 'h',
        'ν' => 'v',
        'κ' | 'к' => 'k',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(c: char) -> u32 {
        fold(c as u32)
    }

    #[test]
    fn forms_of_a_letter_are_one() {
        for c in ['A', 'a', 'Á', 'ä', 'Ａ', '𝐚', 'ⓐ', 'а'] {
            assert_eq!(folded(c), 'a' as u32, "{c}");
        }
        assert_eq!(folded('\u{200b}'), DROP);
        assert_eq!(folded('\u{e0041}'), DROP);
        assert_eq!(folded('’'), DROP);
        assert_eq!(folded('—'), PART);
        assert_eq!(folded('\u{a0}'), PART);
        assert_eq!(folded('酢'), '酢' as u32 | ALONE);
        assert_eq!(folded('ﬁ'), SEVERAL);
        assert_eq!(several('ﬁ' as u32).collect::<Vec<_>>(), ['f' as u32, 'i' as u32]);
    }
}
