//! Which tensors an architecture has, with their shapes: the one list that checks, random models,
//! the differentiable forward and inference all read.

use crate::config::{Architecture, Config};

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
    /// RMS norm of attention's result before it joins the residual stream.
    AttentionOutNorm,
    /// RMS norm before the feed-forward layer.
    FeedForwardNorm,
    /// Gate of the feed-forward layer.
    Gate,
    /// Input of the feed-forward layer.
    Up,
    /// Output of the feed-forward layer.
    Down,
    /// RMS norm of the feed-forward layer's result before it joins the residual stream.
    DownNorm,
    /// Last RMS norm.
    FinalNorm,
    /// Output projection of an untied model.
    Head,
}

impl TensorRole {
    /// The tensor's name in files of Qwen3; `layer` counts for tensors of a layer.
    pub fn name(self, layer: usize) -> String {
        self.name_in(Architecture::Qwen3, layer)
    }

    /// The tensor's name in files of an architecture, as [`Checkpoint`](crate::Checkpoint) gives it; `layer` counts
    /// for tensors of a layer. Empty for a tensor that layers of the architecture do not have.
    pub fn name_in(self, architecture: Architecture, layer: usize) -> String {
        match self {
            Self::Embedding => "model.embed_tokens.weight".to_owned(),
            Self::FinalNorm => "model.norm.weight".to_owned(),
            Self::Head => HEAD.to_owned(),
            _ => {
                let mut all = architecture.family().layer.iter();
                let name = all.find(|(role, _)| *role == self).map(|(_, name)| name);
                name.map_or_else(String::new, |n| format!("model.layers.{layer}.{n}.weight"))
            }
        }
    }

    /// The shape that a configuration calls for, outputs first.
    pub fn shape(self, c: &Config) -> Vec<usize> {
        let (hidden, ffn) = (c.hidden_size, c.intermediate_size);
        let (queries, keys) = (c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim);
        match self {
            Self::Embedding | Self::Head => vec![c.vocab_size, hidden],
            Self::AttentionNorm
            | Self::AttentionOutNorm
            | Self::FeedForwardNorm
            | Self::DownNorm
            | Self::FinalNorm => vec![hidden],
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
        let width_of_one = matches!(self, Self::QueryNorm | Self::KeyNorm | Self::FinalNorm);
        let in_layer = matches!(
            self,
            Self::AttentionNorm | Self::AttentionOutNorm | Self::FeedForwardNorm | Self::DownNorm
        );
        width_of_one || in_layer
    }
}

/// Every tensor of the architecture: role, name (as [`Checkpoint`](crate::Checkpoint) gives it), shape.
pub fn expected_tensors(c: &Config) -> Vec<(TensorRole, String, Vec<usize>)> {
    let row = |role: TensorRole, layer| (role, role.name_in(c.architecture, layer), role.shape(c));
    let mut all = vec![row(TensorRole::Embedding, 0)];
    for layer in 0..c.num_layers {
        all.extend(c.architecture.family().layer.iter().map(|(role, _)| row(*role, layer)));
    }
    all.push(row(TensorRole::FinalNorm, 0));
    if !c.tie_word_embeddings {
        all.push(row(TensorRole::Head, 0));
    }
    all
}

const TEXT: &str = "model.";
const HEAD: &str = "lm_head.weight";

/// What one tensor has been called in files, and what it is called here: the text of a model with a tower for
/// images lies deeper than that of one without, and not where it lay before version 4.52 of `transformers`.
const RENAMED: [(&str, &str); 5] = [
    ("language_model.model.", TEXT),
    ("language_model.lm_head.", "lm_head."),
    ("model.language_model.", TEXT),
    ("model.vision_tower.", "vision_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
];

/// A stored tensor's name here.
pub(crate) fn known_name(stored: &str) -> String {
    let renamed = RENAMED.iter().find_map(|(from, to)| Some((to, stored.strip_prefix(from)?)));
    renamed.map_or_else(|| stored.to_owned(), |(to, rest)| format!("{to}{rest}"))
}

/// What a tensor of the architecture, by its name here, may be called in files; the first is written today.
pub(crate) fn stored_names(architecture: Architecture, name: &str) -> Vec<String> {
    let prefixes = architecture.family().prefixes;
    match name.strip_prefix(TEXT) {
        Some(rest) => prefixes.iter().map(|prefix| format!("{prefix}{rest}")).collect(),
        // Older files of models with a tower have the head beside the text.
        None if prefixes.len() > 1 => vec![name.to_owned(), format!("language_model.{name}")],
        None => vec![name.to_owned()],
    }
}
