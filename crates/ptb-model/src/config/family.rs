//! The families of architectures as tables: what their classes are called, what an absent key means, which tensors
//! a layer has. Whatever differs from family to family is here or in [`Config`](super::Config)'s values; code that
//! computes asks for those, never for a family.

use serde::Serialize;

use crate::layout::TensorRole::{self, *};

/// Architectures that the model code implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Architecture {
    /// `Qwen3ForCausalLM`: grouped-query attention with normed queries and keys, SwiGLU, RMS norm.
    Qwen3,
    /// `LlamaForCausalLM`: the same without the norms of queries and keys; 3.1 and later scale the rotary frequencies.
    Llama,
    /// `SmolLM3ForCausalLM`: as Llama, with layers that turn no queries and keys by their position.
    SmolLm3,
    /// `Gemma3ForCausalLM`: four norms a layer, a gated GELU, layers that look back over a window alone.
    Gemma3,
    /// `Gemma3ForConditionalGeneration`: the same beside a tower for images, which is left alone.
    Gemma3Vision,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Qwen3, Self::Llama, Self::SmolLm3, Self::Gemma3, Self::Gemma3Vision];

    /// The class name in `architectures`.
    pub fn class(self) -> &'static str {
        self.family().class
    }

    pub(crate) fn family(self) -> &'static Family {
        match self {
            Self::Qwen3 => &QWEN3,
            Self::Llama => &LLAMA,
            Self::SmolLm3 => &SMOLLM3,
            Self::Gemma3 => &GEMMA3,
            Self::Gemma3Vision => &GEMMA3_VISION,
        }
    }
}

/// Whether the model code implements this class of `architectures`.
pub fn knows(class: &str) -> bool {
    Architecture::ALL.iter().any(|a| a.class() == class)
}

/// The function in the feed-forward layer's gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// GELU in its approximation by a hyperbolic tangent (arXiv 1606.08415), `gelu_pytorch_tanh`.
    GeluTanh,
}

impl Activation {
    /// Its name in configurations.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_pytorch_tanh",
        }
    }
}

/// What the classes of `transformers` take for a key that the file does not have. `None`: the key must be there.
pub(crate) struct Absent {
    pub(crate) heads: Option<u64>,
    pub(crate) vocab: Option<u64>,
    pub(crate) positions: Option<u64>,
    /// `None`: as many as query heads.
    pub(crate) kv_heads: Option<u64>,
    /// `None`: the width divided by the heads.
    pub(crate) head_dim: Option<u64>,
    pub(crate) rope_theta: f64,
    pub(crate) tied: bool,
    pub(crate) eos: &'static [u32],
}

/// How layers differ from each other, and by which keys that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// They do not.
    Same,
    /// Some have no rotary positions: `no_rope_layers`, or every `no_rope_layer_interval`-th.
    NoRope,
    /// Some look back over `sliding_window` positions with a rotary base of their own: `layer_types`, or all but
    /// every `sliding_window_pattern`-th.
    Window,
}

/// One row of the table.
pub(crate) struct Family {
    pub(crate) class: &'static str,
    pub(crate) model_type: &'static str,
    /// `model_type` of the text's own section, in files that have one.
    pub(crate) section: Option<&'static str>,
    pub(crate) absent: Absent,
    pub(crate) pattern: Pattern,
    pub(crate) activation: Activation,
    pub(crate) activation_key: &'static str,
    /// Whether gains of norms are stored as what is added to 1.
    pub(crate) gain_plus_one: bool,
    /// Whether embeddings are multiplied by the root of the width.
    pub(crate) scaled_embedding: bool,
    /// A layer's tensors in the order of the forward pass, named within the layer.
    pub(crate) layer: &'static [(TensorRole, &'static str)],
    /// What stands for `model.` in the names of stored tensors; the first is what is written today.
    pub(crate) prefixes: &'static [&'static str],
}

