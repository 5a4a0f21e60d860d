//! `benchmarks/<id>/benchmark.toml`: what a final model is scored on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Script;

mod fault;
mod scorer;

pub use scorer::{Grading, Scorer, ScorerKind};

/// A benchmark: where its samples come from, how they are asked, how answers are scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// Full name, for people.
    pub name: String,
    /// What agents are told about the benchmark: what is asked, in what form the answer is expected,
    /// which data may be used. Never test items.
    pub task: String,
    /// Where samples come from.
    pub data: Data,
    /// How a sample becomes chat messages.
    #[serde(default)]
    pub prompt: Prompt,
    /// How a sample becomes plain text after solved examples, for baselines with `prompt = "few-shot"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub few_shot: Option<FewShotPrompt>,
    /// Limits of a completion.
    pub generation: Generation,
    /// How an answer is scored.
    pub scorer: Scorer,
    /// How it is evaluated.
    pub evaluate: Evaluate,
    /// What the contamination index holds.
    #[serde(default)]
    pub contamination: Contamination,
    /// Weight in the average; otherwise from the edition or the baselines.
    #[serde(default)]
    pub weight: Option<Weight>,
    /// What of its items may be published.
    #[serde(default)]
    pub publish: Publish,
}

impl Benchmark {
    /// The program that evaluates, where the benchmark is one.
    pub fn script(&self) -> Option<&Script> {
        self.scorer.script.as_ref()
    }

    /// Whether its samples bring tools.
    pub fn has_tools(&self) -> bool {
        self.data.tools.is_some()
    }
}

/// Where samples come from: exactly one of `hub`, `path`, `generator`, `elsewhere`. A path given on the command line
/// or in the experiment wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// A dataset of the Hugging Face hub, read from the local cache.
    #[serde(default)]
    pub hub: Option<HubData>,
    /// A local folder holding `test.jsonl` (and `train.jsonl`), or a test file with `train.jsonl` beside it;
    /// relative to the benchmark's folder.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Names that the test file goes by elsewhere (`HumanEval.jsonl`): a folder given as data may hold it under one
    /// of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// A seeded generator.
    #[serde(default)]
    pub generator: Option<Generator>,
    /// Data that must be given by path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Elsewhere>,
    /// Field that holds the question.
    #[serde(default = "question")]
    pub question: String,
    /// The question's field holds the conversation that asks it, a list of `{role, content}` (or a list with one
    /// such list in it), instead of a text. It is sent as it is; the question is its last message.
    #[serde(default, skip_serializing_if = "is_false")]
    pub conversation: bool,
    /// Field that holds the answer: a text, a number, or a list with one of them. Scorers that need no reference
    /// answer do not read it (see [`ScorerKind::has_answers`]).
    #[serde(default = "answer")]
    pub answer: String,
    /// The target is what follows the last occurrence of this in the answer field, and the reasoning is
    /// what precedes it (GSM8K: `####`).
    #[serde(default)]
    pub answer_after: Option<String>,
    /// Field that holds the sample's id; otherwise the 1-based line number.
    #[serde(default)]
    pub id: Option<String>,
    /// What request seeds are derived from, where results must be comparable with others that use it.
    #[serde(default, skip_serializing_if = "RequestId::is_own")]
    pub request_id: RequestId,
    /// The choices of a multiple-choice question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Choices>,
    /// Field that holds the descriptions of the functions that may be called: a list of `{name, description,
    /// parameters}`, in the Berkeley leaderboard's types (`dict`, `float`) or in JSON Schema's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
    /// Field that holds the tags of a sample, a list of texts like `theme:hedging`; see [`Evaluate::breakdown`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    /// Another model's replies, which a pairwise scorer compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Records are taken in the order into which Python's `random.Random(shuffle).shuffle` brings them: with a limit,
    /// the first of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<u64>,
}

impl Data {
    /// No source, all else at its default.
    pub(super) fn none() -> Self {
        Self {
            hub: None,
            path: None,
            files: Vec::new(),
            generator: None,
            elsewhere: None,
            question: question(),
            conversation: false,
            answer: answer(),
            answer_after: None,
            id: None,
            request_id: RequestId::Id,
            choices: None,
            tools: None,
            tags: None,
            baseline: None,
            shuffle: None,
        }
    }
}

/// A file that has to be fetched by hand: it is on no hub, or what the hub has is another selection of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// Where it is, in words.
    pub from: String,
}

/// Replies of another model to the same questions, in a file of their own: JSON Lines, one line a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The model's name, for records.
    pub model: String,
    /// The file's path, seen from the folder of the test file.
    pub file: PathBuf,
    /// Field that holds the sample's id.
    pub id: String,
    /// Template of the reply; sees the fields of the line.
    pub reply: String,
}

/// The name of a sample in its requests' seeds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestId {
    /// The sample's id.
    #[default]
    Id,
    /// Its 1-based line or row.
    Line,
}

impl RequestId {
    fn is_own(&self) -> bool {
        *self == Self::Id
    }
}

