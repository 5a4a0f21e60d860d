//! Continuous batching: rows join and leave between steps.
//!
//! [`Batcher`] is the plain machine (rows in, one step at a time, events out); [`scheduler`] gives it a
//! thread and a bounded queue.

mod batcher;
mod row;
mod scheduler;
#[cfg(test)]
mod tests;

pub(crate) use batcher::{Batcher, BatcherOptions};
pub(crate) use row::{Event, Failure, Finish, Job, Request};
pub(crate) use scheduler::{Scheduler, SubmitError};
