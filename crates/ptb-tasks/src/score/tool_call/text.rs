//! Calls in a model's text.

use jiter::JsonValue;
use ptb_core::registry::ToolForm;
use serde_json::Value;

use super::value::Plain;
use super::{Call, Calls, ENOUGH, arguments, python};
use crate::error::TaskError;

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const CODE: &str = "```tool_code";

/// The first calls of a text, at most [`ENOUGH`]. What is thought (up to the last `</think>`) calls nothing.
///
/// # Errors
/// When the machine cannot read them.
pub(super) fn calls(text: &str, form: ToolForm, tools: &[Value]) -> Result<Calls, TaskError> {
    let said = text.rsplit_once("</think>").map_or(text, |(_, said)| said);
    let calls: Calls = elements(said).take(ENOUGH).map(|body| of_json(body, tools)).collect();
    match form {
        ToolForm::Gemma if calls.is_empty() => {
            let blocks = blocks(said).take(ENOUGH).map(of_python);
            Ok(blocks.collect::<Result<Vec<_>, _>>()?.concat())
        }
        ToolForm::Gemma | ToolForm::Hermes => Ok(calls),
    }
}

/// What the elements `<tool_call>` hold; the last one may lack its end, where a stop text has cut it.
fn elements(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (_, body) = rest.split_once(OPEN)?;
        let (body, after) = body.split_once(CLOSE).unwrap_or((body, ""));
        rest = after;
        Some(body)
    })
}

/// `{"name": ..., "arguments": {...}}`; the arguments may be the text of an object.
fn of_json(body: &str, tools: &[Value]) -> Result<Call, String> {
    let JsonValue::Object(fields) = arguments::json(body)? else {
        return Err("a call is not an object".to_owned());
    };
    let field = |name: &str| fields.iter().rev().find(|(key, _)| key == name).map(|(_, v)| v);
    let Some(JsonValue::Str(name)) = field("name") else {
        return Err("a call has no `name`".to_owned());
    };
    let arguments = match field("arguments") {
        Some(JsonValue::Str(text)) => arguments::of_text(name, text, tools)?,
        Some(value) => arguments::of_plain(Plain::of_python_json(value))?,
        None => return Err("a call has no `arguments`".to_owned()),
    };
    Ok(Call { name: name.clone().into_owned(), arguments })
}

/// What the fenced blocks labelled `tool_code` hold.
fn blocks(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (_, body) = rest.split_once(CODE)?;
        let (body, after) = body.split_once("```").unwrap_or((body, ""));
        rest = after;
        Some(body)
    })
}

fn of_python(source: &str) -> Result<Calls, TaskError> {
    Ok(match python::calls(source)? {
        Ok(calls) => calls.into_iter().take(ENOUGH).map(Ok).collect(),
        Err(reason) => vec![Err(reason)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, form: ToolForm) -> Vec<String> {
        let shown = |call: Result<Call, String>| call.map_or_else(|e| e, |c| c.to_string());
        calls(text, form, &[]).unwrap().into_iter().map(shown).collect()
    }

    #[test]
    fn elements_and_blocks_are_found() {
        use ToolForm::{Gemma, Hermes};
        let element = r#"<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>"#;
        let block = "```tool_code\nf(a=1)\n```";
        for (text, form, expected) in [
            (element, Hermes, vec!["f(a=1)"]),
            (element, Gemma, vec!["f(a=1)"]),
            (block, Hermes, vec![]),
            (block, Gemma, vec!["f(a=1)"]),
            (&element.replace("</tool_call>", ""), Hermes, vec!["f(a=1)"]),
            (&element.repeat(3), Hermes, vec!["f(a=1)", "f(a=1)"]),
            (&format!("{block}{element}"), Gemma, vec!["f(a=1)"]),
            (&format!("<think>{element}</think>I call none."), Hermes, vec![]),
            ("<tool_call>", Hermes, vec!["the text is not JSON: EOF while parsing a value"]),
            ("<tool_call>[]</tool_call>", Hermes, vec!["a call is not an object"]),
            ("```tool_code\n```", Gemma, vec![]),
        ] {
            assert_eq!(shown(text, form), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(
            parts in proptest::collection::vec("(<tool_call>|</tool_call>|```tool_code\n|```|</think>|\\{\"name\": \"f\", |\"arguments\": |\\{\\}|\\}|f\\(a=1\\)|\\PC{0,4})", 0..12)
        ) {
            let text = parts.concat();
            for form in [ToolForm::Hermes, ToolForm::Gemma] {
                prop_assert!(calls(&text, form, &[]).unwrap().len() <= ENOUGH * ENOUGH);
            }
        }
    }
}
