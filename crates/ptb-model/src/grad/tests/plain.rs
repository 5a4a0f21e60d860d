//! The architecture in plain tensor operations with a backward pass of their own.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor, Var};

use crate::config::Config;
use crate::layout::TensorRole;

/// The model as `transformers` writes it.
struct Plain<'a> {
    config: &'a Config,
    vars: &'a BTreeMap<String, Var>,
}

/// Logits `[batch, time, vocabulary]`.
pub(super) fn logits(config: &Config, vars: &BTreeMap<String, Var>, ids: &Tensor) -> Tensor {
    Plain { config, vars }.logits(ids)
}

/// Sum of the cross-entropies of targets that are not negative.
pub(super) fn loss(
    config: &Config,
    vars: &BTreeMap<String, Var>,
    ids: &Tensor,
    targets: &[i64],
) -> Tensor {
    let logits = logits(config, vars, ids).flatten(0, 1).unwrap();
    cross_entropy(&logits, targets)
}

/// Of rows of logits.
pub(super) fn cross_entropy(logits: &Tensor, targets: &[i64]) -> Tensor {
    let log = softmax(logits).log().unwrap();
    let index: Vec<u32> = targets.iter().map(|t| u32::try_from(*t).unwrap_or(0)).collect();
    let counts: Vec<f32> = targets.iter().map(|t| if *t < 0 { 0.0 } else { -1.0 }).collect();
    let index = Tensor::from_vec(index, (targets.len(), 1), &Device::Cpu).unwrap();
    let counts = Tensor::from_vec(counts, (targets.len(), 1), &Device::Cpu).unwrap();
    log.gather(&index, 1).unwrap().mul(&counts).unwrap().sum_all().unwrap()
}

impl Plain<'_> {
    fn get(&self, role: TensorRole, layer: usize) -> &Tensor {
        self.vars[&role.name(layer)].as_tensor()
    }

    fn logits(&self, ids: &Tensor) -> Tensor {
        let (batch, time) = ids.dims2().unwrap();
        let table = self.get(TensorRole::Embedding, 0);
        let x = table.index_select(&ids.flatten_all().unwrap(), 0).unwrap();
        let mut x = x.reshape((batch, time, self.config.hidden_size)).unwrap();
        for layer in 0..self.config.num_layers {
            let h = self.norm(&x, TensorRole::AttentionNorm, layer);
            x = (x + self.attention(&h, layer)).unwrap();
            let h = self.norm(&x, TensorRole::FeedForwardNorm, layer);
            x = (x + self.feed_forward(&h, layer)).unwrap();
        }
        let x = self.norm(&x, TensorRole::FinalNorm, 0);
        let tied = self.config.tie_word_embeddings;
        self.linear(&x, if tied { TensorRole::Embedding } else { TensorRole::Head }, 0)
    }

    fn linear(&self, x: &Tensor, role: TensorRole, layer: usize) -> Tensor {
        let (batch, time, width) = x.dims3().unwrap();
        let weight = self.get(role, layer);
        let y = x.reshape((batch * time, width)).unwrap().matmul(&weight.t().unwrap()).unwrap();
        y.reshape((batch, time, weight.dim(0).unwrap())).unwrap()
    }

    fn norm(&self, x: &Tensor, role: TensorRole, layer: usize) -> Tensor {
        norm(x, self.get(role, layer), self.config.rms_norm_eps)
    }

    fn attention(&self, x: &Tensor, layer: usize) -> Tensor {
        let c = self.config;
        let (batch, time, _) = x.dims3().unwrap();
        let heads =
            |role, n| self.linear(x, role, layer).reshape((batch, time, n, c.head_dim)).unwrap();
        let q = self.norm(&heads(TensorRole::Query, c.num_heads), TensorRole::QueryNorm, layer);
        let k = self.norm(&heads(TensorRole::Key, c.num_kv_heads), TensorRole::KeyNorm, layer);
        let v = heads(TensorRole::Value, c.num_kv_heads).transpose(1, 2).unwrap();
        let theta = c.layers[0].rope.unwrap().theta;
        let q = rotate(&q.transpose(1, 2).unwrap(), theta);
        let k = rotate(&k.transpose(1, 2).unwrap(), theta);
        let y = attend(&q, &k, &v).transpose(1, 2).unwrap();
        let y = y.reshape((batch, time, c.num_heads * c.head_dim)).unwrap();
        self.linear(&y, TensorRole::AttentionOut, layer)
    }

    fn feed_forward(&self, x: &Tensor, layer: usize) -> Tensor {
        let gate = self.linear(x, TensorRole::Gate, layer);
        let up = self.linear(x, TensorRole::Up, layer);
        self.linear(&gated(&gate, &up), TensorRole::Down, layer)
    }
}

