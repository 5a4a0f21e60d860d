//! Where an agent's key comes from. It is read by the harness and stays with it: the agent talks to the gateway, which
//! adds the key to what goes out.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::registry::{ApiProtocol, AuthHeader};
use ptb_llm::Key;
use thiserror::Error;

use crate::command::way;

/// Longest key that is read from a file or a command, in bytes.
const LONGEST: u64 = 16 << 10;

/// What is wrong with a key.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// There is none.
    #[error(
        "{agent} needs a key, and there is none; hint: set {name} to the key, {name}_FILE to a file of mode 0600 that holds it, or {name}_COMMAND to a command that prints it"
    )]
    Missing {
        /// Who needs it.
        agent: String,
        /// The variable that is looked at first.
        name: String,
    },
    /// The place that should hold it does not.
    #[error("{variable}: {why}; hint: {hint}")]
    Place {
        /// The variable that names the place.
        variable: String,
        /// What is wrong there; never what is in it.
        why: String,
        /// What to do.
        hint: &'static str,
    },
    /// It is no key.
    #[error("{variable}: {why}")]
    Key {
        /// The variable it came from.
        variable: String,
        /// Why.
        why: String,
    },
}

/// The API that a run's agent is connected with.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    /// Root of the API.
    pub upstream: String,
    /// The wire formats that are spoken, the usual one first.
    pub protocols: Vec<ApiProtocol>,
    /// Variables that may hold the key; the first that is set counts.
    pub keys: Vec<String>,
    /// How the key goes with a request.
    pub header: AuthHeader,
    /// The agent's own model, as its scaffold asks for it.
    pub model: String,
    /// Further ones that may be asked.
    pub aux_models: Vec<String>,
    /// Whether the API's own tools are taken out of requests.
    pub strip_tools: bool,
    /// Most US dollars, over all attempts.
    pub spend_limit: Option<f64>,
    /// Most tokens, over all attempts.
    pub token_limit: Option<u64>,
}

impl Connection {
    /// What a run's agent and its options say; none for an agent without an API.
    pub fn of(spec: &RunSpec) -> Option<Self> {
        let AgentAction::Command(entry) = &spec.agent.action else { return None };
        let api = entry.value.api.as_ref()?;
        let auth = api.auth.get(way(spec))?;
        let option = |name: &str| spec.agent.options.get(name);
        let aux = option("aux_models").map(|all| all.split(',').map(str::trim).map(str::to_owned));
        let upstream = option("endpoint").unwrap_or(&api.upstream);
        let model = spec.agent.model.clone().unwrap_or_default();
        // What the scaffold makes of the model's name comes first: that is what its requests look like.
        let mut names = api.aliases.get(&model).cloned().unwrap_or_default();
        names.push(model);
        let model = names.remove(0);
        Some(Self {
            upstream: upstream.trim_end_matches('/').to_owned(),
            keys: option("endpoint_key").map_or(auth.keys.clone(), |name| vec![name.clone()]),
            header: auth.header,
            protocols: api.protocols.clone(),
            model,
            aux_models: names
                .into_iter()
                .chain(api.aux_models.iter().cloned())
                .chain(aux.into_iter().flatten())
                .collect(),
            strip_tools: option("server_tools").is_some_and(|choice| choice == "strip"),
            spend_limit: option("spend_limit").and_then(|v| v.parse().ok()),
            token_limit: option("token_limit").and_then(|v| v.parse().ok()),
        })
    }

    /// Reads the key. `agent` is for messages.
    ///
    /// # Errors
    /// No key, or one that cannot be read; never with a part of it.
    pub fn key(&self, agent: &str) -> Result<Key, CredentialError> {
        let found = self.keys.iter().find_map(|name| find(name).transpose()).transpose()?;
        let name = || self.keys.first().cloned().unwrap_or_default();
        let missing = || CredentialError::Missing { agent: agent.to_owned(), name: name() };
        let (variable, text) = found.ok_or_else(missing)?;
        Key::new(text).map_err(|e| CredentialError::Key { variable, why: e.to_string() })
    }
}

/// A key by the name of its variable, with the variable that it came from: `NAME`, `NAME_FILE`, `NAME_COMMAND`.
fn find(name: &str) -> Result<Option<(String, String)>, CredentialError> {
    let set = |variable: &str| std::env::var(variable).ok().filter(|v| !v.trim().is_empty());
    let (file, command) = (format!("{name}_FILE"), format!("{name}_COMMAND"));
    let found = if let Some(key) = set(name) {
        (name.to_owned(), key)
    } else if let Some(path) = set(&file) {
        (file.clone(), of_file(&file, Path::new(&path))?)
    } else if let Some(line) = set(&command) {
        (command.clone(), of_command(&command, &line)?)
    } else {
        return Ok(None);
    };
    Ok(Some((found.0, found.1.trim().to_owned())))
}

fn of_file(variable: &str, path: &Path) -> Result<String, CredentialError> {
    let fault = |why: String, hint| CredentialError::Place { variable: variable.into(), why, hint };
    let cannot =
        |e: std::io::Error| fault(format!("{}: {e}", path.display()), "name a file that is there");
    let meta = fs::metadata(path).map_err(cannot)?;
    if !meta.is_file() || meta.len() > LONGEST {
        let why = format!("{} is no small plain file", path.display());
        return Err(fault(why, "write the key alone into a file"));
    }
    if meta.permissions().mode() & 0o077 != 0 {
        let why =
            format!("{} may be read by others (mode {:o})", path.display(), meta.mode() & 0o777);
        return Err(fault(why, "chmod 600 it"));
    }
    fs::read_to_string(path).map_err(cannot)
}

fn of_command(variable: &str, line: &str) -> Result<String, CredentialError> {
    let fault = |why: String| CredentialError::Place {
        variable: variable.into(),
        why,
        hint: "try the command in a shell: it shall print the key and end",
    };
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|e| fault(e.to_string()))?;
    let mut text = String::new();
    let read = child.stdout.take().map(|out| out.take(LONGEST).read_to_string(&mut text));
    let status = child.wait().map_err(|e| fault(e.to_string()))?;
    match read {
        Some(Ok(_)) if status.success() && !text.trim().is_empty() => Ok(text),
        Some(Ok(_)) if status.success() => Err(fault("the command printed nothing".to_owned())),
        Some(Err(e)) => Err(fault(e.to_string())),
        _ => Err(fault(format!("the command ended with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "sk-secret-0123456789\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let told = of_file("X_FILE", &path).unwrap_err().to_string();
        assert!(told.contains("mode 640") && !told.contains("sk-secret"), "{told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(of_file("X_FILE", &path).unwrap().trim(), "sk-secret-0123456789");
    }

    #[test]
    fn a_command_prints_the_key_or_is_told() {
        assert_eq!(of_command("X_COMMAND", "echo key-of-command").unwrap(), "key-of-command\n");
        for line in ["false", "true", "echo half; exit 3"] {
            let told = of_command("X_COMMAND", line).unwrap_err().to_string();
            assert!(told.starts_with("X_COMMAND: ") && !told.contains("half"), "{told}");
        }
    }
}
