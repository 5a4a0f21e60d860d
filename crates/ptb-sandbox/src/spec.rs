//! What a command behind the wall may see and use.

use crate::layout::{AGENT_HOME, PROGRAMS_DIR, TASK_DIR};
use crate::weaken::Weakness;
use crate::{Result, WallError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// How the inside may use a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Readable; mounts below it too are read-only.
    Read,
    /// Readable and writable.
    Write,
    /// A device node that may be opened (a GPU, for example).
    Device,
}

/// A path of the host that appears inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// How it may be used.
    pub access: Access,
}

/// Limits per process or user (`setrlimit`). The address space is never limited: GPU runtimes and
/// language runtimes reserve far more of it than they use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Processes and threads at one time.
    pub processes: u64,
    /// Open files of one process; lowered to the host's hard limit where that is less.
    pub open_files: u64,
    /// Size of one file in bytes.
    pub file_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processes: 4096, open_files: 65_536, file_bytes: None }
    }
}

/// Sizes in bytes of the private file systems, which live in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// `/tmp`, which is also `/var/tmp`.
    pub tmp: u64,
    /// `/home/agent`, without the workspace in it.
    pub home: u64,
    /// `/dev/shm`.
    pub shm: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { tmp: 2 * GIB, home: 2 * GIB, shm: 2 * GIB }
    }
}

/// What the command reads as its standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// `/dev/null`.
    #[default]
    Null,
    /// A copy of this file of the host, at most 64 MiB; the inside cannot reach the file itself.
    File(PathBuf),
}

/// Who the agent is outside the wall. Inside it is always user and group 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id on the host, never 0.
    pub uid: u32,
    /// Group id on the host, never 0 when the harness is root.
    pub gid: u32,
}

impl Identity {
    /// Used when the harness is root: a user that owns nothing on the host (the range above
    /// container managers' ids, which systemd leaves unassigned).
    const HIGH: u32 = 1_990_000_042;
    /// Where a container maps only 65536 ids (the range that systemd leaves to nobody).
    const LOW: u32 = 64_742;

    /// The agent outside, for this process: an unprivileged user when it runs as root, else
    /// the user that runs it.
    #[must_use]
    pub fn for_this_process() -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !uid.is_root() {
            return Self { uid: uid.as_raw(), gid: gid.as_raw() };
        }
        let high = Self { uid: Self::HIGH, gid: Self::HIGH };
        if high.exists() { high } else { Self { uid: Self::LOW, gid: Self::LOW } }
    }

    /// Whether the user namespace that this process is in has this user.
    pub(crate) fn exists(self) -> bool {
        let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        maps_id(&map, self.uid)
    }
}

/// Whether a `uid_map` text (`first-inside first-outside count` lines) has `id` inside.
fn maps_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(_), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// Everything a wall needs to start a command. Made with [`WallSpec::new`], then changed field by
/// field; [`crate::Wall::launch`] checks it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WallSpec {
    /// Program and arguments; a name without `/` is searched in the environment's `PATH`, inside.
    pub command: Vec<String>,
    /// The whole environment of the command, nothing is added.
    pub env: BTreeMap<String, String>,
    /// The directory of the host that is `/home/agent/task` inside, writable. Prepare it with
    /// [`crate::give_to_agent`].
    pub workspace: PathBuf,
    /// A directory of the host that holds `door.sock`, read-only at `/run/ptb` inside. The socket
    /// and the directory must allow the agent (modes 0666 and 0755, for example).
    pub door: Option<PathBuf>,
    /// Programs of the host that appear, read-only, in `/opt/ptb/bin` under their own names.
    pub programs: Vec<PathBuf>,
    /// Further declared paths.
    pub binds: Vec<Bind>,
    /// Folders that the harness keeps for this agent, which outlive the command. Like the workspace they may lie in a
    /// secret place, and must not hold one.
    pub state: Vec<Bind>,
    /// Places of the host that no bind may show: the results, the registry, data with answers, the harness's own
    /// program. Where one lies in a folder of the system, which is always shown, it is covered.
    pub secrets: Vec<PathBuf>,
    /// Working directory of the command, inside.
    pub cwd: PathBuf,
    /// Host name inside.
    pub hostname: String,
    /// Standard input.
    pub stdin: Stdin,
    /// Process limits.
    pub limits: Limits,
    /// Sizes of the private file systems.
    pub sizes: Sizes,
    /// How long the command may run; counted by the boot-time clock, suspended time included.
    pub deadline: Option<Duration>,
    /// Time between TERM and KILL at the deadline or when cancelled.
    pub grace: Duration,
    /// The agent outside.
    pub identity: Identity,
    /// Protections left out, by tests of the wall alone. Never read from a file.
    #[doc(hidden)]
    #[serde(skip)]
    pub weaken: BTreeSet<Weakness>,
}

