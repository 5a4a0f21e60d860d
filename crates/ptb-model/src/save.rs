//! Writing a model so that its place holds a whole one or none at every instant.
//!
//! The parts are written into a fresh folder beside the target, flushed to the disk, and renamed over it:
//! `renameat2` exchanges the two where a model is there already, so a process that is killed, a disk that
//! fills or a deadline in the middle leaves the old model as it was. What a killed writer left is removed
//! by the next one.
//!
//! Layout: Hugging Face's, as `save_pretrained` of `transformers` writes it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt::Display;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use safetensors::SafeTensorError;
use safetensors::tensor::View;
use tempfile::TempDir;

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::dir::ModelDir;
use crate::error::{Fault, ModelError, shorten};
use crate::header::Dtype;
use crate::layout::expected_tensors;

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
/// What a model has beside its weights; those that the base has are copied.
const COPIED: [&str; 10] = [
    CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
];
/// What else a model's folder may hold and be replaced.
const OTHERS: [&str; 7] = [
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "image_processor_config.json",
    "README.md",
    "LICENSE",
    ".gitattributes",
];
/// Bound of one copied file, in bytes.
const LIMIT: u64 = 256 << 20;
const PARTIAL: &str = ".partial";

/// A model that could not be saved. Whatever was at the target before is still there.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The base model, whose files are copied, cannot be read.
    #[error(transparent)]
    Base(#[from] ModelError),
    /// The operating system refused: a full disk, missing rights.
    #[error("failed to save the model to {}: {doing}: {source}\nhint: {}", .target.display(), io_hint(.source))]
    Io {
        /// Where the model was to go.
        target: PathBuf,
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A weight that a model cannot have.
    #[error(
        "failed to save the model to {}: tensor `{name}`: {reason}\nhint: train again with a lower learning rate, or from an earlier checkpoint", .target.display()
    )]
    Weight {
        /// Where the model was to go.
        target: PathBuf,
        /// The tensor's name in the checkpoint.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A target that is not a place for a model, or an extra file that is not a plain name.
    #[error(
        "failed to save the model to {}: {reason}\nhint: name a new directory, or one that holds a model and nothing else", .target.display()
    )]
    Target {
        /// Where the model was to go.
        target: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl SaveError {
    /// True when there was no room on the disk, or none left to this user.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn io_hint(e: &io::Error) -> &'static str {
    if is_full(e) {
        "the disk is full: remove old checkpoints, or save to another disk"
    } else if e.kind() == io::ErrorKind::FileTooLarge {
        "files may not be so large here: raise the limit (ulimit -f), or save to another disk"
    } else {
        "check the directory's permissions and the disk"
    }
}

/// Whether files of this name belong to models: what is called otherwise is somebody's work.
fn is_model_file(name: &str) -> bool {
    let tokenizer = name.starts_with("tokenizer");
    COPIED.contains(&name)
        || OTHERS.contains(&name)
        || (name.ends_with(".safetensors") && !name.starts_with('.'))
        || (tokenizer && (name.ends_with(".json") || name.ends_with(".model")))
}

/// Finds what [`save_model`] would find, before the hours that its values cost: a target that is no place for a
/// model, files of the base that cannot be copied, tensors that are not what the configuration says. Where the
/// directory that the target is in exists, it is tried whether a folder can be made in it.
///
/// # Errors
/// As [`save_model`].
pub fn check_save(target: &Path, base: &ModelDir) -> Result<(), SaveError> {
    let place = Place::of(target)?;
    for name in COPIED {
        copied(base, name)?;
    }
    crate::check::check_tensors(&Config::read(base)?, &Checkpoint::open(base)?)?;
    if place.parent.is_dir() {
        place.fresh()?;
    }
    Ok(())
}

/// Saves a model to the directory `target`, replacing a model that is there.
///
/// Configuration, generation settings and tokenizer are the base's, byte for byte, but for those named in
/// `replaced` (file name and content). Weights are asked for by their names in the checkpoint, row by row,
/// one at a time, and stored in the type that the base has them in; a tied output projection is not written.
/// The directory that held the former model is removed: one that holds anything else is not replaced.
///
/// # Errors
/// A base that is no model, values of a wrong number or not finite in the base's type, a target that holds
/// something else than a model, or the operating system's; then `target` is as it was before.
pub fn save_model<E: Display>(
    target: &Path,
    base: &ModelDir,
    replaced: &[(&str, &[u8])],
    values: impl Fn(&str) -> Result<Vec<f32>, E>,
) -> Result<(), SaveError> {
    let place = Place::of(target)?;
    place.sweep();
    let fresh = place.fresh()?;
    // The lock tells a later writer's sweep that this one lives; file systems without locks do without.
    let lock = File::open(fresh.path()).map_err(|e| place.io("opening a new folder", e))?;
    let _ = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    write_files(&place, fresh.path(), base, replaced)?;
    write_weights(&place, fresh.path(), base, &values)?;
    lock.sync_all().map_err(|e| place.io("flushing the new folder", e))?;
    place.put(fresh)
}

/// Where the model goes: a name in a directory that exists.
struct Place<'a> {
    target: PathBuf,
    parent: &'a Path,
    name: String,
}

