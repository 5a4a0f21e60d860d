//! From a refusal of the kernel to the setting that causes it, and what to do about it.

use crate::WallError;
use crate::helper::{CLONING, MAPPING};
use crate::wire::Failure;

/// A setting that can forbid namespaces to this process.
struct Setting {
    /// Its file below `/proc/sys`.
    file: &'static str,
    /// The value that forbids.
    forbids: &'static str,
    /// Whether it binds root too.
    binds_root: bool,
    /// How to change it.
    remedy: &'static str,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        file: "user/max_user_namespaces",
        forbids: "0",
        binds_root: true,
        remedy: "as root: sysctl -w user.max_user_namespaces=15000 (kept in /etc/sysctl.d/)",
    },
    Setting {
        file: "kernel/unprivileged_userns_clone",
        forbids: "0",
        binds_root: false,
        remedy: "as root: sysctl -w kernel.unprivileged_userns_clone=1 (kept in /etc/sysctl.d/)",
    },
    Setting {
        file: "kernel/apparmor_restrict_unprivileged_userns",
        forbids: "1",
        binds_root: false,
        remedy: "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (kept in \
                 /etc/sysctl.d/), or an AppArmor profile that allows 'userns' to this program",
    },
];

const LAST_RESORT: &str = "'--sandbox none' runs without any isolation, for agents that you trust";

/// What this machine says, read from files so that tests can say other things.
pub(crate) struct Facts {
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) is_root: bool,
    pub(crate) filtered: bool,
    pub(crate) container: bool,
    /// Root of a user namespace that has too few users to give one to the agent.
    pub(crate) few_users: bool,
}

impl Facts {
    pub(crate) fn read() -> Self {
        let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
        let settings = SETTINGS.iter().map(|setting| {
            let value = read(format!("/proc/sys/{}", setting.file));
            (setting.file.to_owned(), value.trim().to_owned())
        });
        let status = read("/proc/self/status".to_owned());
        let filters = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        let marks = ["/.dockerenv", "/run/.containerenv", "/singularity", "/.singularity.d"];
        let is_root = rustix::process::geteuid().is_root();
        Self {
            settings: settings.collect(),
            is_root,
            few_users: is_root && !crate::Identity::for_this_process().exists(),
            filtered: filters.is_some_and(|mode| mode.trim() != "0"),
            container: marks.iter().any(|path| std::path::Path::new(path).exists()),
        }
    }
}

/// Explains a failure of the set-up, when a setting of the kernel or of a container is behind it.
pub(crate) fn diagnose(failure: &Failure) -> Option<WallError> {
    diagnose_with(failure, &Facts::read())
}

fn diagnose_with(failure: &Failure, facts: &Facts) -> Option<WallError> {
    let errno = failure.errno?;
    let refused =
        [libc::EPERM, libc::EACCES, libc::ENOSPC, libc::EINVAL, libc::ENOSYS, libc::EUSERS];
    if !refused.contains(&errno) {
        return None;
    }
    let in_setup = failure.doing == CLONING
        || failure.doing.starts_with(MAPPING)
        || ["mounting", "detaching", "binding", "attaching", "making"]
            .iter()
            .any(|step| failure.doing.starts_with(step));
    if !in_setup {
        return None;
    }
    Some(by_setting(failure, facts).unwrap_or_else(|| by_place(failure, facts)))
}

fn by_setting(failure: &Failure, facts: &Facts) -> Option<WallError> {
    let setting = SETTINGS.iter().find(|setting| {
        let value = facts.settings.iter().find(|(file, _)| file == setting.file);
        value.is_some_and(|(_, value)| value == setting.forbids)
            && (setting.binds_root || !facts.is_root)
    })?;
    let name = setting.file.replace('/', ".");
    Some(WallError::KernelForbids {
        why: format!("{failure}; the setting {name} = {} forbids it", setting.forbids),
        setting: Some(name),
        hint: format!("{}; {LAST_RESORT}", setting.remedy),
    })
}

