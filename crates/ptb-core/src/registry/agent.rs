//! `agents/<id>.toml`: a scaffold's command, or a baseline.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::asking::{Asking, PromptForm, SamplingChoice};

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
    /// A baseline's form of prompt; `chat` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptForm>,
    /// A baseline's sampling, where it is not the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingChoice>,
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
    /// How its submission is asked. Only a baseline's file can say anything else than the default.
    pub fn asking(&self) -> Asking {
        Asking {
            prompt: self.prompt.unwrap_or_default(),
            sampling: self.sampling.unwrap_or_default(),
        }
    }

    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        let empty = self.command.as_ref().is_some_and(|c| c.first().is_none_or(String::is_empty));
        if empty {
            return Some((
                "command",
                "the command is empty".into(),
                "give a program and its arguments".into(),
            ));
        }
        if self.submit.is_some() == self.command.is_some() {
            let hint = "an agent has `command`, a baseline has `submit`".to_owned();
            let message = "an agent needs exactly one of `command` and `submit`".to_owned();
            return Some(("name", message, hint));
        }
        self.foreign().or_else(|| self.sampling.as_ref().and_then(SamplingChoice::fault))
    }

    /// What a file with `command` must not say: nothing that a submission is asked with is its agent's choice.
    fn foreign(&self) -> Option<(&'static str, String, String)> {
        let said = [("prompt", self.prompt.is_some()), ("[sampling]", self.sampling.is_some())];
        let (what, _) = said.into_iter().find(|(_, said)| *said && self.submit.is_none())?;
        let hint = format!(
            "leave `{what}` out: a submission is asked with the benchmark's prompt and sampled as its \
             generation_config.json says"
        );
        Some((what, format!("`{what}` is for baselines, which have `submit`"), hint))
    }
}
