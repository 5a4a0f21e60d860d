//! Arguments of a call: an object, the text of one, or a lone value for the first parameter.

use indexmap::IndexMap;
use jiter::JsonValue;
use serde_json::Value;

use super::value::{Key, Plain};
use super::yaml;

type Arguments = IndexMap<String, Plain>;

/// Arguments as a server's field has them.
pub(super) fn of_value(name: &str, value: &Value, tools: &[Value]) -> Result<Arguments, String> {
    match value {
        Value::String(text) => of_text(name, text, tools),
        Value::Null => of_text(name, "", tools),
        value => of_plain(Plain::of_json(value)),
    }
}

/// Arguments in a text: an object in JSON; anything else is, as YAML, the value of the function's first
/// parameter. A function that is not known or has no parameters has no arguments then.
pub(super) fn of_text(name: &str, text: &str, tools: &[Value]) -> Result<Arguments, String> {
    let text = text.trim();
    if text.starts_with('{') {
        return of_plain(Plain::of_python_json(&json(text)?));
    }
    let first = first_parameter(name, tools);
    Ok(first.map(|first| (first.to_owned(), yaml::value(text))).into_iter().collect())
}

/// JSON as Python's reader takes it: with `NaN`, `Infinity`, `-Infinity`, and whole numbers of any size.
pub(super) fn json(text: &str) -> Result<JsonValue<'_>, String> {
    let text = text.trim();
    let value = JsonValue::parse(text.as_bytes(), true);
    value.map_err(|e| format!("the text is not JSON: {}", e.error_type))
}

/// The entries of a dict with names for keys.
pub(super) fn of_plain(value: Plain) -> Result<Arguments, String> {
    let Plain::Dict(map) = value else { return Err("the arguments are not an object".to_owned()) };
    let entry = |(key, value)| match key {
        Key::Text(name) => Ok((name, value)),
        other => Err(format!("the arguments have the key {other}")),
    };
    map.into_iter().map(entry).collect()
}

fn first_parameter<'t>(name: &str, tools: &'t [Value]) -> Option<&'t str> {
    let function = tools.iter().map(|t| &t["function"]).find(|f| f["name"] == name)?;
    function["parameters"]["properties"].as_object()?.keys().next().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(text: &str) -> String {
        let tools = [json!({"type": "function", "function":
            {"name": "f", "parameters": {"properties": {"z": {}, "a": {}}}}})];
        match of_text("f", text, &tools) {
            Ok(arguments) => {
                arguments.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn texts_are_objects_or_the_first_parameter() {
        let cases = [
            (r#" {"a": 1, "a": 2.0} "#, "a=2.0"),
            (r#"{"a": 123456789012345678901234567890}"#, "a=123456789012345678901234567890"),
            (r#"{"a": 1} x"#, "the text is not JSON: trailing characters"),
            (r#"{'a': 1}"#, "the text is not JSON: key must be a string"),
            ("", "z=None"),
            ("x", "z='x'"),
            ("[1, {a: 2}]", "z=[1, {'a': 2}]"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
        assert!(of_text("g", "1", &[]).unwrap().is_empty());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(shown(&deep).starts_with("the text is not JSON: "));
        assert!(of_value("f", &json!([1]), &[]).is_err());
        assert!(of_value("f", &Value::Null, &[]).unwrap().is_empty());
    }
}
