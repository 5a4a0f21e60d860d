//! The socket's file: made where the sandbox shows it, reachable by the agent's user.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Binds a listener at `path`. The folder is made if it is missing (0755); the socket gets mode 0666,
/// because the agent is another user than the harness when that runs as root. A socket that a dead
/// harness left there is replaced; anything else is left alone and is an error.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no path of a socket"));
    };
    if !dir.exists() {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it is not a socket")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    // A socket's address holds 107 bytes and run directories lie deep: bind through the folder's handle.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(dir, flags, Mode::empty())?;
    let listener = UnixListener::bind(
        Path::new("/proc/self/fd").join(handle.as_raw_fd().to_string()).join(name),
    )?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_folders_stale_sockets_and_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(120)).join("door.sock");
        let first = bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        drop(first);
        bind(&path).unwrap();
        let plain = dir.path().join("notes");
        fs::write(&plain, "mine").unwrap();
        assert!(bind(&plain).is_err());
        assert_eq!(fs::read_to_string(&plain).unwrap(), "mine");
    }
}
