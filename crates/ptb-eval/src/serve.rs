//! Engines as an evaluation needs them: one that answers now, and another when it has died.

use std::path::Path;

use futures::future::BoxFuture;
use ptb_infer::{Running, StartError};

/// What an evaluation tells while it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// So many completions are there.
    Count {
        /// There.
        done: u64,
        /// Wanted.
        total: u64,
    },
    /// So many verdicts of a grader are there.
    Verdicts {
        /// There.
        done: u64,
        /// Wanted.
        total: u64,
    },
    /// Something that a reader should know.
    Said(String),
}

/// Gives an evaluation its engine.
pub trait Serve: Send {
    /// What the engine is called in records.
    fn name(&self) -> &str;

    /// Where its output is kept, if anywhere.
    fn log(&self) -> Option<&Path> {
        None
    }

    /// An engine that answers: the one that was there before, or a fresh one where that has ended.
    ///
    /// # Errors
    /// As starting an engine.
    fn engine(&mut self) -> BoxFuture<'_, Result<&Running, StartError>>;

    /// Ends an engine that failed, though it may still run: the next one is a fresh one.
    fn give_up(&mut self) -> BoxFuture<'_, ()>;

    /// Whether an engine that fails is worth another one: not so for a server that somebody else runs.
    fn starts(&self) -> bool;
}

/// An engine that is there already, or that will not be needed. It is not started again.
#[derive(Debug)]
pub struct Given<'a>(pub Option<&'a Running>);

impl Serve for Given<'_> {
    fn name(&self) -> &str {
        "given"
    }

    fn engine(&mut self) -> BoxFuture<'_, Result<&Running, StartError>> {
        let none = || StartError::Ended {
            status: "before it was started".to_owned(),
            output: "no engine was given".to_owned(),
        };
        Box::pin(async move { self.0.ok_or_else(none) })
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn starts(&self) -> bool {
        false
    }
}
