//! Why a benchmark's own program has no result. None of it is a submission's fault: a program that fails is an error,
//! never a score of zero.

use std::io;
use std::path::{Path, PathBuf};

use ptb_core::registry::ScriptFolderError;
use ptb_sandbox::WallError;
use thiserror::Error;

use super::PYTHON;

/// Why a benchmark's own program has no result.
#[derive(Debug, Error)]
pub enum ScriptError {
    /// The benchmark's folder.
    #[error(transparent)]
    Folder(#[from] ScriptFolderError),
    /// No interpreter.
    #[error(
        "evaluate.py needs Python: {why}\nhint: install python3, or name one in {PYTHON} (that of an environment with what evaluate.py imports)"
    )]
    NoPython {
        /// What was found instead.
        why: String,
    },
    /// The time limit that the environment sets is none.
    #[error("{variable} = {text:?} is no time limit\nhint: give seconds, 1 to {most}, or leave it out for eight hours", variable = super::SECONDS, most = super::MAX_SECONDS)]
    Time {
        /// What it says.
        text: String,
    },
    /// The machine allows no wall.
    #[error("evaluate.py runs behind a wall alone: {0}")]
    Wall(#[from] WallError),
    /// Its place could not be made.
    #[error("{doing} for evaluate.py failed: {source}\nhint: check the disk and TMPDIR")]
    Place {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// It ran too long.
    #[error("evaluate.py was ended after {seconds} s, its time limit\nhint: look at {}; {variable} sets another limit", log.display(), variable = super::SECONDS)]
    Late {
        /// The limit.
        seconds: u64,
        /// Its output.
        log: PathBuf,
    },
    /// There was not enough memory.
    #[error("evaluate.py ran out of memory ({how}){said}\nhint: free memory of this machine or its GPU, then run again; its output is in {}", log.display())]
    Memory {
        /// How that showed.
        how: String,
        /// The end of its output.
        said: String,
        /// Its output.
        log: PathBuf,
    },
    /// It failed.
    #[error("evaluate.py {how}{said}\nhint: its output is in {}", log.display())]
    Failed {
        /// Exit code or signal.
        how: String,
        /// The end of its output.
        said: String,
        /// Its output.
        log: PathBuf,
    },
    /// It ended well and wrote nothing of use.
    #[error("evaluate.py {what}\nhint: {hint}")]
    Result {
        /// What is wrong with what it wrote.
        what: String,
        /// What it should write.
        hint: &'static str,
    },
}

impl ScriptError {
    /// Whether the machine lacks something, rather than something having failed.
    pub fn is_missing_requirement(&self) -> bool {
        matches!(self, Self::NoPython { .. } | Self::Wall(WallError::KernelForbids { .. }))
    }

    pub(super) fn place(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Place { doing, source }
    }

    /// A program that ended without success, by its exit code or signal and the end of its output.
    pub(super) fn of_end(how: String, killed: bool, output: &str, log: &Path) -> Self {
        let said = last_words(output);
        let log = log.to_owned();
        let memory = OUT_OF_MEMORY.iter().find(|words| output.contains(**words));
        match memory {
            Some(words) => Self::Memory { how: format!("it said `{words}`"), said, log },
            None if killed => Self::Memory { how, said, log },
            None => Self::Failed { how, said, log },
        }
    }
}

/// How programs say that there is not enough memory: Python, torch on a GPU and on the processor, the system.
const OUT_OF_MEMORY: [&str; 5] = [
    "CUDA out of memory",
    "OutOfMemoryError",
    "MemoryError",
    "Cannot allocate memory",
    "can't allocate memory",
];
/// Lines and bytes of output that a message quotes.
const LINES: usize = 3;
const LINE_BYTES: usize = 200;

/// The last lines that were printed, made harmless.
fn last_words(output: &str) -> String {
    let lines = output.lines().rev().map(|line| ptb_infer::tidy(line, LINE_BYTES));
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).take(LINES).collect();
    lines.reverse();
    if lines.is_empty() { String::new() } else { format!(": {}", lines.join(" | ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_from_other_failures() {
        let of = |how: &str, killed, output| {
            ScriptError::of_end(how.to_owned(), killed, output, Path::new("l")).to_string()
        };
        let python = of("ended with exit code 1", false, "Traceback\nMemoryError\n");
        assert!(python.contains("ran out of memory (it said `MemoryError`)"), "{python}");
        let killed = of("was killed by signal 9", true, "");
        assert!(killed.contains("ran out of memory (was killed by signal 9)"), "{killed}");
        let plain = of("ended with exit code 1", false, "a\nb\n\u{1b}[31mc\n\nValueError: x\n");
        assert!(plain.starts_with("evaluate.py ended with exit code 1: b | "), "{plain}");
        assert!(plain.contains("| ValueError: x\nhint: ") && !plain.contains('\u{1b}'), "{plain}");
    }
}
