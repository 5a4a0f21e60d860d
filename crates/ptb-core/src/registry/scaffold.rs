//! What an agent's file says of a scaffold beside its command: how it is installed, which API its model is behind, what
//! can be chosen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The format of a scaffold's output (`ptb-trace` has the parsers).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceFormat {
    /// Lines of text.
    #[default]
    Plain,
    /// Claude Code's `stream-json`.
    Claude,
    /// Codex CLI's `exec --json`.
    Codex,
    /// Gemini CLI's `stream-json`.
    Gemini,
    /// OpenCode's `run --format json`.
    OpenCode,
}

impl TraceFormat {
    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::OpenCode => "opencode",
        }
    }
}

/// How a scaffold is installed: packages of npm in a folder of their own, which the agent sees read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Install {
    /// What `npm install` is given; `{version}` is replaced.
    pub npm: Vec<String>,
    /// The version that is installed unless another is asked for.
    pub version: String,
}

/// The API that the agent's model is behind. The harness stands in for it: the agent talks to the gateway, which adds
/// the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Root of the API, `https://api.anthropic.com`. Paths that the scaffold asks for are put behind it.
    pub upstream: String,
    /// The wire formats that the scaffold speaks, the usual one first.
    pub protocols: Vec<ApiProtocol>,
    /// Models that the scaffold asks for side calls (titles, summaries), beside the agent's own.
    #[serde(default)]
    pub aux_models: Vec<String>,
    /// Names that the scaffold asks for in place of a model's, by that model: they are that model's too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<String, Vec<String>>,
    /// How it is let in, by name; `api` unless something else is chosen.
    pub auth: BTreeMap<String, Auth>,
}

/// A wire format of model APIs (`ptb_llm::protocol` knows them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiProtocol {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions.
    Chat,
    /// Google's generateContent.
    Gemini,
}

/// One way to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Names under which the environment may hold the key: the first that is set counts.
    pub keys: Vec<String>,
    /// How the key goes with a request.
    pub header: AuthHeader,
    /// Variables that make the scaffold talk to the gateway; `{api}` is the gateway's root. What stands in place of a
    /// key here is no secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// How a key goes with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuthHeader {
    /// `x-api-key: KEY` (Anthropic).
    #[serde(rename = "x-api-key")]
    XApiKey,
    /// `authorization: Bearer KEY` (OpenAI, and most others).
    #[serde(rename = "bearer")]
    Bearer,
    /// `x-goog-api-key: KEY` (Google).
    #[serde(rename = "x-goog-api-key")]
    XGoogApiKey,
    /// A token of a Claude subscription, in Anthropic's way.
    #[serde(rename = "claude-token")]
    ClaudeToken,
}

/// Something that can be chosen for a scaffold, in its own way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentOption {
    /// One line on what it does.
    #[serde(default)]
    pub description: String,
    /// What can be chosen; anything, when empty.
    #[serde(default)]
    pub values: Vec<String>,
    /// Whether only whole numbers above 0 can be chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub numbers: bool,
    /// What the scaffold calls a value, where that is another word.
    #[serde(default)]
    pub words: BTreeMap<String, String>,
    /// Arguments that the command gets in place of `{options}`; `{value}` is replaced.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables it gets; `{value}` is replaced.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Further placeholders, with their braces: what stands for each of the values, where a scaffold wants them said
    /// in more ways than one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub also: BTreeMap<String, BTreeMap<String, String>>,
    /// Files in the folders of [`super::Agent::state`]: JSON that is merged into the agent's own file of that path
    /// (RFC 7396), where it has one; `{value}`, `{model}` and `{api}` are replaced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

impl AgentOption {
    /// The first value that a further placeholder says nothing about, with the placeholder.
    pub(super) fn unsaid(&self) -> Option<(&str, &str)> {
        let missing = |words: &BTreeMap<String, String>| {
            self.values.iter().find(|value| !words.contains_key(*value)).map(String::as_str)
        };
        self.also.iter().find_map(|(name, words)| Some((name.as_str(), missing(words)?)))
    }
}

