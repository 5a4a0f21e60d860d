//! The JSON form: the report itself, with `schema` first. Text is as it was recorded; control characters are
//! escaped as JSON asks.

use ptb_core::files::Schema;

use crate::error::ReportError;
use crate::report::Report;

impl Report {
    /// The report as JSON: everything the other forms show and what it rests on.
    pub fn json(&self) -> Result<String, ReportError> {
        versioned(self)
    }
}

/// A value of a versioned kind as indented JSON, `schema` first, with a final newline.
pub(crate) fn versioned<T: Schema>(value: &T) -> Result<String, ReportError> {
    let fail = |e: serde_json::Error| ReportError::Form { form: "json", reason: e.to_string() };
    let mut object = serde_json::Map::new();
    object.insert("schema".to_owned(), T::VERSION.into());
    if let serde_json::Value::Object(fields) = serde_json::to_value(value).map_err(fail)? {
        object.extend(fields);
    }
    let mut text = serde_json::to_string_pretty(&object).map_err(fail)?;
    text.push('\n');
    Ok(text)
}
