//! Randomly initialised model directories: what tests and benches run on where no weights can be had.

use std::borrow::Cow;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use half::bf16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError};
use serde_json::{Value, json};

use crate::config::{Architecture, Config, Layer, Rope, Scaling, Vision};
use crate::error::{Fault, ModelError};
use crate::layout::{TensorRole, expected_tensors, stored_names};

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

/// Values of one draw: their positions in the generator's stream are known, so pieces are made in parallel.
const PIECE: usize = 1 << 16;

/// Sizes and seed of a random model with a byte-level tokenizer (token id = byte for the first 256, then
/// Qwen3's special tokens).
#[derive(Debug, Clone, PartialEq)]
pub struct RandomModel {
    /// Which architecture. Families whose layers differ get both kinds of layers, and what depends on long texts
    /// (windows, scaled positions) in sizes that short ones reach.
    pub architecture: Architecture,
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
    /// How much logits vary: about this deviation.
    pub logits: f32,
    /// Store bf16 instead of f32.
    pub bf16: bool,
    /// Equal seeds give equal bytes on every machine.
    pub seed: u64,
}

impl RandomModel {
    /// Another architecture in the sizes of [`RandomModel::tiny`], with logits that vary by more than 1.
    pub fn of(architecture: Architecture, seed: u64) -> Self {
        Self { architecture, logits: 1.8, ..Self::tiny(seed) }
    }

    /// About one million parameters: 128 wide, 4 layers, 4 heads of 32 over 2 key heads.
    pub fn tiny(seed: u64) -> Self {
        Self {
            architecture: Architecture::Qwen3,
            hidden_size: 128,
            intermediate_size: 512,
            num_layers: 4,
            num_heads: 4,
            num_kv_heads: 2,
            head_dim: 32,
            vocab_size: VOCAB,
            max_positions: 32_768,
            tie_word_embeddings: true,
            logits: 1.0,
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
        let vision = self.architecture == Architecture::Gemma3Vision;
        Config {
            architecture: self.architecture,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            num_layers: self.num_layers,
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            rms_norm_eps: 1e-6,
            layers: (1..=self.num_layers).map(|n| self.layer(n)).collect(),
            query_scalar: self.head_dim as f64,
            logit_cap: None,
            tie_word_embeddings: self.tie_word_embeddings,
            vocab_size: self.vocab_size,
            max_positions: self.max_positions,
            eos: vec![IM_END],
            vision: vision.then(Vision::smallest),
        }
    }

    /// The layer with this number, from 1.
    fn layer(&self, n: usize) -> Layer {
        let plain = |theta| Rope { theta, scaling: Scaling::None };
        let scaled = |theta, scaling| Rope { theta, scaling };
        let llama3 = Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 256.0 };
        let other = n.is_multiple_of(2);
        let (rope, window) = match self.architecture {
            Architecture::Qwen3 => (Some(plain(1e6)), None),
            Architecture::Llama => (Some(scaled(5e5, llama3)), None),
            Architecture::SmolLm3 => ((!other).then(|| plain(2e6)), None),
            Architecture::Gemma3 | Architecture::Gemma3Vision if other => {
                (Some(scaled(1e6, Scaling::Linear { factor: 8.0 })), None)
            }
            Architecture::Gemma3 | Architecture::Gemma3Vision => (Some(plain(1e4)), Some(48)),
        };
        Layer { rope, window }
    }
}

/// Writes a whole Hugging Face directory that `transformers` and this project load.
///
/// # Errors
/// When the directory cannot be written.
pub fn random_model(dir: impl AsRef<Path>, model: &RandomModel) -> Result<(), ModelError> {
    let config = model.config();
    let dtype = if model.bf16 { "bfloat16" } else { "float32" };
    let drawn = Drawn { seed: model.seed, bf16: model.bf16, logits: model.logits };
    write(dir.as_ref(), &config, &config.to_json(Some(dtype)), drawn)
}

/// Writes a random model of any configuration, given as the content of a `config.json` that is written as it is.
/// One tensor at a time is in memory.
///
/// # Errors
/// A configuration that is not supported, or a directory that cannot be written.
pub fn random_like(
    dir: impl AsRef<Path>,
    config: &Value,
    seed: u64,
    bf16: bool,
) -> Result<(), ModelError> {
    let checked = Config::from_json(config.to_string().as_bytes())?;
    write(dir.as_ref(), &checked, config, Drawn { seed, bf16, logits: 1.8 })
}

/// How weights are drawn.
#[derive(Clone, Copy)]
struct Drawn {
    seed: u64,
    bf16: bool,
    logits: f32,
}

