//! Floor 7: one run, from a spec to a recorded score.
//!
//! [`preflight`] asks, before anything is made, whether a run can work on this machine. [`run`] takes a run
//! directory's lease and carries out the stages that are not done: prepare, solve, judge, evaluate,
//! record. Each stage reads what earlier ones left in the run directory and writes its own; all but solve
//! may be repeated from the start with the same result. Solve is a series of attempts that are never
//! deleted.
//!
//! This crate must never decide what a fact means (the judge does), compute a score, or print: it tells
//! what happens through [`Progress`].

mod context;
mod engine;
mod evaluator;
mod failure;
mod output;
mod preflight;
mod stages;
mod store;
mod tail;
pub mod trajectory;
mod tree;
mod trial;

pub use context::{Context, Notice, Programs, ProgramsError, Progress};
pub use engine::{Served, Server, only_chats, unknown_engine};
pub use failure::Ended;
pub use output::OutputLine;
pub use preflight::{Preflight, agents, knock_graders, preflight, readable, versions};
pub use stages::{SolveRecord, TelemetryLine, run};
