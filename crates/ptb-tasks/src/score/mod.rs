//! Pure scoring: a completion and a reference answer in, a grade out.

mod number;
mod numerals;

use std::borrow::Cow;

use ptb_core::registry::{Scorer, ScorerKind};
use serde::{Deserialize, Serialize};

use crate::error::{TaskError, shorten};

pub use number::{LastNumber, Number, last_number};

/// A completion's grade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// 0 (wrong) to 1 (right).
    pub score: f64,
    /// The answer that was read, in one spelling per value; none where nothing readable was said.
    pub answer: Option<String>,
}

/// Checks that a reference answer is one the scorer can compare with.
pub fn check_target(scorer: &Scorer, target: &str) -> Result<(), TaskError> {
    match scorer.kind {
        ScorerKind::Numeric => numeric_target(target).map(drop),
        ScorerKind::Exact => Ok(()),
    }
}

/// Grades a completion. Every text has a grade; an error means that the reference answer is not one
/// ([`check_target`]), and no completion is to blame for it.
///
/// - numeric: the completion's last number (see [`last_number`]) equals the target by value. No number, or
///   a last number that cannot be read, is a wrong answer.
/// - exact: the completion equals the target, both without surrounding white space.
pub fn score(scorer: &Scorer, completion: &str, target: &str) -> Result<Graded, TaskError> {
    match scorer.kind {
        ScorerKind::Numeric => {
            let target = numeric_target(target)?;
            let text = if scorer.boxed { unbox(completion) } else { Cow::Borrowed(completion) };
            Ok(match last_number(&text) {
                LastNumber::Value(n) => {
                    Graded { score: f64::from(n == target), answer: Some(n.to_string()) }
                }
                LastNumber::Unreadable(_) | LastNumber::None => Graded { score: 0.0, answer: None },
            })
        }
        ScorerKind::Exact => {
            let answer = completion.trim();
            let score = f64::from(answer == target.trim());
            Ok(Graded { score, answer: (!answer.is_empty()).then(|| answer.to_owned()) })
        }
    }
}

fn numeric_target(target: &str) -> Result<Number, TaskError> {
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
    use proptest::prelude::*;

    const NUMERIC: Scorer = Scorer { kind: ScorerKind::Numeric, boxed: false };
    const BOXED: Scorer = Scorer { kind: ScorerKind::Numeric, boxed: true };
    const EXACT: Scorer = Scorer { kind: ScorerKind::Exact, boxed: false };

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

    #[test]
    fn exact_compares_whole_texts() {
        assert_eq!(score(&EXACT, " yes\n", "yes").unwrap().score, 1.0);
        assert_eq!(score(&EXACT, "yes.", "yes").unwrap().score, 0.0);
        assert_eq!(score(&EXACT, " ", "yes").unwrap(), Graded { score: 0.0, answer: None });
    }

    #[test]
    fn a_target_that_is_no_number_is_an_error_of_the_data() {
        for target in ["", "eighteen", "18 19", "1.2.3", "18%"] {
            assert!(check_target(&NUMERIC, target).is_err(), "{target}");
            let e = score(&NUMERIC, "18", target).unwrap_err().to_string();
            assert!(e.contains("hint:"), "{e}");
        }
        for target in ["18", "-3", "14,000", "0.5", "$7"] {
            check_target(&NUMERIC, target).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_completion_has_a_grade(text in "\\PC*", more in any::<String>()) {
            for scorer in [NUMERIC, BOXED, EXACT] {
                for text in [&text, &more] {
                    let graded = score(&scorer, text, "18").unwrap();
                    prop_assert!(graded.score == 0.0 || graded.answer.is_some());
                }
            }
        }

        #[test]
        fn the_last_line_decides(before in "[a-z0-9 .\n]*", n in -100_000i64..100_000, target in -100i64..100) {
            let text = format!("{before}\nANSWER: {n}");
            let graded = score(&NUMERIC, &text, &target.to_string()).unwrap();
            prop_assert_eq!(graded.score == 1.0, n == target);
        }
    }
}