/// The choices of a multiple-choice question: the one in the field `answer` is right. They are shown in an order
/// drawn from the run's seed: Python's `random.Random(seed)`, whose `shuffle` orders the right one and then the wrong
/// ones of every record, records in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choices {
    /// Fields that hold the wrong ones.
    pub wrong: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn question() -> String {
    "question".to_owned()
}
fn answer() -> String {
    "answer".to_owned()
}

/// A dataset on the hub, pinned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubData {
    /// Repository id, `openai/gsm8k`.
    pub repo: String,
    /// Commit, or a branch name where no commit is pinned.
    pub revision: String,
    /// File of the test split inside the repository (JSON Lines or Parquet).
    pub test: String,
    /// File of the train split, where few-shot examples are taken from it.
    #[serde(default)]
    pub train: Option<String>,
    /// SHA-256 of the test split's file, 64 hex digits in lower case; another file under its name is refused. Data
    /// given by path are not held to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_sha256: Option<String>,
    /// The same of the train split's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train_sha256: Option<String>,
}

/// A program of ours that makes samples from a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// Which one; `arithmetic`.
    pub kind: Form,
    /// Its seed.
    pub seed: u64,
    /// Number of test samples.
    pub test: usize,
    /// Number of train samples.
    pub train: usize,
}

/// Generators that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Short sums in words and digits.
    Arithmetic,
}

/// How a sample becomes chat messages. Templates are minijinja; they see `question`, `examples` (the few-shot
/// examples, joined; empty without `few_shot`) and `choices` (a list of `letter` and `text`; empty but for
/// multiple-choice questions).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The messages, in order. None where records bring their own conversation.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// Examples from the train split.
    #[serde(default)]
    pub few_shot: Option<FewShot>,
}

/// One chat message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Template of what is said.
    pub content: String,
}

/// Who speaks in a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// A plain text that a model goes on with, without a chat template: solved examples, then the question.
/// Only baselines are asked in this way. Examples are rows of the train split, or stand in the text: written for
/// this project, never test items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotPrompt {
    /// Template of the whole text; sees `question`, `choices` (as prompts do), `tools` (functions that may be called,
    /// as OpenAI's API describes them; the filter `tojson` prints them) and, where rows are named, `examples` (joined).
    pub text: String,
    /// Texts that end a completion, in place of `generation.stop`: after its answer a base model goes on with
    /// a next example, whose number must not be taken for the answer.
    pub stop: Vec<String>,
    /// The examples; left out where they stand in the text.
    #[serde(default, skip_serializing_if = "FewShot::is_none")]
    pub examples: FewShot,
}

/// Few-shot examples: named rows of the train split, in this order. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShot {
    /// 0-based rows of the train split.
    pub rows: Vec<usize>,
    /// Template of one example; sees `question`, `reasoning`, `target`.
    pub example: String,
    /// What stands between examples.
    #[serde(default = "blank_line")]
    pub join: String,
}

impl FewShot {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.rows.is_empty() && self.example.is_empty()
    }
}

fn blank_line() -> String {
    "\n\n".to_owned()
}

/// Limits of a completion. Sampling is the submission's own (`generation_config.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// New tokens allowed per completion.
    pub max_tokens: u32,
    /// Texts that end a completion.
    #[serde(default)]
    pub stop: Vec<String>,
}

/// How the benchmark is evaluated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluate {
    /// Samples of an evaluation that an agent asks for without `--limit`; absent means all.
    #[serde(default)]
    pub limit: Option<usize>,
    /// Run seeds of the final evaluation; the score is the mean over them.
    pub seeds: Vec<u64>,
    /// Lower limits of new tokens, one after the other, for completions that an engine fails at again and again: the
    /// first below `generation.max_tokens`, each below the one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ladder: Vec<u32>,
    /// By what the accuracy is broken down: fields of a test record, or beginnings of its tags (`theme` stands for the
    /// tags `theme:...`; of a rubric's criteria, which have tags of their own, too). None of those that hold an item
    /// (its question, answer, id, ...). A name that records do not have gives no breakdown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakdown: Vec<String>,
    /// Requests in flight at once.
    #[serde(default = "connections")]
    pub max_connections: usize,
}

fn connections() -> usize {
    32
}

/// What the contamination index holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contamination {
    /// Fields of a test record to index.
    #[serde(default)]
    pub fields: Vec<String>,
    /// Fields that, set together, are a whole program: it is also looked for with other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
    /// What agents may use, in words (gsm8k: its train split).
    #[serde(default)]
    pub allowed: Vec<String>,
    /// The train split may be used: what a document has in common with it is not counted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub train: bool,
}

/// A fixed weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weight {
    /// The weight, above 0; weights are normalised over the benchmarks of a table.
    pub value: f64,
}

/// What of a benchmark's items may be published.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// How much.
    #[serde(default)]
    pub items: Publication,
}

/// How much of a benchmark's items may appear in results and sites.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publication {
    /// Everything.
    #[default]
    Full,
    /// Ids alone.
    Ids,
    /// Nothing of single items.
    None,
}
