//! Everything about an evaluation that needs no engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ptb_core::files::{sha256_file, sha256_hex};
use ptb_core::registry::{Asking, Benchmark, Chat, Entry, PromptForm, SamplingChoice};
use ptb_core::seed::request_seed;
use ptb_model::{Checkpoint, Config, GenerationConfig, Links, ModelDir, Sampling, Tokenizer};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::prompt::Prompter;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{EvalError, of_model};
use crate::grader::Grader;
use crate::grading::{Asker, GraderSpec};
use crate::render::{Asked, Render, encode};
use crate::store::{SampleRecord, Store};

/// Longest time that one request may take, queueing included: a 4000-token answer on a slow machine.
const REQUEST_TIME: Duration = Duration::from_secs(3600);

/// What is evaluated, and how.
#[derive(Debug, Clone)]
pub struct EvalSpec {
    /// The benchmark.
    pub benchmark: Entry<Benchmark>,
    /// Local data; absent means the benchmark's own source.
    pub data: Option<PathBuf>,
    /// Text of the base model's chat template.
    pub chat_template: String,
    /// Its settings.
    pub chat: Chat,
    /// Form of the prompt and sampling, where a baseline sets them; the default for every submission.
    pub asking: Asking,
    /// The submission.
    pub model_dir: PathBuf,
    /// Where links in it may lead.
    pub links: Links,
    /// The base model, whose tokenizer is used; absent means the submission's.
    pub tokenizer_dir: Option<PathBuf>,
    /// Who grades, where the benchmark's scorer asks for a language model; not looked at otherwise.
    pub grading: Option<GraderSpec>,
    /// Run seeds; a greedy model is asked under the first alone, and so is every model where a language model grades.
    pub seeds: Vec<u64>,
    /// The first so many samples; absent means all.
    pub limit: Option<usize>,
    /// New tokens allowed per completion.
    pub max_tokens: u32,
    /// Requests in flight at once.
    pub max_connections: usize,
    /// `eval/<id>/`.
    pub out: PathBuf,
}

/// One seed's completions: the keys they must have, and those that are there.
#[derive(Debug)]
pub(crate) struct SeedState {
    pub(crate) seed: u64,
    /// The samples under this seed, and what those that are asked are rendered to, in one order.
    pub(crate) samples: Arc<[Sample]>,
    pub(crate) asked: Arc<[Asked]>,
    pub(crate) keys: HashMap<String, String>,
    pub(crate) kept: HashMap<String, SampleRecord>,
}

impl SeedState {
    /// Each sample that is asked, with what it is rendered to.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Sample, &Asked)> {
        self.samples.iter().zip(&*self.asked)
    }
}

/// An evaluation, ready to ask an engine.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) spec: EvalSpec,
    pub(crate) dataset: Dataset,
    /// Samples of each seed.
    pub(crate) count: usize,
    /// What an engine that takes ids is tried with.
    pub(crate) probe: Vec<u32>,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) context: usize,
    pub(crate) weights_sha256: String,
    pub(crate) states: Vec<SeedState>,
    pub(crate) stores: Vec<Store>,
    pub(crate) settings: Value,
    pub(crate) grader: Grader,
    pub(crate) asker: Option<Asker>,
    /// What makes chat messages; none where the prompt is plain text.
    pub(crate) prompter: Option<Prompter>,
    pub(crate) request_time: Duration,
    /// When the evaluation was asked for.
    pub(crate) created: jiff::Timestamp,
}

/// What a completion depends on beside its prompt and seed.
#[derive(Serialize)]
struct Key<'a> {
    weights: &'a str,
    tokenizer: &'a str,
    settings: &'a Value,
    prompt: &'a str,
    seed: u32,
}