/// Options that scaffolds have, with what each does: most with an API, some with a command ([`super::Agent`] tells).
pub const COMMON_OPTIONS: [(&str, &str); 10] = [
    ("auth", "the way to be let in, by its name under [api.auth]"),
    ("aux_models", "further models that it may ask, with commas between"),
    ("endpoint", "root of a third party's API, in place of the maker's"),
    ("endpoint_key", "environment variable that holds the third party's key"),
    ("reprompt", "it is told to go on until fewer minutes than this remain"),
    ("server_tools", "keep, or strip: what the API's own tools (web search) may do"),
    ("spend_limit", "most US dollars of a run"),
    ("standstill", "minutes without anything after which it is ended; 60, and 0 is never"),
    ("token_limit", "most tokens of a run"),
    ("version", "version of the scaffold, in place of the pinned one"),
];

/// What is wrong with a common option's value, and a hint.
fn common_fault(name: &str, value: &str) -> Option<(String, String)> {
    let fault = |what: &str, hint: &str| Some((format!("`{value}` is no {what}"), hint.to_owned()));
    let amount = value.parse::<f64>().is_ok_and(|v| v.is_finite() && v > 0.0);
    match name {
        "endpoint" if !(value.starts_with("https://") || value.starts_with("http://")) => {
            fault("address", "give it as https://HOST/PATH")
        }
        "reprompt" | "spend_limit" if !amount => fault("amount", "give a number above 0"),
        "standstill" if !value.parse::<f64>().is_ok_and(|v| v.is_finite() && v >= 0.0) => {
            fault("number of minutes", "give a number, or 0 for never")
        }
        "token_limit" if value.parse::<u64>().is_ok_and(|n| n > 0) => None,
        "token_limit" => fault("number of tokens", "give a whole number above 0"),
        "server_tools" if !["keep", "strip"].contains(&value) => {
            fault("choice", "give `keep` or `strip`")
        }
        "version" if value.is_empty() || !value.chars().all(is_of_version) => {
            fault("version", "give one as npm knows it: 2.1.0, or latest")
        }
        "endpoint_key" if value.is_empty() || value.contains(['=', '\0']) => {
            fault("name of a variable", "give the name, never the key itself")
        }
        _ => None,
    }
}

/// Nothing that a package's name could be ended with.
fn is_of_version(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['.', '-', '+', '_', '^', '~'].contains(&c)
}

/// What is wrong with a choice of an agent's option, and a hint.
pub(super) fn option_fault(
    agent: &super::Agent,
    name: &str,
    value: &str,
) -> Option<(String, String)> {
    if let Some(option) = agent.options.get(name) {
        let number = value.parse::<u32>().is_ok_and(|n| n > 0);
        let listed = option.values.is_empty() || option.values.iter().any(|v| v == value);
        let known = listed && (number || !option.numbers);
        let hint = || match option.numbers {
            true => "give a whole number above 0".to_owned(),
            false => format!("it can be {}", option.values.join(", ")),
        };
        return (!known).then(|| (format!("`{name}` cannot be `{value}`"), hint()));
    }
    let common = COMMON_OPTIONS.iter().map(|(name, _)| *name);
    let common: Vec<&str> = common.filter(|common| agent.has(common)).collect();
    let names = || agent.options.keys().map(String::as_str).chain(common.iter().copied());
    if !common.contains(&name) {
        let hint = match crate::names::nearest(name, names().chain(["model", "scaffold"])) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names().next().is_none() => "it has no options".to_owned(),
            None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
        };
        return Some((format!("this agent has no option `{name}`"), hint));
    }
    let ways = agent.api.as_ref().map(|api| &api.auth);
    match ways {
        Some(ways) if name == "auth" && !ways.contains_key(value) => {
            let ways: Vec<&str> = ways.keys().map(String::as_str).collect();
            Some((format!("`auth` cannot be `{value}`"), format!("it can be {}", ways.join(", "))))
        }
        _ => common_fault(name, value),
    }
}
