//! The command, environment and files that start an agent.

use std::collections::BTreeMap;

use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::registry::{Agent, AgentOption};
use serde_json::Value;

use crate::Places;

/// What the wall is asked to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Folders of the home that outlive a launch.
    pub state: Vec<String>,
    /// Files in them, by their paths in the home, for the first launch.
    pub files: BTreeMap<String, String>,
}

/// How an agent is started.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// What it is told: the text of the task, or, where it goes on, what it is told then.
    pub prompt: &'a str,
    /// Root of the gateway's model API inside, where there is one: `http://127.0.0.1:PORT`.
    pub api: Option<&'a str>,
    /// Whether it goes on with its last session.
    pub resume: bool,
}

/// The command of the run's agent, or `None` for a baseline. `task` is the text of the task, which it has in its
/// environment in any case.
pub fn command(spec: &RunSpec, task: &str, places: &Places, start: Start<'_>) -> Option<Launch> {
    let env = environment(spec, task, places);
    match &spec.agent.action {
        AgentAction::Submit(_) | AgentAction::Baseline(_) => None,
        AgentAction::Folder { .. } => {
            let argv = vec!["bash".to_owned(), "solve.sh".to_owned()];
            Some(Launch { argv, env, state: Vec::new(), files: BTreeMap::new() })
        }
        AgentAction::Command(entry) => Some(scaffold(spec, &entry.value, env, start)),
    }
}

fn scaffold(
    spec: &RunSpec,
    agent: &Agent,
    mut env: BTreeMap<String, String>,
    start: Start<'_>,
) -> Launch {
    let model = spec.agent.model.as_deref().unwrap_or("");
    let words =
        [("{prompt}", start.prompt), ("{model}", model), ("{api}", start.api.unwrap_or(""))];
    // A prompt belongs to the command line alone.
    let settings = &words[1..];
    let chosen: Vec<Chosen<'_>> = chosen(agent, &spec.agent.options).collect();
    let command = if start.resume { agent.resume.as_ref() } else { agent.command.as_ref() };
    let argv = command.into_iter().flatten().flat_map(|word| match word.as_str() {
        "{options}" => chosen.iter().flat_map(Chosen::args).collect(),
        word => vec![fill(word, &words)],
    });
    let argv = argv.collect();
    let way = agent.api.as_ref().and_then(|api| api.auth.get(way(spec)));
    let fixed = agent.env.iter().chain(way.iter().flat_map(|way| &way.env));
    env.extend(fixed.map(|(name, text)| (name.clone(), fill(text, settings))));
    let mut files: BTreeMap<&String, String> =
        agent.files.iter().map(|(path, text)| (path, fill(text, settings))).collect();
    for choice in &chosen {
        let filled = |text: &String| fill(text, &choice.places);
        env.extend(choice.option.env.iter().map(|(name, text)| (name.clone(), filled(text))));
        let places: Vec<(&str, &str)> = [settings, &choice.places].concat();
        for (path, text) in &choice.option.files {
            let more = fill(text, &places);
            let all = files.get(path).map_or(more.clone(), |own| merged(own, &more));
            files.insert(path, all);
        }
    }
    let files = files.into_iter().map(|(path, text)| (path.clone(), text)).collect();
    Launch { argv, env, state: agent.state.clone(), files }
}

/// Name of the way in which a run's agent is let in.
pub(crate) fn way(spec: &RunSpec) -> &str {
    spec.agent.options.get("auth").map_or("api", String::as_str)
}

/// One of the scaffold's own options, chosen.
struct Chosen<'a> {
    option: &'a AgentOption,
    /// Placeholders with what stands for the value.
    places: Vec<(&'a str, &'a str)>,
}

impl Chosen<'_> {
    fn args(&self) -> Vec<String> {
        self.option.args.iter().map(|arg| fill(arg, &self.places)).collect()
    }
}

/// The scaffold's own options that are chosen, each with its value in the scaffold's words.
fn chosen<'a>(
    agent: &'a Agent,
    options: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = Chosen<'a>> {
    options.iter().filter_map(|(name, value)| {
        let option = agent.options.get(name)?;
        let word = option.words.get(value).unwrap_or(value).as_str();
        let also = option
            .also
            .iter()
            .filter_map(|(name, words)| Some((name.as_str(), words.get(value)?.as_str())));
        Some(Chosen { option, places: [("{value}", word)].into_iter().chain(also).collect() })
    })
}

/// A JSON file with another merged into it (RFC 7396); the other alone, where one of them is no JSON.
fn merged(own: &str, more: &str) -> String {
    let read = |text| serde_json::from_str::<Value>(text).ok();
    match read(own).zip(read(more)) {
        Some((mut own, more)) => {
            merge(&mut own, more);
            format!("{own:#}\n")
        }
        None => more.to_owned(),
    }
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    for (name, value) in patch {
        match (target.as_object_mut(), value) {
            (Some(target), Value::Null) => drop(target.remove(&name)),
            (Some(target), value) => merge(target.entry(name).or_insert(Value::Null), value),
            (None, _) => {}
        }
    }
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

    #[test]
    fn options_become_arguments_and_variables_in_the_scaffolds_words() {
        let text = "command = [\"x\", \"{options}\", \"-p\", \"{prompt}\"]\nname = \"x\"\n\
                    [options.effort]\nvalues = [\"low\", \"max\"]\nargs = [\"--effort\", \"{value}\"]\n\
                    env = { DEPTH = \"{value}\" }\nwords = { max = \"xhigh\" }\n";
        let agent: Agent = ptb_core::userfile::UserFile::new("x.toml", text).parse().unwrap();
        let options = BTreeMap::from([("effort".to_owned(), "max".to_owned())]);
        let found: Vec<_> = chosen(&agent, &options).collect();
        assert_eq!(found[0].args(), ["--effort", "xhigh"]);
        assert_eq!(chosen(&agent, &BTreeMap::new()).count(), 0);
    }

    #[test]
    fn options_of_one_settings_file_go_together() {
        let own = r#"{"a": {"b": 1, "c": [1]}, "d": 2}"#;
        let all =
            merged(&merged(own, r#"{"a": {"c": [2], "e": true}}"#), r#"{"d": null, "f": {}}"#);
        let want = serde_json::json!({"a": {"b": 1, "c": [2], "e": true}, "f": {}});
        assert_eq!(serde_json::from_str::<Value>(&all).unwrap(), want);
        assert_eq!(merged("x = 1", "x = 2"), "x = 2");
    }
}
