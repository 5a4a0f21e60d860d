//! Files that are written in pieces and yet are there whole or not at all.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::error::Stop;

/// Has `content` write a file under a temporary name in the same folder, syncs it, gives it its name, syncs the
/// folder. Where `content` fails, what was there before stays.
pub(super) fn write(
    path: &Path,
    content: impl FnOnce(&File) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let temporary = tempfile::Builder::new().prefix(".tmp-").tempfile_in(dir)?;
    content(temporary.as_file())?;
    // Temporary files are created 0600; results are meant to be read by colleagues.
    temporary.as_file().set_permissions(Permissions::from_mode(0o644))?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e: tempfile::PersistError| io::Error::from(e))?;
    Ok(File::open(dir)?.sync_all()?)
}
