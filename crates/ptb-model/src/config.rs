//! `config.json`: the architecture and its sizes, checked before anything is allocated.
//!
//! Format: Hugging Face `transformers`, class `Qwen3Config` (both forms of the rope settings: the flat
//! `rope_theta` of version 4 and `rope_parameters` of version 5).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::dir::ModelDir;
use crate::error::{Fault, ModelError, shorten};

const LIMIT: u64 = 1 << 20;
const FILE: &str = "config.json";

/// Architectures that the model code implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Architecture {
    /// `Qwen3ForCausalLM`: grouped-query attention with normed queries and keys, SwiGLU, RMS norm.
    Qwen3,
}

impl Architecture {
    /// The class name in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// Whether the model code implements this class of `architectures`.
pub fn knows(class: &str) -> bool {
    class == Architecture::Qwen3.class()
}

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

#[derive(Deserialize)]
struct Raw {
    architectures: Option<Vec<String>>,
    model_type: Option<String>,
    hidden_size: Option<u64>,
    intermediate_size: Option<u64>,
    num_hidden_layers: Option<u64>,
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    head_dim: Option<u64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Value>,
    rope_parameters: Option<RopeParameters>,
    tie_word_embeddings: Option<bool>,
    vocab_size: Option<u64>,
    max_position_embeddings: Option<u64>,
    eos_token_id: Option<Ids>,
    hidden_act: Option<String>,
    attention_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    quantization_config: Option<Value>,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f64>,
    rope_type: Option<String>,
}

/// A checked architecture: every size is within bounds and sizes agree with each other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Which model code.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides the query heads.
    pub num_kv_heads: usize,
    /// Width of a head, even; need not be `hidden_size / num_heads`.
    pub head_dim: usize,
    /// Added to the mean square in RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Rows of the embedding (may exceed the tokenizer's vocabulary).
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub max_positions: usize,
    /// Tokens that end a text, from this file.
    pub eos: Vec<u32>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Missing, malformed, another architecture, or a size out of bounds.
    pub fn read(dir: &ModelDir) -> Result<Self, ModelError> {
        let raw: Raw = dir.json(FILE, LIMIT)?;
        Self::checked(raw).map_err(|fault| dir.error(FILE, fault))
    }

    fn checked(raw: Raw) -> Result<Self, Fault> {
        let architecture = architecture(&raw)?;
        refuse_variants(&raw)?;
        let hidden_size = size("hidden_size", raw.hidden_size, 1 << 16)?;
        let num_heads = size("num_attention_heads", raw.num_attention_heads, 1 << 12)?;
        let num_kv_heads = match raw.num_key_value_heads {
            None => num_heads,
            n => size("num_key_value_heads", n, 1 << 12)?,
        };
        if !num_heads.is_multiple_of(num_kv_heads) {
            return Err(Fault::value(
                "num_key_value_heads",
                num_kv_heads,
                format!("a divisor of num_attention_heads, {num_heads}"),
            ));
        }
        // Qwen3's class has 128 for an absent head_dim, whatever the width.
        let head_dim = size("head_dim", Some(raw.head_dim.unwrap_or(128)), 1 << 10)?;
        if head_dim % 2 == 1 {
            return Err(Fault::value("head_dim", head_dim, "an even number (rotary halves)"));
        }
        Ok(Self {
            architecture,
            hidden_size,
            intermediate_size: size("intermediate_size", raw.intermediate_size, 1 << 18)?,
            num_layers: size("num_hidden_layers", raw.num_hidden_layers, 1 << 10)?,
            num_heads,
            num_kv_heads,
            head_dim,
            rms_norm_eps: positive("rms_norm_eps", raw.rms_norm_eps.unwrap_or(1e-6), 1.0)?,
            rope_theta: positive("rope_theta", rope_theta(&raw)?, 1e12)?,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(false),
            vocab_size: size("vocab_size", raw.vocab_size, 1 << 22)?,
            max_positions: size("max_position_embeddings", raw.max_position_embeddings, 1 << 24)?,
            eos: token_ids("eos_token_id", raw.eos_token_id)?,
        })
    }

    /// The file as `transformers` reads it: what was checked, and nothing else of what the file held. `dtype` is the
    /// element type, as torch calls it.
    pub fn to_json(&self, dtype: Option<&str>) -> Value {
        let mut file = json!({
            "architectures": [self.architecture.class()],
            "model_type": "qwen3",
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "attention_bias": false,
            "attention_dropout": 0.0,
            "use_sliding_window": false,
            "tie_word_embeddings": self.tie_word_embeddings,
            "vocab_size": self.vocab_size,
            "use_cache": true,
        });
        let named = [
            ("eos_token_id", (!self.eos.is_empty()).then(|| json!(self.eos))),
            ("torch_dtype", dtype.map(|dtype| json!(dtype))),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                file[name] = value;
            }
        }
        file
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        self.num_heads / self.num_kv_heads.max(1)
    }
}

