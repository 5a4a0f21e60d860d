//! Why a model directory could not be taken, and whose fault that is.

use std::io;

use ptb_core::failure::FailureKind;
use thiserror::Error;

/// Why a model directory could not be taken. Messages name paths as the agent knows them, but for
/// [`SnapshotError::Io`], which is ours.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// It is not where models may lie.
    #[error(
        "{path} is not below {workspace}; hint: put the model into a directory below {workspace}"
    )]
    Outside {
        /// As the agent named it.
        path: String,
        /// The workspace, inside.
        workspace: String,
    },
    /// There is nothing.
    #[error("there is no directory {path}; hint: save the model there first")]
    Missing {
        /// As the agent named it.
        path: String,
    },
    /// A part of the path, or a file, is a symbolic link.
    #[error(
        "{path} is or leads through a symbolic link or a mount, which is not followed; hint: put the \
         files themselves there (`cp -rL`)"
    )]
    Link {
        /// What.
        path: String,
    },
    /// Something else than a regular file, or a directory, was expected.
    #[error("{path} is {what}; hint: a model is a directory of regular files")]
    NotPlain {
        /// What.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// The file belongs to somebody else.
    #[error(
        "{path} belongs to another user and has further names; hint: put a copy of the file there"
    )]
    Foreign {
        /// Which file.
        path: String,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}; hint: check its permissions")]
    Unreadable {
        /// What.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// No model in it.
    #[error(
        "{path} holds no model files; hint: save config.json, *.safetensors and the tokenizer's files \
         directly in it (`save_pretrained`)"
    )]
    Empty {
        /// The directory.
        path: String,
    },
    /// More than the bounds allow.
    #[error("{path} has {what} {found}, at most {limit} are allowed; hint: {hint}")]
    TooMuch {
        /// The directory.
        path: String,
        /// What is counted (`bytes in model files:`, ...).
        what: &'static str,
        /// How much there is (at least).
        found: u64,
        /// The bound.
        limit: u64,
        /// What to do.
        hint: &'static str,
    },
    /// It is being written.
    #[error("{path} changed while it was read; hint: let the writing end, then try again")]
    Changed {
        /// What changed.
        path: String,
    },
    /// The copy is no whole model.
    #[error("{path} is no whole model: {message}")]
    NotWhole {
        /// The directory.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// The client went away, or the run ended.
    #[error("taking the model was cancelled")]
    Cancelled,
    /// Our own disk or system.
    #[error("cannot {action}: {source}; hint: check the disk that holds the results")]
    Io {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl SnapshotError {
    /// Whose fault it is: [`FailureKind::Agent`] for what the agent left, else the harness's.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Cancelled => FailureKind::Scheduler,
            Self::Io { .. } => FailureKind::Harness,
            Self::Unreadable { source, .. } if source.kind() != io::ErrorKind::PermissionDenied => {
                FailureKind::Harness
            }
            _ => FailureKind::Agent,
        }
    }

    /// Wraps an error of our own side.
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// What a check of a copied model found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckFault {
    /// The model is not whole or not well-formed: its owner's fault.
    Model(String),
    /// It could not be checked: the machine's fault.
    Machine(String),
}
