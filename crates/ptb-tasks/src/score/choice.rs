//! The choice scorer: the letter on the last answer line.
//!
//! What counts as an answer line follows the reference's latest version, character classes and all, so that
//! results compare: `ANSWER:` (in any case) at the start of a line, the letter, and then a line's end or a full
//! stop; only where no such line is found, `ANSWER:` anywhere with the letter before anything that is no word.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{Graded, is_space};
use crate::data::Sample;
use crate::error::{TaskError, shorten};

/// Patterns in Python's classes: white space there has the four separators U+001C to U+001F as well, digits are
/// those of any script, and a word is letters, numbers and the underscore.
#[derive(Debug)]
struct Patterns {
    /// `$A$`.
    math: Regex,
    /// `**A**`.
    bold: Regex,
    /// `(A)` at the text's start or behind a colon or comma; what may follow is looked at by [`bare`].
    parens: Regex,
    /// An answer line.
    line: Regex,
    /// An answer in a line.
    inline: Regex,
}

static PATTERNS: LazyLock<Option<Patterns>> = LazyLock::new(|| {
    let regex = |pattern: &str| {
        let pattern = pattern.replace("SPACE", r"[\s\x1c-\x1f]*").replace("DIGIT", r"\p{Nd}");
        Regex::new(&pattern).ok()
    };
    Some(Patterns {
        math: regex(r"\$SPACE([A-Za-zDIGIT][A-Za-zDIGIT ,]*?)SPACE\$")?,
        bold: regex(r"\*\*SPACE([A-Za-zDIGIT][A-Za-zDIGIT ,]*?)SPACE\*\*")?,
        parens: regex(r"(?i)(\A|[:,])(SPACE)\(([A-Za-zDIGIT])\)")?,
        line: regex(r"(?im)^ANSWERSPACE:SPACE([A-Za-zDIGIT ,]+)SPACE(?:$|\n|\.)")?,
        inline: regex(r"(?i)ANSWERSPACE:SPACE([A-Za-zDIGIT ,]+)(?:[^\p{L}\p{N}_]|\z)")?,
    })
});

/// The letter of the choice at a 0-based place; none beyond `Z`.
pub fn letter(place: usize) -> Option<char> {
    ('A'..='Z').nth(place)
}

/// Checks that the target is the letter of one of the choices.
pub(super) fn check(sample: &Sample) -> Result<(), TaskError> {
    let mut letters = (0..sample.choices.len()).map(letter);
    let known = letters.any(|l| l.is_some_and(|l| sample.target.chars().eq([l])));
    if known {
        return Ok(());
    }
    let reason = format!("it is not the letter of one of {} choices", sample.choices.len());
    Err(TaskError::Target { target: shorten(&sample.target), reason })
}

/// Grades by the letter that was read; no letter, or one of no choice, is a wrong answer.
pub(super) fn grade(completion: &str, sample: &Sample) -> Result<Graded, TaskError> {
    check(sample)?;
    let answer = read(completion, sample.choices.len()).map(String::from);
    let score = f64::from(answer.as_deref() == Some(sample.target.as_str()));
    Ok(Graded::new(score, answer))
}

/// The letter that a text answers with, one of the first `choices`.
fn read(text: &str, choices: usize) -> Option<char> {
    let patterns = PATTERNS.as_ref()?;
    let text = patterns.math.replace_all(text, "$1");
    let text = patterns.bold.replace_all(&text, "$1");
    let text = bare(&text, &patterns.parens);
    let last = |pattern: &Regex| pattern.captures_iter(&text).last()?.get(1);
    let said = last(&patterns.line).or_else(|| last(&patterns.inline))?.as_str();
    let mut parts = said.trim().split(',').filter(|part| !part.is_empty());
    let (only, more) = (parts.next()?, parts.next());
    let mut upper = only.chars().flat_map(char::to_uppercase);
    let (letter, rest) = (upper.next()?, upper.next());
    let known = ('A'..='Z').take(choices).any(|l| l == letter);
    (more.is_none() && rest.is_none() && known).then_some(letter)
}

/// Takes the parentheses from `: (A)` where a comma, a full stop or the line's end follows.
fn bare<'t>(text: &'t str, parens: &Regex) -> Cow<'t, str> {
    let (mut out, mut copied) = (String::new(), 0);
    for found in parens.captures_iter(text) {
        let (Some(whole), Some(inner)) = (found.get(0), found.get(3)) else { continue };
        let after = &text[whole.end()..];
        let rest = after.trim_start_matches(is_space);
        let space = &after[..after.len() - rest.len()];
        let ended = rest.is_empty() || rest.starts_with([',', '.']) || space.contains('\n');
        if ended {
            out.push_str(&text[copied..inner.start() - 1]);
            out.push_str(inner.as_str());
            copied = whole.end();
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parentheses_go_only_where_the_answer_ends() {
        let cases = [
            ("ANSWER: (B)", "ANSWER: B"),
            ("ANSWER: (B).", "ANSWER: B."),
            ("ANSWER: (B) \nmore", "ANSWER: B \nmore"),
            ("(B)", "B"),
            ("ANSWER: (B) Paris", "ANSWER: (B) Paris"),
            ("x (B)", "x (B)"),
            (": (A), (B)", ": A, B"),
        ];
        for (text, expected) in cases {
            assert_eq!(bare(text, &PATTERNS.as_ref().unwrap().parens), expected, "{text}");
        }
    }

    #[test]
    fn letters_beyond_the_choices_are_none() {
        assert_eq!(read("ANSWER: C", 2), None);
        assert_eq!(read("ANSWER: C", 3), Some('C'));
        assert_eq!(read("ANSWER: Z", 26), Some('Z'));
        assert_eq!((letter(0), letter(25), letter(26)), (Some('A'), Some('Z'), None));
    }

    #[test]
    fn a_target_must_be_a_letter_of_a_choice() {
        let sample = |target: &str, choices: usize| Sample {
            target: target.to_owned(),
            choices: vec![String::new(); choices],
            ..Sample::default()
        };
        for (target, choices) in [("A", 0), ("C", 2), ("a", 4), ("", 4), ("AB", 4)] {
            let e = check(&sample(target, choices)).unwrap_err().to_string();
            assert!(e.contains("not the letter of one of") && e.contains("hint:"), "{e}");
        }
        check(&sample("D", 4)).unwrap();
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "(?i)[answer: (A)B*$\n.,é]{0,60}", more in any::<String>()) {
            let _ = read(&text, 4);
            let _ = read(&more, 4);
        }

        #[test]
        fn a_last_line_of_its_own_decides(before in "[a-d ANSWER:\n.]*", place in 0usize..4) {
            let letter = letter(place).unwrap();
            prop_assert_eq!(read(&format!("{before}\nANSWER: {letter}\n"), 4), Some(letter));
        }
    }
}
