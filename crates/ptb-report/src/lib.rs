//! Floor 8: results to statistics to tables.
//!
//! The room reads run directories ([`find`]), turns them into a [`Report`] (rows are agents, columns are
//! benchmarks), and writes one report in four forms: [`Report::table`], [`Report::markdown`],
//! [`Report::csv`], [`Report::json`]. [`RunSummary`] tells what one run did. The maths is in pure
//! functions that know nothing of files: [`weights`], [`aggregate`], [`bootstrap`].
//!
//! What is averaged over what, from the inside out:
//!
//! 1. A run counts with its own score, or (marked `*`, `†`, `‡`) with its base model's, which is looked
//!    up among the baseline runs evaluated in the same way. A base score that is missing is unknown,
//!    never 0, and so is everything that depends on it.
//! 2. A cell's score is the mean over its repeats; a column's the mean over base models.
//! 3. The average is `sum_i w_i * s_i` over the benchmarks of the table ([`weights`]).
//! 4. The spread is the standard deviation (n - 1) over repeats of the average of that repeat alone;
//!    the interval is a bootstrap ([`bootstrap`]).
//!
//! This crate must never write into a run directory, start a process, print, or ask a network. It knows
//! nothing of schedulers, agents or engines: what is not in the run directory does not exist.

pub mod aggregate;
mod axes;
mod baseline;
pub mod bootstrap;
mod build;
mod choice;
mod error;
mod measured;
mod notes;
mod read;
mod render;
mod report;
mod rows;
mod show;
pub mod text;
mod usage;
pub mod weights;

pub use choice::{Options, WeightsChoice};
pub use error::{Problem, ReportError};
pub use measured::measured;
pub use read::{Found, find};
pub use report::{
    BenchmarkScore, Column, ModelScore, Report, Row, RowUsage, RunLine, SolveTime, Unfinished,
};
pub use show::{RunSummary, ScoreSummary, StageSummary};
pub use usage::{ModelUsage, TokenCounts, Usage};
