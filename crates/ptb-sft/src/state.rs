//! Checkpoints: everything that a killed training needs to go on as if nothing had happened.
//!
//! A checkpoint is one safetensors file, `step-<n>.safetensors`: the parameters, the optimiser's moments, in its
//! metadata where the training was, and as the last tensor, `sha256`, the hash of all bytes before. It is written
//! under another name, flushed and renamed, so that a file of that name is whole. The last two are kept. A
//! directory of checkpoints is locked by the training that uses it.
//!
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::adamw::{AdamW, Moments};
use crate::error::SftError;
use crate::files::open_regular;
use crate::weights::Param;

/// Of this file's form; from 2 on files end in their hash.
const SCHEMA: u32 = 2;
const SUM: &str = "sha256";
/// Bytes of it.
const SUM_LENGTH: usize = 32;
const KEY: &str = "ptb-sft";
const SUFFIX: &str = ".safetensors";
const PARTIAL: &str = ".partial";
/// Checkpoints that stay.
const KEPT: usize = 2;
/// Bytes that a file may have beside its tensors.
const HEADER: u64 = 64 << 20;

/// The best model so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Its accuracy, or its loss on what was held back; none when nothing was there to judge by.
    pub value: Option<f64>,
}

/// Where a training is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps done.
    pub(crate) step: u64,
    /// The epoch that the next batch is of.
    pub(crate) epoch: u32,
    /// The next batch's place in it.
    pub(crate) batch: usize,
    pub(crate) best: Option<Best>,
    /// Looks in a row that brought nothing better.
    pub(crate) stale: u32,
    /// The step after which the model was looked at last.
    pub(crate) looked: Option<u64>,
    /// Seconds of training so far.
    pub(crate) seconds: f64,
    /// Tokens so far, without and with padding.
    pub(crate) tokens: u64,
    pub(crate) area: u64,
    /// Mean loss of the last step.
    pub(crate) loss: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Meta {
    schema: u32,
    /// Hash of everything that the training's numbers depend on.
    fingerprint: String,
    position: Position,
}

/// The directory that checkpoints are kept in.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    fingerprint: String,
    /// The directory itself, locked for as long as this lives; a process that ends gives it back.
    _lock: File,
}

impl Store {
    /// Opens or makes the directory and removes what a killed writer left.
    pub(crate) fn open(dir: &Path, fingerprint: String) -> Result<Self, SftError> {
        fs::create_dir_all(dir).map_err(|e| SftError::io("make the directory", dir, &e))?;
        let lock = File::open(dir).map_err(|e| SftError::io("open the directory", dir, &e))?;
        // File systems without locks do without.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            let message = format!("another training uses the checkpoints in {}", dir.display());
            let hint = "wait for its end, or give each training --checkpoints of its own";
            return Err(SftError::input(message, hint));
        }
        let store = Self { dir: dir.to_owned(), fingerprint, _lock: lock };
        for name in store.names()? {
            if name.ends_with(PARTIAL) && name.starts_with("step-") {
                let _ = fs::remove_file(dir.join(name));
            }
        }
        Ok(store)
    }

    fn names(&self) -> Result<Vec<String>, SftError> {
        let entries = fs::read_dir(&self.dir);
        let entries = entries.map_err(|e| SftError::io("read the directory", &self.dir, &e))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.collect())
    }

    /// Steps that there are checkpoints of, newest first.
    fn steps(&self) -> Result<Vec<u64>, SftError> {
        let step = |name: String| name.strip_prefix("step-")?.strip_suffix(SUFFIX)?.parse().ok();
        let mut steps: Vec<u64> = self.names()?.into_iter().filter_map(step).collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:010}{SUFFIX}"))
    }

    /// Writes a checkpoint and removes old ones.
    pub(crate) fn write(
        &self,
        position: &Position,
        params: &[Param],
        adam: &AdamW,
    ) -> Result<(), SftError> {
        let path = self.path(position.step);
        let partial = self.dir.join(format!("step-{:010}{PARTIAL}", position.step));
        let failed = |e: &io::Error| SftError::io("write the checkpoint", &path, e);
        let meta = Meta {
            schema: SCHEMA,
            fingerprint: self.fingerprint.clone(),
            position: position.clone(),
        };
        let write = || -> io::Result<()> {
            write_file(&partial, serde_json::to_string(&meta)?, params, adam)?;
            fs::rename(&partial, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&partial);
            failed(&e)
        })?;
        for step in self.steps()?.into_iter().filter(|step| *step < position.step).skip(KEPT - 1) {
            let _ = fs::remove_file(self.path(step));
        }
        Ok(())
    }

    /// Removes all checkpoints, and the directory when nothing else is in it.
    pub(crate) fn clear(&self) {
        for step in self.steps().unwrap_or_default() {
            let _ = fs::remove_file(self.path(step));
        }
        let _ = fs::remove_dir(&self.dir);
    }

    /// Puts the newest checkpoint's values in place; tells what was passed over. None when there is none.
    pub(crate) fn restore(
        &self,
        params: &mut [Param],
        adam: &mut AdamW,
        tell: &mut dyn FnMut(String),
    ) -> Result<Option<Position>, SftError> {
        for step in self.steps()? {
            let path = self.path(step);
            let bound = params.iter().map(|p| p.values.len() as u64 * 12).sum::<u64>() + HEADER;
            match read(&path, bound).and_then(|bytes| self.take(&bytes, params, adam)) {
                Ok(Ok(position)) => return Ok(Some(position)),
                Ok(Err(other)) => {
                    let message = format!("failed to continue from {}: {other}", path.display());
                    let hint = format!(
                        "remove {} to begin anew, or give the command that it was made with",
                        self.dir.display()
                    );
                    return Err(SftError::input(message, hint));
                }
                Err(fault) => tell(format!("passed over {}: {fault}", path.display())),
            }
        }
        Ok(None)
    }

    /// The outer error is of a damaged file, the inner of one that belongs elsewhere.
    fn take(
        &self,
        bytes: &[u8],
        params: &mut [Param],
        adam: &mut AdamW,
    ) -> Result<Result<Position, String>, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let meta = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let meta = meta.ok_or("it is no checkpoint of this program")?;
        let schema: Value = serde_json::from_str(meta).map_err(|e| e.to_string())?;
        let schema = schema.get("schema").and_then(Value::as_u64);
        let summed = bytes.split_last_chunk::<SUM_LENGTH>();
        if summed.is_none_or(|(all, sum)| Sha256::digest(all).as_slice() != sum)
            && schema != Some(1)
        {
            return Err("its bytes are not those that were written (SHA-256)".to_owned());
        }
        if schema != Some(u64::from(SCHEMA)) {
            return Ok(Err("it is of another version of this program".to_owned()));
        }
        let meta: Meta = serde_json::from_str(meta).map_err(|e| e.to_string())?;
        if meta.fingerprint != self.fingerprint {
            return Ok(Err("base, data or settings are not those it was made with".to_owned()));
        }
        let all = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        let mut values = Vec::with_capacity(params.len());
        for param in params.iter() {
            let part =
                |kind: &str| floats(&all, &format!("{kind}.{}", param.name), param.values.len());
            values.push((part("value")?, part("first")?, part("second")?));
        }
        for ((param, moments), (value, first, second)) in
            params.iter_mut().zip(&mut adam.moments).zip(values)
        {
            param.values = value;
            *moments = Moments { first, second };
        }
        adam.steps = meta.position.step;
        Ok(Ok(meta.position))
    }
}

