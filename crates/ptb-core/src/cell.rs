//! A cell: agent x base model x benchmark under a budget, keyed by everything that changes what the
//! agent meets. Repeats and editions are beside the key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::files::sha256_hex;
use crate::names::slug;
use crate::registry::{
    Agent, Asking, Benchmark, Contamination, Entry, GraderPrompt, Model, PromptForm, Publish,
    Submit,
};

/// How much the evaluation door tells the agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    /// The score alone.
    Score,
    /// Prompt and completion of each sample, no verdict.
    #[default]
    Samples,
    /// Verdicts and reference answers too: the recorded exception.
    Open,
}

impl Feedback {
    /// Its word in files and prompts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Samples => "samples",
            Self::Open => "open",
        }
    }
}

/// What the agent is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Hours, above 0; fractions allowed.
    pub hours: f64,
    /// Number of GPUs.
    pub gpus: u32,
    /// Number of machines (1 for now).
    pub nodes: u32,
}

/// The agent of a run, after checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// How it is called in tables: `base`, `claude/claude-opus-4-6`, a folder's name.
    pub name: String,
    /// What it does.
    pub action: AgentAction,
    /// The model that drives it, where it has one.
    pub model: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// What an agent does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AgentAction {
    /// A baseline: submits a known model, nothing runs.
    Submit(Submit),
    /// A baseline whose model is asked in a way of its own.
    Baseline(Baseline),
    /// A command of the registry.
    Command(Box<Entry<Agent>>),
    /// A folder with `solve.sh`; its files are copied into the workspace.
    Folder {
        /// Where it lies on the host.
        path: PathBuf,
        /// SHA-256 over the names, modes and contents of its files.
        sha256: String,
    },
}

/// A known model that is submitted, asked with a prompt or a sampling that differs from a submission's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// What is submitted.
    pub submit: Submit,
    /// How it is asked.
    pub asking: Asking,
    /// SHA-256 of the first sample's few-shot text, which holds the examples; found out before the run is
    /// named. Empty where the prompt is a chat.
    pub few_shot_sha256: String,
}

impl AgentAction {
    /// What an agent of the registry does.
    pub fn of(entry: &Entry<Agent>) -> Self {
        let asking = entry.value.asking();
        match entry.value.submit {
            Some(submit) if asking == Asking::default() => Self::Submit(submit),
            Some(submit) => {
                Self::Baseline(Baseline { submit, asking, few_shot_sha256: String::new() })
            }
            None => Self::Command(Box::new(entry.clone())),
        }
    }
}

impl AgentSpec {
    /// The model that is submitted as it is, where nothing runs.
    pub fn submits(&self) -> Option<Submit> {
        match &self.action {
            AgentAction::Submit(submit) => Some(*submit),
            AgentAction::Baseline(baseline) => Some(baseline.submit),
            AgentAction::Command(_) | AgentAction::Folder { .. } => None,
        }
    }

    /// How its submission is asked: as the benchmark says, unless it is a baseline that says otherwise.
    pub fn asking(&self) -> Asking {
        match &self.action {
            AgentAction::Baseline(baseline) => baseline.asking,
            _ => Asking::default(),
        }
    }

    /// Whether it is a trivial agent that judging exempts.
    pub fn is_baseline(&self) -> bool {
        self.submits().is_some()
    }
}

/// A directory of the host that the experiment opens to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host.
    pub host: PathBuf,
    /// Absolute path inside.
    pub inside: PathBuf,
    /// Whether the agent may write there.
    pub writable: bool,
}

/// The language model that grades, chosen. Its key is never part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GraderChoice {
    /// Root of its API: what comes before `/chat/completions`.
    pub url: String,
    /// The model's name there.
    pub model: String,
    /// What it is told.
    pub prompt: Entry<GraderPrompt>,
    /// What may be spent on the final evaluation, and as much on all that an agent asks for in an attempt, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spend_limit: Option<f64>,
}

/// Everything one run needs to know, checked: nothing in it is "maybe set".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSpec {
    /// Name of the experiment.
    pub experiment: String,
    /// The agent.
    pub agent: AgentSpec,
    /// The base model's registry entry, paths resolved.
    pub model: Entry<Model>,
    /// The benchmark's registry entry, paths resolved.
    pub benchmark: Entry<Benchmark>,
    /// Text of the model's chat template.
    pub chat_template: String,
    /// Local data given by the experiment; absent means the benchmark's own source.
    pub data: Option<PathBuf>,
    /// SHA-256 over the samples and the few-shot examples, found out before the run is named. The key has
    /// it instead of the path, so that other data are another cell and a moved file is the same.
    pub data_sha256: String,
    /// The budget.
    pub budget: Budget,
    /// How much the evaluation door tells.
    pub feedback: Feedback,
    /// Further directories that the agent sees.
    pub binds: Vec<Bind>,
    /// Sandbox by name: `namespaces`, or `none`.
    pub sandbox: String,
    /// Engine of evaluations: its name, or a URL.
    pub engine: String,
    /// Share of a GPU's memory that the engine may take, above 0 and at most 1; absent means most of what is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_share: Option<f64>,
    /// Who grades, where the benchmark's scorer asks for a language model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grader: Option<GraderChoice>,
    /// Edition whose score is recorded.
    pub edition: String,
    /// Run seeds of the final evaluation.
    pub seeds: Vec<u64>,
    /// Samples of the final evaluation; absent means all.
    pub limit: Option<usize>,
    /// New tokens allowed per completion.
    pub max_tokens: u32,
    /// Text of the prompt template when the experiment gives its own.
    pub prompt: Option<String>,
    /// Which repeat of the cell this is, from 1.
    pub repeat: u32,
}

