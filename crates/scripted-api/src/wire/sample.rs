//! The smallest value that follows a JSON schema, for errands that want JSON.

use serde_json::{Map, Value, json};

/// A value of this schema. Schemas nest no deeper than this; deeper ones get null.
pub(super) fn of(schema: &Value) -> Value {
    at(schema, 12)
}

fn at(schema: &Value, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].get(0) {
            return at(first, depth - 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind.unwrap_or("object").to_ascii_lowercase().as_str() {
        "string" => json!("scripted"),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(false),
        "array" => json!([]),
        "null" => Value::Null,
        _ => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let object: Map<String, Value> =
                properties.map(|(name, schema)| (name.clone(), at(schema, depth - 1))).collect();
            Value::Object(object)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_the_schema_names() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "choice": {"type": "STRING", "enum": ["flash", "pro"]},
                "score": {"type": "integer", "minimum": 3},
                "why": {"type": ["string", "null"]},
                "parts": {"type": "array", "items": {"type": "string"}},
            },
        });
        let sample = json!({"choice": "flash", "score": 3, "why": "scripted", "parts": []});
        assert_eq!(of(&schema), sample);
    }
}
