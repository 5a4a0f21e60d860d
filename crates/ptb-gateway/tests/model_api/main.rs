//! The model API against a scripted provider: what passes, what is refused, what is written down.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]
mod faults;
mod hostile;
mod keys;
mod limits;
mod passing;
mod provider;
mod reach;
mod record;
mod support;
