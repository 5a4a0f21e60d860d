//! A rubric's criteria and a sample's tags, as records hold them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lines::kind;

/// One criterion of a rubric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Criterion {
    /// What a reply that meets it does.
    #[serde(rename = "criterion")]
    pub text: String,
    /// What meeting it is worth; negative for what a reply should not do.
    pub points: f64,
    /// Tags like `axis:accuracy`.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// The criteria in the field `name`.
pub(super) fn read(name: &str, value: &Value) -> Result<Vec<Criterion>, String> {
    let criteria: Vec<Criterion> = serde_json::from_value(value.clone()).map_err(|e| {
        format!(
            "the field `{name}` holds no criteria, a list of `criterion`, `points` and `tags`: {e}"
        )
    })?;
    let positive: f64 = criteria.iter().map(|c| c.points.max(0.0)).sum();
    if !(positive.is_finite() && positive > 0.0 && criteria.iter().all(|c| c.points.is_finite())) {
        return Err(format!("the criteria in the field `{name}` have no positive points"));
    }
    Ok(criteria)
}

/// The tags in the field `name`.
pub(super) fn tags(name: &str, value: &Value) -> Result<Vec<String>, String> {
    serde_json::from_value(value.clone())
        .map_err(|_| format!("the field `{name}` holds {}, not a list of texts", kind(value)))
}
