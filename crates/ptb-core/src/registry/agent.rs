//! `agents/<id>.toml`: a scaffold's command, or a baseline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An agent: a command that runs behind the wall, or a baseline that submits a known model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Name for people.
    pub name: String,
    /// One line on what it is.
    #[serde(default)]
    pub description: String,
    /// A baseline: nothing runs, this is submitted as it is.
    #[serde(default)]
    pub submit: Option<Submit>,
    /// The command and its arguments. `{prompt}` and `{model}` are replaced, as whole words or inside one.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Environment variables it gets beside the contract's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// What a baseline submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Submit {
    /// The base model as it is.
    Base,
    /// The official instruct counterpart.
    Instruct,
}

impl Agent {
    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        let empty = self.command.as_ref().is_some_and(|c| c.first().is_none_or(String::is_empty));
        if empty {
            return Some((
                "command",
                "the command is empty".into(),
                "give a program and its arguments".into(),
            ));
        }
        (self.submit.is_some() == self.command.is_some()).then(|| {
            let hint = "an agent has `command`, a baseline has `submit`".to_owned();
            ("name", "an agent needs exactly one of `command` and `submit`".to_owned(), hint)
        })
    }
}
