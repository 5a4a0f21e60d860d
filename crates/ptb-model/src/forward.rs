//! The model for training and as a reference: parameters by name, logits and loss, both differentiable.
//!
//! Formulas: Qwen3 technical report (arXiv 2505.09388) and `transformers`' `modeling_qwen3`. The
//! arithmetic is in [`grad`](crate::grad); candle's own fused operations (RMS norm, rotary embedding,
//! softmax, attention) have no backward pass, and using them makes gradients vanish without an error.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Storage, Tensor, Var};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Fault, ModelError};
use crate::grad::{Joined, Logits, Loss, check, check_ids};
use crate::layout::expected_tensors;

/// A target that the loss leaves out, as Hugging Face data sets write it; any negative number serves.
pub const IGNORED: i64 = -100;

/// The parameters by their names in the checkpoint, as variables that gradients are taken for.
#[derive(Debug, Clone)]
pub struct Parameters(BTreeMap<String, Var>);

impl Parameters {
    /// Reads every tensor that the architecture has, as f32.
    ///
    /// # Errors
    /// A model that cannot be trained here, a missing tensor, one of another shape, or one that cannot be read.
    pub fn load(
        config: &Config,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        config.check_trainable()?;
        crate::check::check_tensors(config, checkpoint)?;
        let mut all = BTreeMap::new();
        for (_, name, shape) in expected_tensors(config) {
            let values = checkpoint.read_f32(&name)?;
            let var = Tensor::from_vec(values, shape, device).and_then(|t| Var::from_tensor(&t));
            let var = var.map_err(|e| {
                let file = checkpoint.find(&name).map(|i| checkpoint.file_of(i));
                ModelError::new(file.unwrap_or_default(), Fault::malformed(e.to_string()))
            })?;
            all.insert(name, var);
        }
        Ok(Self(all))
    }

    /// Name and variable of each, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var)> {
        self.0.iter().map(|(name, var)| (name.as_str(), var))
    }

    /// The values of one, row by row: what [`save_model`](crate::save_model) asks for.
    ///
    /// # Errors
    /// An unknown name, or the tensor library's.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let var = self.0.get(name).ok_or_else(|| missing(name))?;
        var.as_tensor().flatten_all()?.to_vec1()
    }
}

fn missing(name: &str) -> candle_core::Error {
    candle_core::Error::Msg(format!("parameter {name} is missing"))
}

/// A Qwen3 model over tensors that are variables, or computed from variables.
#[derive(Debug, Clone)]
pub struct Qwen3 {
    config: Config,
    tensors: BTreeMap<String, Tensor>,
}

impl Qwen3 {
    /// Joins a configuration with its parameters. Later changes of the variables are seen.
    pub fn new(config: Config, parameters: Parameters) -> Self {
        let tensors = parameters.0.into_iter().map(|(name, var)| (name, var.into_inner()));
        Self { config, tensors: tensors.collect() }
    }

    /// A model over any f32 tensors on the CPU by their names in the checkpoint, so that a weight may be
    /// computed from others (`W + s B A` of a low-rank adapter) and gradients flow on into those.
    /// Tensors that the architecture does not use are left out.
    ///
    /// # Errors
    /// A model that cannot be trained here, a missing tensor, or one of another shape or type.
    pub fn over(
        config: Config,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> std::result::Result<Self, ModelError> {
        config.check_trainable()?;
        let fault = |fault| ModelError::new("(tensors in memory)", fault);
        let mut used = BTreeMap::new();
        for (_, name, expected) in expected_tensors(&config) {
            let Some(tensor) = tensors.remove(&name) else {
                return Err(fault(Fault::TensorMissing(name)));
            };
            if tensor.dims() != expected {
                let found = tensor.dims().to_vec();
                return Err(fault(Fault::TensorShape { name, found, expected }));
            }
            if tensor.dtype() != DType::F32 {
                let key = format!("dtype of {name}");
                return Err(fault(Fault::value(&key, tensor.dtype().as_str(), "f32")));
            }
            used.insert(name, tensor);
        }
        Ok(Self { config, tensors: used })
    }

    /// The architecture and its sizes.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name and tensor of each, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Logits `[batch, time, vocabulary]` of token ids `[batch, time]`; position `t` sees 0 to `t`.
    /// Shorter rows are padded on the right, where padding changes nothing before it.
    ///
    /// For training use [`Qwen3::loss`], which keeps less in memory and computes nothing twice.
    ///
    /// # Errors
    /// Ids outside of the vocabulary, or the tensor library's.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        let size = ids.dims2()?;
        let ids = ids.flatten_all()?.to_vec1()?;
        check_ids(self.config.vocab_size, &ids)?;
        self.flat()?.apply_op1(Logits::new(&self.config, ids, size))
    }

