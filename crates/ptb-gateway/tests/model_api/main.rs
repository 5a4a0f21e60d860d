//! The model API against a scripted provider: what passes, what is refused, what is written down.

mod faults;
mod hostile;
mod keys;
mod limits;
mod passing;
mod provider;
mod reach;
mod record;
mod support;
