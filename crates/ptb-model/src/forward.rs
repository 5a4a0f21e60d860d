//! The architecture, once, in plain tensor operations: what training differentiates and what faster
//! inference is checked against.
//!
//! Only operations with a backward pass are used. candle's fused RMS norm, rotary embedding, softmax and
//! attention have none, and using them makes gradients vanish without an error; so each is written out
//! here. Formulas: Qwen3 technical report (arXiv 2505.09388) and `transformers`' `modeling_qwen3`.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor, Var};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::{Fault, ModelError};
use crate::layout::{TensorRole, expected_tensors};

/// A target that the loss leaves out, as Hugging Face data sets write it; any negative number serves.
pub const IGNORED: i64 = -100;

/// The parameters by their names in the checkpoint, as variables that gradients are taken for.
#[derive(Debug, Clone)]
pub struct Parameters(BTreeMap<String, Var>);

impl Parameters {
    /// Reads every tensor that the architecture has, as f32.
    ///
    /// # Errors
    /// A missing tensor, one of another shape, or one that cannot be read.
    pub fn load(
        config: &Config,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
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
    /// A missing tensor, or one of another shape or type.
    pub fn over(
        config: Config,
        mut tensors: BTreeMap<String, Tensor>,
    ) -> std::result::Result<Self, ModelError> {
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

    fn get(&self, role: TensorRole, layer: usize) -> Result<&Tensor> {
        let name = role.name(layer);
        self.tensors.get(&name).ok_or_else(|| missing(&name))
    }

    /// Logits `[batch, time, vocabulary]` of token ids `[batch, time]`; position `t` sees 0 to `t`.
    /// Shorter rows are padded on the right, where padding changes nothing before it.
    ///
    /// # Errors
    /// Ids outside of the vocabulary, or the tensor library's.
    pub fn forward(&self, ids: &Tensor) -> Result<Tensor> {
        self.head(&self.hidden(ids)?)
    }

    /// The sum, over the counted positions, of the cross-entropy in nats: a scalar of type f32.
    ///
    /// `ids` is `[batch, time]`; `targets` has one entry for each id, row by row: the token that should
    /// follow it, or any negative number ([`IGNORED`]) where the loss does not count (prompts, padding).
    /// The sum, not the mean, so that parts of a batch add up exactly: divide by the number of targets
    /// that are not negative. Logits are computed for those positions alone. Without any the loss is 0 and
    /// so are the gradients.
    ///
    /// # Errors
    /// Ids or targets outside of the vocabulary, a wrong number of targets, or the tensor library's.
    pub fn loss(&self, ids: &Tensor, targets: &[i64]) -> Result<Tensor> {
        let (batch, time) = ids.dims2()?;
        if targets.len() != batch * time {
            candle_core::bail!("{} targets for {batch} x {time} ids", targets.len());
        }
        let counted = targets.iter().enumerate().filter(|(_, t)| **t >= 0);
        let rows: Vec<u32> = counted.clone().map(|(i, _)| i as u32).collect();
        let vocabulary = self.config.vocab_size;
        let wanted = counted.map(|(_, t)| match u32::try_from(*t) {
            Ok(id) if (id as usize) < vocabulary => Ok(id),
            _ => candle_core::bail!("target {t} is outside of the vocabulary of {vocabulary}"),
        });
        let wanted = wanted.collect::<Result<Vec<u32>>>()?;
        let x = self.hidden(ids)?;
        if rows.is_empty() {
            return x.zeros_like()?.mul(&x)?.sum_all();
        }
        let n = rows.len();
        let rows = Tensor::from_vec(rows, n, ids.device())?;
        let x = x.reshape((batch * time, ()))?.index_select(&rows, 0)?.unsqueeze(0)?;
        let logits = self.head(&x)?.squeeze(0)?;
        let max = logits.max_keepdim(D::Minus1)?.detach();
        let sums = logits.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?;
        let log_sums = (sums.log()? + max)?;
        let wanted = Tensor::from_vec(wanted, (n, 1), ids.device())?;
        (log_sums - logits.gather(&wanted, D::Minus1)?)?.sum_all()
    }

    /// The residual stream after the last block.
    fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, time) = ids.dims2()?;
        let embedding = self.get(TensorRole::Embedding, 0)?;
        let mut x = embedding.index_select(&ids.flatten_all()?, 0)?;
        x = x.reshape((batch, time, self.config.hidden_size))?;
        let rope = self.rope(time, ids.device())?;
        let mask = causal_mask(time, ids.device())?;
        for layer in 0..self.config.num_layers {
            let h = self.norm(&x, TensorRole::AttentionNorm, layer)?;
            x = (x + self.attention(&h, layer, &rope, &mask)?)?;
            let h = self.norm(&x, TensorRole::FeedForwardNorm, layer)?;
            x = (x + self.feed_forward(&h, layer)?)?;
        }
        Ok(x)
    }

    fn head(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.norm(x, TensorRole::FinalNorm, 0)?;
        let head =
            if self.config.tie_word_embeddings { TensorRole::Embedding } else { TensorRole::Head };
        self.linear(&x, head, 0)
    }

