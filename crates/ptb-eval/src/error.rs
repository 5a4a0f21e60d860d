//! Why an evaluation has no result.

use std::path::PathBuf;

use ptb_code::CodeError;
use ptb_core::failure::FailureKind;
use ptb_core::files::FileError;
use ptb_infer::{InferError, StartError};
use ptb_llm::LlmError;
use ptb_model::ModelError;
use ptb_tasks::TaskError;
use thiserror::Error;

use crate::script::ScriptError;

/// Why an evaluation has no result.
#[derive(Debug, Error)]
pub enum EvalError {
    /// The benchmark's data, prompt or template.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The submission.
    #[error("the model cannot be evaluated: {0}")]
    Model(String),
    /// The tokenizer of the base model.
    #[error("the tokenizer of {} cannot be used: {reason}; hint: check the base model's folder", dir.display())]
    Tokenizer {
        /// The folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// The engine.
    #[error(transparent)]
    Engine(#[from] InferError),
    /// An engine of ours ended while it was asked.
    #[error("the engine {engine} ended while it was asked ({words})\nhint: {hint}")]
    Died {
        /// Its name.
        engine: String,
        /// How it ended and what it said.
        words: String,
        /// Where its output is.
        hint: String,
    },
    /// The engine does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Programs cannot be run here.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// Plain text for an engine that takes messages alone.
    #[error(
        "the engine only chats (`?chat`), and a few-shot prompt is plain text; hint: name an engine that goes on \
         with a text: `builtin`, or a URL without `?chat`"
    )]
    ChatOnly,
    /// A file of the evaluation.
    #[error(transparent)]
    File(#[from] FileError),
    /// Asked to stop.
    #[error("the evaluation was stopped; what is answered is kept; hint: the same command goes on")]
    Cancelled,
    /// A benchmark's own program was asked to stop.
    #[error(
        "the evaluation was stopped, and what evaluate.py had done is lost; hint: the same command runs it again"
    )]
    Stopped,
    /// What was kept cannot be what an evaluation left.
    #[error("{} is not as an evaluation left it: {reason}; hint: evaluate again (`ptb eval --out` asks for what is missing alone)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A benchmark that a language model grades, and nobody who does.
    #[error(
        "{0} is graded by a language model, and there is no key for the default grader's API\nhint: export PTB_GRADER_KEY, \
         or name another API with --grader URL --grader-model NAME (an experiment file has [grader])"
    )]
    NoGrader(String),
    /// The language model that grades.
    #[error(transparent)]
    Grader(#[from] LlmError),
    /// Too many replies without a verdict.
    #[error(
        "{without} of {of} samples have no grade, which is too many to be left out (the first: {first})\nhint: the same \
         command asks for the missing verdicts again; a grader that often gives none cannot do this task"
    )]
    Ungraded {
        /// Samples without a grade.
        without: usize,
        /// Of how many.
        of: usize,
        /// Why the first has none.
        first: String,
    },
    /// A benchmark's own program.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// Nothing could be scored.
    #[error("no sample could be scored: {0}")]
    Nothing(String),
}

impl EvalError {
    /// Whether a fresh engine may do better.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Engine(e) => e.retryable(),
            Self::Start(e) => e.retryable(),
            Self::Died { .. } => true,
            _ => false,
        }
    }

    /// Whose fault it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Model(_) | Self::Engine(InferError::ModelFault { .. }) => FailureKind::Agent,
            Self::Start(e) if e.is_model_fault() => FailureKind::Agent,
            Self::Cancelled | Self::Stopped => FailureKind::Scheduler,
            Self::Grader(e) => e.kind().unwrap_or(FailureKind::Harness),
            Self::Ungraded { .. } => FailureKind::Provider,
            _ => FailureKind::Harness,
        }
    }
}

/// A fault of the submission, unless the system could not read it.
pub(crate) fn of_model(e: ModelError) -> EvalError {
    if e.is_io() {
        let source = std::io::Error::other(e.to_string());
        return EvalError::File(FileError::Io {
            action: "read",
            path: PathBuf::from("the model"),
            source,
        });
    }
    EvalError::Model(e.to_string())
}
