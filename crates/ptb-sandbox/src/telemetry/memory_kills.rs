//! Processes that the kernel ended for want of memory.
//!
//! What is inside a wall stays in the harness's memory control group (it cannot leave it), so that group's count is
//! asked: `oom_kill` of `memory.events` (cgroup v2) or of `memory.oom_control` (v1). It counts kills for the group's own
//! limit and for the whole machine's memory alike. Where there is no such group, the machine's count in `/proc/vmstat`
//! is what is left: then a kill of somebody else's process counts as well.

use super::procfs;
use std::path::{Path, PathBuf};

/// Where the group's files are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Counts from the moment on that it was made.
#[derive(Debug, Clone)]
pub struct MemoryKills {
    counter: PathBuf,
    before: u64,
}

impl MemoryKills {
    /// Begins to count.
    #[must_use]
    pub fn begin() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let counter = counter(&groups, Path::new(CGROUPS));
        let before = count(&counter).unwrap_or(0);
        Self { counter, before }
    }

    /// How many there were since.
    #[must_use]
    pub fn so_far(&self) -> u64 {
        count(&self.counter).unwrap_or(0).saturating_sub(self.before)
    }
}

/// The file with the narrowest count. `groups` is `/proc/self/cgroup`: lines of `number:controllers:path`.
fn counter(groups: &str, root: &Path) -> PathBuf {
    let place = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            return Some(root.join(path).join("memory.events"));
        }
        let memory = controllers.split(',').any(|name| name == "memory");
        memory.then(|| root.join("memory").join(path).join("memory.oom_control"))
    };
    let found = groups.lines().filter_map(place).find(|file| count(file).is_some());
    found.unwrap_or_else(|| PathBuf::from("/proc/vmstat"))
}

fn count(file: &Path) -> Option<u64> {
    // `/proc/vmstat` is longer than what is read of it elsewhere.
    let text = std::fs::read(file).ok()?;
    procfs::field(&text, "oom_kill ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_narrowest_counter_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let (first, second) = ("12:cpu,cpuacct:/a\n8:memory:/a/b\n0::/c\n", "0::/c\n");
        assert_eq!(counter(first, root), Path::new("/proc/vmstat"));
        fs::create_dir_all(root.join("memory/a/b")).unwrap();
        let v1 = root.join("memory/a/b/memory.oom_control");
        fs::write(&v1, "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n").unwrap();
        assert_eq!((counter(first, root), count(&v1)), (v1, Some(3)));
        fs::create_dir_all(root.join("c")).unwrap();
        let v2 = root.join("c/memory.events");
        fs::write(&v2, "low 0\nhigh 0\nmax 9\noom 2\noom_kill 4\noom_group_kill 1\n").unwrap();
        assert_eq!((counter(second, root), count(&v2)), (v2, Some(4)));
        assert!(count(Path::new("/proc/vmstat")).is_some());
    }
}
