//! Values printed as Python prints them: chat templates were written against its jinja2 and json.

use std::fmt::{self, Write};

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Deepest nesting that is printed.
const DEEPEST: usize = 64;

/// `str(value)`: what `{{ value }}` prints.
pub(super) fn display(out: &mut dyn Write, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(()),
        ValueKind::String => Ok(out.write_str(value.as_str().unwrap_or_default())?),
        _ => repr(out, value, 0),
    }
}

/// `repr(value)`: a Python literal.
fn repr(out: &mut dyn Write, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::None => out.write_str("None")?,
        ValueKind::Bool => out.write_str(if value.is_true() { "True" } else { "False" })?,
        ValueKind::Number => number(out, value)?,
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default())?,
        ValueKind::Seq => {
            out.write_char('[')?;
            for (i, item) in value.try_iter()?.enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                repr(out, &item, depth + 1)?;
            }
            out.write_char(']')?;
        }
        ValueKind::Map => {
            out.write_char('{')?;
            for (i, key) in value.try_iter()?.enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                repr(out, &key, depth + 1)?;
                out.write_str(": ")?;
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.write_char('}')?;
        }
        _ => write!(out, "{value}")?,
    }
    Ok(())
}

fn check_depth(depth: usize) -> Result<(), Error> {
    if depth < DEEPEST {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("a value is nested deeper than {DEEPEST} levels"),
    ))
}

/// A string literal: single quotes unless only double quotes avoid an escape; what cannot be seen is escaped.
pub(crate) fn quoted(out: &mut dyn Write, text: &str) -> fmt::Result {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.write_char(quote)?;
    for c in text.chars() {
        match c {
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\\' => out.write_str("\\\\")?,
            c if c == quote => write!(out, "\\{c}")?,
            c if visible(c) => out.write_char(c)?,
            c => match u32::from(c) {
                code @ 0..=0xff => write!(out, "\\x{code:02x}")?,
                code @ 0x100..=0xffff => write!(out, "\\u{code:04x}")?,
                code => write!(out, "\\U{code:08x}")?,
            },
        }
    }
    out.write_char(quote)
}

/// Python's `str.isprintable` for one character, but for code points that Unicode has not given out.
fn visible(c: char) -> bool {
    let format = matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0001}'..='\u{e007f}' | '\u{f0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format)
}

/// A number; floats as `repr` spells them, shortest digits, exponent outside 1e-4 to 1e16.
fn number(out: &mut dyn Write, value: &Value) -> fmt::Result {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => write_float(out, float),
        _ => write!(out, "{value}"),
    }
}

/// A float as `repr` spells it.
pub(crate) fn write_float(out: &mut dyn Write, float: f64) -> fmt::Result {
    let scientific = format!("{float:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return out.write_str(&scientific);
    };
    match exponent.parse::<i32>() {
        Ok(e) if !(-4..16).contains(&e) => {
            write!(out, "{digits}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
        }
        _ => write!(out, "{float:?}"),
    }
}

/// The filter `tojson`: Python's `json.dumps` with `ensure_ascii=False`, and `indent` where given.
pub(crate) fn to_json(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for accepted in ["ensure_ascii", "separators", "sort_keys"] {
        if options.has(accepted) {
            let reason = format!("tojson knows `indent` alone, not `{accepted}`");
            return Err(Error::new(ErrorKind::TooManyArguments, reason));
        }
    }
    options.assert_all_used()?;
    let mut out = String::new();
    json(&mut out, value, indent, 0)?;
    Ok(Value::from_safe_string(out))
}

fn json(out: &mut String, value: &Value, indent: Option<usize>, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    let new_line = |out: &mut String, depth: usize| {
        if let Some(width) = indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width.min(16) * depth));
        }
    };
    let comma = if indent.is_some() { "," } else { ", " };
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => number(out, value)?,
        ValueKind::String => json_string(out, value.as_str().unwrap_or_default())?,
        ValueKind::Seq | ValueKind::Map if value.len() == Some(0) => {
            out.push_str(if value.kind() == ValueKind::Map { "{}" } else { "[]" });
        }
        kind @ (ValueKind::Seq | ValueKind::Map) => {
            let map = kind == ValueKind::Map;
            out.push(if map { '{' } else { '[' });
            for (i, item) in value.try_iter()?.enumerate() {
                out.push_str(if i == 0 { "" } else { comma });
                new_line(out, depth + 1);
                if map {
                    json_string(out, item.as_str().unwrap_or(&item.to_string()))?;
                    out.push_str(": ");
                    json(out, &value.get_item(&item)?, indent, depth + 1)?;
                } else {
                    json(out, &item, indent, depth + 1)?;
                }
            }
            new_line(out, depth);
            out.push(if map { '}' } else { ']' });
        }
        kind => {
            let reason = format!("a value of kind {kind} cannot be written as JSON");
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
    }
    Ok(())
}

fn json_string(out: &mut String, text: &str) -> Result<(), Error> {
    let text = serde_json::to_string(text)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    out.push_str(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::value::Serde;
    use serde_json::json;

    fn shown(value: serde_json::Value) -> String {
        let mut out = String::new();
        display(&mut out, &Value::from(Serde(value))).unwrap();
        out
    }

    fn dumped(value: serde_json::Value, options: Kwargs) -> String {
        to_json(&Value::from(Serde(value)), options).unwrap().to_string()
    }

    fn none() -> Kwargs {
        Kwargs::from_iter(Vec::<(&str, Value)>::new())
    }

    /// The right sides are what CPython 3.11 prints.
    #[test]
    fn values_print_as_python_prints_them() {
        let cases = [
            (json!(null), "None"),
            (json!(true), "True"),
            (json!("it's"), "it's"),
            (
                json!(["it's", "a \"b\"", "'\"", "\u{200b}é\u{a0}\n", "\u{1F600}"]),
                r#"["it's", 'a "b"', '\'"', '\u200bé\xa0\n', '😀']"#,
            ),
            (
                json!({"a": [1, 1.0, 1e16, 1e-5, 0.0001, -2.5e300], "b": {}}),
                "{'a': [1, 1.0, 1e+16, 1e-05, 0.0001, -2.5e+300], 'b': {}}",
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(value), expected);
        }
    }

    #[test]
    fn json_is_as_python_dumps_it() {
        let value = json!({"z": "Tübingen \"x\" \u{7f}\u{1}</b>", "a": [1, 2.0, 1e22, null, true], "e": [], "o": {}});
        assert_eq!(
            dumped(value.clone(), none()),
            "{\"z\": \"Tübingen \\\"x\\\" \u{7f}\\u0001</b>\", \"a\": [1, 2.0, 1e+22, null, true], \"e\": [], \"o\": {}}"
        );
        let indent = Kwargs::from_iter([("indent", Value::from(2))]);
        assert_eq!(
            dumped(json!({"a": [1, {"b": 2}], "e": []}), indent),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"e\": []\n}"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let mut value = json!(1);
        for _ in 0..100 {
            value = json!([value]);
        }
        let value = Value::from(Serde(value));
        assert!(display(&mut String::new(), &value).is_err());
        assert!(to_json(&value, none()).is_err());
        assert!(to_json(&Value::UNDEFINED, none()).is_err());
    }
}