/// `x / sqrt(mean(x^2) + eps) * gain` over the last dimension.
pub(super) fn norm(x: &Tensor, gain: &Tensor, eps: f64) -> Tensor {
    let scale = (x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap() + eps).unwrap().sqrt().unwrap();
    x.broadcast_div(&scale).unwrap().broadcast_mul(gain).unwrap()
}

/// `gate sigmoid(gate) up`.
pub(super) fn gated(gate: &Tensor, up: &Tensor) -> Tensor {
    let sigmoid = (gate.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap();
    (gate * sigmoid).unwrap().mul(up).unwrap()
}

/// Rotary embedding of `[batch, heads, time, dim]`: the halves (a, b) become
/// (a cos - b sin, b cos + a sin).
pub(super) fn rotate(x: &Tensor, theta: f64) -> Tensor {
    let (_, _, time, dim) = x.dims4().unwrap();
    let half = dim / 2;
    let angle = |i: usize| {
        let (t, i) = (i / dim, i % dim % half);
        t as f32 * (1.0 / (theta as f32).powf((2 * i) as f32 / dim as f32))
    };
    let angles = (0..time * dim).map(angle).collect();
    let angles = Tensor::from_vec(angles, (time, dim), &Device::Cpu).unwrap();
    let (a, b) = (x.narrow(3, 0, half).unwrap(), x.narrow(3, half, half).unwrap());
    let turned = Tensor::cat(&[&b.neg().unwrap(), &a], 3).unwrap();
    let straight = x.broadcast_mul(&angles.cos().unwrap()).unwrap();
    (straight + turned.broadcast_mul(&angles.sin().unwrap()).unwrap()).unwrap()
}

/// Causal attention of `[batch, heads, time, dim]`; each key head serves neighbouring query heads.
pub(super) fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    let (batch, queries, time, dim) = q.dims4().unwrap();
    let keys = k.dim(1).unwrap();
    let repeat = |x: &Tensor| {
        let wide = (batch, keys, queries / keys, time, dim);
        let x = x.unsqueeze(2).unwrap().broadcast_as(wide).unwrap().contiguous().unwrap();
        x.reshape((batch, queries, time, dim)).unwrap()
    };
    let cell = |i: usize| if i % time > i / time { f32::NEG_INFINITY } else { 0.0 };
    let mask = (0..time * time).map(cell).collect();
    let mask = Tensor::from_vec(mask, (time, time), &Device::Cpu).unwrap();
    let (q, k) = (q.contiguous().unwrap(), repeat(k).t().unwrap().contiguous().unwrap());
    let scores = (q.matmul(&k).unwrap() * (dim as f64).powf(-0.5)).unwrap();
    softmax(&scores.broadcast_add(&mask).unwrap()).matmul(&repeat(v)).unwrap()
}

fn softmax(x: &Tensor) -> Tensor {
    // The maximum only keeps the exponentials small: it cancels, so no gradient flows through it.
    let max = x.max_keepdim(D::Minus1).unwrap().detach();
    let e = x.broadcast_sub(&max).unwrap().exp().unwrap();
    e.broadcast_div(&e.sum_keepdim(D::Minus1).unwrap()).unwrap()
}