impl WallSpec {
    /// A command in a workspace, with defaults for the rest: no network, no binds, no deadline,
    /// 30 s of grace, and the environment `HOME USER LOGNAME SHELL LANG PATH TMPDIR TERM`.
    #[must_use]
    pub fn new<S: Into<String>>(
        workspace: impl Into<PathBuf>,
        command: impl IntoIterator<Item = S>,
    ) -> Self {
        let path = format!("{PROGRAMS_DIR}:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin");
        let env = [
            ("HOME", AGENT_HOME),
            ("USER", "agent"),
            ("LOGNAME", "agent"),
            ("SHELL", "/bin/sh"),
            ("LANG", "C.UTF-8"),
            ("PATH", &path),
            ("TMPDIR", "/tmp"),
            ("TERM", "dumb"),
        ];
        Self {
            command: command.into_iter().map(Into::into).collect(),
            env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            workspace: workspace.into(),
            door: None,
            programs: Vec::new(),
            binds: Vec::new(),
            state: Vec::new(),
            secrets: Vec::new(),
            cwd: TASK_DIR.into(),
            hostname: "ptb".to_owned(),
            stdin: Stdin::Null,
            limits: Limits::default(),
            sizes: Sizes::default(),
            deadline: None,
            grace: Duration::from_secs(30),
            identity: Identity::for_this_process(),
            weaken: BTreeSet::new(),
        }
    }

    /// Adds or replaces a variable of the environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }

    /// Shows `source` of the host at `target` inside, read-only.
    #[must_use]
    pub fn bind_read(self, source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        self.bind(source, target, Access::Read)
    }

    /// Shows `source` of the host at `target` inside.
    #[must_use]
    pub fn bind(
        mut self,
        source: impl Into<PathBuf>,
        target: impl Into<PathBuf>,
        access: Access,
    ) -> Self {
        self.binds.push(Bind { source: source.into(), target: target.into(), access });
        self
    }

    /// Ends the command after `remaining`.
    #[must_use]
    pub fn deadline(mut self, remaining: Duration) -> Self {
        self.deadline = Some(remaining);
        self
    }

    /// Whether a path of the host would be readable inside: the fixed part ([`crate::exposes`]),
    /// the workspace, the door, programs and binds.
    #[must_use]
    pub fn exposes(&self, path: &Path) -> bool {
        let shown = self.binds.iter().chain(&self.state).map(|bind| &bind.source);
        let shown = shown.chain(&self.programs);
        let shown = shown.chain([&self.workspace]).chain(&self.door);
        let path = crate::layout::settle(path);
        shown.into_iter().any(|root| path.starts_with(crate::layout::settle(root)))
            || crate::exposes(&path)
    }

    pub(crate) fn weak(&self, weakness: Weakness) -> bool {
        self.weaken.contains(&weakness)
    }

    /// What can be judged before anything is opened.
    pub(crate) fn check(&self) -> Result<()> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(WallError::bad_spec("the command is empty", "name a program to run"));
        }
        if self.env.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
            return Err(WallError::bad_spec(
                "the environment has a name that is empty or holds '=' or NUL",
                "rename the variable",
            ));
        }
        if self.identity.uid == 0
            || (rustix::process::geteuid().is_root() && self.identity.gid == 0)
        {
            return Err(WallError::bad_spec(
                "the agent would be root outside",
                "use Identity::for_this_process",
            ));
        }
        let name_fits = (1..=64).contains(&self.hostname.len());
        if !name_fits || !self.hostname.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(WallError::bad_spec(
                format!("{:?} is no host name", self.hostname),
                "use up to 64 letters, digits and hyphens",
            ));
        }
        let sources = self.binds.iter().chain(&self.state).map(|bind| &bind.source);
        let sources = sources.chain(&self.programs).chain([&self.workspace]).chain(&self.door);
        if let Some(path) = sources.into_iter().find(|path| !path.is_absolute()) {
            return Err(WallError::bad_spec(
                format!("{} is a relative path", path.display()),
                "give absolute paths of the host",
            ));
        }
        let all: Vec<&Bind> = self.binds.iter().chain(&self.state).collect();
        check_targets(&all)
    }
}

