//! Floor 3: samples x seeds become completions, grades and metrics.
//!
//! [`Prepared::new`] does everything that needs no engine: data, prompts, sampling, hashes, and which
//! completions are there already. [`Prepared::evaluate`] asks a running engine for the missing ones,
//! keeps each as soon as it is there, and writes the metrics. [`rescore`] computes metrics again from what
//! is kept.
//!
//! A completion is reused only when everything that made it is the same: weights, prompt, tokenizer,
//! sampling, limits, seed. (One that failures had shortened keeps its place: see `reduced_to`.) Scores are never
//! reused: they are computed from completion and grades each time. A grader's valid replies are kept by content.
//!
//! A benchmark that is a program goes another way: [`evaluate_script`].
//!
//! A baseline may set its prompt's form and its sampling ([`EvalSpec::asking`]); a submission never can.
//!
//! This crate must never start an engine, let a submission choose its prompt, or count a failure of ours as
//! a wrong answer.

mod ask;
mod error;
mod evaluation;
mod finish;
mod grader;
mod grading;
pub mod inspect;
mod log;
mod pass;
mod patience;
mod prepare;
mod provenance;
mod render;
mod rescore;
mod script;
mod seed;
mod serve;
mod shared;
mod silence;
mod store;
mod tally;
mod weights;

pub use error::EvalError;
pub use evaluation::{Answered, Evaluation};
pub use grader::Grader;
pub use grading::{GraderSpec, KEY_ENV, PATIENCE, check_grader, knock_grader};
pub use prepare::{EvalSpec, Prepared};
pub use provenance::{EvalProvenance, spent};
pub use ptb_code::CodeError;
pub use rescore::rescore;
pub use script::{ScriptError, ScriptSpec, check_script, evaluate_script};
pub use serve::{Given, Serve, Told};
pub use store::SampleRecord;
pub use weights::{WeightsError, weights_dir};