fn write(dir: &Path, config: &Config, json: &Value, drawn: Drawn) -> Result<(), ModelError> {
    let failed = |name: &str, e: io::Error| ModelError::new(dir.join(name), Fault::Io(e));
    fs::create_dir_all(dir).map_err(|e| failed("", e))?;
    for (name, value) in [
        ("config.json", json),
        ("generation_config.json", &generation_json()),
        ("tokenizer.json", &tokenizer_json()),
        ("tokenizer_config.json", &tokenizer_config_json(config)),
    ] {
        let text = format!("{value:#}\n");
        fs::write(dir.join(name), text).map_err(|e| failed(name, e))?;
    }
    if let Some(vision) = &config.vision {
        let name = "preprocessor_config.json";
        let text = format!("{:#}\n", preprocessor_json(vision));
        fs::write(dir.join(name), text).map_err(|e| failed(name, e))?;
    }
    let path = dir.join("model.safetensors");
    write_weights(&path, config, drawn).map_err(|e| failed("model.safetensors", e))
}

fn write_weights(path: &Path, config: &Config, drawn: Drawn) -> io::Result<()> {
    let layout = expected_tensors(config).into_iter().enumerate();
    let tensors = layout.map(|(index, (role, name, shape))| {
        let stored = stored_names(config.architecture, &name).into_iter().next().unwrap_or(name);
        (stored, Random { config, drawn, index: index as u64, role, shape })
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|e| match e {
        SafeTensorError::IoError(e) => e,
        other => io::Error::other(other.to_string()),
    })?;
    // The library gives the file to this user alone.
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

/// A tensor that is drawn when it is written.
struct Random<'a> {
    config: &'a Config,
    drawn: Drawn,
    index: u64,
    role: TensorRole,
    shape: Vec<usize>,
}

impl View for Random<'_> {
    fn dtype(&self) -> Dtype {
        if self.drawn.bf16 { Dtype::BF16 } else { Dtype::F32 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * if self.drawn.bf16 { 2 } else { 4 }
    }
}

impl Random<'_> {
    /// Mean and deviation. Projections have the variance that keeps a signal's size, and heads look sharply at few
    /// positions: with the 0.02 of real initialisations a model of this size repeats one token for ever, and a
    /// test on its texts would show little.
    fn moments(&self) -> (f32, f32) {
        use TensorRole as R;
        let fan_in = self.shape.last().copied().unwrap_or(1) as f32;
        let normed =
            self.config.architecture.family().layer.iter().any(|(r, _)| *r == R::QueryNorm);
        let scaled = self.config.embedding_scale().is_some();
        let (mean, scale) = match self.role {
            R::QueryNorm | R::KeyNorm => (1.6, 0.1),
            R::Query | R::Key if !normed => (0.0, 1.6 / fan_in.sqrt()),
            R::Value | R::AttentionOut => (0.0, 1.5 / fan_in.sqrt()),
            // A text's own embedding stays small beside what layers add to it: where it is the output projection,
            // too, its token would be said again and again.
            R::Embedding if scaled => (0.0, 0.25 / fan_in.sqrt()),
            R::FinalNorm if scaled => (4.0 * self.drawn.logits, 0.1),
            R::FinalNorm => (self.drawn.logits, 0.1),
            role if role.is_norm() => (1.0, 0.1),
            _ => (0.0, 1.0 / fan_in.sqrt()),
        };
        (if self.role.is_norm() { mean - self.config.gain_offset() } else { mean }, scale)
    }

    fn values(&self) -> Vec<u8> {
        let (mean, scale) = self.moments();
        let width = if self.drawn.bf16 { 2 } else { 4 };
        let mut bytes = vec![0; self.data_len()];
        bytes.par_chunks_mut(PIECE * width).enumerate().for_each(|(n, piece)| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.drawn.seed);
            rng.set_stream(self.index);
            // A draw takes two words.
            rng.set_word_pos(2 * (n * PIECE) as u128);
            for place in piece.chunks_exact_mut(width) {
                let value = mean + scale * bell(&mut rng);
                match self.drawn.bf16 {
                    true => place.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
                    false => place.copy_from_slice(&value.to_le_bytes()),
                }
            }
        });
        bytes
    }
}

/// A value of mean 0 and variance 1: the sum of four uniform ones, which needs no logarithm or cosine
/// and so is the same to the last bit everywhere.
fn bell(rng: &mut ChaCha8Rng) -> f32 {
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|i| (word >> (16 * i)) & 0xffff).sum();
    // Four uniform values of variance 1/12 each: scale by the root of 3.
    (sum as f32 / 65_536.0 - 2.0) * 3.0_f32.sqrt()
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

/// Servers load what makes images ready, too, for models that can see some.
fn preprocessor_json(vision: &Vision) -> Value {
    let size = vision.image_size().unwrap_or(224);
    json!({
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "image_seq_length": 4,
        "size": { "height": size, "width": size },
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

fn tokenizer_config_json(c: &Config) -> Value {
    let mut file = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": null,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": c.max_positions,
    });
    if c.vision.is_some() {
        for (name, token) in [
            ("boi_token", "<|vision_start|>"),
            ("eoi_token", "<|vision_end|>"),
            ("image_token", "<|image_pad|>"),
        ] {
            file["extra_special_tokens"][name] = json!(token);
        }
    }
    file
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
