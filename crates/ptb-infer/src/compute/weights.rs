//! Weights rearranged for the kernels, once, when a model is loaded.

use half::bf16;
use ptb_model::{Checkpoint, Config, Dtype, ModelError, Rope, TensorRole};
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
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32]) {
        let width = self.gain.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            rms_norm(x, &self.gain, self.eps, out);
        }
    }
}

/// One block of the transformer. What an architecture does not have is none, and costs nothing.
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    /// Queries, keys and values of all heads, one product.
    pub(crate) qkv: Packed,
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) attention_out: Packed,
    pub(crate) attention_out_norm: Option<Norm>,
    pub(crate) feed_forward_norm: Norm,
    pub(crate) gate: Packed,
    pub(crate) up: Packed,
    pub(crate) down: Packed,
    pub(crate) down_norm: Option<Norm>,
    /// Which of the model's rotary positions.
    pub(crate) rope: Option<usize>,
    /// How many positions a query sees, its own included.
    pub(crate) window: Option<usize>,
}

/// A loaded model.
pub(crate) struct Weights {
    pub(crate) config: Config,
    /// Absent when the output projection is the embedding.
    embedding: Option<Packed>,
    embedding_scale: Option<f32>,
    /// Angles from one position to the next, for each kind of rotary positions that layers have.
    pub(crate) frequencies: Vec<Vec<f32>>,
    pub(crate) layers: Vec<Layer>,
    pub(crate) final_norm: Norm,
    pub(crate) head: Packed,
}

/// Reads tensors by what they are for.
struct Loader<'a> {
    config: &'a Config,
    checkpoint: &'a Checkpoint,
}

impl Loader<'_> {
    fn packed(
        &self,
        roles: &[TensorRole],
        layer: usize,
        inputs: usize,
    ) -> Result<Packed, ModelError> {
        let architecture = self.config.architecture;
        let names: Vec<String> = roles.iter().map(|r| r.name_in(architecture, layer)).collect();
        Packed::load(self.checkpoint, &names, inputs)
    }

    fn norm(&self, role: TensorRole, layer: usize) -> Result<Norm, ModelError> {
        let mut gain = self.checkpoint.read_f32(&role.name_in(self.config.architecture, layer))?;
        match self.config.gain_offset() {
            0.0 => {}
            offset => gain.iter_mut().for_each(|g| *g += offset),
        }
        Ok(Norm { gain, eps: self.config.rms_norm_eps as f32 })
    }

    fn norm_if_any(&self, role: TensorRole, layer: usize) -> Result<Option<Norm>, ModelError> {
        let any = !role.name_in(self.config.architecture, layer).is_empty();
        any.then(|| self.norm(role, layer)).transpose()
    }

    fn layer(&self, i: usize, ropes: &[Rope]) -> Result<Layer, ModelError> {
        use TensorRole as R;
        let c = self.config;
        let (hidden, queries) = (c.hidden_size, c.num_heads * c.head_dim);
        let kind = c.layers[i];
        Ok(Layer {
            attention_norm: self.norm(R::AttentionNorm, i)?,
            qkv: self.packed(&[R::Query, R::Key, R::Value], i, hidden)?,
            query_norm: self.norm_if_any(R::QueryNorm, i)?,
            key_norm: self.norm_if_any(R::KeyNorm, i)?,
            attention_out: self.packed(&[R::AttentionOut], i, queries)?,
            attention_out_norm: self.norm_if_any(R::AttentionOutNorm, i)?,
            feed_forward_norm: self.norm(R::FeedForwardNorm, i)?,
            gate: self.packed(&[R::Gate], i, hidden)?,
            up: self.packed(&[R::Up], i, hidden)?,
            down: self.packed(&[R::Down], i, c.intermediate_size)?,
            down_norm: self.norm_if_any(R::DownNorm, i)?,
            rope: kind.rope.and_then(|rope| ropes.iter().position(|r| *r == rope)),
            window: kind.window,
        })
    }
}

impl Weights {
    /// Loads a checkpoint whose tensors have been checked against the configuration.
    pub(crate) fn load(config: &Config, checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        use TensorRole as R;
        let loader = Loader { config, checkpoint };
        let mut ropes: Vec<Rope> = Vec::new();
        for rope in config.layers.iter().filter_map(|layer| layer.rope) {
            if !ropes.contains(&rope) {
                ropes.push(rope);
            }
        }
        let hidden = config.hidden_size;
        let untied = !config.tie_word_embeddings;
        let embedding = untied.then(|| loader.packed(&[R::Embedding], 0, hidden)).transpose()?;
        let head = if untied { R::Head } else { R::Embedding };
        let layers = (0..config.num_layers).map(|i| loader.layer(i, &ropes));
        Ok(Self {
            embedding,
            embedding_scale: config.embedding_scale(),
            frequencies: ropes.iter().map(|rope| rope.frequencies(config.head_dim)).collect(),
            layers: layers.collect::<Result<_, _>>()?,
            final_norm: loader.norm(R::FinalNorm, 0)?,
            head: loader.packed(&[head], 0, hidden)?,
            config: config.clone(),
        })
    }

    /// The embedding of a token below the vocabulary's size.
    pub(crate) fn embed(&self, token: u32, out: &mut [f32]) {
        self.embedding.as_ref().unwrap_or(&self.head).row(token as usize, out);
        if let Some(scale) = self.embedding_scale {
            out.iter_mut().for_each(|x| *x *= scale);
        }
    }
}
