//! The one trait of every isolation: embedded namespaces, none, and later bwrap, apptainer, podman.

use crate::report::Report;
use crate::running::Running;
use crate::spec::WallSpec;
use crate::{Namespaces, NoWall, Result, WallError};
use std::path::{Path, PathBuf};

/// A way to run a command apart from the host.
pub trait Wall: Send + Sync {
    /// The name users ask for it by.
    fn name(&self) -> &'static str;

    /// Tries the wall on this machine, in some ten milliseconds, and tells what it guarantees.
    ///
    /// # Errors
    /// [`WallError::KernelForbids`] names the setting in the way.
    fn probe(&self) -> Result<Report>;

    /// Starts a command. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the specification is wrong or the helper cannot be started; what fails later, while the
    /// wall is built, is told by [`Running::started`] and [`Running::wait`].
    fn launch(&self, spec: WallSpec) -> Result<Running>;

    /// Where things of a specification are for the command; needed to write its environment.
    fn inside(&self, spec: &WallSpec) -> Inside;
}

/// Paths as the command sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    /// Home directory.
    pub home: PathBuf,
    /// The workspace.
    pub task: PathBuf,
    /// The door's socket.
    pub door: Option<PathBuf>,
    /// Directories of the project's programs, for `PATH`.
    pub programs: Vec<PathBuf>,
    /// Whether binds appear at their targets; if not, they are where they are on the host.
    pub moves_binds: bool,
}

impl Inside {
    /// Where a declared bind's source is found by the command.
    #[must_use]
    pub fn of_bind(&self, spec: &WallSpec, source: &Path) -> Option<PathBuf> {
        let bind = spec.binds.iter().find(|bind| bind.source == source)?;
        Some(if self.moves_binds { bind.target.clone() } else { bind.source.clone() })
    }
}

/// The wall called `name`: `namespaces` or `none`.
///
/// # Errors
/// [`WallError::UnknownWall`] lists the names.
pub fn wall_by_name(name: &str) -> Result<Box<dyn Wall>> {
    match name {
        Namespaces::NAME => Ok(Box::new(Namespaces::new())),
        NoWall::NAME => Ok(Box::new(NoWall::new())),
        _ => Err(WallError::UnknownWall {
            name: name.to_owned(),
            known: [Namespaces::NAME, NoWall::NAME].join(", "),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walls_are_found_by_name_and_unknown_ones_are_told() {
        assert_eq!(wall_by_name("namespaces").unwrap().name(), "namespaces");
        assert_eq!(wall_by_name("none").unwrap().name(), "none");
        let error = wall_by_name("bubble").err().unwrap().to_string();
        assert_eq!(error, "no wall is called \"bubble\"\nhint: use one of namespaces, none");
    }
}
