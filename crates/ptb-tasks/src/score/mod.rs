//! Pure scoring: a reply and a sample in, a grade out, or a program that has to be run for one.
//!
//! A family of scorers serves all benchmarks; none has code of its own. How each reads an answer, and where it
//! differs from other software's, is told in `docs/scorers.md`.

mod choice;
mod code;
mod grade;
mod number;
mod numerals;
mod numeric;
pub mod pairwise;
mod pattern;
mod repetition;
pub mod rubric;
mod thought;
mod tool_call;

use ptb_core::registry::{Scorer, ScorerKind, ToolForm};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Sample;
use crate::error::TaskError;

pub use choice::letter;
pub use grade::{Grade, Verdict, Which};
pub use repetition::{limit_repetitions, shown};

/// What a model replied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reply<'a> {
    /// Its text.
    pub text: &'a str,
    /// The calls that the server read out of the reply; none where it reads no calls, and they stand in the text.
    pub tool_calls: Option<&'a [ToolCall]>,
    /// How calls look in the text.
    pub form: ToolForm,
    /// What a language model found, where one grades.
    pub grades: &'a [Grade],
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
    /// 0 (wrong) to 1 (right). A rubric's may be negative: more points were lost than won.
    pub score: f64,
    /// The answer that was read, in one spelling per value; none where nothing readable was said. Of grades, what they
    /// come to.
    pub answer: Option<String>,
    /// Pairwise: what each comparison gave, a strong verdict being three. Metrics are over these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<f64>,
}

impl Graded {
    /// A grade of one row.
    pub const fn new(score: f64, answer: Option<String>) -> Self {
        Self { score, answer, rows: Vec::new() }
    }
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
        ScorerKind::Regex => pattern::patterns(scorer, sample).map(drop).map_err(of_sample),
        // Criteria are checked as they are read, and a reply to compare with may be empty.
        ScorerKind::Rubric | ScorerKind::Pairwise => Ok(()),
        ScorerKind::Script => Err(own_program()),
    }
}

/// A script benchmark has no samples here, so that nothing of it is scored here.
fn own_program() -> TaskError {
    of_sample("it is scored by its own evaluate.py".to_owned())
}

fn of_sample(reason: String) -> TaskError {
    TaskError::Benchmark {
        benchmark: "data".to_owned(),
        reason,
        hint: "correct the record".to_owned(),
    }
}

/// Checks that grades from outside are those of a sample: one for each criterion, or one for each game. A verdict may
/// be missing (null).
///
/// # Errors
/// What is wrong with them.
pub fn check_grades(scorer: &Scorer, sample: &Sample, grades: &[Grade]) -> Result<(), String> {
    match scorer.kind {
        ScorerKind::Rubric if grades.len() != sample.criteria.len() => {
            Err(format!("there are {} grades for {} criteria", grades.len(), sample.criteria.len()))
        }
        ScorerKind::Rubric => rubric::met(sample, grades).map(drop),
        ScorerKind::Pairwise => pairwise::check(grades),
        _ => Ok(()),
    }
}

/// What a grader's reply says, as a verdict for a [`Grade`], with its explanation. Only for scorers that grade.
///
/// # Errors
/// What is wrong with the reply.
pub fn read_verdict(kind: ScorerKind, reply: &str) -> Result<(Verdict, Option<String>), String> {
    match kind {
        ScorerKind::Rubric => {
            let (met, why) = rubric::verdict(reply)?;
            Ok((Verdict::Met(met), why))
        }
        _ => Ok((Verdict::Better(pairwise::verdict(reply)?), None)),
    }
}

/// A text without a fence that says it is JSON around it.
fn fenced(text: &str) -> &str {
    let text = text.trim_matches(is_space);
    let text = text.strip_prefix("```json").unwrap_or(text);
    text.strip_suffix("```").unwrap_or(text).trim_matches(is_space)
}

/// Grades a reply. Every reply has a grade; an error means that the sample ([`check`]) or the machine is at fault,
/// and no reply is to blame for it.
///
/// - numeric: the text's last number (see `docs/scorers.md`) equals the target by value.
/// - exact: the text equals the target, both without surrounding white space.
/// - choice: the last answer line names the target's letter.
/// - code: the text's code, for whoever runs it.
/// - tool-call: there is one call, and it equals the target as Python compares values.
/// - regex: the text without thought has every required pattern and no forbidden one.
/// - rubric, pairwise: what the grades come to. A verdict that is missing is an error.
pub fn score(scorer: &Scorer, reply: &Reply<'_>, sample: &Sample) -> Result<Outcome, TaskError> {
    let graded = match scorer.kind {
        ScorerKind::Numeric => numeric::grade(scorer.boxed, reply.text, &sample.target)?,
        ScorerKind::Exact => exact(reply.text, &sample.target),
        ScorerKind::Choice => choice::grade(reply.text, sample)?,
        ScorerKind::Code => return code::program(scorer, reply.text, sample).map(Outcome::Run),
        ScorerKind::ToolCall => tool_call::grade(reply, sample)?,
        ScorerKind::Regex => pattern::grade(scorer, reply.text, sample).map_err(of_sample)?,
        ScorerKind::Rubric => rubric::grade(sample, reply.grades).map_err(ungraded)?,
        ScorerKind::Pairwise => pairwise::grade(reply.grades).map_err(ungraded)?,
        ScorerKind::Script => return Err(own_program()),
    };
    Ok(Outcome::Graded(graded))
}

fn ungraded(reason: String) -> TaskError {
    TaskError::Ungraded { reason }
}

/// Python's white space: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn exact(completion: &str, target: &str) -> Graded {
    let answer = completion.trim();
    let score = f64::from(answer == target.trim());
    Graded::new(score, (!answer.is_empty()).then(|| answer.to_owned()))
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
        assert_eq!(graded(&exact, " ", "yes"), Graded::new(0.0, None));
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
