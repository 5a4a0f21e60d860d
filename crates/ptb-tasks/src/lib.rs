//! Floor 2: benchmarks. Where their samples come from ([`data`]), how a sample becomes chat messages
//! ([`prompt`]) and chat messages become the text a model reads ([`chat`]), how a reply is graded
//! ([`score`]) and grades become an accuracy with its error ([`metrics`]), and grading completions that
//! somebody else made ([`completions`]).
//!
//! Everything here is a pure function of files and arguments: the same inputs give the same prompts,
//! order and scores. This crate must never ask a model, open a socket, look at the clock or write a file.
//! A scorer that cannot do its work returns an error, never a wrong answer.

pub mod chat;
pub mod completions;
pub mod data;
mod error;
mod lines;
pub mod metrics;
pub mod prompt;
pub mod score;

pub use error::TaskError;
