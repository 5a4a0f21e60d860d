//! Randomly initialised model directories: what tests and benches run on where no weights can be had.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::config::{Architecture, Config};
use crate::error::{Fault, ModelError};
use crate::layout::{TensorRole, expected_tensors};

/// Qwen3's added tokens in the order of its tokenizer; the second half is text to the decoder.
const SPECIAL: [&str; 14] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];
const ADDED: [&str; 12] = [
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
];
const END_OF_TEXT: u32 = 256;
const IM_END: u32 = 258;
/// Symbols and added tokens, rounded up as real vocabularies are.
const VOCAB: usize = 288;

/// Sizes and seed of a random Qwen3-shaped model with a byte-level tokenizer (token id = byte for the
/// first 256, then Qwen3's special tokens).
#[derive(Debug, Clone, PartialEq)]
pub struct RandomModel {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads.
    pub num_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding, at least 288; those above have no token.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Store bf16 instead of f32.
    pub bf16: bool,
    /// Equal seeds give equal bytes on every machine.
    pub seed: u64,
}

impl RandomModel {
    /// About one million parameters: 128 wide, 4 layers, 4 heads of 32 over 2 key heads.
    pub fn tiny(seed: u64) -> Self {
        Self {
            hidden_size: 128,
            intermediate_size: 512,
            num_layers: 4,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 32,
            vocab_size: VOCAB,
            max_positions: 32_768,
            tie_word_embeddings: true,
            bf16: false,
            seed,
        }
    }

    /// The smallest that still has every feature; for tests that run it many times.
    pub fn mini(seed: u64) -> Self {
        let tiny = Self::tiny(seed);
        Self { hidden_size: 48, intermediate_size: 80, num_layers: 2, head_dim: 16, ..tiny }
    }

    /// About 150 million parameters, with the proportions of a small real model.
    pub fn m150(seed: u64) -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 2304,
            num_layers: 16,
            num_heads: 12,
            num_kv_heads: 4,
            head_dim: 64,
            vocab_size: 49_152,
            ..Self::tiny(seed)
        }
    }

    /// The configuration that the directory will have.
    pub fn config(&self) -> Config {
        Config {
            architecture: Architecture::Qwen3,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            rms_norm_eps: 1e-6,
            rope_theta: 1e6,
            tie_word_embeddings: self.tie_word_embeddings,
            vocab_size: self.vocab_size,
            max_positions: self.max_positions,
            eos: vec![IM_END],
        }
    }
}

/// Writes a whole Hugging Face directory that `transformers` and this project load.
///
/// # Errors
/// When the directory cannot be written.
pub fn random_model(dir: impl AsRef<Path>, model: &RandomModel) -> Result<(), ModelError> {
    let dir = dir.as_ref();
    let failed = |name: &str, e: io::Error| ModelError::new(dir.join(name), Fault::Io(e));
    std::fs::create_dir_all(dir).map_err(|e| failed("", e))?;
    for (name, value) in [
        ("config.json", config_json(model)),
        ("generation_config.json", generation_json()),
        ("tokenizer.json", tokenizer_json()),
        ("tokenizer_config.json", tokenizer_config_json(model)),
    ] {
        let text = format!("{value:#}\n");
        std::fs::write(dir.join(name), text).map_err(|e| failed(name, e))?;
    }
    write_weights(&dir.join("model.safetensors"), model).map_err(|e| failed("model.safetensors", e))
}

fn write_weights(path: &Path, model: &RandomModel) -> io::Result<()> {
    let layout = expected_tensors(&model.config());
    let data: Vec<Vec<u8>> = layout
        .par_iter()
        .enumerate()
        .map(|(index, (role, _, shape))| values(model, index as u64, *role, shape))
        .collect();
    let dtype = if model.bf16 { Dtype::BF16 } else { Dtype::F32 };
    let mut views = BTreeMap::new();
    for ((_, name, shape), bytes) in layout.iter().zip(&data) {
        let view = TensorView::new(dtype, shape.clone(), bytes)
            .map_err(|e| io::Error::other(e.to_string()))?;
        views.insert(name, view);
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    // The library's own writing to a file gives it to this user alone.
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| io::Error::other(e.to_string()))?;
    std::fs::write(path, bytes)
}

