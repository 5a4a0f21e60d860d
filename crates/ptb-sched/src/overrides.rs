//! What a command line says in place of the experiment file: the prompt, and versions of scaffolds.

use std::path::Path;

use ptb_agents::{Places, PromptError, prompt};
use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::registry::{Agent, Entry};
use ptb_core::userfile::{UserFile, UserFileError};
use thiserror::Error;

use crate::experiment::Experiment;

/// Why something cannot be said in place of the file's.
#[derive(Debug, Error)]
pub enum OverrideError {
    /// The file of the prompt cannot be read.
    #[error(transparent)]
    File(#[from] Box<UserFileError>),
    /// The prompt's template is faulty.
    #[error("{path}: {fault}")]
    Prompt {
        /// The file.
        path: String,
        /// What is wrong.
        fault: PromptError,
    },
    /// No run has such a scaffold.
    #[error("--agent-version {given}: {why}; hint: {hint}")]
    Version {
        /// What was given.
        given: String,
        /// Why it cannot be.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl Experiment {
    /// All agents are told the text of this template, in place of the file's own or the built-in one.
    ///
    /// # Errors
    /// A file that cannot be read, or a template that does not render.
    pub fn set_prompt(&mut self, path: &Path) -> Result<(), OverrideError> {
        let file = UserFile::read(path).map_err(Box::new)?;
        for run in &mut self.runs {
            run.prompt = Some(file.text().to_owned());
        }
        let Some(first) = self.runs.iter().find(|run| !run.agent.is_baseline()) else {
            return Ok(());
        };
        let fault = |fault| OverrideError::Prompt { path: path.display().to_string(), fault };
        prompt(first, &Places::default()).map(drop).map_err(fault)
    }

    /// Scaffolds run in this version, in place of their tables' and files': `VERSION` for all that are installed, or
    /// `SCAFFOLD=VERSION`.
    ///
    /// # Errors
    /// When no run has such a scaffold, or the version cannot be one.
    pub fn set_version(&mut self, given: &str) -> Result<(), OverrideError> {
        let fault = |why: String, hint: String| OverrideError::Version {
            given: given.to_owned(),
            why,
            hint,
        };
        let (id, version) = match given.split_once('=') {
            Some((id, version)) => (Some(id), version),
            None => (None, given),
        };
        let meant = |agent: &Entry<Agent>| {
            agent.value.install.is_some() && id.is_none_or(|id| agent.id == id)
        };
        let mut set = 0;
        for run in &mut self.runs {
            let Some(agent) = scaffold(run).filter(|agent| meant(agent)) else { continue };
            if let Some((why, hint)) = agent.value.option_fault("version", version) {
                return Err(fault(why, hint));
            }
            run.agent.options.insert("version".to_owned(), version.to_owned());
            set += 1;
        }
        if set > 0 {
            return Ok(());
        }
        let installed = |run| scaffold(run).filter(|agent| agent.value.install.is_some());
        let mut names: Vec<&str> =
            self.runs.iter().filter_map(installed).map(|agent| agent.id.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        match (id, names.as_slice()) {
            (_, []) => Err(fault(
                "no agent of the experiment is installed by this program".to_owned(),
                "leave it out".to_owned(),
            )),
            (id, names) => Err(fault(
                format!("the experiment has no scaffold `{}`", id.unwrap_or_default()),
                format!("it has {}", names.join(", ")),
            )),
        }
    }
}

fn scaffold(run: &RunSpec) -> Option<&Entry<Agent>> {
    match &run.agent.action {
        AgentAction::Command(agent) => Some(agent),
        _ => None,
    }
}