    fn linear(&self, x: &Tensor, role: TensorRole, layer: usize) -> Result<Tensor> {
        let (batch, time, width) = x.dims3()?;
        let weight = self.get(role, layer)?;
        let y = x.reshape((batch * time, width))?.matmul(&weight.t()?)?;
        y.reshape((batch, time, weight.dim(0)?))
    }

    /// `x / sqrt(mean(x^2) + eps) * gain` over the last dimension.
    fn norm(&self, x: &Tensor, role: TensorRole, layer: usize) -> Result<Tensor> {
        let mean = x.sqr()?.mean_keepdim(D::Minus1)?;
        let scale = (mean + self.config.rms_norm_eps)?.sqrt()?;
        x.broadcast_div(&scale)?.broadcast_mul(self.get(role, layer)?)
    }

    fn attention(
        &self,
        x: &Tensor,
        layer: usize,
        rope: &(Tensor, Tensor),
        mask: &Tensor,
    ) -> Result<Tensor> {
        let c = &self.config;
        let (batch, time, _) = x.dims3()?;
        let heads = |role, n| -> Result<Tensor> {
            self.linear(x, role, layer)?.reshape((batch, time, n, c.head_dim))
        };
        let q = self.norm(&heads(TensorRole::Query, c.num_heads)?, TensorRole::QueryNorm, layer)?;
        let k = self.norm(&heads(TensorRole::Key, c.num_kv_heads)?, TensorRole::KeyNorm, layer)?;
        let v = heads(TensorRole::Value, c.num_kv_heads)?.transpose(1, 2)?;
        let q = rotate(&q.transpose(1, 2)?, rope)?;
        let k = repeat_heads(&rotate(&k.transpose(1, 2)?, rope)?, c.group())?;
        let v = repeat_heads(&v, c.group())?;
        let scores =
            (q.contiguous()?.matmul(&k.t()?.contiguous()?)? * (c.head_dim as f64).powf(-0.5))?;
        let weights = softmax(&scores.broadcast_add(mask)?)?;
        let y = weights.matmul(&v)?.transpose(1, 2)?;
        let y = y.reshape((batch, time, c.num_heads * c.head_dim))?;
        self.linear(&y, TensorRole::AttentionOut, layer)
    }

    fn feed_forward(&self, x: &Tensor, layer: usize) -> Result<Tensor> {
        let gate = self.linear(x, TensorRole::Gate, layer)?;
        let up = self.linear(x, TensorRole::Up, layer)?;
        // silu(x) = x * sigmoid(x), written with operations that have a backward pass.
        let sigmoid = (gate.neg()?.exp()? + 1.0)?.recip()?;
        self.linear(&(gate * sigmoid)?.mul(&up)?, TensorRole::Down, layer)
    }

    /// Cosines and sines `[time, head_dim]`, the frequencies repeated for both halves.
    fn rope(&self, time: usize, device: &Device) -> Result<(Tensor, Tensor)> {
        let half = self.config.head_dim / 2;
        let mut angles = Vec::with_capacity(time * half * 2);
        for t in 0..time {
            let row: Vec<f32> = (0..half)
                .map(|i| {
                    let exponent = (2 * i) as f32 / (2 * half) as f32;
                    let inverse = 1.0 / (self.config.rope_theta as f32).powf(exponent);
                    t as f32 * inverse
                })
                .collect();
            angles.extend_from_slice(&row);
            angles.extend_from_slice(&row);
        }
        let angles = Tensor::from_vec(angles, (time, 2 * half), device)?;
        Ok((angles.cos()?, angles.sin()?))
    }
}

/// Rotary embedding of `[batch, heads, time, head_dim]`: the halves (a, b) become
/// (a cos - b sin, b cos + a sin).
fn rotate(x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let a = x.narrow(D::Minus1, 0, half)?;
    let b = x.narrow(D::Minus1, half, half)?;
    let turned = Tensor::cat(&[&b.neg()?, &a], D::Minus1)?;
    x.broadcast_mul(cos)? + turned.broadcast_mul(sin)?
}

/// Each key head serves `group` neighbouring query heads.
fn repeat_heads(x: &Tensor, group: usize) -> Result<Tensor> {
    let (batch, heads, time, dim) = x.dims4()?;
    let x = x.unsqueeze(2)?.broadcast_as((batch, heads, group, time, dim))?.contiguous()?;
    x.reshape((batch, heads * group, time, dim))
}

fn softmax(x: &Tensor) -> Result<Tensor> {
    // The maximum only keeps the exponentials small: it cancels, so no gradient flows through it.
    let max = x.max_keepdim(D::Minus1)?.detach();
    let e = x.broadcast_sub(&max)?.exp()?;
    e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
}

fn causal_mask(time: usize, device: &Device) -> Result<Tensor> {
    let cell = |i: usize| if i % time > i / time { f32::NEG_INFINITY } else { 0.0 };
    Tensor::from_vec((0..time * time).map(cell).collect(), (time, time), device)
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
