//! What can go wrong: problems with single runs, which a report tells beside its table, and errors, which
//! leave no table to show.

use std::path::PathBuf;

use ptb_core::failure::ExitCode;
use ptb_core::registry::RegistryError;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::weights::WeightsError;

/// A run directory (or a folder on the way to one) that could not be used. It does not hide the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The run directory or folder.
    pub path: String,
    /// What is wrong with it, and what to do next.
    pub message: String,
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The results cannot be read at all.
    #[error("cannot read results in {}: {reason}; hint: name a results folder, an experiment in it, or one run", path.display())]
    Results {
        /// What was named.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The path is not a run directory.
    #[error("{} is not a run directory: {reason}; hint: a run directory holds run.json, as in results/EXPERIMENT/runs/RUN", path.display())]
    NotARun {
        /// What was named.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Runs follow different rules.
    #[error("the runs follow different editions ({}), whose scores do not compare; hint: name the one to report", .0.join(", "))]
    Editions(Vec<String>),
    /// An edition is not in the registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The benchmarks cannot be weighted.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A form could not be written; this is a bug.
    #[error("cannot write the report as {form}: {reason}")]
    Form {
        /// Which form.
        form: &'static str,
        /// Why.
        reason: String,
    },
}

impl ReportError {
    /// The exit code of the outside contract.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Form { .. } => ExitCode::Harness,
            _ => ExitCode::Usage,
        }
    }
}
