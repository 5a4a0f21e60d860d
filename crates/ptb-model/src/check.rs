//! Is this directory a model? Answered from headers, without reading the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::config::Config;
use crate::dir::ModelDir;
use crate::error::{Fault, ModelError, shorten};
use crate::generation::GenerationConfig;
use crate::layout::{expected_tensors, stored_names};

/// What a whole, well-formed model directory holds.
#[derive(Debug, Clone, Serialize)]
pub struct ModelFacts {
    /// Architecture and sizes.
    pub config: Config,
    /// Generation settings; empty when the file is absent.
    pub generation: GenerationConfig,
    /// Number of parameters that the architecture uses (tied ones once).
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// Files the weights lie in.
    pub shards: usize,
    /// Bytes by element type.
    pub dtypes: BTreeMap<String, u64>,
    /// Tensors that the architecture does not use, at most 32 named.
    pub unused: Vec<String>,
    /// Whether `tokenizer.json` is there (its content is not looked at).
    pub has_tokenizer: bool,
}

/// Checks an untrusted directory.
///
/// # Errors
/// The first fault found, with the file it is in.
pub fn check_model_dir(dir: impl AsRef<Path>) -> Result<ModelFacts, ModelError> {
    check_opened(&ModelDir::open(dir)?)
}

/// Checks a directory that is already open.
///
/// # Errors
/// The first fault found, with the file it is in.
pub fn check_opened(dir: &ModelDir) -> Result<ModelFacts, ModelError> {
    let config = Config::read(dir)?;
    let generation = GenerationConfig::read(dir)?;
    let checkpoint = Checkpoint::open(dir)?;
    let parameters = check_tensors(&config, &checkpoint)?;
    let expected: BTreeSet<String> =
        expected_tensors(&config).into_iter().map(|(_, name, _)| name).collect();
    let mut dtypes = BTreeMap::new();
    for info in checkpoint.tensors().values() {
        *dtypes.entry(info.dtype.name().to_owned()).or_default() += info.bytes;
    }
    let unused = checkpoint.tensors().keys().filter(|name| !expected.contains(*name));
    Ok(ModelFacts {
        parameters,
        bytes: checkpoint.tensors().values().map(|t| t.bytes).sum(),
        shards: checkpoint.shards(),
        dtypes,
        unused: unused.take(32).map(|name| shorten(name, 120)).collect(),
        has_tokenizer: dir.has("tokenizer.json"),
        config,
        generation,
    })
}

/// Compares the files' tensors with the configuration; gives the number of parameters.
pub(crate) fn check_tensors(config: &Config, checkpoint: &Checkpoint) -> Result<u64, ModelError> {
    let mut parameters = 0;
    for (_, name, expected) in expected_tensors(config) {
        let stored = stored_names(config.architecture, &name);
        let called = |info: &&TensorInfo| stored.iter().any(|name| name == info.stored());
        let Some(info) = checkpoint.tensors().get(&name).filter(called) else {
            let name = stored.into_iter().next().unwrap_or(name);
            return Err(checkpoint.missing(&name));
        };
        if info.shape != expected {
            let fault = Fault::TensorShape { name, found: info.shape.clone(), expected };
            return Err(ModelError::new(checkpoint.file_of(info), fault));
        }
        if !info.dtype.is_weight() {
            return Err(checkpoint.wrong_dtype(&name, info));
        }
        parameters += info.bytes / info.dtype.size();
    }
    Ok(parameters)
}