fn architecture(raw: &Raw) -> Result<Architecture, Fault> {
    let class = raw.architectures.as_ref().and_then(|a| a.first()).map(String::as_str);
    // Other software goes by either name: where both are there, both must be known.
    match (class, raw.model_type.as_deref()) {
        (None, None) => Err(Fault::malformed("it names no architecture (`architectures`)")),
        (Some(class), _) if !knows(class) => Err(Fault::Architecture(shorten(class, 80))),
        (_, Some(kind)) if kind != "qwen3" => Err(Fault::Architecture(shorten(kind, 80))),
        _ => Ok(Architecture::Qwen3),
    }
}

/// Settings of the same class that change the mathematics: refusing beats a silently wrong score.
fn refuse_variants(raw: &Raw) -> Result<(), Fault> {
    if let Some(act) = raw.hidden_act.as_deref().filter(|a| *a != "silu") {
        return Err(Fault::value("hidden_act", act, "`silu`"));
    }
    if raw.attention_bias == Some(true) {
        return Err(Fault::value("attention_bias", true, "false"));
    }
    if raw.use_sliding_window == Some(true) {
        return Err(Fault::value("use_sliding_window", true, "false"));
    }
    let other = raw.layer_types.iter().flatten().find(|kind| *kind != "full_attention");
    if let Some(kind) = other {
        return Err(Fault::value("layer_types", kind, "`full_attention`"));
    }
    if let Some(q) = raw.quantization_config.as_ref().filter(|q| !q.is_null()) {
        return Err(Fault::value("quantization_config", q, "no quantization (f32, bf16, f16)"));
    }
    let named = raw.rope_parameters.as_ref().and_then(|p| p.rope_type.clone());
    let scaled = raw.rope_scaling.as_ref().filter(|s| !s.is_null()).map(|s| {
        let kind = s.get("rope_type").or_else(|| s.get("type")).and_then(Value::as_str);
        kind.unwrap_or("unnamed").to_owned()
    });
    match named.or(scaled) {
        Some(kind) if kind != "default" => Err(Fault::value("rope_type", kind, "`default`")),
        _ => Ok(()),
    }
}

fn rope_theta(raw: &Raw) -> Result<f64, Fault> {
    let nested = raw.rope_parameters.as_ref().and_then(|p| p.rope_theta);
    match (nested, raw.rope_theta) {
        (Some(a), Some(b)) if a != b => {
            Err(Fault::value("rope_theta", b, format!("{a}, as in `rope_parameters`")))
        }
        (a, b) => Ok(a.or(b).unwrap_or(10_000.0)),
    }
}

fn size(key: &str, value: Option<u64>, max: usize) -> Result<usize, Fault> {
    let expected = || format!("a whole number from 1 to {max}");
    let value = value.ok_or_else(|| Fault::value(key, "absent", expected()))?;
    match usize::try_from(value) {
        Ok(v) if (1..=max).contains(&v) => Ok(v),
        _ => Err(Fault::value(key, value, expected())),
    }
}

fn positive(key: &str, value: f64, max: f64) -> Result<f64, Fault> {
    if value > 0.0 && value <= max {
        Ok(value)
    } else {
        Err(Fault::value(key, value, format!("a number above 0 to {max}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_both_its_names() {
        let of = |text: &str| architecture(&serde_json::from_str(text).unwrap());
        for text in [
            r#"{"architectures": ["Qwen3ForCausalLM"]}"#,
            r#"{"model_type": "qwen3"}"#,
            r#"{"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}"#,
        ] {
            assert_eq!(of(text).unwrap(), Architecture::Qwen3, "{text}");
        }
        for (text, told) in [
            (r#"{"architectures": ["Grand"], "model_type": "qwen3"}"#, "`Grand`"),
            (r#"{"architectures": ["Qwen3ForCausalLM"], "model_type": "grand"}"#, "`grand`"),
            (r#"{"model_type": "cuda out of\nmemory"}"#, r"`cuda out of\nmemory`"),
            ("{}", "names no architecture"),
        ] {
            let e = of(text).unwrap_err().to_string();
            assert!(e.contains(told), "{text}: {e}");
        }
    }
}
