//! Pure scoring: a reply and a sample in, a grade out, or a program that has to be run for one.
//!
//! A family of scorers serves all benchmarks; none has code of its own. How each reads an answer, and where it
//! differs from other software's, is told in `docs/scorers.md`.

mod choice;
mod code;
mod number;
mod numerals;
mod numeric;
mod thought;
mod tool_call;

use ptb_core::registry::{Scorer, ScorerKind, ToolForm};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Sample;
use crate::error::TaskError;

pub use choice::letter;

/// What a model replied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reply<'a> {
    /// Its text.
    pub text: &'a str,
    /// The calls that the server read out of the reply; none where it reads no calls, and they stand in the text.
    pub tool_calls: Option<&'a [ToolCall]>,
    /// How calls look in the text.
    pub form: ToolForm,
}

impl<'a> Reply<'a> {
    /// A reply that is all text.
    pub fn text(text: &'a str) -> Self {
        Self { text, ..Self::default() }
    }
}

/// A call of a function, as a server reads it out of a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Name of the function.
    pub name: String,
    /// An object with the arguments, or (as OpenAI's API sends them) the text of one. The scorer reads the text
    /// as Python reads it; where it is not one of an object, it is a YAML value for the function's first parameter.
    pub arguments: Value,
}

/// A completion's grade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// 0 (wrong) to 1 (right).
    pub score: f64,
    /// The answer that was read, in one spelling per value; none where nothing readable was said.
    pub answer: Option<String>,
}

/// What a scorer makes of a reply.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its grade.
    Graded(Graded),
    /// A program, whose tests decide. It must run apart from them, where it can do no harm.
    Run(Program),
}

impl Outcome {
    /// The grade, where there is one.
    pub fn graded(self) -> Option<Graded> {
        match self {
            Self::Graded(graded) => Some(graded),
            Self::Run(_) => None,
        }
    }
}

/// A Python program that a model wrote, and the tests it must pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The sample's prompt (imports, signature, docstring), continued with the code of the completion.
    pub source: String,
    /// The function under test, which `source` is to define.
    pub entry_point: String,
    /// Python that defines `check(candidate)`, which raises where the candidate is wrong.
    pub tests: String,
}

/// Checks that a sample has what the scorer compares with.
///
/// # Errors
/// [`TaskError::Target`]: what it has cannot be compared with.
pub fn check(scorer: &Scorer, sample: &Sample) -> Result<(), TaskError> {
    match scorer.kind {
        ScorerKind::Numeric => numeric::target(&sample.target).map(drop),
        ScorerKind::Exact => Ok(()),
        ScorerKind::Choice => choice::check(sample),
        ScorerKind::Code => code::program(scorer, "", sample).map(drop),
        ScorerKind::ToolCall => tool_call::check(&sample.target),
    }
}

/// Grades a reply. Every reply has a grade; an error means that the sample ([`check`]) or the machine is at fault,
/// and no reply is to blame for it.
///
/// - numeric: the text's last number (see `docs/scorers.md`) equals the target by value.
/// - exact: the text equals the target, both without surrounding white space.
/// - choice: the last answer line names the target's letter.
/// - code: the text's code, for whoever runs it.
/// - tool-call: there is one call, and it equals the target as Python compares values.
pub fn score(scorer: &Scorer, reply: &Reply<'_>, sample: &Sample) -> Result<Outcome, TaskError> {
    let graded = match scorer.kind {
        ScorerKind::Numeric => numeric::grade(scorer.boxed, reply.text, &sample.target)?,
        ScorerKind::Exact => exact(reply.text, &sample.target),
        ScorerKind::Choice => choice::grade(reply.text, sample)?,
        ScorerKind::Code => return code::program(scorer, reply.text, sample).map(Outcome::Run),
        ScorerKind::ToolCall => tool_call::grade(reply, sample)?,
    };
    Ok(Outcome::Graded(graded))
}

/// Python's white space: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn exact(completion: &str, target: &str) -> Graded {
    let answer = completion.trim();
    let score = f64::from(answer == target.trim());
    Graded { score, answer: (!answer.is_empty()).then(|| answer.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numeric(boxed: bool) -> Scorer {
        Scorer { boxed, ..Scorer::new(ScorerKind::Numeric) }
    }

    fn graded(scorer: &Scorer, text: &str, target: &str) -> Graded {
        let sample = Sample { target: target.to_owned(), ..Sample::default() };
        score(scorer, &Reply::text(text), &sample).unwrap().graded().unwrap()
    }

    #[test]
    fn exact_compares_whole_texts() {
        let exact = Scorer::new(ScorerKind::Exact);
        assert_eq!(graded(&exact, " yes\n", "yes").score, 1.0);
        assert_eq!(graded(&exact, "yes.", "yes").score, 0.0);
        assert_eq!(graded(&exact, " ", "yes"), Graded { score: 0.0, answer: None });
    }

    #[test]
    fn a_target_that_is_no_number_is_an_error_of_the_data() {
        let sample = |target: &str| Sample { target: target.to_owned(), ..Sample::default() };
        for target in ["", "eighteen", "18 19", "1.2.3", "18%"] {
            assert!(check(&numeric(false), &sample(target)).is_err(), "{target}");
            let e = score(&numeric(false), &Reply::text("18"), &sample(target)).unwrap_err();
            assert!(e.to_string().contains("hint:"), "{e}");
        }
        for target in ["18", "-3", "14,000", "0.5", "$7"] {
            check(&numeric(false), &sample(target)).unwrap();
        }
    }

    proptest! {
        #[test]
        fn any_completion_has_a_grade(text in "\\PC*", more in any::<String>()) {
            for scorer in [numeric(false), numeric(true), Scorer::new(ScorerKind::Exact)] {
                for text in [&text, &more] {
                    let graded = graded(&scorer, text, "18");
                    prop_assert!(graded.score == 0.0 || graded.answer.is_some());
                }
            }
        }

        #[test]
        fn the_last_line_decides(before in "[a-z0-9 .\n]*", n in -100_000i64..100_000, target in -100i64..100) {
            let text = format!("{before}\nANSWER: {n}");
            let graded = graded(&numeric(false), &text, &target.to_string());
            prop_assert_eq!(graded.score == 1.0, n == target);
        }
    }
}
