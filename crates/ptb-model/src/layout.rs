//! Which tensors an architecture has, with their shapes: the one list that checks, random models,
//! the differentiable forward and inference all read.

use crate::config::Config;

/// What a tensor is for, in the order in which the forward pass meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorRole {
    /// Token embedding, vocabulary x width (and the output projection when tied).
    Embedding,
    /// RMS norm before attention.
    AttentionNorm,
    /// Query projection.
    Query,
    /// Key projection.
    Key,
    /// Value projection.
    Value,
    /// RMS norm of each query head.
    QueryNorm,
    /// RMS norm of each key head.
    KeyNorm,
    /// Projection of attention's result back to the residual stream.
    AttentionOut,
    /// RMS norm before the feed-forward layer.
    FeedForwardNorm,
    /// Gate of the feed-forward layer.
    Gate,
    /// Input of the feed-forward layer.
    Up,
    /// Output of the feed-forward layer.
    Down,
    /// Last RMS norm.
    FinalNorm,
    /// Output projection of an untied model.
    Head,
}

impl TensorRole {
    /// The tensor's name in Hugging Face files; `layer` counts for tensors of a layer.
    pub fn name(self, layer: usize) -> String {
        let inner = match self {
            Self::Embedding => return "model.embed_tokens.weight".to_owned(),
            Self::FinalNorm => return "model.norm.weight".to_owned(),
            Self::Head => return "lm_head.weight".to_owned(),
            Self::AttentionNorm => "input_layernorm",
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::QueryNorm => "self_attn.q_norm",
            Self::KeyNorm => "self_attn.k_norm",
            Self::AttentionOut => "self_attn.o_proj",
            Self::FeedForwardNorm => "post_attention_layernorm",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        };
        format!("model.layers.{layer}.{inner}.weight")
    }

    /// The shape that a configuration calls for, outputs first.
    pub fn shape(self, c: &Config) -> Vec<usize> {
        let (hidden, ffn) = (c.hidden_size, c.intermediate_size);
        let (queries, keys) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        match self {
            Self::Embedding | Self::Head => vec![c.vocab_size, hidden],
            Self::AttentionNorm | Self::FeedForwardNorm | Self::FinalNorm => vec![hidden],
            Self::QueryNorm | Self::KeyNorm => vec![c.head_dim],
            Self::Query => vec![queries, hidden],
            Self::Key | Self::Value => vec![keys, hidden],
            Self::AttentionOut => vec![hidden, queries],
            Self::Gate | Self::Up => vec![ffn, hidden],
            Self::Down => vec![hidden, ffn],
        }
    }

    /// True for tensors that every layer has.
    pub fn in_layer(self) -> bool {
        !matches!(self, Self::Embedding | Self::FinalNorm | Self::Head)
    }

    /// True for the gains of RMS norms.
    pub fn is_norm(self) -> bool {
        use TensorRole::{AttentionNorm, FeedForwardNorm, FinalNorm, KeyNorm, QueryNorm};
        matches!(self, AttentionNorm | FeedForwardNorm | FinalNorm | KeyNorm | QueryNorm)
    }

    const LAYER: [Self; 11] = [
        Self::AttentionNorm,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::QueryNorm,
        Self::KeyNorm,
        Self::AttentionOut,
        Self::FeedForwardNorm,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];
}

/// Every tensor of the architecture: role, name, shape.
pub fn expected_tensors(c: &Config) -> Vec<(TensorRole, String, Vec<usize>)> {
    let row = |role: TensorRole, layer| (role, role.name(layer), role.shape(c));
    let mut all = vec![row(TensorRole::Embedding, 0)];
    for layer in 0..c.num_layers {
        all.extend(TensorRole::LAYER.iter().map(|role| row(*role, layer)));
    }
    all.push(row(TensorRole::FinalNorm, 0));
    if !c.tie_word_embeddings {
        all.push(row(TensorRole::Head, 0));
    }
    all
}