impl Prepared {
    /// Loads, renders and hashes; takes some time for large weights.
    pub fn new(spec: EvalSpec) -> Result<Self, EvalError> {
        let mut dataset = load(&spec.benchmark, spec.data.as_deref())?;
        let dir = ModelDir::open_with(&spec.model_dir, spec.links).map_err(of_model)?;
        let config = Config::read(&dir).map_err(of_model)?;
        let sampling = GenerationConfig::read(&dir).map_err(of_model)?.sampling();
        let sampling = chosen(&spec.asking.sampling, sampling);
        let weights_sha256 =
            Checkpoint::open(&dir).and_then(|c| c.weights_hash()).map_err(of_model)?;
        let (tokenizer, tokenizer_sha256) = tokenizer(&spec)?;
        let count = spec.limit.unwrap_or(usize::MAX).min(dataset.samples.len());
        let scorer = &spec.benchmark.value.scorer;
        let asker =
            Asker::new(spec.grading.as_ref(), scorer, &spec.benchmark.id, dataset.samples.first())?;
        let grader = Grader::start(scorer, spec.chat.tool_calls)?;
        let stop = stops(&spec).to_vec();
        let settings = settings(&spec, &sampling, &stop);
        let (mut states, mut stores) = (Vec::new(), Vec::new());
        // Without chance in sampling every seed would give the same completions; and verdicts cost money.
        let seeds =
            if sampling.is_greedy() || asker.is_some() { spec.seeds.get(..1) } else { None };
        for &seed in seeds.unwrap_or(&spec.seeds) {
            let render = Render { spec: &spec, dataset: &dataset, tokenizer: &tokenizer, count };
            let samples = dataset.asked_under(seed);
            let asked = render.under(&samples, states.last())?;
            let key = |(sample, asked): (&Sample, &Asked)| {
                let key = Key {
                    weights: &weights_sha256,
                    tokenizer: &tokenizer_sha256,
                    settings: &settings,
                    prompt: &asked.sha256,
                    seed: request_seed(seed, &sample.request_id, 1, 0),
                };
                (sample.id.clone(), sha256_hex(&serde_json::to_vec(&key).unwrap_or_default()))
            };
            let keys: HashMap<String, String> = samples.iter().zip(&*asked).map(key).collect();
            let (store, kept) = Store::open(&spec.out.join(seed.to_string()), &keys)?;
            states.push(SeedState { seed, samples, asked, keys, kept });
            stores.push(store);
        }
        let prompter = match spec.asking.prompt {
            PromptForm::Chat => Some(Prompter::new(&spec.benchmark, &dataset)?),
            PromptForm::FewShot => None,
        };
        // Few-shot examples are filled in: thousands of others need not be held.
        dataset.forget_train();
        let probe = encode(&spec, &tokenizer, "1")?;
        let context = config.max_positions;
        Ok(Self {
            spec,
            dataset,
            count,
            probe,
            sampling,
            stop,
            context,
            weights_sha256,
            states,
            stores,
            settings,
            grader,
            asker,
            prompter,
            request_time: REQUEST_TIME,
            created: jiff::Timestamp::now(),
        })
    }

    /// Another bound for the time of one request than an hour, waiting in the server's queue included.
    #[must_use]
    pub fn with_request_time(mut self, time: Duration) -> Self {
        self.request_time = time;
        self
    }

    /// Completions in all.
    pub fn total(&self) -> usize {
        self.count * self.states.len()
    }

    /// Completions that an engine must still make.
    pub fn missing(&self) -> usize {
        self.total() - self.states.iter().map(|s| s.kept.len()).sum::<usize>()
    }

    /// Tokens of the longest prompt with its completion, at most what the model has positions for.
    pub fn context_needed(&self) -> usize {
        let asked = self.states.iter().flat_map(|s| &s.asked[..]);
        let longest = asked.map(Asked::len).max().unwrap_or(0);
        (longest + self.spec.max_tokens as usize).min(self.context)
    }

    /// SHA-256 over the submission's weights.
    pub fn weights_sha256(&self) -> &str {
        &self.weights_sha256
    }

    /// SHA-256 over the data that samples come from.
    pub fn data_sha256(&self) -> &str {
        &self.dataset.sha256
    }
}

/// The base model's tokenizer, or the submission's where there is no base model at hand.
fn tokenizer(spec: &EvalSpec) -> Result<(Tokenizer, String), EvalError> {
    let (path, links): (&Path, Links) = match &spec.tokenizer_dir {
        Some(dir) => (dir, Links::Follow),
        None => (&spec.model_dir, spec.links),
    };
    let fail = |reason: String| match &spec.tokenizer_dir {
        Some(dir) => EvalError::Tokenizer { dir: dir.clone(), reason },
        None => EvalError::Model(reason),
    };
    let dir = ModelDir::open_with(path, links).map_err(|e| fail(e.to_string()))?;
    let tokenizer = Tokenizer::read(&dir).map_err(|e| fail(e.to_string()))?;
    let sha256 = sha256_file(&path.join("tokenizer.json")).map_err(|e| fail(e.to_string()))?;
    Ok((tokenizer, sha256))
}

/// The model's sampling, with what a baseline chooses in its place.
fn chosen(choice: &SamplingChoice, own: Sampling) -> Sampling {
    Sampling {
        temperature: choice.temperature.unwrap_or(own.temperature),
        top_p: choice.top_p.unwrap_or(own.top_p),
        top_k: choice.top_k.unwrap_or(own.top_k),
        min_p: choice.min_p.unwrap_or(own.min_p),
        repetition_penalty: choice.repetition_penalty.unwrap_or(own.repetition_penalty),
    }
}

/// Texts that end a completion.
fn stops(spec: &EvalSpec) -> &[String] {
    let benchmark = &spec.benchmark.value;
    match (spec.asking.prompt, &benchmark.few_shot) {
        (PromptForm::FewShot, Some(few_shot)) => &few_shot.stop,
        _ => &benchmark.generation.stop,
    }
}

/// What metrics record of how completions were made. It is in a completion's key as well.
fn settings(spec: &EvalSpec, sampling: &Sampling, stop: &[String]) -> Value {
    let (key, form) = match spec.asking.prompt {
        PromptForm::Chat => {
            ("chat_template", spec.chat.template_for(spec.benchmark.value.has_tools()))
        }
        form @ PromptForm::FewShot => ("prompt", form.word()),
    };
    json!({
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "max_tokens": spec.max_tokens,
        "stop": stop,
        key: form,
        "tokenizer": if spec.tokenizer_dir.is_some() { "base" } else { "submission" },
    })
}
