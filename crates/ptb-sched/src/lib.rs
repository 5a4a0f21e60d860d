//! Floor 8: an experiment file becomes checked run specs, and run specs become runs on slots.
//!
//! [`Experiment::read`] parses the user's file and checks it whole: after it, nothing asks again whether a
//! value is set or sound. A list is an axis, and axes multiply. [`run_local`] carries the runs out on this
//! machine.
//!
//! This crate must never know how a stage works, what a benchmark asks, or how a score is made.

mod experiment;
mod file;
mod home;
mod local;
mod overrides;
mod values;

pub use experiment::{Experiment, ExperimentError};
pub use local::{Outcome, experiment_dir, run_local};
pub use overrides::OverrideError;
