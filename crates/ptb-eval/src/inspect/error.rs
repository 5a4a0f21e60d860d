//! Why a log could not be written.

use std::io;
use std::path::{Path, PathBuf};

use ptb_core::files::FileError;
use thiserror::Error;
use zip::result::ZipError;

/// Why a log could not be written. Nothing is there then but what was there before.
#[derive(Debug, Error)]
pub enum LogError {
    /// The system refused.
    #[error(transparent)]
    File(#[from] FileError),
    /// A sample comes twice under one seed.
    #[error("cannot write {}: there are two of {member}; hint: a sample has one answer under each seed", path.display())]
    Twice {
        /// The log.
        path: PathBuf,
        /// Where the sample is in it.
        member: String,
    },
    /// The metrics are of other samples than those handed over.
    #[error("cannot write {}: its metrics are of {expected} scores, its samples have {scored}; hint: a log's metrics are computed over its own samples and seeds alone", path.display())]
    OtherSamples {
        /// The log.
        path: PathBuf,
        /// Scores in its samples.
        scored: usize,
        /// Scores that the metrics are of.
        expected: usize,
    },
}

/// The same, where the log's name is not known.
#[derive(Debug)]
pub(super) enum Stop {
    Io(io::Error),
    Twice(String),
    OtherSamples { scored: usize, expected: usize },
}

impl Stop {
    pub(super) fn at(self, path: &Path) -> LogError {
        match self {
            Self::Io(e) => LogError::File(FileError::io("write", path)(e)),
            Self::Twice(member) => LogError::Twice { path: path.to_owned(), member },
            Self::OtherSamples { scored, expected } => {
                LogError::OtherSamples { path: path.to_owned(), scored, expected }
            }
        }
    }
}

impl From<io::Error> for Stop {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

impl From<ZipError> for Stop {
    fn from(e: ZipError) -> Self {
        Self::Io(e.into())
    }
}

impl From<serde_json::Error> for Stop {
    fn from(e: serde_json::Error) -> Self {
        Self::Io(e.into())
    }
}
