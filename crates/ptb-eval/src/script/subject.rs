//! The model as a benchmark's program sees it, and what a result depends on.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ptb_core::files::{sha256_file, sha256_hex};
use ptb_model::{Checkpoint, ModelDir};
use serde::Serialize;

use super::ScriptSpec;
use super::error::ScriptError;
use crate::error::{EvalError, of_model};

/// Endings of files that are shown: data alone. Code and pickles of a submission would run where its score is made.
const SHOWN: [&str; 5] = ["json", "safetensors", "jinja", "txt", "model"];
/// Most files of a model.
const MAX_FILES: usize = 4096;

/// A model, looked through.
#[derive(Debug)]
pub(super) struct Subject {
    /// Files of the machine by the name that the program finds them under.
    pub(super) files: BTreeMap<String, PathBuf>,
    pub(super) weights_sha256: String,
    /// SHA-256 over all that a result depends on.
    pub(super) key: String,
}

#[derive(Serialize)]
struct Key<'a> {
    weights: &'a str,
    /// The model's other files.
    files: BTreeMap<&'a str, String>,
    folder: &'a str,
    limit: Option<usize>,
}

impl Subject {
    pub(super) fn read(spec: &ScriptSpec) -> Result<Self, EvalError> {
        let dir = ModelDir::open_with(&spec.model_dir, spec.links).map_err(of_model)?;
        let weights_sha256 =
            Checkpoint::open(&dir).and_then(|c| c.weights_hash()).map_err(of_model)?;
        let files = files(&dir)?;
        let mut others = BTreeMap::new();
        for (name, path) in files.iter().filter(|(name, _)| !name.ends_with(".safetensors")) {
            let hash = sha256_file(path).map_err(ScriptError::place("reading the model"))?;
            others.insert(name.as_str(), hash);
        }
        let key = Key {
            weights: &weights_sha256,
            files: others,
            folder: &spec.benchmark.sha256,
            limit: spec.limit,
        };
        let key = sha256_hex(&serde_json::to_vec(&key).unwrap_or_default());
        Ok(Self { weights_sha256, key, files })
    }

    /// Replaces files that the wall's user may not read by copies below `into`.
    pub(super) fn make_readable(&mut self, into: &Path) -> Result<(), ScriptError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        for (name, path) in &mut self.files {
            let mode = std::fs::metadata(&*path).map(|meta| meta.permissions().mode());
            if mode.is_ok_and(|mode| mode & 0o004 != 0) {
                continue;
            }
            let copy = into.join(name);
            let copied = std::fs::copy(&*path, &copy).and_then(|_| {
                std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))
            });
            copied.map_err(ScriptError::place("copying the model"))?;
            *path = copy;
        }
        Ok(())
    }
}

/// The files that are shown, each where it really is: opened by the rules of its directory, then named by the kernel.
fn files(dir: &ModelDir) -> Result<BTreeMap<String, PathBuf>, EvalError> {
    let fail = ScriptError::place("listing the model");
    let entries = std::fs::read_dir(dir.path()).map_err(fail)?;
    let names = entries.filter_map(Result::ok).filter_map(|e| e.file_name().into_string().ok());
    let shown = |name: &String| {
        let ending = Path::new(name).extension().and_then(|e| e.to_str());
        ending.is_some_and(|ending| SHOWN.contains(&ending))
    };
    let mut files = BTreeMap::new();
    for name in names.filter(shown) {
        if files.len() >= MAX_FILES {
            return Err(EvalError::Model(format!("it has more than {MAX_FILES} files")));
        }
        let file = dir.file(&name).map_err(of_model)?;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        let path = std::fs::read_link(link).map_err(ScriptError::place("finding the model"))?;
        files.insert(name, path);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::registry::Registry;
    use ptb_model::{Links, RandomModel, random_model};
    use std::time::Duration;

    #[test]
    fn data_alone_is_shown_and_every_change_makes_another_result() {
        let dir = tempfile::tempdir().unwrap();
        random_model(dir.path(), &RandomModel::mini(1)).unwrap();
        for name in ["modeling_x.py", "pytorch_model.bin", "notes.md"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let benchmark = Registry::load(&[]).unwrap().benchmark("gsm8k").unwrap().clone();
        let mut spec = ScriptSpec {
            benchmark,
            model_dir: dir.path().to_owned(),
            links: Links::Inside,
            limit: None,
            time: Duration::from_secs(1),
            out: PathBuf::new(),
        };
        let first = Subject::read(&spec).unwrap();
        let names: Vec<&str> = first.files.keys().map(String::as_str).collect();
        assert!(names.contains(&"model.safetensors") && names.contains(&"config.json"));
        assert!(names.iter().all(|n| !n.contains("modeling") && !n.ends_with(".bin")), "{names:?}");
        let mut keys = vec![first.key];
        spec.limit = Some(3);
        keys.push(Subject::read(&spec).unwrap().key);
        spec.benchmark.sha256 = "another".to_owned();
        keys.push(Subject::read(&spec).unwrap().key);
        std::fs::write(dir.path().join("generation_config.json"), "{}").unwrap();
        keys.push(Subject::read(&spec).unwrap().key);
        std::fs::write(dir.path().join("modeling_x.py"), "y").unwrap();
        let same = Subject::read(&spec).unwrap().key;
        assert_eq!(keys.last(), Some(&same));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 4);
        std::os::unix::fs::symlink("/etc/hosts", dir.path().join("extra.json")).unwrap();
        let e = Subject::read(&spec).unwrap_err();
        assert!(matches!(e, EvalError::Model(_)), "{e}");
    }
}
