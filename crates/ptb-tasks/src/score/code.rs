//! The code scorer's pure part: the code of a completion, as a program to be run.

use ptb_core::registry::Scorer;
use serde_json::Value;

use super::Program;
use super::thought::said;
use crate::data::Sample;
use crate::error::{TaskError, shorten};

/// The program that a completion makes with its sample.
pub(super) fn program(
    scorer: &Scorer,
    completion: &str,
    sample: &Sample,
) -> Result<Program, TaskError> {
    let field = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or_default();
        match sample.fields.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(TaskError::Target {
                target: shorten(&sample.id),
                reason: format!("the field `{name}` is not there, or not a text"),
            }),
        }
    };
    let entry_point = field(&scorer.entry_point)?;
    if !is_name(&entry_point) {
        let reason = "it is not the name of a Python function".to_owned();
        return Err(TaskError::Target { target: shorten(&entry_point), reason });
    }
    let source = format!("{}{}", sample.question, extract(&said(completion)));
    Ok(Program { source, entry_point, tests: field(&scorer.tests)? })
}

fn is_name(text: &str) -> bool {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    letters && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// The code that continues the prompt: the first fenced block (labelled `python` before unlabelled) without its
/// first lines up to the first that ends in a colon and has an indented one behind it. Without a block, all of
/// the completion.
///
/// A block that has no such line loses its first character. That is how the reference takes a function's head
/// away, it decides verdicts there, and so it does here.
fn extract(completion: &str) -> &str {
    const HEAD_END: &str = ":\n    ";
    let Some(code) = fenced(completion, "```python\n").or_else(|| fenced(completion, "```\n"))
    else {
        return completion;
    };
    match code.find(HEAD_END) {
        Some(at) => &code[at + ":\n".len()..],
        None => {
            let mut chars = code.chars();
            chars.next();
            chars.as_str()
        }
    }
}

/// What stands between the first `open` that is closed and its end.
fn fenced<'t>(text: &'t str, open: &str) -> Option<&'t str> {
    // An opening without an end has none for those behind it either.
    let (_, rest) = text.split_once(open)?;
    rest.split_once("```").map(|(code, _)| code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::registry::ScorerKind;
    use serde_json::json;

    fn scorer() -> Scorer {
        Scorer {
            tests: Some("test".to_owned()),
            entry_point: Some("entry_point".to_owned()),
            ..Scorer::new(ScorerKind::Code)
        }
    }

    fn sample(fields: Value) -> Sample {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        Sample { question: "def f(a):\n".to_owned(), fields, ..Sample::default() }
    }

    #[test]
    fn a_program_is_the_prompt_and_the_code() {
        let sample = sample(json!({"test": "def check(c): pass", "entry_point": "f"}));
        let program =
            program(&scorer(), "```python\ndef f(a):\n    return 1\n```", &sample).unwrap();
        assert_eq!(program.source, "def f(a):\n    return 1\n");
        assert_eq!((program.entry_point.as_str(), program.tests.len()), ("f", 18));
    }

    #[test]
    fn fields_that_are_missing_or_no_name_are_faults_of_the_data() {
        for (fields, told) in [
            (json!({"test": "x"}), "the field `entry_point` is not there"),
            (
                json!({"test": 1, "entry_point": "f"}),
                "the field `test` is not there, or not a text",
            ),
            (json!({"test": "x", "entry_point": "f()"}), "not the name of a Python function"),
            (json!({"test": "x", "entry_point": ""}), "not the name of a Python function"),
            (json!({"test": "x", "entry_point": "1f"}), "not the name of a Python function"),
        ] {
            let e = program(&scorer(), "", &sample(fields)).unwrap_err().to_string();
            assert!(e.contains(told) && e.contains("hint:"), "{e}");
        }
    }
}
