//! All parameters in one vector, in the order of the layout, and the parts of it.
//!
//! An operation of the tensor library takes at most three tensors; this one takes all of them joined. The
//! order puts queries, keys and values beside each other, and gate and input, so that each group is one
//! matrix product.

use crate::config::Config;

/// Sizes of a model, and where its parts lie in the vector.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pack {
    pub(super) hidden: usize,
    pub(super) feed: usize,
    pub(super) layers: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) dim: usize,
    pub(super) vocabulary: usize,
    pub(super) eps: f32,
    pub(super) theta: f64,
    tied: bool,
}

/// The parameters of a layer, or their gradients.
pub(super) struct Layer<S> {
    pub(super) attention_norm: S,
    /// Queries, keys, values.
    pub(super) project: S,
    pub(super) query_norm: S,
    pub(super) key_norm: S,
    pub(super) out: S,
    pub(super) feed_norm: S,
    /// Gate, input.
    pub(super) gate_up: S,
    pub(super) down: S,
}

impl<S> Layer<S> {
    fn of(parts: [S; 8]) -> Self {
        let [attention_norm, project, query_norm, key_norm, out, feed_norm, gate_up, down] = parts;
        Self { attention_norm, project, query_norm, key_norm, out, feed_norm, gate_up, down }
    }
}

impl Pack {
    pub(super) fn new(c: &Config) -> Self {
        Self {
            hidden: c.hidden_size,
            feed: c.intermediate_size,
            layers: c.num_layers,
            queries: c.num_heads,
            keys: c.num_kv_heads,
            dim: c.head_dim,
            vocabulary: c.vocab_size,
            eps: c.rms_norm_eps as f32,
            // The same in every layer of a model that can be trained.
            theta: c.layers.iter().find_map(|layer| layer.rope).map_or(1e4, |rope| rope.theta),
            tied: c.tie_word_embeddings,
        }
    }

    /// Elements of a layer's parameters, in the order of the layout.
    fn parts(&self) -> [usize; 8] {
        let (h, d) = (self.hidden, self.dim);
        let project = (self.queries + 2 * self.keys) * d * h;
        [h, project, d, d, h * self.queries * d, h, 2 * self.feed * h, h * self.feed]
    }

    /// Elements of the embedding.
    fn table(&self) -> usize {
        self.vocabulary * self.hidden
    }

    fn layer_at(&self, layer: usize) -> usize {
        self.table() + layer * self.parts().iter().sum::<usize>()
    }

    /// Elements of the whole vector.
    pub(super) fn len(&self) -> usize {
        self.layer_at(self.layers) + self.hidden + if self.tied { 0 } else { self.table() }
    }

    pub(super) fn embedding(&self) -> std::ops::Range<usize> {
        0..self.table()
    }

    pub(super) fn final_norm(&self) -> std::ops::Range<usize> {
        let start = self.layer_at(self.layers);
        start..start + self.hidden
    }

    /// The output projection: of a tied model, the embedding.
    pub(super) fn head(&self) -> std::ops::Range<usize> {
        if self.tied { self.embedding() } else { self.final_norm().end..self.len() }
    }

    pub(super) fn layer<'a>(&self, all: &'a [f32], layer: usize) -> Layer<&'a [f32]> {
        let mut rest = &all[self.layer_at(layer)..];
        Layer::of(self.parts().map(|n| {
            let (part, after) = rest.split_at(n);
            rest = after;
            part
        }))
    }

    pub(super) fn layer_mut<'a>(&self, all: &'a mut [f32], layer: usize) -> Layer<&'a mut [f32]> {
        let mut rest = &mut all[self.layer_at(layer)..];
        Layer::of(self.parts().map(|n| {
            let (part, after) = std::mem::take(&mut rest).split_at_mut(n);
            rest = after;
            part
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{TensorRole, expected_tensors};
    use crate::random::RandomModel;

    /// The vector is the tensors of the layout, joined: each part begins where its first tensor does.
    #[test]
    fn parts_lie_where_the_layout_puts_them() {
        for tie_word_embeddings in [false, true] {
            let shape = RandomModel { tie_word_embeddings, head_dim: 40, ..RandomModel::mini(1) };
            let config = shape.config();
            let pack = Pack::new(&config);
            let mut starts = std::collections::HashMap::new();
            let mut end = 0;
            for (role, name, shape) in expected_tensors(&config) {
                starts.insert(name, (role, end));
                end += shape.iter().product::<usize>();
            }
            assert_eq!(pack.len(), end);
            let start = |role: TensorRole, layer| starts[&role.name(layer)].1;
            assert_eq!(pack.final_norm().start, start(TensorRole::FinalNorm, 0));
            let head = if tie_word_embeddings { TensorRole::Embedding } else { TensorRole::Head };
            assert_eq!(pack.head().start, start(head, 0));
            let mut all: Vec<f32> = (0..end).map(|i| i as f32).collect();
            for n in 0..pack.layers {
                let layer = pack.layer(&all, n);
                for (part, role) in [
                    (layer.attention_norm, TensorRole::AttentionNorm),
                    (layer.project, TensorRole::Query),
                    (layer.query_norm, TensorRole::QueryNorm),
                    (layer.key_norm, TensorRole::KeyNorm),
                    (layer.out, TensorRole::AttentionOut),
                    (layer.feed_norm, TensorRole::FeedForwardNorm),
                    (layer.gate_up, TensorRole::Gate),
                    (layer.down, TensorRole::Down),
                ] {
                    assert_eq!(part[0] as usize, start(role, n), "{role:?}");
                }
                let down = pack.layer(&all, n).down.to_vec();
                assert_eq!(pack.layer_mut(&mut all, n).down.to_vec(), down);
            }
        }
    }
}
