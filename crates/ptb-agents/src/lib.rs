//! Floor 5: what an agent is told, what it starts with, and the command that starts it.
//!
//! [`prompt`] writes the text of the task; [`workspace`] copies an agent folder's files; [`command`] turns
//! an agent of the registry or a folder into an argument vector and environment. Baselines have none of
//! these: nothing runs for them.
//!
//! This crate must never start a process (the wall does), read a secret, or put anything into the
//! workspace that holds an answer or a scorer.

mod command;
mod folder;
mod prompt;

pub use command::{Launch, command};
pub use folder::{FolderError, copy_folder, hash_folder};
pub use prompt::{PromptError, prompt};

/// Places inside the wall that every agent finds (the outside contract).
pub mod inside {
    /// Home directory, private to the run.
    pub const HOME: &str = "/home/agent";
    /// Working directory: the workspace.
    pub const TASK: &str = "/home/agent/task";
    /// Base model, read-only.
    pub const BASE_MODEL: &str = "/opt/ptb/base_model";
    /// Programs of the harness: `ptb-door`, `ptb-sft`.
    pub const PROGRAMS: &str = "/opt/ptb/bin";
    /// Hugging Face cache of the run.
    pub const HF_HOME: &str = "/home/agent/.cache/huggingface";
    /// Directory of the door's socket.
    pub const DOOR: &str = "/run/ptb";
}
