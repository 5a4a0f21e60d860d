//! `config.json` as files have it: every key optional, nothing checked but its type.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::rope;
use crate::error::Fault;

/// One id or a list of them, as Hugging Face files write `eos_token_id`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(i64),
    Many(Vec<i64>),
}

pub(crate) fn token_ids(key: &str, ids: Option<Ids>) -> Result<Vec<u32>, Fault> {
    let ids = match ids {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) => ids,
    };
    if ids.len() > 1024 {
        return Err(Fault::value(key, format!("a list of {}", ids.len()), "at most 1024 ids"));
    }
    ids.into_iter()
        .map(|id| u32::try_from(id).map_err(|_| Fault::value(key, id, "a token id from 0")))
        .collect()
}

/// Tells a key that is null (some) from one that is absent (none).
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Ids>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What a file calls itself.
#[derive(Deserialize)]
pub(super) struct Names {
    pub(super) architectures: Option<Vec<String>>,
    pub(super) model_type: Option<String>,
}

/// A file whose text has a section of its own, and what it has beside that.
#[derive(Deserialize)]
pub(super) struct Outer {
    pub(super) text_config: Option<Raw>,
    pub(super) vision_config: Option<RawVision>,
    pub(super) mm_tokens_per_image: Option<u64>,
    pub(super) boi_token_index: Option<u64>,
    pub(super) eoi_token_index: Option<u64>,
    pub(super) image_token_index: Option<u64>,
    pub(super) tie_word_embeddings: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    pub(super) eos_token_id: Option<Option<Ids>>,
    pub(super) quantization_config: Option<Value>,
}

/// The text's settings: the whole file, or its section.
#[derive(Deserialize)]
pub(super) struct Raw {
    pub(super) model_type: Option<String>,
    pub(super) hidden_size: Option<u64>,
    pub(super) intermediate_size: Option<u64>,
    pub(super) num_hidden_layers: Option<u64>,
    pub(super) num_attention_heads: Option<u64>,
    pub(super) num_key_value_heads: Option<u64>,
    pub(super) head_dim: Option<u64>,
    pub(super) rms_norm_eps: Option<f64>,
    pub(super) rope_theta: Option<f64>,
    pub(super) rope_local_base_freq: Option<f64>,
    pub(super) rope_scaling: Option<rope::Raw>,
    pub(super) rope_parameters: Option<rope::Raw>,
    pub(super) partial_rotary_factor: Option<f64>,
    pub(super) tie_word_embeddings: Option<bool>,
    pub(super) vocab_size: Option<u64>,
    pub(super) max_position_embeddings: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    pub(super) eos_token_id: Option<Option<Ids>>,
    pub(super) hidden_act: Option<String>,
    pub(super) hidden_activation: Option<String>,
    pub(super) attention_bias: Option<bool>,
    pub(super) mlp_bias: Option<bool>,
    pub(super) use_sliding_window: Option<bool>,
    pub(super) sliding_window: Option<u64>,
    pub(super) sliding_window_pattern: Option<u64>,
    pub(super) layer_types: Option<Vec<String>>,
    pub(super) no_rope_layers: Option<Vec<u64>>,
    pub(super) no_rope_layer_interval: Option<u64>,
    pub(super) query_pre_attn_scalar: Option<f64>,
    pub(super) final_logit_softcapping: Option<f64>,
    pub(super) attn_logit_softcapping: Option<f64>,
    pub(super) use_bidirectional_attention: Option<bool>,
    pub(super) quantization_config: Option<Value>,
}

/// The section of the tower for images.
#[derive(Deserialize)]
pub(super) struct RawVision {
    pub(super) hidden_size: Option<u64>,
    pub(super) intermediate_size: Option<u64>,
    pub(super) num_hidden_layers: Option<u64>,
    pub(super) num_attention_heads: Option<u64>,
    pub(super) num_channels: Option<u64>,
    pub(super) image_size: Option<u64>,
    pub(super) patch_size: Option<u64>,
    pub(super) vision_use_head: Option<bool>,
}
