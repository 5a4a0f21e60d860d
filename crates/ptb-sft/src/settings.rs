//! What a training is asked to do.

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A moment that comes again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Every {
    /// After so many steps.
    Steps(u64),
    /// After so many seconds.
    Seconds(f64),
}

/// How long to train; the learning rate's schedule is stretched over it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// So many optimiser steps, whatever the data.
    Steps(u64),
    /// So many times through the data.
    Epochs(u32),
    /// Up to the deadline. Such a training is not repeatable to the byte: machines differ in speed.
    Time,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Every parameter.
    Full,
    /// Low-rank adapters of all linear projections, merged when saved (Hu et al., arXiv 2106.09685).
    Lora {
        /// Rank of each adapter.
        rank: usize,
        /// The adapter's product is multiplied by `alpha / rank`.
        alpha: f64,
    },
}

/// What happens to an example that is longer than `max_length`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// It is left out.
    Skip,
    /// Its first `max_length` tokens are kept, if there is anything to learn in them.
    Cut,
}

/// The optimiser: AdamW with decoupled decay (Loshchilov and Hutter, arXiv 1711.05101).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Optimiser {
    /// Highest learning rate, reached after warm-up; 0 changes nothing.
    pub lr: f64,
    /// Share of the schedule in which the rate rises from 0.
    pub warmup: f64,
    /// The cosine falls to this share of `lr`.
    pub floor: f64,
    /// Decay of projections and adapters; norms and embeddings have none.
    pub weight_decay: f64,
    /// Memory of the first moment.
    pub beta1: f64,
    /// Memory of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Gradients are scaled down to this global norm; 0 lets them be.
    pub clip: f64,
}

impl Default for Optimiser {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            warmup: 0.05,
            floor: 0.1,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
        }
    }
}

/// Where the state is kept while training, so that a killed one can go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoints {
    /// A directory of its own, on the same disk for long.
    pub dir: PathBuf,
    /// How often.
    pub every: Every,
}

/// Everything that a training is asked to do, as [`crate::train`] takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The base model's directory.
    pub base: PathBuf,
    /// Where the best model goes, replaced whole.
    pub out: PathBuf,
    /// Of shuffles and adapters.
    pub seed: u64,
    /// Threads to compute on; 0 takes all cores. Results do not depend on it.
    pub threads: usize,
    /// How long.
    pub length: Length,
    /// What is trained.
    pub method: Method,
    /// With what steps.
    pub optimiser: Optimiser,
    /// Tokens in a batch, padding included.
    pub batch_tokens: usize,
    /// Where the state is kept, if anywhere.
    pub checkpoints: Option<Checkpoints>,
    /// How often the model is looked at: evaluated or validated, and saved when it is the best so far.
    pub look: Option<Every>,
    /// Samples of an evaluation through the door; none asks for all.
    pub evaluate_limit: Option<u64>,
    /// Looks in a row that bring nothing better before training ends; none never ends it.
    pub patience: Option<u32>,
    /// Share of the examples that is held back and whose loss decides instead of the door; 0 holds none.
    pub validation: f64,
    /// Time from `began` on after which everything must be done; the door's clock counts, too.
    pub limit: Option<Duration>,
    /// When the program began: reading data and loading the base use up the limit as well.
    pub began: Instant,
    /// Time kept for the last evaluation and for saving; none measures it.
    pub reserve: Option<Duration>,
}

impl Settings {
    /// Full fine-tuning with defaults: three epochs, 4096 tokens a batch, begun now.
    pub fn new(base: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            out: out.into(),
            seed: 0,
            threads: 0,
            length: Length::Epochs(3),
            method: Method::Full,
            optimiser: Optimiser::default(),
            batch_tokens: 4096,
            checkpoints: None,
            look: None,
            evaluate_limit: None,
            patience: None,
            validation: 0.0,
            limit: None,
            began: Instant::now(),
            reserve: None,
        }
    }
}
