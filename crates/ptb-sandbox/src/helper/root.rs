//! Building the inside's root directory on a fresh file system in memory, and moving into it.
//!
//! Runs as PID 1 of the new namespaces, while it still has capabilities over them. The host's tree is
//! there until [`enter`] detaches it; everything that is shown was opened as a graft before.

use super::graft::{Graft, clone_all_of, clone_of};
use crate::layout::{
    AGENT_HOME, AGENT_UID, AGENT_USER, COVERED, DEVICE_LINKS, PROC_COVERED, PROC_HIDDEN,
    PROC_READ_ONLY, SYSTEM, exposes, is_plain_dir, settle,
};
use crate::spec::WallSpec;
use crate::sys;
use crate::weaken::Weakness;
use crate::wire::{Doing, Failure};
use rustix::fs::{CWD, Mode};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

/// Builds the root, attaches the grafts and makes it the only root.
pub(super) fn enter(spec: &WallSpec, grafts: Vec<Graft>) -> Result<(), Failure> {
    let what = || "detaching mounts from the host".to_owned();
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .doing(what)?;
    if spec.weak(Weakness::HostRoot) {
        return Ok(());
    }
    let links = system_links();
    let covered: Vec<_> = COVERED.iter().copied().filter(|path| is_plain_dir(path)).collect();
    let secrets = spec.secrets.iter().filter(|place| exposes(place)).map(|place| settle(place));
    let secrets: Vec<PathBuf> = secrets.filter(|place| place.exists()).collect();
    let root = Root { spec, path: foundation()? };
    root.memory("", 16 << 20, 0o755)?;
    for (name, to) in links {
        let made = symlink(&to, root.at(&name));
        made.doing(|| format!("making the link {name}"))?;
    }
    root.files()?;
    root.memory("dev", 1 << 20, 0o755)?;
    root.memory("tmp", spec.sizes.tmp, 0o1777)?;
    root.memory("run", 16 << 20, 0o755)?;
    root.memory(AGENT_HOME, spec.sizes.home, 0o755)?;
    for graft in grafts {
        root.attach(&graft)?;
    }
    root.devices()?;
    for path in covered {
        root.cover(path)?;
    }
    for secret in secrets {
        root.hide(&secret)?;
    }
    root.proc()?;
    root.forbid_user_namespaces()?;
    root.seal()?;
    root.pivot()
}

/// A directory to build on. Every host has one of these; it is covered in this namespace only.
fn foundation() -> Result<PathBuf, Failure> {
    let found = ["/tmp", "/mnt", "/run", "/var"].iter().find(|path| is_plain_dir(path));
    found.map(PathBuf::from).ok_or_else(|| {
        let error = std::io::Error::other("neither /tmp, /mnt, /run nor /var is a directory");
        Failure::new("building the root directory", &error)
    })
}

/// Top-level places that are symlinks on this host (`/bin -> usr/bin`).
fn system_links() -> Vec<(String, PathBuf)> {
    let link = |path: &&str| Some(((*path).to_owned(), std::fs::read_link(path).ok()?));
    SYSTEM.iter().filter_map(link).collect()
}

struct Root<'a> {
    spec: &'a WallSpec,
    path: PathBuf,
}

