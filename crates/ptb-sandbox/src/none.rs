//! No wall: a command beside the harness, with the harness's rights. Used only when asked for by name.

use crate::report::Report;
use crate::running::Running;
use crate::spec::WallSpec;
use crate::wall::{Inside, Wall};
use crate::wire::Mode;
use crate::{Result, namespaces};
use std::path::{Path, PathBuf};

/// Deadline and killing, no isolation.
#[derive(Debug, Clone)]
pub struct NoWall {
    helper: PathBuf,
}

impl Default for NoWall {
    fn default() -> Self {
        Self::new()
    }
}

/// What is and what is not promised.
const PROMISES: [(&str, bool, &str); 10] = [
    ("files", false, "the agent reads and writes what the harness's user may"),
    ("user", false, "the agent runs as the harness's user"),
    (
        "processes",
        false,
        "all are seen; those started are ended with the harness, if its helper lives",
    ),
    ("network", false, "the host's network"),
    ("ipc", false, "the host's"),
    ("system-calls", false, "no filter"),
    ("descriptors", true, "standard streams alone; a session without terminal"),
    ("deadline", true, "TERM, grace, KILL for the whole tree, on the boot-time clock"),
    (
        "process-count",
        true,
        "RLIMIT_NPROC, counted with the user's other processes; root is exempt",
    ),
    ("disk-in-memory", false, "the host's /tmp and /dev/shm"),
];

impl NoWall {
    /// Name of this wall.
    pub const NAME: &'static str = "none";

    /// Without isolation; this very program is the helper that supervises, so its `main` must call
    /// [`crate::enter_if_helper`].
    #[must_use]
    pub fn new() -> Self {
        Self { helper: "/proc/self/exe".into() }
    }

    /// With another program as the helper, of the same build of this crate.
    #[must_use]
    pub fn with_helper(helper: impl Into<PathBuf>) -> Self {
        Self { helper: helper.into() }
    }
}

impl Wall for NoWall {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn probe(&self) -> Result<Report> {
        Ok(Report::new(Self::NAME, namespaces::own_identity().uid, &PROMISES))
    }

    /// As the trait says. A working directory inside the workspace's place behind a wall becomes the
    /// workspace itself; nothing else of the specification is moved.
    fn launch(&self, mut spec: WallSpec) -> Result<Running> {
        spec.check()?;
        if let Ok(rest) = spec.cwd.strip_prefix(crate::TASK_DIR) {
            spec.cwd = spec.workspace.join(rest);
        }
        namespaces::launch(&self.helper, Mode::NoWall, spec)
    }

    fn inside(&self, spec: &WallSpec) -> Inside {
        let mut programs: Vec<PathBuf> =
            spec.programs.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
        programs.dedup();
        Inside {
            home: spec.workspace.clone(),
            task: spec.workspace.clone(),
            door: spec.door.as_ref().map(|dir| dir.join("door.sock")),
            programs,
            moves_binds: false,
        }
    }
}
