//! What can go wrong, said so that the user can act, and the exit code that tells programs.

use std::fmt::Display;
use std::path::Path;

use ptb_model::{ModelError, SaveError};

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command, the data or the base model.
    Input,
    /// The machine: disk, memory, rights; or this program.
    Failure,
}

/// A training that could not begin or go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}\nhint: {hint}")]
pub struct SftError {
    /// Whose fault.
    pub kind: Kind,
    /// What was being done, to what, why it failed.
    pub message: String,
    /// What to do next.
    pub hint: String,
}

impl SftError {
    /// The user's to mend.
    pub fn input(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: Kind::Input, message: message.into(), hint: hint.into() }
    }

    /// The machine's or ours.
    pub fn failure(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { kind: Kind::Failure, message: message.into(), hint: hint.into() }
    }

    /// 2 for input, 3 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Input => 2,
            Kind::Failure => 3,
        }
    }

    /// `doing` something to `path` failed for the operating system's reason.
    pub(crate) fn io(doing: &str, path: &Path, e: &std::io::Error) -> Self {
        let hint = match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                "the disk is full: remove what is not needed, or name a place on another disk"
            }
            std::io::ErrorKind::FileTooLarge => {
                "files may not be so large here: raise the limit (ulimit -f), or name another disk"
            }
            std::io::ErrorKind::NotFound => "check the path",
            _ => "check the path, its permissions and the disk",
        };
        Self::failure(format!("failed to {doing} {}: {e}", path.display()), hint)
    }

    /// An error of the house whose text ends in a line with its hint.
    fn told(kind: Kind, e: &impl Display) -> Self {
        let text = e.to_string();
        let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, "see above"));
        Self { kind, message: message.to_owned(), hint: hint.to_owned() }
    }
}

impl From<ModelError> for SftError {
    fn from(e: ModelError) -> Self {
        Self::told(if e.is_io() { Kind::Failure } else { Kind::Input }, &e)
    }
}

impl From<SaveError> for SftError {
    fn from(e: SaveError) -> Self {
        let kind = match &e {
            SaveError::Target { .. } => Kind::Input,
            SaveError::Base(e) if !e.is_io() => Kind::Input,
            SaveError::Base(_) | SaveError::Io { .. } | SaveError::Weight { .. } => Kind::Failure,
        };
        Self::told(kind, &e)
    }
}

impl From<candle_core::Error> for SftError {
    fn from(e: candle_core::Error) -> Self {
        Self::failure(format!("failed to compute a step: {e}"), "report it with the command")
    }
}
