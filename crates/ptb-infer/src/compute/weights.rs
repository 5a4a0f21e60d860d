//! Weights rearranged for the kernels, once, when a model is loaded.

use half::bf16;
use ptb_model::{Checkpoint, Config, Dtype, ModelError, TensorRole};
use rayon::prelude::*;

use super::kernel::{NR, panel_bf16, panel_f32};
use super::math::rms_norm;

/// Products below this many multiply-adds run on one thread: handing work over costs some microseconds.
const SERIAL: usize = 400_000;

/// A projection `[outputs][inputs]` as panels `[outputs / 32][inputs][32]`, the last one padded with zeros.
pub(crate) struct Packed {
    inputs: usize,
    outputs: usize,
    panels: Panels,
}

/// bf16 stays as it is: half the memory to read for each token, widened exactly in the kernel.
enum Panels {
    F32(Vec<[f32; NR]>),
    Bf16(Vec<[bf16; NR]>),
}

impl Packed {
    /// Stacks projections of the same input on top of each other.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        names: &[String],
        inputs: usize,
    ) -> Result<Self, ModelError> {
        let bf16 = names
            .iter()
            .all(|n| checkpoint.tensors().get(n).is_some_and(|t| t.dtype == Dtype::BF16));
        let mut outputs = 0;
        let mut count = |n: usize| outputs += n / inputs;
        let panels = if bf16 {
            let mut rows = Vec::new();
            for name in names {
                append(&mut rows, checkpoint.read_bf16(name)?);
            }
            count(rows.len());
            Panels::Bf16(pack(&rows, inputs))
        } else {
            let mut rows = Vec::new();
            for name in names {
                append(&mut rows, checkpoint.read_f32(name)?);
            }
            count(rows.len());
            Panels::F32(pack(&rows, inputs))
        };
        Ok(Self { inputs, outputs, panels })
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// One output's weights; a tied embedding is read this way.
    fn row(&self, output: usize, out: &mut [f32]) {
        let (panel, j) = (output / NR, output % NR);
        let place = panel * self.inputs..(panel + 1) * self.inputs;
        match &self.panels {
            Panels::F32(all) => out.iter_mut().zip(&all[place]).for_each(|(o, w)| *o = w[j]),
            Panels::Bf16(all) => {
                out.iter_mut().zip(&all[place]).for_each(|(o, w)| *o = w[j].to_f32());
            }
        }
    }

    /// The product with `rows` rows of inputs, panel by panel: `out[panel][row][32]`.
    pub(crate) fn product(&self, a: &[f32], rows: usize, out: &mut Vec<[f32; NR]>) {
        let count = self.outputs.div_ceil(NR);
        out.resize(count * rows, [0.0; NR]);
        if rows == 0 {
            return;
        }
        let panel = |p: usize, out: &mut [[f32; NR]]| {
            let place = p * self.inputs..(p + 1) * self.inputs;
            match &self.panels {
                Panels::F32(all) => panel_f32(a, self.inputs, &all[place], out),
                Panels::Bf16(all) => panel_bf16(a, self.inputs, &all[place], out),
            }
        };
        let work = rows * self.inputs * NR;
        if work * count < SERIAL {
            out.chunks_exact_mut(rows).enumerate().for_each(|(p, out)| panel(p, out));
        } else {
            out.par_chunks_exact_mut(rows)
                .enumerate()
                .with_min_len((SERIAL / 4).div_ceil(work))
                .for_each(|(p, out)| panel(p, out));
        }
    }
}

/// Moves the first tensor instead of copying it: most projections stand alone.
fn append<T>(rows: &mut Vec<T>, more: Vec<T>) {
    if rows.is_empty() { *rows = more } else { rows.extend(more) }
}

