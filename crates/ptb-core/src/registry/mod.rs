//! The registry: benchmarks, models, agents and editions, one small TOML file each.
//!
//! Built-in files are embedded; the same layout in a folder given by the user wins over them, file by
//! file: `benchmarks/<id>/benchmark.toml` (or `evaluate.py` with `benchmark.txt`), `models/<id>.toml`, `agents/<id>.toml`, `editions/<id>.toml`,
//! `chat-templates/<id>.jinja`, `prompts/<id>.toml`.

mod agent;
mod asking;
mod benchmark;
mod edition;
mod load;
mod model;
mod prompt;
mod scaffold;
mod script;

use serde::{Deserialize, Serialize};

pub use agent::{Agent, Submit};
pub use asking::{Asking, PromptForm, SamplingChoice};
pub use benchmark::{
    Baseline, Benchmark, Choices, Contamination, Data, Elsewhere, Evaluate, FewShot, FewShotPrompt,
    Form, Generation, Generator, Grading, HubData, Message, Prompt, Publication, Publish,
    RequestId, Role, Scorer, ScorerKind, Weight,
};
pub use edition::Edition;
pub(crate) use load::built_in_chat_templates;
pub use load::{ChosenGrader, GRADER_URL, Registry, RegistryError};
pub use model::{Architecture, Chat, Model, ToolForm, Weights};
pub use prompt::GraderPrompt;
pub use scaffold::{
    AgentOption, Api, ApiProtocol, Auth, AuthHeader, COMMON_OPTIONS, Install, TraceFormat,
};
pub use script::{Script, ScriptFolderError};

/// A registry file after its checks: what it says, what it is called, and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry<T> {
    /// The id: file or folder name.
    pub id: String,
    /// `built-in`, or the path of the user's file.
    pub source: String,
    /// SHA-256 of the file's text.
    pub sha256: String,
    /// What it says.
    pub value: T,
}
