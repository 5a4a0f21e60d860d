//! `agents/<id>.toml`: a scaffold's command, or a baseline.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::asking::{Asking, PromptForm, SamplingChoice};
use super::scaffold::{AgentOption, Api, Install, TraceFormat, option_fault};

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
    /// The command and its arguments. `{prompt}`, `{model}` and `{api}` (the gateway's root) are replaced, as whole words
    /// or inside one; the word `{options}` becomes the arguments of what was chosen.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// The same where it goes on with its last session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Vec<String>>,
    /// Environment variables it gets beside the contract's; `{model}` and `{api}` are replaced.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folders of its home that outlive a launch: its sessions and settings. Relative to the home.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// Files that lie in those folders before it first starts, by their paths; `{model}` and `{api}` are replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Lines that are put to the prompt's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What it prints.
    #[serde(default, skip_serializing_if = "is_plain")]
    pub trace: TraceFormat,
    /// How it is installed; it is there already, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Install>,
    /// The API that its model is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// What can be chosen, beside [`super::COMMON_OPTIONS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, AgentOption>,
}

fn is_plain(format: &TraceFormat) -> bool {
    *format == TraceFormat::Plain
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

    /// Whether some part of it asks for the name of a model.
    pub fn wants_model(&self) -> bool {
        let words =
            self.command.iter().flatten().chain(self.env.values()).chain(self.files.values());
        words.into_iter().any(|word| word.contains("{model}"))
    }

    /// Whether a common option ([`super::COMMON_OPTIONS`]) means something for this agent.
    pub(super) fn has(&self, option: &str) -> bool {
        match option {
            "reprompt" => self.resume.is_some(),
            "standstill" => self.command.is_some(),
            "version" => self.install.is_some(),
            _ => self.api.is_some(),
        }
    }

    /// What is wrong with an option that is chosen for it, and a hint.
    pub fn option_fault(&self, name: &str, value: &str) -> Option<(String, String)> {
        option_fault(self, name, value)
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
        self.foreign()
            .or_else(|| self.misplaced())
            .or_else(|| self.sampling.as_ref().and_then(SamplingChoice::fault))
    }

    /// What of a scaffold's parts does not fit the others.
    fn misplaced(&self) -> Option<(&'static str, String, String)> {
        if self.submit.is_some() {
            let parts = [
                ("resume", self.resume.is_some()),
                ("state", !self.state.is_empty()),
                ("files", !self.files.is_empty()),
                ("note", self.note.is_some()),
                ("[install]", self.install.is_some()),
                ("[api]", self.api.is_some()),
                ("[options", !self.options.is_empty()),
            ];
            let (what, _) = parts.into_iter().find(|(_, said)| *said)?;
            let message = format!("a baseline runs nothing and has no `{what}`");
            return Some((what, message, format!("leave `{what}` out")));
        }
        let climbs = |path: &str| {
            path.is_empty()
                || !Path::new(path).components().all(|c| matches!(c, Component::Normal(_)))
        };
        if let Some(path) = self.state.iter().find(|path| climbs(path)) {
            let message = format!("`{path}` is no folder of the home");
            return Some(("state", message, "give relative paths, without `..`".into()));
        }
        let kept = |path: &&String| self.state.iter().any(|dir| Path::new(path).starts_with(dir));
        let chosen = self.options.values().flat_map(|option| option.files.keys());
        if let Some(path) = self.files.keys().chain(chosen).find(|p| climbs(p) || !kept(p)) {
            let message = format!("`{path}` lies in none of the folders under `state`");
            return Some(("files", message, "name its folder under `state`".into()));
        }
        if let Some(name) = self.options.keys().find(|name| self.has_common(name)) {
            let message = format!("`{name}` is an option of every scaffold");
            return Some(("[options", message, "give it another name".into()));
        }
        if let Some((name, value)) = self.options.values().find_map(AgentOption::unsaid) {
            let message = format!("`{name}` says nothing about the value `{value}`");
            return Some(("[options", message, "give it a word for each of `values`".into()));
        }
        let auth = self.api.as_ref().map(|api| &api.auth)?;
        if !auth.contains_key("api") || auth.values().any(|way| way.keys.is_empty()) {
            let message = "an agent with [api] needs [api.auth.api] with `keys`".to_owned();
            return Some(("[api", message, "name the variables that may hold the key".into()));
        }
        None
    }

    fn has_common(&self, name: &str) -> bool {
        super::COMMON_OPTIONS.iter().any(|(common, _)| *common == name)
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
