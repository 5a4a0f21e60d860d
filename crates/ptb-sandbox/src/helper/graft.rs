//! Opening what of the host is shown inside, as detached mounts with their restrictions in place.
//!
//! A graft is opened by handle once, judged through that handle, cloned and restricted; only then is
//! it attached somewhere. So no rename or symlink race can change what is shown. Root opens grafts
//! before the namespaces exist (its workspaces may lie where an unprivileged user cannot look); an
//! ordinary user opens them inside, where the kernel allows it.

use crate::layout::{DEVICES, DOOR_DIR, ETC, PROGRAMS_DIR, SYSTEM, TASK_DIR};
use crate::spec::{Access, WallSpec};
use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{Doing, Failure};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A place of the host to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) access: Access,
    /// Whether the places of [`WallSpec::secrets`] are kept out of it, and how.
    pub(super) guard: Guard,
}

/// Which relation to a secret place is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// A fixed place of the system: none.
    System,
    /// The harness's own choice (it may lie in the results): it must not hold a secret.
    Own,
    /// Declared by an experiment: it must neither hold nor lie in one.
    Declared,
}

/// An opened, restricted, not yet attached mount.
pub(super) struct Graft {
    pub(super) mount: OwnedFd,
    pub(super) target: PathBuf,
    pub(super) is_dir: bool,
}

/// Everything that is shown, in the order of mounting.
pub(super) fn plan(spec: &WallSpec) -> Vec<Plan> {
    let system = |source: PathBuf, access| {
        let target = source.clone();
        Plan { source, target, access, guard: Guard::System }
    };
    let mut plans = Vec::new();
    let is_dir = |path: &&&str| crate::layout::is_plain_dir(path);
    plans.extend(SYSTEM.iter().filter(is_dir).map(|path| system(path.into(), Access::Read)));
    let etc = ETC.iter().map(|entry| Path::new("/etc").join(entry)).filter(|path| path.exists());
    plans.extend(etc.map(|path| system(path, Access::Read)));
    let devices = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    plans.extend(devices.map(|path| system(path, Access::Device)));
    let own = |source: &Path, target: PathBuf, access| Plan {
        source: source.to_owned(),
        target,
        access,
        guard: Guard::Own,
    };
    plans.push(own(&spec.workspace, TASK_DIR.into(), Access::Write));
    plans.extend(spec.door.iter().map(|dir| own(dir, DOOR_DIR.into(), Access::Read)));
    plans.extend(spec.programs.iter().map(|program| {
        let name = program.file_name().unwrap_or_default();
        own(program, Path::new(PROGRAMS_DIR).join(name), Access::Read)
    }));
    let state = spec.state.iter();
    plans.extend(state.map(|bind| own(&bind.source, bind.target.clone(), bind.access)));
    plans.extend(spec.binds.iter().map(|bind| Plan {
        source: bind.source.clone(),
        target: bind.target.clone(),
        access: bind.access,
        guard: Guard::Declared,
    }));
    plans
}

/// Opens every planned place.
pub(super) fn open_all(spec: &WallSpec) -> Result<Vec<Graft>, Failure> {
    plan(spec).into_iter().map(|plan| open(plan, spec)).collect()
}

fn open(plan: Plan, spec: &WallSpec) -> Result<Graft, Failure> {
    let what = || format!("binding {} at {}", plan.source.display(), plan.target.display());
    let handle = rustix::fs::open(&plan.source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(what)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&handle).doing(what)?.st_mode);
    refuse_secret(&handle, plan.guard, &spec.secrets).doing(what)?;
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if (plan.access == Access::Device) != is_device {
        let text = if is_device { "it is a device" } else { "it is no device" };
        return Err(Failure::new(what(), &std::io::Error::other(text)));
    }
    let is_dir = kind == FileType::Directory;
    let recursive = if is_dir { OpenTreeFlags::AT_RECURSIVE } else { OpenTreeFlags::empty() };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | recursive;
    let mount = rustix::mount::open_tree(&handle, c"", flags).doing(what)?;
    let shallow = spec.weak(Weakness::ShallowReadOnly);
    sys::mount_attributes(mount.as_fd(), restrictions(plan.access, spec), 0, is_dir && !shallow)
        .doing(what)?;
    Ok(Graft { mount, target: plan.target, is_dir })
}

fn restrictions(access: Access, spec: &WallSpec) -> u64 {
    let unless = |weakness, attribute| if spec.weak(weakness) { 0 } else { attribute };
    let suid = unless(Weakness::SuidBinds, sys::MOUNT_ATTR_NOSUID);
    let dev = unless(Weakness::DevNodes, sys::MOUNT_ATTR_NODEV);
    match access {
        Access::Read => suid | dev | unless(Weakness::WritableBinds, sys::MOUNT_ATTR_RDONLY),
        Access::Write => suid | dev,
        Access::Device => suid | sys::MOUNT_ATTR_NOEXEC,
    }
}

/// Judges an open handle by where the kernel says it is.
fn refuse_secret(handle: &OwnedFd, guard: Guard, secrets: &[PathBuf]) -> std::io::Result<()> {
    if guard == Guard::System || secrets.is_empty() {
        return Ok(());
    }
    let place = std::fs::read_link(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    match crate::layout::shown_secret(&place, secrets, guard == Guard::Declared) {
        Some(secret) => Err(std::io::Error::other(format!(
            "it shows {}, which must stay outside",
            secret.display()
        ))),
        None => Ok(()),
    }
}

/// A clone of one mount of this namespace, not yet attached.
pub(super) fn clone_of(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// A clone of a mount and of all below it, not yet attached.
pub(super) fn clone_all_of(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}
