//! Everything about an evaluation that needs no engine.

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
use crate::seed::SeedWork;

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

/// What an evaluation asks, and how; nothing of it changes while it is asked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spec: EvalSpec,
    pub(crate) dataset: Dataset,
    /// Samples of each seed.
    pub(crate) count: usize,
    pub(crate) seeds: Vec<SeedPlan>,
    /// What an engine that takes ids is tried with.
    pub(crate) probe: Vec<u32>,
    pub(crate) sampling: Sampling,
    pub(crate) stop: Vec<String>,
    pub(crate) context: usize,
    pub(crate) weights_sha256: String,
    tokenizer_sha256: String,
    pub(crate) settings: Value,
    pub(crate) grader: Grader,
    pub(crate) asker: Option<Asker>,
    /// What makes chat messages; none where the prompt is plain text.
    pub(crate) prompter: Option<Prompter>,
    /// When the evaluation was asked for.
    pub(crate) created: jiff::Timestamp,
}

/// One seed of a plan.
#[derive(Debug)]
pub(crate) struct SeedPlan {
    pub(crate) seed: u64,
    /// The samples under this seed, and what those that are asked are rendered to, in one order.
    pub(crate) samples: Arc<[Sample]>,
    pub(crate) asked: Arc<[Asked]>,
}

impl SeedPlan {
    /// Each sample that is asked, with what it is rendered to.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&Sample, &Asked)> {
        self.samples.iter().zip(&*self.asked)
    }

    /// The seed of the request that asks a sample.
    pub(crate) fn request_seed(&self, sample: &Sample) -> u32 {
        request_seed(self.seed, &sample.request_id, 1, 0)
    }
}

/// An evaluation, ready to ask an engine.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) plan: Arc<Plan>,
    /// What is there of each seed; none of one that was handed over to be finished.
    pub(crate) seeds: Vec<Option<SeedWork>>,
    pub(crate) request_time: Duration,
    /// Whether somebody looks at single answers.
    pub(crate) samples_wanted: bool,
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
        let mut plans: Vec<SeedPlan> = Vec::new();
        // Without chance in sampling every seed would give the same completions; and verdicts cost money.
        let seeds =
            if sampling.is_greedy() || asker.is_some() { spec.seeds.get(..1) } else { None };
        for &seed in seeds.unwrap_or(&spec.seeds) {
            let render = Render { spec: &spec, dataset: &dataset, tokenizer: &tokenizer, count };
            let samples = dataset.asked_under(seed);
            let asked = render.under(&samples, plans.last())?;
            plans.push(SeedPlan { seed, samples, asked });
        }
        let prompter = match spec.asking.prompt {
            PromptForm::Chat => Some(Prompter::new(&spec.benchmark, &dataset)?),
            PromptForm::FewShot => None,
        };
        // Few-shot examples are filled in: thousands of others need not be held.
        dataset.forget_train();
        let probe = encode(&spec, &tokenizer, "1")?;
        let plan = Plan {
            spec,
            dataset,
            count,
            seeds: plans,
            probe,
            sampling,
            stop,
            context: config.max_positions,
            weights_sha256,
            tokenizer_sha256,
            settings,
            grader,
            asker,
            prompter,
            created: jiff::Timestamp::now(),
        };
        let seeds = plan.seeds.iter().map(|seed| SeedWork::open(&plan, seed).map(Some));
        let seeds = seeds.collect::<Result<_, _>>()?;
        let plan = Arc::new(plan);
        Ok(Self { plan, seeds, request_time: REQUEST_TIME, samples_wanted: true })
    }

    /// Another bound for the time of one request than an hour, waiting in the server's queue included.
    #[must_use]
    pub fn with_request_time(mut self, time: Duration) -> Self {
        self.request_time = time;
        self
    }

    /// Metrics alone: [`crate::Evaluation::samples`] stays empty.
    #[must_use]
    pub fn without_samples(mut self) -> Self {
        self.samples_wanted = false;
        self
    }

    /// Completions in all.
    pub fn total(&self) -> usize {
        self.plan.count * self.plan.seeds.len()
    }

    /// Completions that an engine must still make.
    pub fn missing(&self) -> usize {
        self.seeds.iter().flatten().map(SeedWork::missing).sum()
    }

    /// Tokens of the longest prompt with its completion, at most what the model has positions for.
    pub fn context_needed(&self) -> usize {
        let plan = &self.plan;
        let asked = plan.seeds.iter().flat_map(|s| &s.asked[..]);
        let longest = asked.map(Asked::len).max().unwrap_or(0);
        (longest + plan.spec.max_tokens as usize).min(plan.context)
    }

    /// SHA-256 over the submission's weights.
    pub fn weights_sha256(&self) -> &str {
        &self.plan.weights_sha256
    }

    /// SHA-256 over the data that samples come from.
    pub fn data_sha256(&self) -> &str {
        &self.plan.dataset.sha256
    }
}

impl Plan {
    /// SHA-256 over everything that makes a sample's completion.
    pub(crate) fn key(&self, seed: &SeedPlan, (sample, asked): (&Sample, &Asked)) -> String {
        let key = Key {
            weights: &self.weights_sha256,
            tokenizer: &self.tokenizer_sha256,
            settings: &self.settings,
            prompt: &asked.sha256,
            seed: seed.request_seed(sample),
        };
        sha256_hex(&serde_json::to_vec(&key).unwrap_or_default())
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
