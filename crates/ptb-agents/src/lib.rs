//! Floor 5: what an agent is told, what it starts with, and the command that starts it.
//!
//! [`prompt`] writes the text of the task; [`copy_folder`] copies an agent folder's files; [`command`] turns
//! an agent of the registry or a folder into arguments, environment and files. [`Connection`] says which API its
//! model is behind, and reads the key, which stays with the harness. [`install`] fetches
//! a scaffold's packages. Baselines have none of these: nothing runs for them.
//!
//! This crate must never start an agent (the wall does), put a key into arguments, environment or files of one, or put
//! anything into the workspace that holds an answer or a scorer.

mod command;
mod credentials;
mod folder;
mod install;
mod prompt;

pub use command::{Launch, Start, command};
pub use credentials::{Connection, CredentialError};
pub use folder::{FolderError, copy_folder, hash_folder};
pub use install::{BIN, InstallError, Installed, install, install_for, version_of};
pub use prompt::{PromptError, prompt};

/// Where an agent finds things (the outside contract). The default is the same behind every wall that
/// moves paths; without a wall they are places of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Home directory, private to the run.
    pub home: String,
    /// Working directory: the workspace.
    pub task: String,
    /// Base model, read-only.
    pub base_model: String,
    /// Folders of the harness's programs, for PATH.
    pub programs: Vec<String>,
    /// The door's socket.
    pub door: String,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            home: "/home/agent".to_owned(),
            task: "/home/agent/task".to_owned(),
            base_model: "/opt/base_model".to_owned(),
            programs: vec!["/opt/ptb/bin".to_owned()],
            door: "/run/ptb/door.sock".to_owned(),
        }
    }
}
