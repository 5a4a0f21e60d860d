//! What a run is carried out with: programs, cancellation, somebody to tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ptb_core::run::Stage;
use ptb_eval::Told;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// The project's own programs, side by side in one folder.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `ptb`, re-executed as the engine.
    pub ptb: PathBuf,
    /// `ptb-door`, bound into the sandbox.
    pub door: PathBuf,
    /// `ptb-sft`, bound into the sandbox where it is installed.
    pub sft: Option<PathBuf>,
}

/// A program is not where it should be.
#[derive(Debug, Error)]
#[error("{} is missing; hint: build all programs (`cargo build --release`), or install them side by side", .0.display())]
pub struct ProgramsError(PathBuf);

impl Programs {
    /// The programs beside `ptb`.
    pub fn beside(ptb: &Path) -> Result<Self, ProgramsError> {
        let folder = ptb.parent().unwrap_or(Path::new("."));
        let door = folder.join("ptb-door");
        if !door.is_file() {
            return Err(ProgramsError(door));
        }
        let sft = Some(folder.join("ptb-sft")).filter(|p| p.is_file());
        Ok(Self { ptb: ptb.to_owned(), door, sft })
    }
}

/// Something that happened to a run, for whoever watches. Text in it may quote what an agent named or
/// printed: whoever shows it makes it harmless first.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// A stage began.
    Stage(Stage),
    /// A stage counts towards something (`done` of `total`, in `what`).
    Count {
        /// What is counted, in a word or two.
        what: String,
        /// So many are done.
        done: u64,
        /// Of so many; 0 where unknown.
        total: u64,
    },
    /// The agent has so much time left. Told about once a second while it works.
    TimeLeft(std::time::Duration),
    /// The last line that the agent has printed, or its end, when that is new. Told at most once a second.
    Output(String),
    /// An evaluation through the door is so far.
    Evaluating {
        /// What is being done, in a word (`loading`, `generating`).
        what: &'static str,
        /// So many samples are done.
        done: u64,
        /// Of so many; 0 where unknown.
        total: u64,
    },
    /// The evaluation through the door is over; its score, 0 to 1, where it has one.
    Evaluated(Option<f64>),
    /// The run is over; how, in a line.
    Ended(String),
    /// A line worth telling once.
    Line(String),
}

impl From<Told> for Notice {
    fn from(told: Told) -> Self {
        match told {
            Told::Count { done, total } => Self::Count { what: "samples".to_owned(), done, total },
            Told::Verdicts { done, total } => {
                Self::Count { what: "verdicts".to_owned(), done, total }
            }
            Told::Said(line) => Self::Line(line),
        }
    }
}

/// Somebody who is told about a run, by its slug. Must return at once.
pub type Progress = Arc<dyn Fn(&str, Notice) + Send + Sync>;

/// What runs are carried out with.
#[derive(Clone)]
pub struct Context {
    /// The project's programs.
    pub programs: Programs,
    /// Told what happens.
    pub progress: Progress,
    /// Ends the run cleanly when cancelled.
    pub cancel: CancellationToken,
    /// Whether a solve that was cut goes on in its workspace with the budget that is left.
    pub continue_solve: bool,
    /// Places of the host that no bind may show to the agent (registry folders, results).
    pub secrets: Vec<PathBuf>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("programs", &self.programs).finish_non_exhaustive()
    }
}
