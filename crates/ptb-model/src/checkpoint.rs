//! The weights of a model: one safetensors file or several with an index, seen as one map.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

use half::{bf16, f16};
use serde::Deserialize;

use crate::dir::ModelDir;
use crate::error::{Fault, ModelError, shorten};
use crate::header::{self, Dtype};
use crate::layout::known_name;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PICKLED: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
const INDEX_LIMIT: u64 = 32 << 20;
const MAX_SHARDS: usize = 1024;
/// Bytes read at once when a tensor is streamed.
const CHUNK: usize = 1 << 20;

/// What a header says of one tensor, checked.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Size in bytes.
    pub bytes: u64,
    stored: String,
    shard: usize,
    begin: u64,
}

impl TensorInfo {
    /// What the file calls it.
    pub fn stored(&self) -> &str {
        &self.stored
    }
}

#[derive(Debug)]
struct Shard {
    name: String,
    file: File,
}

/// Opened weights. Tensors are read when asked for; headers have been checked.
///
/// Tensors of a model that has a tower for images are known by the names that they have in a model without one,
/// whichever of the names in use the file has ([`TensorInfo::stored`]).
#[derive(Debug)]
pub struct Checkpoint {
    dir: std::path::PathBuf,
    shards: Vec<Shard>,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weights, as `transformers` chooses them: `model.safetensors` if present, else the
    /// shards of its index.
    ///
    /// # Errors
    /// Missing files, and everything that a header can lie about.
    pub fn open(dir: &ModelDir) -> Result<Self, ModelError> {
        let mut checkpoint =
            Self { dir: dir.path().to_path_buf(), shards: Vec::new(), tensors: BTreeMap::new() };
        if dir.has(SINGLE) {
            checkpoint.add(dir, SINGLE)?;
        } else if dir.has(INDEX) {
            checkpoint.add_indexed(dir)?;
        } else if let Some(name) = PICKLED.iter().find(|name| dir.has(name)) {
            let text = "pickled weights are not loaded, as loading them runs code";
            return Err(dir.error(name, Fault::malformed(text)));
        } else {
            return Err(dir.error(SINGLE, Fault::Missing));
        }
        Ok(checkpoint)
    }

    fn add_indexed(&mut self, dir: &ModelDir) -> Result<(), ModelError> {
        let index: Index = dir.json(INDEX, INDEX_LIMIT)?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if names.is_empty() || names.len() > MAX_SHARDS {
            let expected = format!("1 to {MAX_SHARDS} files");
            return Err(dir.error(INDEX, Fault::value("weight_map", names.len(), expected)));
        }
        for name in names {
            self.add(dir, name)?;
        }
        for (tensor, shard) in &index.weight_map {
            let found = self.tensors.get(&known_name(tensor)).filter(|t| t.stored == *tensor);
            let found = found.and_then(|t| self.shards.get(t.shard));
            if found.is_none_or(|s| s.name != *shard) {
                let (tensor, shard) = (shorten(tensor, 120), shorten(shard, 120));
                let text = format!("tensor `{tensor}` is not in `{shard}`, where it should be");
                return Err(dir.error(INDEX, Fault::malformed(text)));
            }
        }
        Ok(())
    }

    fn add(&mut self, dir: &ModelDir, file: &str) -> Result<(), ModelError> {
        let opened = dir.file(file)?;
        let entries = header::read(&opened).map_err(|fault| dir.error(file, fault))?;
        let shard = self.shards.len();
        self.shards.push(Shard { name: file.to_owned(), file: opened });
        for e in entries {
            let name = known_name(&e.name);
            if let Some(other) = self.tensors.get(&name) {
                let (name, other) = (shorten(&e.name, 120), shorten(&other.stored, 120));
                let text = match name == other {
                    true => format!("tensor `{name}` is in another shard, too"),
                    false => format!("tensor `{name}` is there as `{other}`, too"),
                };
                return Err(dir.error(file, Fault::malformed(text)));
            }
            let (stored, begin) = (e.name, e.begin);
            let info =
                TensorInfo { dtype: e.dtype, shape: e.shape, bytes: e.len, stored, shard, begin };
            self.tensors.insert(name, info);
        }
        Ok(())
    }

