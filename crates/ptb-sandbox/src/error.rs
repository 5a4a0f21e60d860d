//! What can go wrong before a command runs behind the wall.

use std::path::PathBuf;

/// Result of this crate's fallible calls.
pub type Result<T, E = WallError> = std::result::Result<T, E>;

/// Why a wall could not be probed or a command not be launched behind it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WallError {
    /// A [`crate::WallSpec`] asks for something that cannot or must not be had.
    #[error("cannot build the wall: {why}\nhint: {hint}")]
    BadSpec {
        /// What is wrong with it.
        why: String,
        /// What to change.
        hint: String,
    },
    /// A declared path lies inside, above or at a place that must stay outside.
    #[error(
        "cannot bind {} into the wall: it shows {}, which must stay outside\nhint: bind a directory \
         that holds only what the agent may read", source_path.display(), secret.display()
    )]
    Secret {
        /// The bind's source on the host.
        source_path: PathBuf,
        /// The secret place it would show.
        secret: PathBuf,
    },
    /// The kernel, or whoever configured it, does not allow what the wall is made of.
    #[error("cannot build the wall with Linux namespaces: {why}\nhint: {hint}")]
    KernelForbids {
        /// The setting that forbids it, when it was found.
        setting: Option<String>,
        /// What failed and which setting causes it.
        why: String,
        /// Commands that change it, or another wall to take.
        hint: String,
    },
    /// The helper process could not be started or did not speak.
    #[error("cannot start the wall's helper {}: {why}\nhint: {hint}", program.display())]
    Helper {
        /// The program that was executed as the helper.
        program: PathBuf,
        /// What failed.
        why: String,
        /// What to do.
        hint: String,
    },
    /// A name that no wall has.
    #[error("no wall is called {name:?}\nhint: use one of {known}")]
    UnknownWall {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A file or directory could not be handed to the agent.
    #[error("cannot give {} to the agent: {why}\nhint: {hint}", path.display())]
    Give {
        /// The path in question.
        path: PathBuf,
        /// What failed.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl WallError {
    pub(crate) fn bad_spec(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::BadSpec { why: why.into(), hint: hint.into() }
    }
}
