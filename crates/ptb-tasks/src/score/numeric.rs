//! The numeric scorer: the last number of a text, compared by value.

use std::borrow::Cow;

use super::Graded;
use super::number::{self, LastNumber, Number, last_number};
use super::thought::said;
use crate::error::{TaskError, shorten};

/// Grades by the completion's last number; no number, or one that cannot be read, is a wrong answer.
pub(super) fn grade(boxed: bool, completion: &str, target: &str) -> Result<Graded, TaskError> {
    let target = self::target(target)?;
    let said = said(completion);
    let text = if boxed { unbox(&said) } else { Cow::Borrowed(&*said) };
    Ok(match last_number(&text) {
        LastNumber::Value(n) => Graded::new(f64::from(n == target), Some(n.to_string())),
        LastNumber::Unreadable(_) | LastNumber::None => Graded::new(0.0, None),
    })
}

/// A reference answer.
pub(super) fn target(target: &str) -> Result<Number, TaskError> {
    number::whole_text(target).ok_or_else(|| TaskError::Target {
        target: shorten(target),
        reason: "it is not a number".to_owned(),
    })
}

/// Takes away, in each line, the first `\boxed{` that holds something and the line's last `}`, as the
/// reference task for AIME does before it looks for a number.
fn unbox(text: &str) -> Cow<'_, str> {
    const OPEN: &str = "\\boxed{";
    if !text.contains(OPEN) {
        return Cow::Borrowed(text);
    }
    let unbox_line = |line: &str| -> Option<String> {
        let (before, rest) = line.split_once(OPEN)?;
        let end = rest.rfind('}').filter(|end| *end > 0)?;
        Some(format!("{before}{}{}", &rest[..end], &rest[end + 1..]))
    };
    let lines = text.split('\n').map(|l| unbox_line(l).map_or(Cow::Borrowed(l), Cow::Owned));
    Cow::Owned(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_opened_line_by_line() {
        let cases = [
            ("\\boxed{70}", "70"),
            ("a $\\boxed{m = 70}$.", "a $m = 70$."),
            ("\\boxed{70}\n\\boxed{71}", "70\n71"),
            ("\\boxed{70} and \\boxed{71}", "70} and \\boxed{71"),
            ("\\boxed{70", "\\boxed{70"),
            ("\\boxed{}", "\\boxed{}"),
            ("boxed{70}", "boxed{70}"),
        ];
        for (text, expected) in cases {
            assert_eq!(unbox(text), expected);
        }
    }
}