impl Root<'_> {
    /// A path of the inside, where it is while being built.
    fn at(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        self.path.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    fn dir(&self, inside: &str) -> Result<PathBuf, Failure> {
        let path = self.at(inside);
        self.dir_at(&path)?;
        Ok(path)
    }

    fn dir_at(&self, path: &Path) -> Result<(), Failure> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.doing(|| format!("making the directory {}", path.display()))
    }

    /// A sized file system in memory. Inodes are bounded too: each costs kernel memory.
    fn memory(&self, inside: &str, bytes: u64, mode: u32) -> Result<(), Failure> {
        let path = self.dir(inside)?;
        let inodes = (bytes / 4096).clamp(1024, 1 << 20);
        let options = if self.spec.weak(Weakness::NoTmpSize) {
            format!("mode={mode:o}")
        } else {
            format!("mode={mode:o},size={bytes},nr_inodes={inodes}")
        };
        let mut flags = MountFlags::NOSUID;
        if !self.spec.weak(Weakness::DevNodes) {
            flags |= MountFlags::NODEV;
        }
        self.mount("tmpfs", &path, flags, &options)
    }

    fn mount(&self, kind: &str, at: &Path, flags: MountFlags, opts: &str) -> Result<(), Failure> {
        let what = || format!("mounting {kind} for {}", self.inside_name(at));
        let options = CString::new(opts).map_err(std::io::Error::from).doing(what)?;
        rustix::mount::mount(kind, at, kind, flags, options.as_c_str()).doing(what)
    }

    fn inside_name(&self, path: &Path) -> String {
        format!("/{}", path.strip_prefix(&self.path).unwrap_or(path).display())
    }

    fn attach(&self, graft: &Graft) -> Result<(), Failure> {
        let path = self.at(&graft.target);
        if graft.is_dir {
            self.dir_at(&path)?;
        } else {
            self.empty_file(&path)?;
        }
        self.attach_at(graft.mount.as_fd(), &path)
    }

    fn empty_file(&self, path: &Path) -> Result<(), Failure> {
        if let Some(parent) = path.parent() {
            self.dir_at(parent)?;
        }
        std::fs::write(path, "").doing(|| format!("making {}", self.inside_name(path)))
    }

    fn attach_at(&self, mount: BorrowedFd<'_>, path: &Path) -> Result<(), Failure> {
        rustix::mount::move_mount(mount, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .doing(|| format!("attaching {}", self.inside_name(path)))
    }

    /// Directories that are just there, and the files of `/etc` that describe the inside.
    fn files(&self) -> Result<(), Failure> {
        for dir in ["etc", "proc", "var", "opt", "home", "etc/ssl"] {
            self.dir(dir)?;
        }
        symlink("/tmp", self.at("var/tmp")).doing(|| "making /var/tmp".to_owned())?;
        symlink("/run", self.at("var/run")).doing(|| "making /var/run".to_owned())?;
        symlink("/proc/self/mounts", self.at("etc/mtab"))
            .doing(|| "making /etc/mtab".to_owned())?;
        let host = &self.spec.hostname;
        let (id, user, home) = (AGENT_UID, AGENT_USER, AGENT_HOME);
        let files = [
            (
                "passwd",
                format!(
                    "{user}:x:{id}:{id}:{user}:{home}:/bin/sh\n\
                     nobody:x:65534:65534:nobody:/:/bin/false\n"
                ),
            ),
            ("group", format!("{user}:x:{id}:\nnogroup:x:65534:\n")),
            ("hosts", format!("127.0.0.1 localhost {host}\n::1 localhost\n")),
            ("hostname", format!("{host}\n")),
            ("resolv.conf", String::new()),
        ];
        for (name, text) in files {
            let path = self.at("etc").join(name);
            std::fs::write(path, text).doing(|| format!("writing /etc/{name}"))?;
        }
        Ok(())
    }

    fn devices(&self) -> Result<(), Failure> {
        for (name, to) in DEVICE_LINKS {
            let made = symlink(to, self.at("dev").join(name));
            made.doing(|| format!("making /dev/{name}"))?;
        }
        let pts = self.dir("dev/pts")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.mount("devpts", &pts, flags, "newinstance,ptmxmode=0666,mode=0620")?;
        self.memory("dev/shm", self.spec.sizes.shm, 0o1777)
    }

    /// Covers a directory by an empty, read-only one.
    fn cover(&self, inside: &str) -> Result<(), Failure> {
        let flags =
            MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        self.mount("tmpfs", &self.at(inside), flags, "mode=555,size=4096,nr_inodes=2")
    }

    /// Covers a secret that lies in a folder of the system, which is shown: a program installed for all users.
    fn hide(&self, secret: &Path) -> Result<(), Failure> {
        if secret.is_dir() {
            return self.cover(&secret.to_string_lossy());
        }
        let null = clone_of(&self.at("dev/null")).doing(|| "cloning /dev/null".to_owned())?;
        self.attach_at(null.as_fd(), &self.at(secret))
    }

    fn proc(&self) -> Result<(), Failure> {
        let path = self.at("proc");
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        if self.spec.weak(Weakness::SharePid) {
            // A fresh one is only for who owns the PID namespace.
            let host = clone_all_of(Path::new("/proc")).doing(|| "cloning /proc".to_owned())?;
            self.attach_at(host.as_fd(), &path)?;
        } else {
            self.mount("proc", &path, flags, "")?;
        }
        if self.spec.weak(Weakness::NoMask) {
            return Ok(());
        }
        for name in PROC_HIDDEN.iter().filter(|name| path.join(name).exists()) {
            let null = clone_of(&self.at("dev/null")).doing(|| "cloning /dev/null".to_owned())?;
            self.attach_at(null.as_fd(), &path.join(name))?;
        }
        for name in PROC_COVERED.iter().filter(|name| path.join(name).is_dir()) {
            self.cover(&format!("proc/{name}"))?;
        }
        Ok(())
    }

    /// The second lock on nested user namespaces, beside the seccomp filter. Then the places of
    /// `/proc` that configure the kernel become read-only.
    fn forbid_user_namespaces(&self) -> Result<(), Failure> {
        let path = self.at("proc/sys/user/max_user_namespaces");
        let shares = self.spec.weak(Weakness::AllowUserns) || self.spec.weak(Weakness::ShareUser);
        if !shares && path.exists() {
            std::fs::write(path, "0").doing(|| "forbidding nested user namespaces".to_owned())?;
        }
        if self.spec.weak(Weakness::NoMask) {
            return Ok(());
        }
        for name in PROC_READ_ONLY.iter().map(|name| self.at("proc").join(name)) {
            if !name.is_dir() {
                continue;
            }
            let what = || format!("making {} read-only", self.inside_name(&name));
            let mount = clone_of(&name).doing(what)?;
            sys::mount_attributes(mount.as_fd(), sys::MOUNT_ATTR_RDONLY, 0, false).doing(what)?;
            self.attach_at(mount.as_fd(), &name)?;
        }
        Ok(())
    }

    /// No new entries in the root and `/dev`.
    fn seal(&self) -> Result<(), Failure> {
        if self.spec.weak(Weakness::WritableRoot) {
            return Ok(());
        }
        for name in ["", "dev"] {
            let what = || format!("making /{name} read-only");
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            let place = rustix::fs::open(self.at(name), flags, Mode::empty()).doing(what)?;
            sys::mount_attributes(place.as_fd(), sys::MOUNT_ATTR_RDONLY, 0, false).doing(what)?;
        }
        Ok(())
    }

    /// Changes the root and lets go of the host's.
    fn pivot(&self) -> Result<(), Failure> {
        let what = || "changing the root directory".to_owned();
        rustix::process::chdir(&self.path).doing(what)?;
        // Both names the same directory: the old root lands on top of the new one and is detached.
        rustix::process::pivot_root(".", ".").doing(what)?;
        rustix::mount::unmount(".", UnmountFlags::DETACH).doing(what)?;
        rustix::process::chdir("/").doing(what)
    }
}
