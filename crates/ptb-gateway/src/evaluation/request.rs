//! What may be asked: checked field by field, so that a wrong one is named with the nearest right one.

use std::path::{Component, Path, PathBuf};

use ptb_core::names::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{EvaluationSetup, KnownModel};
use crate::door::Refusal;
use crate::snapshot::{Source, printable};

const FIELDS: [&str; 6] = [
    "model_path",
    "limit",
    "max_tokens",
    "max_connections",
    "gpu_memory_utilization",
    "templates_dir",
];

/// A checked request.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Asked {
    pub(super) model_path: String,
    pub(super) limit: Option<usize>,
    pub(super) max_tokens: Option<u32>,
    pub(super) max_connections: Option<usize>,
    pub(super) gpu_memory_utilization: Option<f64>,
    templates_dir: Option<String>,
}

impl Asked {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let fields: Map<String, Value> = serde_json::from_slice(body).map_err(|e| {
            let message = format!("the request is no JSON object: {e}");
            Refusal::input(message, r#"send {"model_path": "final_model"}"#)
        })?;
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let hint = match nearest(unknown, FIELDS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the fields are {}", FIELDS.join(", ")),
            };
            return Err(Refusal::input(format!("unknown field `{}`", printable(unknown)), hint));
        }
        let asked: Self = serde_json::from_value(Value::Object(fields)).map_err(|e| {
            let hint = "model_path is a text and must be there; limit, max_tokens and max_connections \
                        are whole numbers; gpu_memory_utilization is a number above 0 up to 1";
            Refusal::input(format!("the request is not valid: {}", printable(&e.to_string())), hint)
        })?;
        asked.check()
    }

    fn check(self) -> Result<Self, Refusal> {
        let zero = [
            ("limit", self.limit == Some(0)),
            ("max_tokens", self.max_tokens == Some(0)),
            ("max_connections", self.max_connections == Some(0)),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(Refusal::input(
                format!("{name} is 0"),
                format!("give at least 1, or leave {name} out"),
            ));
        }
        if self.gpu_memory_utilization.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            let message = "gpu_memory_utilization is not above 0 and up to 1";
            return Err(Refusal::input(message, "give a share such as 0.3"));
        }
        let path = &self.model_path;
        if path.is_empty() || path.len() > 4095 || path.contains('\0') {
            let message = "model_path is empty, too long or holds a NUL character";
            return Err(Refusal::input(message, "name a directory such as final_model"));
        }
        Ok(self)
    }

    /// What was accepted and will not be used.
    pub(super) fn notes(&self) -> Vec<String> {
        let ignored = self.templates_dir.as_ref().map(|_| {
            "templates_dir is ignored: the chat template is the base model's, in every evaluation"
                .to_owned()
        });
        ignored.into_iter().collect()
    }
}

/// Where the model that was asked for lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the workspace.
    Workspace(Source),
    /// A model that the harness gave.
    Known(KnownModel),
}

/// Finds a model by the name that the agent has for it. This is arithmetic on text; what the path
/// really leads to is settled when it is opened.
pub(super) fn locate(setup: &EvaluationSetup, model_path: &str) -> Result<Place, Refusal> {
    let inside = fold(&setup.workspace.inside.join(model_path));
    if let Some(known) = setup.known.iter().find(|known| fold(&known.inside) == inside) {
        return Ok(Place::Known(known.clone()));
    }
    let root = fold(&setup.workspace.inside);
    match inside.strip_prefix(&root) {
        Ok(relative) => Ok(Place::Workspace(Source {
            workspace: setup.workspace.host.clone(),
            relative: relative.to_owned(),
            shown: printable(&inside.to_string_lossy()),
        })),
        Err(_) => {
            let root = root.display();
            Err(Refusal::input(
                format!("model_path {} is not below {root}", printable(model_path)),
                format!("put the model into a directory below {root}, other places cannot be read"),
            ))
        }
    }
}

/// Folds `.` and `..` as text. Links are not followed in a model's path, so this is what it means.
fn fold(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> (String, String) {
        let refusal = Asked::parse(body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status, hyper::StatusCode::BAD_REQUEST);
        (refusal.message, refusal.hint)
    }

    #[test]
    fn fields_are_checked_by_name() {
        let asked =
            Asked::parse(br#"{"model_path":"m","limit":null,"templates_dir":"t"}"#).unwrap();
        assert_eq!((asked.limit, asked.notes().len()), (None, 1));
        let (message, hint) = refused(r#"{"model_path":"m","max_token":5}"#);
        assert_eq!(
            (message.as_str(), hint.as_str()),
            ("unknown field `max_token`", "did you mean `max_tokens`?")
        );
        for bad in [
            "",
            "[]",
            "{}",
            "nonsense",
            r#"{"model_path":7}"#,
            r#"{"model_path":""}"#,
            r#"{"model_path":"a\u0000b"}"#,
            r#"{"model_path":"m","limit":0}"#,
            r#"{"model_path":"m","limit":-1}"#,
            r#"{"model_path":"m","limit":1.5}"#,
            r#"{"model_path":"m","gpu_memory_utilization":1.5}"#,
            r#"{"model_path":"m","max_tokens":0}"#,
            r#"{"model_path":"m","max_connections":99999999999999999999999}"#,
        ] {
            let (message, hint) = refused(bad);
            assert!(!message.is_empty() && !hint.is_empty(), "{bad}");
        }
        refused(&format!(r#"{{"model_path":"{}"}}"#, "x".repeat(5000)));
        refused(&"[".repeat(10_000));
    }

    #[test]
    fn paths_are_folded_as_text() {
        for (path, folded) in
            [("/a/./b/../c", "/a/c"), ("/a/../../etc", "/etc"), ("/..", "/"), ("/a//b/", "/a/b")]
        {
            assert_eq!(fold(Path::new(path)), Path::new(folded));
        }
    }
}
