//! The local cache of the Hugging Face hub: where a dataset's or model's files lie once fetched.
//!
//! Layout: `<cache>/<kind>s--<org>--<name>/refs/<revision>` names a commit, and its files are in
//! `snapshots/<commit>/`. The cache is `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else
//! `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`
//! (<https://huggingface.co/docs/huggingface_hub/guides/manage-cache>).

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::error::TaskError;

/// The cache.
#[derive(Debug, Clone)]
pub struct HubCache {
    root: PathBuf,
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Dataset,
    Model,
}

impl HubCache {
    /// The cache that this process's environment names.
    pub fn from_env() -> Self {
        Self::from_variables(|name| std::env::var_os(name))
    }

    /// A cache at a known place.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder that holds its repositories.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn from_variables(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = path("HF_HUB_CACHE")
            .or_else(|| path("HF_HOME").map(|p| p.join("hub")))
            .or_else(|| path("XDG_CACHE_HOME").map(|p| p.join("huggingface/hub")))
            .or_else(|| path("HOME").map(|p| p.join(".cache/huggingface/hub")));
        Self { root: root.unwrap_or_else(|| PathBuf::from(".cache/huggingface/hub")) }
    }

    /// A file of a dataset.
    ///
    /// # Errors
    /// [`TaskError::NotCached`] with the command that fetches it.
    pub fn dataset_file(
        &self,
        repo: &str,
        revision: &str,
        file: &str,
    ) -> Result<PathBuf, TaskError> {
        let missing =
            |reason: String| self.missing(Kind::Dataset, repo, revision, Some(file), reason);
        if !plain(Path::new(file)) {
            return Err(missing(format!("`{file}` is not a path inside a repository")));
        }
        let path = self.snapshot(Kind::Dataset, repo, revision).map_err(missing)?.join(file);
        if path.is_file() { Ok(path) } else { Err(missing(format!("the snapshot has no {file}"))) }
    }

    /// The folder of a model's snapshot.
    ///
    /// # Errors
    /// [`TaskError::NotCached`] with the command that fetches it.
    pub fn model_folder(&self, repo: &str, revision: &str) -> Result<PathBuf, TaskError> {
        self.snapshot(Kind::Model, repo, revision)
            .map_err(|reason| self.missing(Kind::Model, repo, revision, None, reason))
    }

    fn snapshot(&self, kind: Kind, repo: &str, revision: &str) -> Result<PathBuf, String> {
        if !plain(Path::new(repo)) || !plain(Path::new(revision)) {
            return Err("the repository or revision is not a plain name".to_owned());
        }
        let prefix = match kind {
            Kind::Dataset => "datasets",
            Kind::Model => "models",
        };
        let folder = self.root.join(format!("{prefix}--{}", repo.replace('/', "--")));
        if !folder.is_dir() {
            return Err("nothing of the repository is there".to_owned());
        }
        let pinned = folder.join("snapshots").join(revision);
        if pinned.is_dir() {
            return Ok(pinned);
        }
        let reference = folder.join("refs").join(revision);
        let commit = ptb_core::files::read_bounded(&reference, 256)
            .map_err(|e| format!("no commit is known for the revision: {e}"))?;
        let commit = String::from_utf8_lossy(&commit);
        let commit = commit.trim();
        if commit.is_empty() || !commit.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(format!("{} does not name a commit", reference.display()));
        }
        let snapshot = folder.join("snapshots").join(commit);
        if snapshot.is_dir() {
            Ok(snapshot)
        } else {
            Err(format!("the snapshot {commit} is not there"))
        }
    }

    fn missing(
        &self,
        kind: Kind,
        repo: &str,
        revision: &str,
        file: Option<&str>,
        reason: String,
    ) -> TaskError {
        let dataset = if kind == Kind::Dataset { " --repo-type dataset" } else { "" };
        let file = file.map(|f| format!(" {f}")).unwrap_or_default();
        TaskError::NotCached {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
            cache: self.root.clone(),
            reason,
            command: format!("hf download {repo}{file}{dataset} --revision {revision}"),
        }
    }
}

/// Whether a path stays where it is joined.
fn plain(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|c| matches!(c, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn the_environment_names_the_cache() {
        let root = |vars: &[(&str, &str)]| {
            HubCache::from_variables(|n| {
                vars.iter().find(|(k, _)| *k == n).map(|(_, v)| OsString::from(v))
            })
            .root
        };
        assert_eq!(root(&[("HF_HUB_CACHE", "/a"), ("HF_HOME", "/b")]), Path::new("/a"));
        assert_eq!(
            root(&[("HF_HUB_CACHE", ""), ("HF_HOME", "/b"), ("HOME", "/h")]),
            Path::new("/b/hub")
        );
        assert_eq!(
            root(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]),
            Path::new("/x/huggingface/hub")
        );
        assert_eq!(root(&[("HOME", "/h")]), Path::new("/h/.cache/huggingface/hub"));
    }

    #[test]
    fn branches_and_commits_lead_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("datasets--org--set");
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::create_dir_all(repo.join("snapshots").join(COMMIT).join("main")).unwrap();
        fs::create_dir_all(dir.path().join("models--org--net/snapshots").join(COMMIT)).unwrap();
        fs::write(repo.join("refs/main"), COMMIT).unwrap();
        fs::write(repo.join("snapshots").join(COMMIT).join("main/t.parquet"), "x").unwrap();
        let cache = HubCache::at(dir.path());
        for revision in ["main", COMMIT] {
            let path = cache.dataset_file("org/set", revision, "main/t.parquet").unwrap();
            assert_eq!(fs::read(path).unwrap(), b"x");
        }
        assert!(cache.model_folder("org/net", COMMIT).is_ok());
        assert!(cache.model_folder("org/net", "main").is_err());
    }

    #[test]
    fn what_is_missing_comes_with_its_command() {
        let dir = tempfile::tempdir().unwrap();
        let cache = HubCache::at(dir.path());
        let e = cache.dataset_file("org/set", "main", "main/t.parquet").unwrap_err().to_string();
        assert!(
            e.contains("`hf download org/set main/t.parquet --repo-type dataset --revision main`"),
            "{e}"
        );
        fs::create_dir_all(dir.path().join("datasets--org--set/refs")).unwrap();
        fs::write(dir.path().join("datasets--org--set/refs/main"), "../../../etc").unwrap();
        let e = cache.dataset_file("org/set", "main", "t").unwrap_err().to_string();
        assert!(e.contains("does not name a commit"), "{e}");
        for (repo, revision, file) in [
            ("../x", "main", "t"),
            ("org/set", "..", "t"),
            ("org/set", "main", "/etc/passwd"),
            ("", "main", "t"),
        ] {
            assert!(cache.dataset_file(repo, revision, file).is_err());
        }
    }
}
