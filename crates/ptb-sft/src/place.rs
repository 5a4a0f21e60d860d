//! Where models go: judged before training, because putting a model into its place removes what was there.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ptb_model::{ModelDir, check_save};

use crate::error::{Kind, SftError};

/// Lies in a folder of candidates: what carries it was made here and may be removed.
pub(crate) const MARK: &str = ".ptb-sft-candidate";

/// What must outlive the training, beside the base.
pub(crate) struct Kept<'a> {
    /// The file that was trained on.
    pub(crate) data: Option<&'a Path>,
    pub(crate) checkpoints: Option<&'a Path>,
}

/// Refuses a place whose replacement would cost something else than a model; makes the directory it is in.
pub(crate) fn judge(out: &Path, base: &ModelDir, kept: &Kept<'_>) -> Result<(), SftError> {
    if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| {
            let error = SftError::io("make the directory", parent, &e);
            match e.kind() {
                ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                    SftError { kind: Kind::Input, ..error }
                }
                _ => error,
            }
        })?;
    }
    // The path itself is what is replaced; where it is a link, what the link leads to is spared as well.
    for own in [named(out), resolved(out)] {
        for base in [named(base.path()), resolved(base.path())] {
            if own == base {
                return Err(refused(out, "is the base model"));
            }
            if base.starts_with(&own) {
                return Err(refused(out, "contains the base model"));
            }
            if own.starts_with(&base) {
                return Err(refused(out, "lies inside of the base model"));
            }
        }
        for (path, what) in [(kept.data, "the data"), (kept.checkpoints, "the checkpoints")] {
            if path.is_some_and(|path| resolved(path).starts_with(&own)) {
                return Err(refused(out, &format!("contains {what}")));
            }
        }
    }
    check_save(out, base)?;
    Ok(())
}

fn refused(out: &Path, why: &str) -> SftError {
    let message = format!("--out is {}, which {why}", out.display());
    SftError::input(message, "the folder is replaced as a whole: name one for the new model alone")
}

/// The path with all links followed but the last name's.
fn named(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        _ => absolute,
    }
}

/// The path with all links followed, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for place in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(place), absolute.strip_prefix(place)) {
            // Joining nothing would end the path in a slash.
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    absolute
}

/// Makes sure that a candidate's place is free: one that a killed training left is removed, anything else is not.
pub(crate) fn claim(candidate: &Path) -> Result<(), SftError> {
    match fs::symlink_metadata(candidate) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(SftError::io("look at", candidate, &e)),
        Ok(_) => {}
    }
    let marked = fs::symlink_metadata(candidate.join(MARK)).is_ok_and(|m| m.is_file());
    if marked && !candidate.is_symlink() {
        let removed = fs::remove_dir_all(candidate);
        return removed.map_err(|e| SftError::io("remove", candidate, &e));
    }
    let message = format!(
        "models are put into {} to be evaluated, which is there already",
        candidate.display()
    );
    Err(SftError::input(message, "move it away, or name another --out"))
}
