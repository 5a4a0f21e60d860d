//! What can go wrong with data, prompts and scorers.

use std::path::PathBuf;

use thiserror::Error;

/// Why data cannot be had, a prompt not be made, or an answer not be graded.
#[derive(Debug, Error)]
pub enum TaskError {
    /// A data file cannot be read.
    #[error("cannot read {}: {reason}; hint: {hint}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// A record of a data file is wrong.
    #[error("{}:{line}: {reason}; hint: {hint}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// 1-based line (JSON Lines) or row (Parquet).
        line: usize,
        /// What is wrong with it.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// The dataset is not in the local cache of the hub.
    #[error(
        "{repo} at revision {revision} is not in the hub cache {} ({reason}); hint: run `{command}`, \
         or use a local copy (data: --data PATH, in an experiment file NAME = \"PATH\" under [data]; a model: `path` under [base] in \
         models/NAME.toml of a --registry folder)",
        cache.display()
    )]
    NotCached {
        /// Repository id.
        repo: String,
        /// Commit, branch or tag asked for.
        revision: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// What is missing.
        reason: String,
        /// The command that fetches it.
        command: String,
    },
    /// The benchmark's file asks for something its data cannot give.
    #[error("benchmark {benchmark}: {reason}; hint: {hint}")]
    Benchmark {
        /// Its id.
        benchmark: String,
        /// What cannot be done.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// A template cannot be read or filled in.
    #[error("cannot {action}: {reason}; hint: {hint}")]
    Template {
        /// What was being done.
        action: String,
        /// Why it failed.
        reason: String,
        /// What to do next.
        hint: String,
    },
    /// A reference answer is not what the scorer compares with.
    #[error("cannot score against the target `{target}`: {reason}; hint: correct the data")]
    Target {
        /// The target, shortened.
        target: String,
        /// Why not.
        reason: String,
    },
    /// A language model came to no verdict about a reply; that is no wrong answer.
    #[error("a reply has no grade: {reason}; hint: ask the grader again")]
    Ungraded {
        /// What is missing.
        reason: String,
    },
    /// The machine cannot do what grading takes; neither reply nor sample is to blame.
    #[error(
        "cannot grade a reply: {reason}; hint: free memory or processes on this machine, then score again"
    )]
    Machine {
        /// What it cannot do.
        reason: String,
    },
}

impl TaskError {
    /// The message without its hint, for errors that bring another one.
    pub(crate) fn without_hint(&self) -> String {
        let text = self.to_string();
        text.rsplit_once("; hint: ").map_or(text.as_str(), |(said, _)| said).to_owned()
    }
}

/// The first characters of a text from outside, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text[..end].escape_debug()),
        None => text.escape_debug().to_string(),
    }
}
