//! Descriptions of functions, from a record's form to that of OpenAI's API.

use serde_json::{Map, Value, json};

use crate::lines::kind;

/// Deepest nesting of a parameter's type.
const DEEPEST: usize = 32;

/// The functions that a record's field describes.
pub(super) fn read(field: &str, value: &Value) -> Result<Vec<Value>, String> {
    let Value::Array(functions) = value else {
        return Err(format!("the field `{field}` holds {}, not a list of functions", kind(value)));
    };
    let function = |f: &Value| tool(f).map_err(|e| format!("the field `{field}` holds {e}"));
    functions.iter().map(function).collect()
}

fn tool(function: &Value) -> Result<Value, String> {
    let (Some(name), Some(parameters)) =
        (function["name"].as_str(), function["parameters"].as_object())
    else {
        return Err("a function without `name` or `parameters`".to_owned());
    };
    let mut parameters = schema(parameters, 0)?;
    let closed = parameters.shift_remove("additionalProperties").unwrap_or(false.into());
    parameters.insert("additionalProperties".to_owned(), closed);
    let description = function["description"].as_str().unwrap_or_default();
    Ok(json!({"type": "function", "function":
        {"name": name, "description": description, "parameters": parameters}}))
}

/// Keys of a parameter in the order in which the reference writes them, which chat templates show; others follow.
const KEYS: [&str; 8] = [
    "type",
    "description",
    "default",
    "enum",
    "items",
    "properties",
    "additionalProperties",
    "required",
];

/// A JSON Schema: the leaderboard's names of types are replaced, and values of nothing left out.
fn schema(parameters: &Map<String, Value>, depth: usize) -> Result<Map<String, Value>, String> {
    if depth > DEEPEST {
        return Err(format!("a parameter whose type is nested deeper than {DEEPEST} levels"));
    }
    let known = KEYS.iter().filter_map(|key| parameters.get_key_value(*key));
    let others = parameters.iter().filter(|(key, _)| !KEYS.contains(&key.as_str()));
    let present = known.chain(others).filter(|(_, value)| !value.is_null());
    let mut out = Map::new();
    for (key, value) in present {
        let value = match (key.as_str(), value) {
            ("type", Value::String(name)) => json_type(name).into(),
            ("items" | "additionalProperties", Value::Object(inner)) => {
                schema(inner, depth + 1)?.into()
            }
            ("properties", Value::Object(inner)) => properties(inner, depth)?.into(),
            (_, value) => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Ok(out)
}

fn properties(inner: &Map<String, Value>, depth: usize) -> Result<Map<String, Value>, String> {
    let property = |(name, value): (&String, &Value)| match value {
        Value::Object(inner) => Ok((name.clone(), schema(inner, depth + 1)?.into())),
        other => Ok((name.clone(), other.clone())),
    };
    inner.iter().map(property).collect()
}

fn json_type(name: &str) -> &str {
    match name {
        "dict" => "object",
        "float" | "double" => "number",
        "tuple" | "list" => "array",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_those_of_json_schema() {
        let function = json!([{"name": "f", "description": "Adds.", "parameters": {"type": "dict", "properties": {
            "type": {"type": "float", "default": null},
            "list": {"type": "tuple", "items": {"type": "dict", "properties": {"x": {"type": "list"}}}},
            "flag": {"type": "boolean", "default": false}}, "required": ["type"]}}]);
        let expected = json!([{"type": "function", "function": {"name": "f", "description": "Adds.", "parameters": {
            "type": "object", "properties": {
                "type": {"type": "number"},
                "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "array"}}}},
                "flag": {"type": "boolean", "default": false}},
            "required": ["type"], "additionalProperties": false}}}]);
        let tools = Value::Array(read("function", &function).unwrap());
        assert_eq!(tools.to_string(), expected.to_string());
    }

    #[test]
    fn what_describes_no_function_is_told() {
        for (value, told) in [
            (json!({}), "the field `f` holds an object, not a list of functions"),
            (json!([1]), "a function without `name` or `parameters`"),
            (json!([{"name": "f"}]), "a function without `name` or `parameters`"),
            (json!([{"name": 1, "parameters": {}}]), "a function without `name` or `parameters`"),
        ] {
            let e = read("f", &value).unwrap_err();
            assert!(e.contains(told), "{e}");
        }
        let mut deep = json!({"type": "dict"});
        for _ in 0..100 {
            deep = json!({"items": deep});
        }
        assert!(
            read("f", &json!([{"name": "f", "parameters": deep}])).unwrap_err().contains("nested")
        );
    }
}