impl<'a> Place<'a> {
    fn of(target: &'a Path) -> Result<Self, SaveError> {
        let Some(name) = target.file_name() else {
            let reason = "the path ends in no name".to_owned();
            return Err(SaveError::Target { target: target.to_path_buf(), reason });
        };
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        // A slash at the end would follow a link, which is to be replaced itself.
        let place = Self {
            target: target.with_file_name(name),
            parent,
            name: name.to_string_lossy().into_owned(),
        };
        place.judge()?;
        Ok(place)
    }

    /// Replacing removes: a mistyped path must not cost a folder of other things.
    fn judge(&self) -> Result<(), SaveError> {
        let refuse = |reason: String| SaveError::Target { target: self.target.clone(), reason };
        match fs::symlink_metadata(&self.target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.io("looking at what is there", e)),
            Ok(m) if m.is_symlink() => return Ok(()),
            Ok(m) if !m.is_dir() => return Err(refuse("it is a file".to_owned())),
            Ok(_) => {}
        }
        let failed = |e| self.io("looking at what is in it", e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.target).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !is_model_file(&name) || !entry.file_type().map_err(failed)?.is_file() {
                let name = shorten(&name, 80);
                let reason = format!("it holds no model alone: `{name}` is no file of one");
                return Err(refuse(reason));
            }
            names.push(name);
        }
        if names.is_empty() || names.iter().any(|name| name == CONFIG) {
            return Ok(());
        }
        Err(refuse("the directory is not empty and holds no model".to_owned()))
    }

    fn io(&self, doing: impl Into<String>, source: io::Error) -> SaveError {
        SaveError::Io { target: self.target.clone(), doing: doing.into(), source }
    }

    fn prefix(&self) -> String {
        format!(".{}.", self.name)
    }

    fn fresh(&self) -> Result<TempDir, SaveError> {
        tempfile::Builder::new()
            .prefix(&self.prefix())
            .suffix(PARTIAL)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(self.parent)
            .map_err(|e| self.io("making a folder beside it", e))
    }

    /// Removes what killed writers left; those that live hold a lock.
    fn sweep(&self) {
        let prefix = self.prefix();
        for entry in fs::read_dir(self.parent).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with(&prefix) || !name.ends_with(PARTIAL) {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            let dead = |dir: File| flock(dir, FlockOperation::NonBlockingLockExclusive).is_ok();
            if is_dir && File::open(entry.path()).is_ok_and(dead) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Puts the finished folder in the target's place and removes what was there.
    fn put(&self, fresh: TempDir) -> Result<(), SaveError> {
        let path = fresh.path();
        // Hours may have gone by since the first look.
        self.judge()?;
        let rename = |flags| renameat_with(CWD, path, CWD, &self.target, flags);
        let renamed = match rename(RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => rename(RenameFlags::EXCHANGE),
            other => other,
        };
        match renamed {
            Ok(()) => {}
            // File systems without the call (some network ones): none for a moment, never half of one.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => self.move_aside(path)?,
            Err(e) => return Err(self.io("moving it into place", e.into())),
        }
        // The fresh name now leads to the former model, or nowhere. The new one is in place whether or not
        // this succeeds, and the next save sweeps again.
        let old = fresh.keep();
        let _ = if old.is_symlink() { fs::remove_file(&old) } else { fs::remove_dir_all(&old) };
        let parent = File::open(self.parent).and_then(|dir| dir.sync_all());
        parent.map_err(|e| self.io("flushing the directory it is in", e))
    }

    fn move_aside(&self, fresh: &Path) -> Result<(), SaveError> {
        let failed = |e| self.io("moving it into place", e);
        if fs::symlink_metadata(&self.target).is_ok() {
            let aside = self.fresh()?;
            let old = aside.path().join("old");
            fs::rename(&self.target, &old).map_err(failed)?;
            return fs::rename(fresh, &self.target).map_err(|e| {
                let _ = fs::rename(&old, &self.target);
                failed(e)
            });
        }
        fs::rename(fresh, &self.target).map_err(failed)
    }
}

/// A file of the base that is to be copied; none when it is not there and need not be.
fn copied(base: &ModelDir, name: &str) -> Result<Option<File>, ModelError> {
    let file = match base.file(name) {
        Err(ModelError { fault: Fault::Missing, .. }) if name != CONFIG => return Ok(None),
        other => other?,
    };
    let size = file.metadata().map_err(|e| base.error(name, Fault::Io(e)))?.len();
    if size > LIMIT {
        return Err(base.error(name, Fault::TooLarge { size, limit: LIMIT }));
    }
    Ok(Some(file))
}

fn write_files(
    place: &Place,
    dir: &Path,
    base: &ModelDir,
    replaced: &[(&str, &[u8])],
) -> Result<(), SaveError> {
    for (name, content) in replaced {
        if name.contains('/') || [".", "..", "", WEIGHTS].contains(name) {
            let reason = format!("`{}` is no name for a file of it", shorten(name, 80));
            return Err(SaveError::Target { target: place.target.clone(), reason });
        }
        write_file(place, dir, name, &mut &**content)?;
    }
    for name in COPIED {
        if replaced.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let Some(file) = copied(base, name)? else { continue };
        write_file(place, dir, name, &mut file.take(LIMIT))?;
    }
    Ok(())
}

fn write_file(
    place: &Place,
    dir: &Path,
    name: &str,
    content: &mut impl Read,
) -> Result<(), SaveError> {
    let mut write = || {
        let mut file = File::create_new(dir.join(name))?;
        io::copy(content, &mut file)?;
        file.flush()?;
        file.sync_all()
    };
    write().map_err(|e| place.io(format!("writing {name}"), e))
}

fn write_weights<E: Display>(
    place: &Place,
    dir: &Path,
    base: &ModelDir,
    values: &dyn Fn(&str) -> Result<Vec<f32>, E>,
) -> Result<(), SaveError> {
    let config = Config::read(base)?;
    let checkpoint = Checkpoint::open(base)?;
    crate::check::check_tensors(&config, &checkpoint)?;
    let failed = RefCell::new(None);
    let mut weights = Vec::new();
    for (_, name, shape) in expected_tensors(&config) {
        let info = checkpoint.find(&name)?;
        let (dtype, stored) = (info.dtype, info.stored().to_owned());
        weights.push((stored, Weight { name, shape, dtype, values, failed: &failed }));
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    let path = dir.join(WEIGHTS);
    let written = safetensors::serialize_to_file(weights, Some(metadata), &path);
    if let Some((name, reason)) = failed.into_inner() {
        return Err(SaveError::Weight { target: place.target.clone(), name, reason });
    }
    let written = written.map_err(|e| match e {
        SafeTensorError::IoError(e) => e,
        other => io::Error::other(other.to_string()),
    });
    // The library gives the file to this user alone.
    let flush = || {
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        File::open(&path)?.sync_all()
    };
    written.and_then(|()| flush()).map_err(|e| place.io(format!("writing {WEIGHTS}"), e))
}

/// One tensor as the library asks for it. It has no way to fail, so what is wrong goes to `failed` and the
/// file is thrown away.
struct Weight<'a, E> {
    name: String,
    shape: Vec<usize>,
    dtype: Dtype,
    values: &'a dyn Fn(&str) -> Result<Vec<f32>, E>,
    failed: &'a RefCell<Option<(String, String)>>,
}

impl<E: Display> Weight<'_, E> {
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let values = (self.values)(&self.name).map_err(|e| shorten(&e.to_string(), 200))?;
        let expected: usize = self.shape.iter().product();
        if values.len() != expected {
            return Err(format!("it has {} values instead of {expected}", values.len()));
        }
        let finite = |v: &f32| match self.dtype {
            Dtype::F16 => f16::from_f32(*v).is_finite(),
            Dtype::BF16 => bf16::from_f32(*v).is_finite(),
            _ => v.is_finite(),
        };
        if let Some(v) = values.iter().find(|v| !finite(v)) {
            return Err(format!("a value is {v}, which {} does not hold", self.dtype.name()));
        }
        Ok(match self.dtype {
            Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }
}

impl<E: Display> View for Weight<'_, E> {
    fn dtype(&self) -> safetensors::Dtype {
        match self.dtype {
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::BF16 => safetensors::Dtype::BF16,
            _ => safetensors::Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.failed.borrow().is_some() {
            return Cow::Borrowed(&[]);
        }
        Cow::Owned(self.bytes().unwrap_or_else(|reason| {
            *self.failed.borrow_mut() = Some((self.name.clone(), reason));
            Vec::new()
        }))
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * usize::try_from(self.dtype.size()).unwrap_or(0)
    }
}
