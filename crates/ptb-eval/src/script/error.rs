//! Why a benchmark's own program has no result. A program that fails is an error, never a score of zero; whether it is
//! the submission's fault, a trial on the base model decides ([`super::trial`]).

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

    /// Whether the program itself did this, so that it may do better on another model.
    pub(super) fn is_of_program(&self) -> bool {
        use ScriptError::{Failed, Late, Memory, Result};
        matches!(self, Late { .. } | Memory { .. } | Failed { .. } | Result { .. })
    }

    /// Whether it may come of how much there was to do.
    pub(super) fn is_of_size(&self) -> bool {
        matches!(self, Self::Late { .. } | Self::Memory { .. })
    }

    /// A program that ended without success, by its exit code or signal and the end of its output. `starved` says
    /// that the kernel killed a process for want of memory meanwhile.
    pub(super) fn of_end(how: String, starved: bool, output: &str, log: &Path) -> Self {
        let said = last_words(output);
        let log = log.to_owned();
        match memory_error(output) {
            Some(line) => Self::Memory { how: format!("it said `{line}`"), said, log },
            None if starved => Self::Memory {
                how: format!("it {how}, and the kernel ended a process for want of memory"),
                said,
                log,
            },
            None => Self::Failed { how, said, log },
        }
    }
}

/// Exceptions that tell of missing memory by their class: of Python, numpy and torch.
const CLASSES: [&str; 2] = ["MemoryError", "OutOfMemoryError"];
/// What exceptions of other classes say then.
const WORDS: [&str; 4] =
    ["CUDA out of memory", "Cannot allocate memory", "can't allocate memory", "std::bad_alloc"];
/// A server's parent ends with these words, and the reason stands above.
const ABOVE: &str = "See root cause above";

/// The exception of missing memory that the program ended with. What it only printed, a model's replies among it, is
/// none: the last exception below a traceback's lines, which are indented, or in a log counts.
fn memory_error(output: &str) -> Option<String> {
    let lines: Vec<&str> = output.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1)).rev();
    let below = pairs.filter(|(before, line)| before.starts_with(' ') || line.contains(" ERROR "));
    let mut exceptions = below.filter_map(|(_, line)| exception(line));
    let last = exceptions.next()?;
    let (class, said) = match last.1.contains(ABOVE) {
        true => exceptions.find(|(class, said)| tells_of_memory(class, said))?,
        false => last,
    };
    let line = if said.is_empty() { class.to_owned() } else { format!("{class}: {said}") };
    tells_of_memory(class, said).then(|| ptb_infer::tidy(&line, LINE_BYTES))
}

fn tells_of_memory(class: &str, said: &str) -> bool {
    CLASSES.iter().any(|name| class.ends_with(name)) || WORDS.iter().any(|w| said.contains(w))
}

/// Class and text of a line such as `torch.OutOfMemoryError: CUDA out of memory`, behind what a log puts before it.
fn exception(line: &str) -> Option<(&str, &str)> {
    let line = match line.split_once("] ") {
        Some((head, rest)) if head.contains(" ERROR ") && head.len() < 100 => rest,
        _ => line,
    };
    let (class, said) = line.trim_end().split_once(": ").unwrap_or((line.trim_end(), ""));
    let named = class.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    (named && class.ends_with("Error")).then_some((class, said))
}

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
        let of = |how: &str, starved, output: &str| {
            ScriptError::of_end(how.to_owned(), starved, output, Path::new("l")).to_string()
        };
        let python = of("ended with exit code 1", false, "Traceback\n  File\nMemoryError\n");
        assert!(python.contains("ran out of memory (it said `MemoryError`)"), "{python}");
        let killed = of("was killed by signal 9", true, "");
        assert!(
            killed.contains("out of memory (it was killed by signal 9, and the kernel"),
            "{killed}"
        );
        let plain = of("ended with exit code 1", false, "a\nb\n\u{1b}[31mc\n\nValueError: x\n");
        assert!(plain.starts_with("evaluate.py ended with exit code 1: b | "), "{plain}");
        assert!(plain.contains("| ValueError: x\nhint: ") && !plain.contains('\u{1b}'), "{plain}");
        // A kill is not by itself the kernel's, nor a reply that speaks of memory the program's end.
        let killed = of("was killed by signal 9", false, "");
        assert!(killed.starts_with("evaluate.py was killed by signal 9\n"), "{killed}");
        for output in [
            "reply: MemoryError\nMemoryError\nCUDA out of memory\nKeyError: 'x'\n",
            "I got a MemoryError: it was full\n",
            "MemoryError is a class\n",
            // The streams of output and errors arrive in any order.
            "Traceback\n  File \"x\"\nKeyError: 'x'\nMemoryError\n",
        ] {
            let told = of("ended with exit code 1", false, output);
            assert!(told.starts_with("evaluate.py ended with exit code 1"), "{told}");
        }
        for output in [
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n",
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 TiB\n",
            "OSError: [Errno 12] Cannot allocate memory\n",
            "(EngineCore pid=7) ERROR 11-21 16:56:27 [core.py:9] torch.OutOfMemoryError: CUDA out of memory.\n\
             RuntimeError: Engine core initialization failed. See root cause above. Failed: {}\n",
        ] {
            let output = format!("Traceback\n  File \"x\", line 1\n{output}");
            let told = of("ended with exit code 1", false, &output);
            assert!(told.starts_with("evaluate.py ran out of memory (it said `"), "{told}");
        }
    }
}