/// One tensor's bytes. Projections have the variance that keeps a signal's size, and heads look sharply at
/// few positions: with the 0.02 of real initialisations a model of this size repeats one token for ever,
/// and a test on its texts would show little.
fn values(model: &RandomModel, index: u64, role: TensorRole, shape: &[usize]) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(model.seed);
    rng.set_stream(index);
    let fan_in = shape.last().copied().unwrap_or(1) as f32;
    let (mean, scale) = match role {
        TensorRole::QueryNorm | TensorRole::KeyNorm => (1.6, 0.1),
        TensorRole::Value | TensorRole::AttentionOut => (0.0, 1.5 / fan_in.sqrt()),
        role if role.is_norm() => (1.0, 0.1),
        _ => (0.0, 1.0 / fan_in.sqrt()),
    };
    let count = shape.iter().product();
    let mut bytes = Vec::with_capacity(count * if model.bf16 { 2 } else { 4 });
    for _ in 0..count {
        let value = mean + scale * bell(&mut rng);
        if model.bf16 {
            bytes.extend(bf16::from_f32(value).to_le_bytes());
        } else {
            bytes.extend(value.to_le_bytes());
        }
    }
    bytes
}

/// A value of mean 0 and variance 1: the sum of four uniform ones, which needs no logarithm or cosine
/// and so is the same to the last bit everywhere.
fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|i| (word >> (16 * i)) & 0xffff).sum();
    // Four uniform values of variance 1/12 each: scale by the root of 3.
    (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
}

fn config_json(m: &RandomModel) -> Value {
    json!({
        "architectures": [Architecture::Qwen3.class()],
        "model_type": "qwen3",
        "hidden_size": m.hidden_size,
        "intermediate_size": m.intermediate_size,
        "num_hidden_layers": m.num_layers,
        "num_attention_heads": m.num_heads,
        "num_key_value_heads": m.num_kv_heads,
        "head_dim": m.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": m.max_positions,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "attention_bias": false,
        "attention_dropout": 0.0,
        "use_sliding_window": false,
        "tie_word_embeddings": m.tie_word_embeddings,
        "vocab_size": m.vocab_size,
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": IM_END,
        "torch_dtype": if m.bf16 { "bfloat16" } else { "float32" },
        "use_cache": true,
    })
}

fn generation_json() -> Value {
    json!({
        "bos_token_id": END_OF_TEXT,
        "pad_token_id": END_OF_TEXT,
        "do_sample": true,
        "eos_token_id": [IM_END, END_OF_TEXT],
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    })
}

fn tokenizer_json() -> Value {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255 {
        vocab.insert(byte_symbol(byte).to_string(), json!(byte));
    }
    let added = SPECIAL.iter().map(|t| (t, true)).chain(ADDED.iter().map(|t| (t, false)));
    let added: Vec<Value> = added
        .enumerate()
        .map(|(i, (content, special))| {
            json!({
                "id": 256 + i, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": special,
            })
        })
        .collect();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false,
    });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    })
}

fn tokenizer_config_json(m: &RandomModel) -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": null,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": m.max_positions,
    })
}

/// The printable character that stands for a byte in byte-level vocabularies: printable Latin-1 stands
/// for itself, the rest follow from U+0100 on (GPT-2's table).
fn byte_symbol(byte: u8) -> char {
    let itself = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    if itself(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|b| !itself(*b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_symbols_are_the_librarys_alphabet() {
        let ours: std::collections::BTreeSet<char> = (0..=255).map(byte_symbol).collect();
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert_eq!(ours, theirs.into_iter().collect());
        assert_eq!(byte_symbol(b' '), 'Ġ');
        assert_eq!(byte_symbol(b'\n'), 'Ċ');
    }

    #[test]
    fn bell_has_mean_zero_and_variance_one() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let n = 100_000;
        let xs: Vec<f64> = (0..n).map(|_| f64::from(bell(&mut rng))).collect();
        let mean = xs.iter().sum::<f64>() / f64::from(n);
        let var = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.02 && (var - 1.0).abs() < 0.02, "{mean} {var}");
    }
}
