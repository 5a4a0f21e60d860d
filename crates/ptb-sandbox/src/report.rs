//! What a wall guarantees on this machine, for `run.json`.

use serde::{Deserialize, Serialize};

/// One promise about the inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantee {
    /// What is promised.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// By what means, or why not.
    pub how: String,
}

/// The outcome of [`crate::Wall::probe`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the wall.
    pub wall: String,
    /// Kernel release and machine.
    pub kernel: String,
    /// User id of the agent outside.
    pub outside_uid: u32,
    /// All promises, kept and not kept.
    pub guarantees: Vec<Guarantee>,
}

impl Report {
    pub(crate) fn new(wall: &str, outside_uid: u32, rows: &[(&str, bool, &str)]) -> Self {
        let uname = rustix::system::uname();
        let guarantees = rows.iter().map(|(name, holds, how)| Guarantee {
            name: (*name).to_owned(),
            holds: *holds,
            how: (*how).to_owned(),
        });
        Self {
            wall: wall.to_owned(),
            kernel: format!(
                "{} {} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
            outside_uid,
            guarantees: guarantees.collect(),
        }
    }

    /// Whether every promise holds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.guarantees.iter().all(|guarantee| guarantee.holds)
    }
}