    /// The sum, over the counted positions, of the cross-entropy in nats: a scalar of type f32.
    ///
    /// `ids` is `[batch, time]`; `targets` has one entry for each id, row by row: the token that should
    /// follow it, or any negative number ([`IGNORED`]) where the loss does not count (prompts, padding).
    /// The sum, not the mean, so that parts of a batch add up exactly: divide by the number of targets
    /// that are not negative. Positions that no counted target depends on are not computed at all.
    /// Without any counted target the loss is 0 and so are the gradients.
    ///
    /// Runs on the calling thread alone. The gradient is computed along with the loss when a parameter is
    /// a variable or depends on one; memory for what lies between is bounded by some hundred rows, or by
    /// one sequence, whatever the batch.
    ///
    /// # Errors
    /// Ids or targets outside of the vocabulary, a wrong number of targets, or the tensor library's.
    pub fn loss(&self, ids: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let size = ids.dims2()?;
        let ids = ids.flatten_all()?.to_vec1()?;
        check(self.config.vocab_size, &ids, size.1, targets)?;
        let all = self.flat()?;
        let logits = Logits::new(&self.config, ids, size);
        let loss = Loss::new(logits, targets.to_vec(), all.track_op());
        all.apply_op1(loss)
    }

    /// The parameters as they are now, for [`Joined::add_gradient`]: the same numbers as [`Qwen3::loss`] and
    /// going back from it, without the tensor library's copies and sums of every part.
    ///
    /// # Errors
    /// The tensor library's.
    pub fn joined(&self) -> Result<Joined> {
        let mut all = Vec::with_capacity(self.tensors.values().map(Tensor::elem_count).sum());
        for (_, name, _) in expected_tensors(&self.config) {
            let tensor = self.tensors.get(&name).ok_or_else(|| missing(&name))?.flatten_all()?;
            let (storage, layout) = tensor.storage_and_layout();
            match (&*storage, layout.contiguous_offsets()) {
                (Storage::Cpu(s), Some((start, end))) => {
                    all.extend_from_slice(&s.as_slice()?[start..end]);
                }
                _ => all.extend(tensor.to_vec1::<f32>()?),
            }
        }
        Joined::new(&self.config, all)
    }

    /// All parameters in one vector, in the order of the layout.
    fn flat(&self) -> Result<Tensor> {
        let mut all = Vec::with_capacity(self.tensors.len());
        for (_, name, _) in expected_tensors(&self.config) {
            let tensor = self.tensors.get(&name).ok_or_else(|| missing(&name))?;
            all.push(tensor.flatten_all()?);
        }
        Tensor::cat(&all, 0)
    }
}

/// Continues a prompt with the likeliest token, `count` times, running the whole sequence anew for
/// each: slow and plain, the reference that inference is tested against.
///
/// # Errors
/// As [`Qwen3::forward`]; an empty prompt.
pub fn argmax_continuation(model: &Qwen3, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let input = Tensor::new(ids.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let logits = model.forward(&input)?.get(0)?.get(ids.len() - 1)?;
        ids.push(logits.to_dtype(DType::F32)?.argmax(0)?.to_scalar::<u32>()?);
    }
    Ok(ids.split_off(prompt.len()))
}
