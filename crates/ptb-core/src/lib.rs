//! Floor 0: the words of PostTrainBench as types.
//!
//! Three rooms: [`registry`] holds what contributors write (benchmarks, models, agents, editions as
//! TOML), [`run`] is the run directory (the files that are the truth about a run, and the lease that
//! says who may write them), and the small files beside them hold what both share: whole-file writes
//! with schema versions ([`files`]), errors in user-written files ([`userfile`]), kinds of failure and
//! exit codes ([`failure`]), request seeds ([`seed`]).
//!
//! This crate must never start a process, open a socket, load a model or know how a benchmark is scored.

pub mod cell;
pub mod failure;
pub mod files;
pub mod names;
pub mod registry;
pub mod run;
pub mod seed;
pub mod userfile;
