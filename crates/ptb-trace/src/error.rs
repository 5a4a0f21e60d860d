//! What can go wrong: only the files around a trace; a trace itself cannot be wrong enough.

/// A failure to convert a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The trace could not be read.
    #[error("cannot read the trace: {0}; hint: check the file and the disk it lies on")]
    Read(#[source] std::io::Error),
    /// A record could not be written.
    #[error("cannot write {what}: {source}; hint: check the room on the disk of the run directory")]
    Write {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No such format.
    #[error(
        "no trace format is called {0:?}; hint: `trace` in an agent's file is one of claude, codex, gemini, opencode, plain"
    )]
    Format(String),
}