fn read(path: &Path, bound: u64) -> Result<Vec<u8>, String> {
    let file = open_regular(path).map_err(|e| e.to_string())?;
    let size = file.metadata().map_err(|e| e.to_string())?.len();
    if size > bound {
        return Err(format!("it is {size} bytes long and may be at most {bound}"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(bound).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

fn floats(all: &SafeTensors<'_>, name: &str, count: usize) -> Result<Vec<f32>, String> {
    let view = all.tensor(name).map_err(|e| e.to_string())?;
    if view.dtype() != Dtype::F32 || view.data().len() != 4 * count {
        return Err(format!("tensor {name} is not as expected"));
    }
    Ok(view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

/// Writes a new file and flushes it to the disk.
fn write_file(path: &Path, meta: String, params: &[Param], adam: &AdamW) -> io::Result<()> {
    let all: Vec<(String, &[f32])> = tensors(params, adam).collect();
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({ KEY: meta }));
    let mut end = 0;
    let mut place = |name: &str, dtype: &str, count: usize, size: usize| {
        let begin = end;
        end += size;
        let value = json!({"dtype": dtype, "shape": [count], "data_offsets": [begin, end]});
        header.insert(name.to_owned(), value);
    };
    all.iter().for_each(|(name, values)| place(name, "F32", values.len(), 4 * values.len()));
    place(SUM, "U8", SUM_LENGTH, SUM_LENGTH);
    let mut header = Value::Object(header).to_string();
    // The format wants numbers at multiples of their size.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let _ = fs::remove_file(path);
    let mut out = Summed { out: BufWriter::new(File::create_new(path)?), sha: Sha256::new() };
    out.put(&(header.len() as u64).to_le_bytes())?;
    out.put(header.as_bytes())?;
    for (_, values) in all {
        for part in values.chunks(1 << 16) {
            out.put(&part.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
        }
    }
    let Summed { mut out, sha } = out;
    out.write_all(sha.finalize().as_slice())?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// A file and the hash of what went into it.
struct Summed {
    out: BufWriter<File>,
    sha: Sha256,
}

impl Summed {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sha.update(bytes);
        self.out.write_all(bytes)
    }
}

fn tensors<'a>(params: &'a [Param], adam: &'a AdamW) -> impl Iterator<Item = (String, &'a [f32])> {
    params.iter().zip(&adam.moments).flat_map(|(param, moments)| {
        let parts =
            [("value", &param.values), ("first", &moments.first), ("second", &moments.second)];
        parts.map(|(kind, values)| (format!("{kind}.{}", param.name), values.as_slice()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(fill: f32) -> Vec<Param> {
        let param = |name: &str, n| Param { name: name.into(), values: vec![fill; n], decay: true };
        vec![param("a", 3), param("b", 5)]
    }

    fn store(dir: &Path, print: &str) -> Store {
        Store::open(dir, print.to_owned()).unwrap()
    }

    fn restore(
        store: &Store,
    ) -> (Result<Option<Position>, SftError>, Vec<Param>, AdamW, Vec<String>) {
        let (mut params, mut told) = (params(0.0), Vec::new());
        let mut adam = AdamW::new(&params);
        let result = store.restore(&mut params, &mut adam, &mut |text| told.push(text));
        (result, params, adam, told)
    }

    fn at(step: u64) -> Position {
        Position {
            step,
            epoch: 1,
            batch: 7,
            best: Some(Best { step: 2, value: Some(0.5) }),
            ..Position::default()
        }
    }

    #[test]
    fn what_was_written_comes_back_and_two_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "f");
        assert_eq!(restore(&store).0.unwrap(), None);
        for step in [5, 10, 15] {
            let params = params(step as f32);
            let mut adam = AdamW::new(&params);
            adam.moments[1].second[4] = 0.25;
            store.write(&at(step), &params, &adam).unwrap();
        }
        assert_eq!(store.steps().unwrap(), [15, 10]);
        let (position, params, adam, _) = restore(&store);
        assert_eq!(position.unwrap(), Some(at(15)));
        assert_eq!((params[1].values[0], adam.moments[1].second[4], adam.steps), (15.0, 0.25, 15));
    }

    #[test]
    fn torn_ones_are_passed_over_and_foreign_ones_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store_f = store(dir.path(), "f");
        let params = params(1.0);
        let adam = AdamW::new(&params);
        store_f.write(&at(5), &params, &adam).unwrap();
        let whole = fs::read(store_f.path(5)).unwrap();
        for length in [0, 7, 30, whole.len() - 1] {
            fs::write(store_f.path(9), &whole[..length]).unwrap();
            let (position, _, _, told) = restore(&store_f);
            assert_eq!(position.unwrap().unwrap().step, 5);
            assert!(told.len() == 1 && told[0].contains("step-0000000009"), "{told:?}");
        }
        fs::remove_file(store_f.path(9)).unwrap();
        fs::write(dir.path().join("step-0000000011.partial"), &whole[..99]).unwrap();
        drop(store_f);
        let other = store(dir.path(), "g");
        assert!(!dir.path().join("step-0000000011.partial").exists());
        let message = restore(&other).0.unwrap_err().to_string();
        assert!(
            message.contains("settings are not those") && message.contains("hint: remove"),
            "{message}"
        );
        // Of a newer version, and of the first, which had no hash.
        for (schema, summed) in [(b'3', true), (b'1', false)] {
            let mut changed = whole.clone();
            let form = br#"schema\":2"#;
            let found = changed.windows(form.len()).position(|w| w == form).unwrap();
            changed[found + form.len() - 1] = schema;
            if summed {
                let (all, sum) = changed.split_last_chunk_mut::<SUM_LENGTH>().unwrap();
                sum.copy_from_slice(Sha256::digest(all).as_slice());
            }
            fs::write(other.path(5), changed).unwrap();
            assert!(restore(&other).0.unwrap_err().to_string().contains("another version"));
        }
    }

    #[test]
    fn one_bit_is_enough_to_be_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), "f");
        let params = params(1.0);
        let adam = AdamW::new(&params);
        store.write(&at(5), &params, &adam).unwrap();
        store.write(&at(9), &params, &adam).unwrap();
        let whole = fs::read(store.path(9)).unwrap();
        assert!(SafeTensors::deserialize(&whole).unwrap().tensor(SUM).is_ok());
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            fs::write(store.path(9), bytes).unwrap();
            let (position, _, _, told) = restore(&store);
            assert_eq!(position.unwrap().unwrap().step, 5, "byte {place}");
            assert_eq!(told.len(), 1, "byte {place}: {told:?}");
        }
    }

    #[test]
    fn pipes_are_passed_over_and_a_second_training_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path(), "f");
        let params = params(1.0);
        first.write(&at(5), &params, &AdamW::new(&params)).unwrap();
        let (mode, kind) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, first.path(9), kind, mode, 0).unwrap();
        let (position, _, _, told) = restore(&first);
        assert_eq!(position.unwrap().unwrap().step, 5);
        assert!(told.len() == 1 && told[0].contains("no regular file"), "{told:?}");
        let refused = Store::open(dir.path(), "f".to_owned()).unwrap_err().to_string();
        assert!(refused.contains("another training uses the checkpoints"), "{refused}");
        drop(first);
        store(dir.path(), "f").clear();
        assert!(!dir.path().exists());
    }
}