/// Name of the option that says which version of a scaffold runs.
const VERSION: &str = "version";

/// The parts of a run that key its cell, in a fixed order.
#[derive(Serialize)]
struct Key<'a> {
    agent: &'a str,
    action: String,
    model_of_agent: &'a Option<String>,
    options: &'a BTreeMap<String, String>,
    base_model: (&'a str, String),
    chat_template: String,
    benchmark: (&'a str, String),
    data: &'a str,
    hours: f64,
    gpus: u32,
    nodes: u32,
    feedback: Feedback,
    binds: &'a [Bind],
    sandbox: &'a str,
    prompt: &'a Option<String>,
    final_evaluation: (&'a str, &'a [u64], Option<usize>, u32),
    /// The model that grades and what it is told; where it is asked changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    grader: Option<(&'a str, String)>,
}

impl RunSpec {
    /// The cell's key: SHA-256 over everything that changes what the agent meets, 64 hex digits.
    pub fn cell_key(&self) -> String {
        let mut options = self.agent.options.clone();
        let action = match &self.agent.action {
            AgentAction::Submit(submit) => format!("{submit:?}"),
            AgentAction::Baseline(baseline) => {
                sha256_hex(serde_json::to_string(baseline).unwrap_or_default().as_bytes())
            }
            AgentAction::Command(entry) => {
                // Names in its file change nothing.
                let (name, description) = (String::new(), String::new());
                let mut agent = Agent { name, description, ..entry.value.clone() };
                // The version that runs counts, wherever it is said.
                if let (Some(install), Some(version)) =
                    (&mut agent.install, options.remove(VERSION))
                {
                    install.version = version;
                }
                sha256_hex(serde_json::to_string(&agent).unwrap_or_default().as_bytes())
            }
            AgentAction::Folder { sha256, .. } => sha256.clone(),
        };
        let key = Key {
            agent: &self.agent.name,
            action,
            model_of_agent: &self.agent.model,
            options: &options,
            base_model: (&self.model.id, self.model_key()),
            chat_template: sha256_hex(self.chat_template.as_bytes()),
            benchmark: (&self.benchmark.id, self.benchmark_key()),
            data: &self.data_sha256,
            hours: self.budget.hours,
            gpus: self.budget.gpus,
            nodes: self.budget.nodes,
            feedback: self.feedback,
            binds: &self.binds,
            sandbox: &self.sandbox,
            prompt: &self.prompt,
            final_evaluation: (&self.engine, &self.seeds, self.limit, self.max_tokens),
            grader: self.grader.as_ref().map(|grader| {
                let told = serde_json::to_string(&grader.prompt.value.messages).unwrap_or_default();
                (grader.model.as_str(), sha256_hex(told.as_bytes()))
            }),
        };
        sha256_hex(serde_json::to_string(&key).unwrap_or_default().as_bytes())
    }

    /// The model without its name: comments and names in its file change nothing.
    fn model_key(&self) -> String {
        let model = Model { name: String::new(), ..self.model.value.clone() };
        sha256_hex(serde_json::to_string(&model).unwrap_or_default().as_bytes())
    }

    /// The benchmark without what agents and models never meet: a weight added later is the same cell.
    fn benchmark_key(&self) -> String {
        // A program's hash is over all that it is, wherever it lies.
        if self.benchmark.value.script().is_some() {
            return self.benchmark.sha256.clone();
        }
        let mut benchmark = self.benchmark.value.clone();
        benchmark.name = String::new();
        // The data's own hash stands for where they lie.
        benchmark.data.files.clear();
        benchmark.data.path = None;
        benchmark.evaluate.breakdown.clear();
        benchmark.weight = None;
        benchmark.publish = Publish::default();
        benchmark.contamination = Contamination::default();
        if self.agent.asking().prompt != PromptForm::FewShot {
            benchmark.few_shot = None;
        }
        sha256_hex(serde_json::to_string(&benchmark).unwrap_or_default().as_bytes())
    }

    /// Short name for people: agent, model, benchmark, hours, repeat.
    pub fn slug(&self) -> String {
        let agent = slug(&self.agent.name);
        let (model, benchmark) = (&self.model.id, &self.benchmark.id);
        slug(&format!("{agent}-{model}-{benchmark}-{}h-r{}", self.budget.hours, self.repeat))
    }

    /// The run's id: eight hex digits of the cell's key and the repeat. The same experiment always
    /// names the same runs, which is what makes it resumable.
    pub fn id(&self) -> String {
        let mut id = sha256_hex(format!("{}:{}", self.cell_key(), self.repeat).as_bytes());
        id.truncate(8);
        id
    }
}
