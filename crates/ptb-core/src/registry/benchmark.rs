//! `benchmarks/<id>/benchmark.toml`: what a final model is scored on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// Where samples come from: exactly one of `hub`, `path`, `generator`. A path given on the command line
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
    /// A seeded generator.
    #[serde(default)]
    pub generator: Option<Generator>,
    /// Field that holds the question.
    #[serde(default = "question")]
    pub question: String,
    /// Field that holds the answer.
    #[serde(default = "answer")]
    pub answer: String,
    /// The target is what follows the last occurrence of this in the answer field, and the reasoning is
    /// what precedes it (GSM8K: `####`).
    #[serde(default)]
    pub answer_after: Option<String>,
    /// Field that holds the sample's id; otherwise the 1-based line number.
    #[serde(default)]
    pub id: Option<String>,
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

/// How a sample becomes chat messages. Templates are minijinja; they see `question`, and `examples` (the
/// few-shot examples, joined) where `few_shot` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// The messages, in order.
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
/// Only baselines are asked in this way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewShotPrompt {
    /// Template of the whole text; sees `examples` (joined) and `question`.
    pub text: String,
    /// Texts that end a completion, in place of `generation.stop`: after its answer a base model goes on with
    /// a next example, whose number must not be taken for the answer.
    pub stop: Vec<String>,
    /// The examples.
    pub examples: FewShot,
}

/// Few-shot examples: named rows of the train split, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// How an answer is scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scorer {
    /// Which scorer of the family.
    pub kind: ScorerKind,
    /// Numeric: `\boxed{...}` is opened before the number is looked for (AIME; GSM8K does not ask for boxes).
    #[serde(default)]
    pub boxed: bool,
}

/// Scorers that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScorerKind {
    /// A number after `ANSWER:`, compared exactly by value.
    Numeric,
    /// The completion, trimmed, equals the target.
    Exact,
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
    /// What agents may use, in words (gsm8k: its train split).
    #[serde(default)]
    pub allowed: Vec<String>,
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

impl FewShotPrompt {
    fn fault(&self) -> Option<(&'static str, String, String)> {
        if self.examples.rows.is_empty() {
            let message = "there are no examples in [few_shot.examples]".to_owned();
            return Some(("[few_shot.examples]", message, "name rows of the train split".into()));
        }
        if self.stop.is_empty() || self.stop.iter().any(String::is_empty) {
            let message = "[few_shot] has no `stop`, or an empty one".to_owned();
            let hint = "give the text that begins a next example: a base model goes on with it";
            return Some(("[few_shot]", message, hint.into()));
        }
        None
    }
}

impl Benchmark {
    /// What is wrong beyond the form: (text to point at, message, hint).
    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        let sources =
            [self.data.hub.is_some(), self.data.path.is_some(), self.data.generator.is_some()];
        if sources.iter().filter(|s| **s).count() != 1 {
            let hint = "keep one of `hub`, `path`, `generator`".to_owned();
            return Some(("[data]", "data has not exactly one source".to_owned(), hint));
        }
        if self.prompt.messages.is_empty() {
            return Some((
                "[prompt]",
                "the prompt has no messages".into(),
                "add [[prompt.messages]]".into(),
            ));
        }
        if let Some(fault) = self.few_shot.as_ref().and_then(FewShotPrompt::fault) {
            return Some(fault);
        }
        if self.evaluate.seeds.is_empty() {
            return Some((
                "seeds",
                "there are no seeds".into(),
                "the default is seeds = [42]".into(),
            ));
        }
        let zero = |n: usize, word: &'static str| {
            (n == 0).then(|| (word, format!("{word} is 0"), "give a number above 0".to_owned()))
        };
        zero(self.generation.max_tokens as usize, "max_tokens")
            .or_else(|| zero(self.evaluate.max_connections, "max_connections"))
            .or_else(|| self.evaluate.limit.and_then(|l| zero(l, "limit")))
            .or_else(|| {
                let bad =
                    self.weight.as_ref().is_some_and(|w| !(w.value.is_finite() && w.value > 0.0));
                bad.then(|| {
                    ("[weight]", "the weight is not above 0".into(), "give a number above 0".into())
                })
            })
    }
}