/// Where binds may not appear, because the wall builds these places itself.
const RESERVED: [&str; 12] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/proc", "/sys", "/opt/ptb",
    "/run/ptb", TASK_DIR,
];

fn check_targets(binds: &[&Bind]) -> Result<()> {
    for (at, bind) in binds.iter().enumerate() {
        let target = &bind.target;
        let plain = target.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        if !target.is_absolute() || !plain || target.components().count() < 2 {
            return Err(WallError::bad_spec(
                format!("a bind cannot appear at {}", target.display()),
                "give an absolute path without '..'",
            ));
        }
        let in_dev = target.starts_with("/dev");
        let whole = ["/tmp", "/home", AGENT_HOME, "/run", "/opt", "/var", "/dev"];
        let reserved = RESERVED.iter().any(|place| target.starts_with(place))
            || whole.iter().any(|place| target == Path::new(place))
            || in_dev != (bind.access == Access::Device);
        if reserved {
            return Err(WallError::bad_spec(
                format!(
                    "a bind cannot appear at {}, a place that the wall builds",
                    target.display()
                ),
                "choose a path such as /opt/NAME or /home/agent/NAME (devices: below /dev)",
            ));
        }
        let clash = binds[..at]
            .iter()
            .find(|other| other.target.starts_with(target) || target.starts_with(&other.target));
        if let Some(other) = clash {
            return Err(WallError::bad_spec(
                format!("binds at {} and {} overlap", other.target.display(), target.display()),
                "give each bind a path of its own",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_built_places_overlaps_and_climbing_paths_are_refused() {
        let spec = || WallSpec::new("/w", ["true"]);
        assert!(
            spec().bind_read("/a", "/opt/data").bind_read("/b", "/home/agent/b").check().is_ok()
        );
        for target in
            ["/", "a", "/usr/x", "/home/agent/task/x", "/tmp/../etc", "/proc/x", "/dev/sda", "/tmp"]
        {
            assert!(spec().bind_read("/a", target).check().is_err(), "{target}");
        }
        assert!(spec().bind_read("/a", "/opt/a").bind_read("/b", "/opt/a/b").check().is_err());
        assert!(spec().bind("/dev/nvidia0", "/dev/nvidia0", Access::Device).check().is_ok());
        assert!(spec().bind("/x", "/opt/x", Access::Device).check().is_err());
    }

    #[test]
    fn root_outside_empty_commands_and_bad_environments_are_refused() {
        let spec = WallSpec::new("/w", ["true"]);
        let mut root = spec.clone();
        root.identity.uid = 0;
        assert!(root.check().is_err());
        assert!(WallSpec::new("/w", Vec::<String>::new()).check().is_err());
        assert!(spec.env("A=B", "1").check().is_err());
    }

    #[test]
    fn weaknesses_never_come_from_text() {
        let mut spec = WallSpec::new("/w", ["true"]);
        spec.weaken.insert(Weakness::NoSeccomp);
        let text = serde_json::to_string(&spec).unwrap();
        assert!(!text.contains("weak"));
        let forged = text.replacen('{', r#"{"weaken":["NoSeccomp"],"#, 1);
        assert!(serde_json::from_str::<WallSpec>(&forged).unwrap().weaken.is_empty());
    }

    #[test]
    fn id_maps_are_read() {
        assert!(maps_id("         0          0 4294967295\n", Identity::HIGH));
        assert!(!maps_id("0 100000 65536\n", Identity::HIGH));
        assert!(maps_id("0 1000 1\n1 100000 65536\n", Identity::LOW));
        assert!(!maps_id("garbage", 1));
    }
}
