//! Floor 8: an experiment file becomes checked run specs, and run specs become runs on slots.
//!
//! [`Experiment::read`] parses the user's file and checks it whole: after it, nothing asks again whether a
//! value is set or sound. A list is an axis, and axes multiply.
//!
//! This crate must never know how a stage works, what a benchmark asks, or how a score is made.

mod experiment;
mod file;
mod values;

pub use experiment::{Experiment, ExperimentError};
