//! What a training tells while it runs, and how it ended.

use std::time::Duration;

use serde::Serialize;

use crate::state::Best;

/// What decides which model is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// The accuracy that the door tells; higher is better.
    Accuracy,
    /// The mean loss on examples that were held back; lower is better.
    Loss,
    /// Nothing: the newest model is taken.
    Newest,
}

impl Criterion {
    /// Whether `new` is better than `old`.
    pub(crate) fn better(self, new: f64, old: f64) -> bool {
        match self {
            Self::Accuracy => new > old,
            Self::Loss => new < old,
            Self::Newest => true,
        }
    }
}

/// Told once, before the first step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Begin {
    /// The base model's directory.
    pub base: String,
    /// Values in the model.
    pub parameters: usize,
    /// Values that are trained: all, or the adapters'.
    pub trained: usize,
    /// Examples trained on.
    pub examples: usize,
    /// Examples held back for validation.
    pub held_back: usize,
    /// Examples left out as too long.
    pub skipped: usize,
    /// Examples cut.
    pub cut: usize,
    /// Tokens of one epoch.
    pub tokens: usize,
    /// Share of padding in the first epoch's batches.
    pub waste: f64,
    /// Tokens in a batch, padding included.
    pub batch_tokens: usize,
    /// Threads computed on.
    pub threads: usize,
    /// Steps in all, where they are known beforehand.
    pub steps: Option<u64>,
    /// The step that an earlier, interrupted training had reached.
    pub resumed: Option<u64>,
    /// Seconds until the deadline, where there is one.
    pub seconds_left: Option<f64>,
    /// What decides which model is kept.
    pub criterion: Criterion,
}

/// Told after every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Step {
    /// Steps done.
    pub step: u64,
    /// Of so many, where that is known.
    pub steps: Option<u64>,
    /// Passes through the data begun.
    pub epoch: u32,
    /// Mean loss of the batch, in nats a token.
    pub loss: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// The gradient's norm before clipping.
    pub norm: f64,
    /// Tokens without padding, of late.
    pub tokens_per_second: f64,
    /// Until the end of training, looks and saving left out.
    pub seconds_left: Option<f64>,
}

/// Told after every look at the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Look {
    /// After so many steps.
    pub step: u64,
    /// Accuracy or loss, if there was one.
    pub value: Option<f64>,
    /// What it is.
    pub criterion: Criterion,
    /// Whether this model is now the one in `--out`.
    pub kept: bool,
    /// Seconds it took.
    pub seconds: f64,
}

/// What is told.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// Before the first step.
    Begin(&'a Begin),
    /// After each step.
    Step(&'a Step),
    /// While an evaluation runs: the door's words.
    Evaluating(&'a str),
    /// After each look.
    Look(&'a Look),
    /// A checkpoint of this step is on the disk.
    Checkpoint(u64),
    /// Something that the user should know.
    Note(&'a str),
}

/// Why a training ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// All steps are done.
    Finished,
    /// Too many looks brought nothing better.
    Patience,
    /// The deadline is near.
    Deadline,
    /// A signal of this number asked for it.
    Stopped(u8),
    /// Loss or gradient are no numbers any more.
    Diverged,
}

/// How a training ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Why.
    pub end: End,
    /// Steps done.
    pub steps: u64,
    /// The model in `--out`; none when nothing was saved and what was there before is still there.
    pub best: Option<Best>,
    /// What decided.
    pub criterion: Criterion,
    /// Time in all.
    pub seconds: f64,
    /// Tokens trained on, without padding.
    pub tokens: u64,
    /// Share of padding.
    pub waste: f64,
    /// The last step's loss.
    pub loss: Option<f64>,
}

impl Outcome {
    /// 0, 1 after a divergence, 128 and the number after a signal.
    pub fn exit_code(&self) -> u8 {
        match self.end {
            End::Finished | End::Patience | End::Deadline => 0,
            End::Diverged => 1,
            End::Stopped(signal) => 128_u8.saturating_add(signal),
        }
    }
}

/// `M:SS` below an hour, `H:MM:SS` above.
pub fn clock_text(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
