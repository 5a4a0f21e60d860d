//! The command and environment that start an agent.

use std::collections::BTreeMap;

use ptb_core::cell::{AgentAction, RunSpec};

use crate::Places;

/// What the wall is asked to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
}

/// The command of the run's agent, or `None` for a baseline. `prompt` is the text of the task.
pub fn command(spec: &RunSpec, prompt: &str, places: &Places) -> Option<Launch> {
    let mut env = environment(spec, prompt, places);
    let argv = match &spec.agent.action {
        AgentAction::Submit(_) | AgentAction::Baseline(_) => return None,
        AgentAction::Folder { .. } => vec!["bash".to_owned(), "solve.sh".to_owned()],
        AgentAction::Command(entry) => {
            env.extend(entry.value.env.clone());
            let model = spec.agent.model.as_deref().unwrap_or("");
            let fill = |word: &String| fill(word, &[("{prompt}", prompt), ("{model}", model)]);
            entry.value.command.iter().flatten().map(fill).collect()
        }
    };
    Some(Launch { argv, env })
}

/// Replaces placeholders in one pass, so that a prompt which happens to hold `{model}` stays as it is.
fn fill(word: &str, places: &[(&str, &str)]) -> String {
    let mut out = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match places.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

fn environment(spec: &RunSpec, prompt: &str, places: &Places) -> BTreeMap<String, String> {
    let path = format!(
        "{}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
        places.programs.join(":")
    );
    [
        ("PATH", path.as_str()),
        ("HOME", &places.home),
        ("USER", "agent"),
        ("LOGNAME", "agent"),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
        ("TMPDIR", "/tmp"),
        ("HF_HOME", &format!("{}/.cache/huggingface", places.home)),
        ("PROMPT", prompt),
        ("AGENT_CONFIG", spec.agent.model.as_deref().unwrap_or("")),
        ("PTB_BASE_MODEL", &places.base_model),
        ("PTB_MODEL_ID", &spec.model.value.base.hub),
        ("PTB_BENCHMARK", &spec.benchmark.id),
        ("PTB_HOURS", &spec.budget.hours.to_string()),
        ("PTB_GPUS", &spec.budget.gpus.to_string()),
        ("PTB_DOOR_SOCKET", &places.door),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once() {
        let places = [("{prompt}", "say {model} {x}"), ("{model}", "m")];
        assert_eq!(fill("a{prompt}b{model}c{other}{", &places), "asay {model} {x}bmc{other}{");
    }
}
