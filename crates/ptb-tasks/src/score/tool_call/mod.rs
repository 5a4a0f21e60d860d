//! The tool-call scorer: one call, its function and arguments equal to the target's.

mod arguments;
mod python;
mod text;
mod value;
mod yaml;

use indexmap::IndexMap;

use super::{Graded, Reply};
use crate::data::Sample;
use crate::error::{TaskError, shorten};
use value::Plain;

/// Longest answer that is told, in characters.
const LONGEST_ANSWER: usize = 2000;

/// A call with its arguments as values.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    name: String,
    arguments: IndexMap<String, Plain>,
}

/// The calls of a reply, each readable or not, as far as they decide its grade.
type Calls = Vec<Result<Call, String>>;

/// As many calls are read as it takes to know that there is more than one.
const ENOUGH: usize = 2;

/// Checks that a reference answer is one call in Python.
pub(super) fn check(target: &str) -> Result<(), TaskError> {
    read(target).map(drop)
}

fn read(target: &str) -> Result<Call, TaskError> {
    let fail = |reason: String| TaskError::Target { target: shorten(target), reason };
    let mut calls = python::calls(target)?.map_err(fail)?;
    match (calls.pop(), calls.is_empty()) {
        (Some(call), true) => Ok(call),
        _ => Err(fail("it is not one call of a function".to_owned())),
    }
}

/// Grades the calls of a reply: those that the server read, else those of its text. A call that cannot be read
/// is a call, and a wrong one.
pub(super) fn grade(reply: &Reply<'_>, sample: &Sample) -> Result<Graded, TaskError> {
    let target = read(&sample.target)?;
    let calls: Calls = match reply.tool_calls {
        Some(calls) => calls
            .iter()
            .take(ENOUGH)
            .map(|call| {
                let arguments = arguments::of_value(&call.name, &call.arguments, &sample.tools)?;
                Ok(Call { name: call.name.clone(), arguments })
            })
            .collect(),
        None => text::calls(reply.text, reply.form, &sample.tools)?,
    };
    let right = matches!(calls.as_slice(), [Ok(call)] if *call == target);
    Ok(Graded::new(f64::from(right), answer(&calls)))
}

/// The calls that could be read, for people.
fn answer(calls: &Calls) -> Option<String> {
    let shown: Vec<String> = calls.iter().flatten().map(Call::to_string).collect();
    let shown = Some(shown.join("; ")).filter(|s| !s.is_empty())?;
    Some(match shown.char_indices().nth(LONGEST_ANSWER) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    })
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}(", self.name)?;
        for (i, (name, value)) in self.arguments.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::super::ToolCall;
    use super::*;
    use serde_json::json;

    #[test]
    fn a_target_that_is_not_one_call_is_an_error_of_the_data() {
        for text in
            ["", "f", "f(1)", "f(**a)", "f(a=b)", "f(a=1); g()", "[f(a=1), f()]", "f(a=", "x = f()"]
        {
            let e = check(text).unwrap_err().to_string();
            assert!(e.contains("cannot score against") && e.contains("hint:"), "{text}: {e}");
        }
        check("f(a=1, b=(2, -3.5))").unwrap();
    }

    #[test]
    fn long_answers_are_cut() {
        let sample = Sample { target: "f(a=1)".to_owned(), ..Sample::default() };
        let calls = [ToolCall { name: "é".repeat(5000), arguments: json!({}) }];
        let reply = Reply { tool_calls: Some(&calls), ..Reply::default() };
        let graded = grade(&reply, &sample).unwrap();
        assert_eq!(graded.answer.unwrap().chars().count(), LONGEST_ANSWER + 1);
    }
}