const QWEN3_LAYER: [(TensorRole, &str); 11] = [
    (AttentionNorm, "input_layernorm"),
    (Query, "self_attn.q_proj"),
    (Key, "self_attn.k_proj"),
    (Value, "self_attn.v_proj"),
    (QueryNorm, "self_attn.q_norm"),
    (KeyNorm, "self_attn.k_norm"),
    (AttentionOut, "self_attn.o_proj"),
    (FeedForwardNorm, "post_attention_layernorm"),
    (Gate, "mlp.gate_proj"),
    (Up, "mlp.up_proj"),
    (Down, "mlp.down_proj"),
];

const LLAMA_LAYER: [(TensorRole, &str); 9] = [
    (AttentionNorm, "input_layernorm"),
    (Query, "self_attn.q_proj"),
    (Key, "self_attn.k_proj"),
    (Value, "self_attn.v_proj"),
    (AttentionOut, "self_attn.o_proj"),
    (FeedForwardNorm, "post_attention_layernorm"),
    (Gate, "mlp.gate_proj"),
    (Up, "mlp.up_proj"),
    (Down, "mlp.down_proj"),
];

const GEMMA3_LAYER: [(TensorRole, &str); 13] = [
    (AttentionNorm, "input_layernorm"),
    (Query, "self_attn.q_proj"),
    (Key, "self_attn.k_proj"),
    (Value, "self_attn.v_proj"),
    (QueryNorm, "self_attn.q_norm"),
    (KeyNorm, "self_attn.k_norm"),
    (AttentionOut, "self_attn.o_proj"),
    (AttentionOutNorm, "post_attention_layernorm"),
    (FeedForwardNorm, "pre_feedforward_layernorm"),
    (Gate, "mlp.gate_proj"),
    (Up, "mlp.up_proj"),
    (Down, "mlp.down_proj"),
    (DownNorm, "post_feedforward_layernorm"),
];

const QWEN3: Family = Family {
    class: "Qwen3ForCausalLM",
    model_type: "qwen3",
    section: None,
    absent: Absent {
        heads: None,
        vocab: None,
        positions: None,
        kv_heads: None,
        // The class has 128, whatever the width.
        head_dim: Some(128),
        rope_theta: 10_000.0,
        tied: false,
        eos: &[],
    },
    pattern: Pattern::Same,
    activation: Activation::Silu,
    activation_key: "hidden_act",
    gain_plus_one: false,
    scaled_embedding: false,
    layer: &QWEN3_LAYER,
    prefixes: &["model."],
};

const LLAMA: Family = Family {
    class: "LlamaForCausalLM",
    model_type: "llama",
    absent: Absent { head_dim: None, eos: &[2], ..QWEN3.absent },
    layer: &LLAMA_LAYER,
    ..QWEN3
};

const SMOLLM3: Family = Family {
    class: "SmolLM3ForCausalLM",
    model_type: "smollm3",
    absent: Absent {
        kv_heads: Some(4),
        rope_theta: 2e6,
        tied: true,
        eos: &[128_001],
        ..LLAMA.absent
    },
    pattern: Pattern::NoRope,
    ..LLAMA
};

/// The published files leave out what all sizes of the family have in common.
const GEMMA3: Family = Family {
    class: "Gemma3ForCausalLM",
    model_type: "gemma3_text",
    section: None,
    absent: Absent {
        heads: Some(8),
        vocab: Some(262_208),
        positions: Some(131_072),
        kv_heads: Some(4),
        head_dim: Some(256),
        rope_theta: 1e6,
        tied: true,
        eos: &[1],
    },
    pattern: Pattern::Window,
    activation: Activation::GeluTanh,
    activation_key: "hidden_activation",
    gain_plus_one: true,
    scaled_embedding: true,
    layer: &GEMMA3_LAYER,
    prefixes: &["model."],
};

const GEMMA3_VISION: Family = Family {
    class: "Gemma3ForConditionalGeneration",
    model_type: "gemma3",
    section: Some("gemma3_text"),
    prefixes: &["model.language_model.", "language_model.model."],
    ..GEMMA3
};