    /// Tensors by name, sorted.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// Number of files the weights lie in.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The file that holds a tensor, for messages.
    pub(crate) fn file_of(&self, info: &TensorInfo) -> std::path::PathBuf {
        let name = self.shards.get(info.shard).map_or(SINGLE, |s| s.name.as_str());
        self.dir.join(name)
    }

    pub(crate) fn find(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        self.tensors.get(name).ok_or_else(|| self.missing(name))
    }

    pub(crate) fn missing(&self, name: &str) -> ModelError {
        ModelError::new(&self.dir, Fault::TensorMissing(shorten(name, 120)))
    }

    /// Streams a tensor's bytes in order, in pieces whose length is a multiple of 8 but for the last.
    ///
    /// # Errors
    /// An unknown name, or a file that ended or failed since it was opened.
    pub fn stream(&self, name: &str, mut each: impl FnMut(&[u8])) -> Result<(), ModelError> {
        let info = self.find(name)?;
        let Some(shard) = self.shards.get(info.shard) else {
            return Err(self.missing(name));
        };
        let mut buffer = vec![0; CHUNK.min(usize::try_from(info.bytes).unwrap_or(CHUNK))];
        let mut done = 0;
        while done < info.bytes {
            let n = usize::try_from(info.bytes - done).unwrap_or(CHUNK).min(CHUNK);
            let Some(piece) = buffer.get_mut(..n) else { break };
            shard
                .file
                .read_exact_at(piece, info.begin + done)
                .map_err(|e| ModelError::new(self.file_of(info), Fault::Io(e)))?;
            each(piece);
            done += n as u64;
        }
        Ok(())
    }

    /// Reads a part of a tensor as f32, widening bf16 and f16 (exact): so many elements from one on, or as many as
    /// there are. `room` is kept from one call to the next.
    ///
    /// # Errors
    /// As [`Checkpoint::read_f32`].
    pub fn read_part(
        &self,
        name: &str,
        first: u64,
        count: usize,
        room: &mut Vec<u8>,
        out: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        let info = self.find(name)?;
        if !info.dtype.is_weight() {
            return Err(self.wrong_dtype(name, info));
        }
        let Some(shard) = self.shards.get(info.shard) else {
            return Err(self.missing(name));
        };
        let size = info.dtype.size();
        let left = (info.bytes / size).saturating_sub(first);
        let count = usize::try_from(left).unwrap_or(count).min(count);
        room.resize(count * usize::try_from(size).unwrap_or(4), 0);
        shard
            .file
            .read_exact_at(room, info.begin + first * size)
            .map_err(|e| ModelError::new(self.file_of(info), Fault::Io(e)))?;
        out.clear();
        match info.dtype {
            Dtype::F32 => out.extend(room.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::BF16 => {
                let wide = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                out.extend(room.as_chunks().0.iter().map(wide));
            }
            _ => out.extend(room.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        }
        Ok(())
    }

    /// Reads a tensor as f32, widening bf16 and f16 (exact).
    ///
    /// # Errors
    /// As [`Checkpoint::stream`], and for types that weights do not have.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, ModelError> {
        let info = self.find(name)?;
        let dtype = info.dtype;
        if !dtype.is_weight() {
            return Err(self.wrong_dtype(name, info));
        }
        let count = usize::try_from(info.bytes / dtype.size()).unwrap_or(0);
        let mut out = Vec::with_capacity(count);
        self.stream(name, |bytes| match dtype {
            Dtype::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::BF16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()));
            }
            _ => out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        })?;
        Ok(out)
    }

    /// Reads a bf16 tensor as it is.
    ///
    /// # Errors
    /// As [`Checkpoint::stream`], and for another type.
    pub fn read_bf16(&self, name: &str) -> Result<Vec<bf16>, ModelError> {
        let info = self.find(name)?;
        if info.dtype != Dtype::BF16 {
            return Err(self.wrong_dtype(name, info));
        }
        let mut out = Vec::with_capacity(usize::try_from(info.bytes / 2).unwrap_or(0));
        self.stream(name, |bytes| {
            out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b)));
        })?;
        Ok(out)
    }

    pub(crate) fn wrong_dtype(&self, name: &str, info: &TensorInfo) -> ModelError {
        let key = format!("dtype of {}", shorten(name, 120));
        ModelError::new(
            self.file_of(info),
            Fault::value(&key, info.dtype.name(), "F32, BF16 or F16"),
        )
    }
}