fn pack<T: Copy + Default + Send + Sync>(rows: &[T], inputs: usize) -> Vec<[T; NR]> {
    let outputs = rows.len() / inputs;
    let mut panels = vec![[T::default(); NR]; outputs.div_ceil(NR) * inputs];
    panels.par_chunks_exact_mut(inputs).enumerate().for_each(|(p, panel)| {
        for (j, row) in rows.chunks_exact(inputs).skip(p * NR).take(NR).enumerate() {
            for (at, value) in panel.iter_mut().zip(row) {
                at[j] = *value;
            }
        }
    });
    panels
}

/// Copies `out[panel][row][32]` to rows, combining with what is there.
pub(crate) fn scatter(
    panels: &[[f32; NR]],
    rows: usize,
    width: usize,
    to: &mut [f32],
    combine: impl Fn(&mut f32, f32),
) {
    for (p, panel) in panels.chunks_exact(rows.max(1)).enumerate() {
        for (row, values) in to.chunks_exact_mut(width).zip(panel) {
            let end = width.min((p + 1) * NR);
            for (to, value) in row[p * NR..end].iter_mut().zip(values) {
                combine(to, *value);
            }
        }
    }
}

/// The gain of an RMS norm.
pub(crate) struct Norm {
    gain: Vec<f32>,
    eps: f32,
}

impl Norm {
    fn load(
        checkpoint: &Checkpoint,
        config: &Config,
        role: TensorRole,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let gain = checkpoint.read_f32(&role.name(layer))?;
        Ok(Self { gain, eps: config.rms_norm_eps as f32 })
    }

    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32]) {
        let width = self.gain.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            rms_norm(x, &self.gain, self.eps, out);
        }
    }
}

/// One block of the transformer.
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    /// Queries, keys and values of all heads, one product.
    pub(crate) qkv: Packed,
    pub(crate) query_norm: Norm,
    pub(crate) key_norm: Norm,
    pub(crate) attention_out: Packed,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) gate: Packed,
    pub(crate) up: Packed,
    pub(crate) down: Packed,
}

/// A loaded model.
pub(crate) struct Weights {
    pub(crate) config: Config,
    /// Absent when the output projection is the embedding.
    embedding: Option<Packed>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Norm,
    pub(crate) head: Packed,
}

impl Weights {
    /// Loads a checkpoint whose tensors have been checked against the configuration.
    pub(crate) fn load(config: &Config, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        use TensorRole as R;
        let (hidden, queries) = (config.hidden_size, config.num_heads * config.head_dim);
        let packed = |roles: &[R], layer, inputs| {
            let names: Vec<String> = roles.iter().map(|r| r.name(layer)).collect();
            Packed::load(checkpoint, &names, inputs)
        };
        let norm = |role, layer| Norm::load(checkpoint, config, role, layer);
        let layer = |i| -> Result<Layer, ModelError> {
            Ok(Layer {
                attention_norm: norm(R::AttentionNorm, i)?,
                qkv: packed(&[R::Query, R::Key, R::Value], i, hidden)?,
                query_norm: norm(R::QueryNorm, i)?,
                key_norm: norm(R::KeyNorm, i)?,
                attention_out: packed(&[R::AttentionOut], i, queries)?,
                feed_forward_norm: norm(R::FeedForwardNorm, i)?,
                gate: packed(&[R::Gate], i, hidden)?,
                up: packed(&[R::Up], i, hidden)?,
                down: packed(&[R::Down], i, config.intermediate_size)?,
            })
        };
        let untied = !config.tie_word_embeddings;
        let embedding = untied.then(|| packed(&[R::Embedding], 0, hidden)).transpose()?;
        let head = if untied { R::Head } else { R::Embedding };
        Ok(Self {
            config: config.clone(),
            embedding,
            layers: (0..config.num_layers).map(layer).collect::<Result<_, _>>()?,
            final_norm: norm(R::FinalNorm, 0)?,
            head: packed(&[head], 0, hidden)?,
        })
    }

    /// The embedding of a token below the vocabulary's size.
    pub(crate) fn embed(&self, token: u32, out: &mut [f32]) {
        self.embedding.as_ref().unwrap_or(&self.head).row(token as usize, out);
    }
}