fn by_place(failure: &Failure, facts: &Facts) -> WallError {
    let (setting, hint) = if failure.errno == Some(libc::ENOSYS) {
        (
            None,
            "Linux 5.12 or newer is needed (mount_setattr), built with all namespaces".to_owned(),
        )
    } else if facts.few_users {
        let hint = "this runs as root of a user namespace (unshare -r, a rootless container) without \
                    another user to give to the agent; run it as the ordinary user outside of it";
        (Some("users of this user namespace".to_owned()), hint.to_owned())
    } else if failure.doing.starts_with("mounting proc") {
        let hint = "a container hides parts of /proc here, and the kernel allows no fresh one then; \
                    start it with /proc unmasked (docker, podman: --security-opt systempaths=unconfined)";
        (Some("masked /proc of a container".to_owned()), hint.to_owned())
    } else if facts.filtered || facts.container {
        let hint = "this runs inside a container or under a system-call filter that forbids it; \
                    start the container with --security-opt seccomp=unconfined --security-opt \
                    apparmor=unconfined --security-opt systempaths=unconfined, or run outside of it";
        (Some("seccomp filter or profile of a container".to_owned()), hint.to_owned())
    } else {
        (None, "look into the kernel log and the system's security modules".to_owned())
    };
    WallError::KernelForbids {
        setting,
        why: failure.to_string(),
        hint: format!("{hint}; {LAST_RESORT}"),
    }
}

/// What to do about a failure that no setting explains.
pub(crate) fn plain_hint(failure: &Failure) -> &'static str {
    match failure.errno {
        Some(libc::ENOENT) if failure.doing.starts_with("executing") => {
            "the program must be readable inside: below /usr, in the workspace, or bound"
        }
        Some(libc::ENOENT) => "create it, or take it out of the specification",
        Some(libc::EACCES) => {
            "the agent's user must be allowed to read it; hand directories over before launch"
        }
        _ => "see the error of the kernel above",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(settings: &[(&str, &str)], is_root: bool) -> Facts {
        let settings = settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Facts { settings, is_root, filtered: false, container: false, few_users: false }
    }

    fn failure(doing: &str, errno: i32) -> Failure {
        Failure::new(doing, &std::io::Error::from_raw_os_error(errno))
    }

    fn told(failure: &Failure, facts: &Facts) -> (Option<String>, String) {
        match diagnose_with(failure, facts) {
            Some(WallError::KernelForbids { setting, hint, .. }) => (setting, hint),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_setting_is_named_with_its_remedy() {
        for (file, value, errno) in [
            ("user/max_user_namespaces", "0", libc::ENOSPC),
            ("kernel/unprivileged_userns_clone", "0", libc::EPERM),
            ("kernel/apparmor_restrict_unprivileged_userns", "1", libc::EACCES),
        ] {
            let name = file.replace('/', ".");
            let (setting, hint) = told(&failure(CLONING, errno), &facts(&[(file, value)], false));
            assert_eq!(setting.as_deref(), Some(name.as_str()));
            assert!(hint.contains(&format!("sysctl -w {name}=")), "{hint}");
        }
    }

    #[test]
    fn root_is_not_told_of_settings_that_do_not_bind_it() {
        let open = facts(&[("kernel/unprivileged_userns_clone", "0")], true);
        assert_eq!(told(&failure(CLONING, libc::EPERM), &open).0, None);
        let closed = facts(&[("user/max_user_namespaces", "0")], true);
        assert!(told(&failure(CLONING, libc::ENOSPC), &closed).0.is_some());
    }

    #[test]
    fn containers_and_old_kernels_are_told_apart() {
        let mut inside = facts(&[], true);
        inside.container = true;
        assert!(told(&failure(CLONING, libc::EPERM), &inside).1.contains("seccomp=unconfined"));
        inside.few_users = true;
        assert!(told(&failure(MAPPING, libc::EINVAL), &inside).1.contains("ordinary user"));
        let proc = failure("mounting proc for /proc", libc::EPERM);
        assert!(told(&proc, &facts(&[], false)).1.contains("systempaths=unconfined"));
        let old = failure("binding /usr at /usr", libc::ENOSYS);
        assert!(told(&old, &facts(&[], false)).1.contains("5.12"));
    }

    #[test]
    fn a_missing_file_is_no_fault_of_the_kernel() {
        assert!(diagnose(&failure("binding /x at /opt/x", libc::ENOENT)).is_none());
        assert!(diagnose(&failure("executing \"x\"", libc::EACCES)).is_none());
    }
}
