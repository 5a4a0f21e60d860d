//! The best and the last whole snapshot of a run.
//!
//! ```text
//! <dir>/snapshots.json      which directory is the last, which the best: the one replaced file
//! <dir>/s-<number>/         one whole model each, never changed once it has its name
//! <dir>/.tmp-*              copies in the making
//! ```
//!
//! The order of writes makes every moment safe to die in: a directory gets its name before the index
//! names it, and is deleted after the index has ceased to.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ptb_core::files::{FileError, Schema, read_json, write_json};
use serde::{Deserialize, Serialize};

use super::error::SnapshotError;
use super::take::{Order, Source, Taken, copy_settled};

const INDEX: &str = "snapshots.json";

/// A snapshot that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its directory's name.
    pub name: String,
    /// As the agent named the model.
    pub model_path: String,
    /// Seconds of the budget that were used when it was taken.
    pub consumed_seconds: u64,
    /// The score that was reported for it, where it was evaluated to the end.
    pub score: Option<f64>,
    /// How many samples that score is over.
    pub samples: usize,
    /// What is in it.
    pub taken: Taken,
}

/// `snapshots.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SnapshotIndex {
    /// Number of the next directory.
    pub next: u64,
    /// The last one that was taken whole.
    pub last: Option<SnapshotRecord>,
    /// The one with the highest score among those evaluated on the most samples (scores over different
    /// numbers of samples cannot be compared); among equals the earliest.
    pub best: Option<SnapshotRecord>,
}

impl Schema for SnapshotIndex {
    const KIND: &'static str = "snapshot index";
    const VERSION: u32 = 1;
}

/// A kept snapshot and where it lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Its directory.
    pub path: PathBuf,
    /// What is known of it.
    pub record: SnapshotRecord,
}

/// The snapshots of one run.
#[derive(Debug)]
pub struct Snapshots {
    dir: PathBuf,
    index: Mutex<SnapshotIndex>,
}

impl Snapshots {
    /// Opens the folder, makes it if it is missing, and clears what a dead harness left half done.
    ///
    /// # Errors
    /// When it cannot be read or made, or a newer version wrote it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, FileError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(FileError::io("create", &dir))?;
        let index = match read_json::<SnapshotIndex>(&dir.join(INDEX)) {
            Ok(index) => index,
            Err(e) if e.is_missing() => SnapshotIndex::default(),
            Err(e) => return Err(e),
        };
        let snapshots = Self { dir, index: Mutex::new(index) };
        let index = snapshots.index().clone();
        snapshots
            .clear(&index, &["s-", ".tmp-"])
            .map_err(FileError::io("clear", &snapshots.dir))?;
        Ok(snapshots)
    }

    /// Takes a snapshot; it becomes the last. One that equals a kept one is not kept twice.
    ///
    /// # Errors
    /// As [`super::take`]. The earlier snapshots stay.
    pub fn take(
        &self,
        source: &Source,
        order: Order<'_>,
        consumed_seconds: u64,
    ) -> Result<Kept, SnapshotError> {
        let (copy, taken) = copy_settled(source, &self.dir, order)?;
        let mut index = self.index();
        let mut changed = index.clone();
        let known = [&index.last, &index.best].into_iter().flatten();
        let known = known.filter(|r| self.dir.join(&r.name).is_dir());
        let same = known.into_iter().find(|r| r.taken.sha256 == taken.sha256);
        let (name, score, samples) = match same {
            Some(same) => (same.name.clone(), same.score, same.samples),
            None => (self.place(copy, &mut changed)?, None, 0),
        };
        let model_path = source.shown.clone();
        let record = SnapshotRecord { name, model_path, consumed_seconds, score, samples, taken };
        changed.last = Some(record.clone());
        self.commit(&mut index, changed)?;
        Ok(Kept { path: self.dir.join(&record.name), record })
    }

    /// Reports the score of a kept snapshot over `samples` samples; the best one is kept.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn scored(&self, sha256: &str, score: f64, samples: usize) -> Result<(), SnapshotError> {
        let mut index = self.index();
        let mut changed = index.clone();
        let Some(mut record) = changed.last.clone().filter(|r| r.taken.sha256 == sha256) else {
            return Ok(());
        };
        (record.score, record.samples) = (Some(score), samples);
        changed.last = Some(record.clone());
        let better = changed.best.as_ref().is_none_or(|best| {
            samples > best.samples || (samples == best.samples && Some(score) > best.score)
        });
        if better {
            changed.best = Some(record);
        }
        self.commit(&mut index, changed)
    }

    /// The last snapshot that was taken whole: what counts when `final_model` is not whole at the end.
    pub fn last_whole(&self) -> Option<Kept> {
        self.kept(self.index().last.clone())
    }

    /// The snapshot with the highest reported score.
    pub fn best(&self) -> Option<Kept> {
        self.kept(self.index().best.clone())
    }

    fn kept(&self, record: Option<SnapshotRecord>) -> Option<Kept> {
        let record = record?;
        let path = self.dir.join(&record.name);
        path.is_dir().then_some(Kept { path, record })
    }

    fn index(&self) -> MutexGuard<'_, SnapshotIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a copy its name. A number whose directory is there already was given when the index could
    /// not be written; it is passed over, and cleared later.
    fn place(
        &self,
        copy: tempfile::TempDir,
        index: &mut SnapshotIndex,
    ) -> Result<String, SnapshotError> {
        let name = loop {
            let name = format!("s-{}", index.next);
            index.next += 1;
            if fs::symlink_metadata(self.dir.join(&name)).is_err() {
                break name;
            }
        };
        let placed = fs::rename(copy.path(), self.dir.join(&name))
            .and_then(|()| fs::File::open(&self.dir)?.sync_all());
        placed.map_err(SnapshotError::io("rename a snapshot"))?;
        let _ = copy.keep();
        Ok(name)
    }

    fn commit(
        &self,
        index: &mut SnapshotIndex,
        changed: SnapshotIndex,
    ) -> Result<(), SnapshotError> {
        let written = write_json(&self.dir.join(INDEX), &changed);
        written.map_err(|e| {
            SnapshotError::io("write the snapshots' index")(std::io::Error::other(e))
        })?;
        // Copies in the making belong to another call.
        if let Err(e) = self.clear(&changed, &["s-"]) {
            tracing::warn!("cannot delete old snapshots below {}: {e}", self.dir.display());
        }
        *index = changed;
        Ok(())
    }

    /// Deletes what the index does not name, among the names with these beginnings.
    fn clear(&self, index: &SnapshotIndex, beginnings: &[&str]) -> std::io::Result<()> {
        let named: BTreeSet<&str> =
            [&index.last, &index.best].into_iter().flatten().map(|r| r.name.as_str()).collect();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().filter(|n| beginnings.iter().any(|b| n.starts_with(b)));
            match ours {
                Some(name) if !named.contains(name) => remove(&entry.path())?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
}
