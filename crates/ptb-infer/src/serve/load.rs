//! From a directory to a running batch.

use std::path::PathBuf;
use std::sync::Arc;

use ptb_model::{
    Checkpoint, Config, GenerationConfig, Links, ModelDir, Sampling, Tokenizer, check_opened,
};

use super::ServeError;
use crate::batch::{Batcher, BatcherOptions, Scheduler};
use crate::compute::weights::Weights;
use crate::memory;

const MIB: u64 = 1 << 20;

/// What to serve, and with how much of the machine.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The model's directory.
    pub model_dir: PathBuf,
    /// Where `tokenizer.json` is taken from, if not from the model's directory.
    pub tokenizer_dir: Option<PathBuf>,
    /// Where links in these directories may lead.
    pub links: Links,
    /// The name that `/v1/models` shows; the directory's by default.
    pub name: Option<String>,
    /// Rows computed together.
    pub max_rows: usize,
    /// Requests that may wait; more are refused with 429.
    pub queue: usize,
    /// Prompt tokens computed in one step.
    pub step_tokens: usize,
    /// Memory for keys and values in bytes; by default a quarter of what is available, at most 4 GiB.
    pub kv_bytes: Option<u64>,
    /// Threads of the matrix products; by default one for each core.
    pub threads: Option<usize>,
    /// Whether common beginnings of prompts are computed once.
    pub share_prefixes: bool,
    /// Largest request body in bytes.
    pub max_body: usize,
}

impl ServeOptions {
    /// Defaults for a directory.
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self {
            model_dir: model_dir.into(),
            tokenizer_dir: None,
            links: Links::Inside,
            name: None,
            max_rows: 64,
            queue: 1024,
            step_tokens: 512,
            kv_bytes: None,
            threads: None,
            share_prefixes: true,
            max_body: 16 << 20,
        }
    }

    pub(crate) fn model_name(&self) -> String {
        let of_dir = || self.model_dir.file_name().map(|n| n.to_string_lossy().into_owned());
        self.name.clone().or_else(of_dir).unwrap_or_else(|| "model".to_owned())
    }
}

/// What the routes need of a loaded model.
pub(crate) struct Loaded {
    pub(crate) scheduler: Scheduler,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) sampling: Sampling,
    pub(crate) facts: String,
}

/// Loads and starts everything.
pub(crate) fn load(options: &ServeOptions) -> Result<Loaded, ServeError> {
    let run = |e: &dyn std::fmt::Display| ServeError::Run(e.to_string());
    let dir = ModelDir::open_with(&options.model_dir, options.links)?;
    let facts = check_opened(&dir)?;
    let tokenizer_dir = match &options.tokenizer_dir {
        Some(path) => &ModelDir::open_with(path, options.links)?,
        None => &dir,
    };
    let tokenizer = Arc::new(Tokenizer::read(tokenizer_dir)?);
    let kv_bytes = cache_bytes(options, &facts)?;
    let threads = options.threads.unwrap_or(0);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("ptb-math-{i}"))
        .build()
        .map_err(|e| run(&e))?;
    let weights = pool.install(|| Weights::load(&facts.config, &Checkpoint::open(&dir)?))?;
    let settings = BatcherOptions {
        max_rows: options.max_rows.max(1),
        step_tokens: options.step_tokens,
        kv_bytes,
        share_prefixes: options.share_prefixes,
    };
    let eos = eos(&facts.config, &facts.generation);
    let batcher = Batcher::new(weights, Arc::clone(&tokenizer), eos, settings);
    let scheduler = Scheduler::start(batcher, pool, options.queue).map_err(|e| run(&e))?;
    let sampling = facts.generation.sampling();
    let facts = format!("{} parameters", facts.parameters);
    Ok(Loaded { scheduler, tokenizer, sampling, facts })
}

/// The generation file's ids win over the configuration's, as in `transformers`.
fn eos(config: &Config, generation: &GenerationConfig) -> Vec<u32> {
    if generation.eos.is_empty() { config.eos.clone() } else { generation.eos.clone() }
}

/// Checks that the weights fit into memory; gives the cache's share.
fn cache_bytes(options: &ServeOptions, facts: &ptb_model::ModelFacts) -> Result<u64, ServeError> {
    // Without an answer, no limit.
    let available = memory::available().unwrap_or(u64::MAX);
    // f16 is widened; f32 and bf16 keep their size.
    let weights = facts.bytes + facts.dtypes.get("F16").copied().unwrap_or(0);
    let share = options
        .kv_bytes
        .unwrap_or_else(|| (available.saturating_sub(weights) / 4).clamp(64 * MIB, 4096 * MIB));
    // The cache grows as it is used; a minimum of it must fit.
    let needed = weights + share.min(64 * MIB);
    if needed > available {
        return Err(ServeError::Memory {
            model: options.model_dir.clone(),
            needed: needed / MIB,
            available: available / MIB,
        });
    }
    Ok(share)
}
