//! Fingerprints of weights: equal for equal tensors, however they are sharded.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::checkpoint::Checkpoint;
use crate::dir::ModelDir;
use crate::error::ModelError;

/// SHA-256 of one tensor, in lower-case hexadecimal.
pub type TensorHash = String;

/// Hashes every tensor of an untrusted directory: SHA-256 over its type's name, a zero byte, its rank
/// and dimensions as 64-bit little-endian numbers, and its bytes.
///
/// # Errors
/// When the weights cannot be opened or read.
pub fn tensor_hashes(dir: impl AsRef<Path>) -> Result<BTreeMap<String, TensorHash>, ModelError> {
    checkpoint_hashes(&Checkpoint::open(&ModelDir::open(dir)?)?)
}

/// One SHA-256 over all tensors: each name (length first) and hash, in the names' order.
///
/// # Errors
/// As [`tensor_hashes`].
pub fn weights_hash(dir: impl AsRef<Path>) -> Result<String, ModelError> {
    Ok(combined(&tensor_hashes(dir)?))
}

impl Checkpoint {
    /// [`tensor_hashes`] of opened weights.
    ///
    /// # Errors
    /// When a file fails or has changed.
    pub fn tensor_hashes(&self) -> Result<BTreeMap<String, TensorHash>, ModelError> {
        checkpoint_hashes(self)
    }

    /// [`weights_hash`] of opened weights.
    ///
    /// # Errors
    /// When a file fails or has changed.
    pub fn weights_hash(&self) -> Result<String, ModelError> {
        Ok(combined(&self.tensor_hashes()?))
    }
}

fn checkpoint_hashes(checkpoint: &Checkpoint) -> Result<BTreeMap<String, TensorHash>, ModelError> {
    let names: Vec<&String> = checkpoint.tensors().keys().collect();
    names.into_par_iter().map(|name| Ok((name.clone(), hash(checkpoint, name)?))).collect()
}

fn hash(checkpoint: &Checkpoint, name: &str) -> Result<TensorHash, ModelError> {
    let info = checkpoint.find(name)?;
    let mut sha = Sha256::new();
    sha.update(info.dtype.name().as_bytes());
    sha.update([0]);
    sha.update((info.shape.len() as u64).to_le_bytes());
    for d in &info.shape {
        sha.update((*d as u64).to_le_bytes());
    }
    checkpoint.stream(name, |bytes| sha.update(bytes))?;
    Ok(hex(&sha.finalize()))
}

fn combined(hashes: &BTreeMap<String, TensorHash>) -> String {
    let mut sha = Sha256::new();
    for (name, hash) in hashes {
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name.as_bytes());
        sha.update(hash.as_bytes());
    }
    hex(&sha.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
