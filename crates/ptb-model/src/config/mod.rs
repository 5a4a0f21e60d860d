//! `config.json`: the architecture and its sizes, checked before anything is allocated.
//!
//! Format: Hugging Face `transformers`, classes `Qwen3Config`, `LlamaConfig`, `SmolLM3Config`, `Gemma3TextConfig` and
//! `Gemma3Config`, in both forms of the rope settings: the flat `rope_theta` and `rope_scaling` of version 4, and
//! `rope_parameters` of version 5. What families differ in is a table in [`family`]; what comes of it is data in
//! [`Config`], layer by layer where layers differ.

mod family;
mod layers;
mod raw;
mod rope;
#[cfg(test)]
mod tests;
mod vision;
mod write;

use serde::Serialize;
use serde_json::Value;

use crate::dir::{ModelDir, parse};
use crate::error::{Fault, ModelError, shorten};
pub(crate) use family::Family;
pub use family::{Activation, Architecture, knows};
pub(crate) use raw::{Ids, token_ids};
use raw::{Names, Outer, Raw};
pub use rope::{Rope, Scaling};
pub use vision::Vision;

const LIMIT: u64 = 1 << 20;
const FILE: &str = "config.json";

/// How one layer attends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Layer {
    /// How queries and keys are turned by their position; none where they are not.
    pub rope: Option<Rope>,
    /// How many positions a query sees, its own included; none where it sees all up to its own.
    pub window: Option<usize>,
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
    /// How each block attends, in order.
    pub layers: Vec<Layer>,
    /// Scores of attention are divided by the root of this.
    pub query_scalar: f64,
    /// Logits beyond this are bent towards it: `cap tanh(logit / cap)`.
    pub logit_cap: Option<f64>,
    /// Whether the output projection is the embedding.
    pub tie_word_embeddings: bool,
    /// Rows of the embedding (may exceed the tokenizer's vocabulary).
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub max_positions: usize,
    /// Tokens that end a text, from this file.
    pub eos: Vec<u32>,
    /// What stands beside the text, in architectures with a tower for images.
    pub vision: Option<Vision>,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Missing, malformed, another architecture, a size out of bounds, or a setting that the model code lacks.
    pub fn read(dir: &ModelDir) -> Result<Self, ModelError> {
        let bytes = dir.read(FILE, LIMIT)?;
        Self::parsed(&bytes).map_err(|fault| dir.error(FILE, fault))
    }

    /// The same of a file's content that is at hand.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, ModelError> {
        Self::parsed(bytes).map_err(|fault| ModelError::new(FILE, fault))
    }

    fn parsed(bytes: &[u8]) -> Result<Self, Fault> {
        let architecture = architecture(&parse(bytes)?)?;
        let family = architecture.family();
        let Some(section) = family.section else {
            return Self::checked(architecture, parse(bytes)?, None);
        };
        let mut outer: Outer = parse(bytes)?;
        let vision = Vision::checked(&outer)?;
        let mut raw = outer
            .text_config
            .take()
            .ok_or_else(|| Fault::value("text_config", "absent", "the text's sizes"))?;
        if let Some(kind) = raw.model_type.as_deref().filter(|kind| *kind != section) {
            return Err(Fault::value("text_config.model_type", kind, format!("`{section}`")));
        }
        raw.tie_word_embeddings = match (outer.tie_word_embeddings, raw.tie_word_embeddings) {
            (Some(a), Some(b)) if a != b => {
                let expected = format!("{b}, as in `text_config`");
                return Err(Fault::value("tie_word_embeddings", a, expected));
            }
            (a, b) => a.or(b),
        };
        // `transformers` leaves it out in this class and vLLM does not.
        if let Some(cap) = raw.final_logit_softcapping {
            return Err(Fault::value("final_logit_softcapping", cap, "none in this class"));
        }
        raw.eos_token_id = outer.eos_token_id.take().or(raw.eos_token_id);
        raw.quantization_config = outer.quantization_config.take().or(raw.quantization_config);
        Self::checked(architecture, raw, Some(vision))
    }

    fn checked(
        architecture: Architecture,
        raw: Raw,
        vision: Option<Vision>,
    ) -> Result<Self, Fault> {
        let family = architecture.family();
        let absent = &family.absent;
        refuse_variants(family, &raw)?;
        let hidden_size = size("hidden_size", raw.hidden_size, 1 << 16)?;
        let num_heads =
            size("num_attention_heads", raw.num_attention_heads.or(absent.heads), 1 << 12)?;
        let num_kv_heads = match raw.num_key_value_heads.or(absent.kv_heads) {
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
        let of_width = Some((hidden_size / num_heads) as u64);
        let head_dim = size("head_dim", raw.head_dim.or(absent.head_dim).or(of_width), 1 << 10)?;
        if head_dim % 2 == 1 {
            return Err(Fault::value("head_dim", head_dim, "an even number (rotary halves)"));
        }
        let num_layers = size("num_hidden_layers", raw.num_hidden_layers, 1 << 10)?;
        let positions = raw.max_position_embeddings.or(absent.positions);
        let max_positions = size("max_position_embeddings", positions, 1 << 24)?;
        let vocab_size = size("vocab_size", raw.vocab_size.or(absent.vocab), 1 << 22)?;
        let own =
            |ids: &[u32]| ids.iter().copied().filter(|id| (*id as usize) < vocab_size).collect();
        let cap = raw.final_logit_softcapping;
        Ok(Self {
            architecture,
            hidden_size,
            intermediate_size: size("intermediate_size", raw.intermediate_size, 1 << 18)?,
            num_layers,
            num_heads,
            num_kv_heads,
            head_dim,
            rms_norm_eps: positive("rms_norm_eps", raw.rms_norm_eps.unwrap_or(1e-6), 1.0)?,
            layers: layers::of(family, &raw, num_layers, max_positions)?,
            query_scalar: query_scalar(family, &raw, head_dim)?,
            logit_cap: cap.map(|c| positive("final_logit_softcapping", c, 1e6)).transpose()?,
            tie_word_embeddings: raw.tie_word_embeddings.unwrap_or(absent.tied),
            vocab_size,
            max_positions,
            eos: match raw.eos_token_id {
                Some(ids) => token_ids("eos_token_id", ids)?,
                None => own(absent.eos),
            },
            vision,
        })
    }

    /// The file as `transformers` reads it: what was checked, and nothing else of what the file held. `dtype` is the
    /// element type, as torch calls it.
    pub fn to_json(&self, dtype: Option<&str>) -> Value {
        write::write(self, dtype)
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        self.num_heads / self.num_kv_heads.max(1)
    }

    /// The function in the feed-forward layers' gates.
    pub fn activation(&self) -> Activation {
        self.architecture.family().activation
    }

    /// What embeddings are multiplied by, where they are: the root of the width.
    pub fn embedding_scale(&self) -> Option<f32> {
        let scaled = self.architecture.family().scaled_embedding;
        scaled.then(|| (self.hidden_size as f64).sqrt() as f32)
    }

    /// What is added to the stored gains of norms: 1 in families that store the difference from it.
    pub fn gain_offset(&self) -> f32 {
        if self.architecture.family().gain_plus_one { 1.0 } else { 0.0 }
    }

    /// Checks that the gradient in this crate is this model's: it is written out for Qwen3, with plain rotary
    /// positions in every layer.
    ///
    /// # Errors
    /// Any other model.
    pub fn check_trainable(&self) -> Result<(), ModelError> {
        let plain = |layer: &Layer| {
            layer.window.is_none() && layer.rope.is_some_and(|r| r.scaling == Scaling::None)
        };
        let fault = match self.architecture {
            Architecture::Qwen3 if self.layers.iter().all(plain) => return Ok(()),
            Architecture::Qwen3 => "a scaled rotary position".to_owned(),
            other => format!("a {}", other.class()),
        };
        Err(ModelError::new(FILE, Fault::Untrainable(fault)))
    }
}

fn architecture(raw: &Names) -> Result<Architecture, Fault> {
    let class = raw.architectures.as_ref().and_then(|a| a.first()).map(String::as_str);
    let kind = raw.model_type.as_deref();
    // Other software goes by either name: where both are there, both must be known and mean the same.
    let by_class = |class: &str| {
        let known = Architecture::ALL.into_iter().find(|a| a.class() == class);
        known.ok_or_else(|| Fault::Architecture(shorten(class, 80)))
    };
    match (class, kind) {
        (None, None) => Err(Fault::malformed("it names no architecture (`architectures`)")),
        (Some(class), None) => by_class(class),
        (None, Some(kind)) => {
            let known = Architecture::ALL.into_iter().find(|a| a.family().model_type == kind);
            known.ok_or_else(|| Fault::Architecture(shorten(kind, 80)))
        }
        (Some(class), Some(kind)) => match by_class(class)? {
            known if known.family().model_type == kind => Ok(known),
            known if Architecture::ALL.iter().any(|a| a.family().model_type == kind) => {
                let expected = format!("`{}`, as of {class}", known.family().model_type);
                Err(Fault::value("model_type", kind, expected))
            }
            _ => Err(Fault::Architecture(shorten(kind, 80))),
        },
    }
}

/// Settings of the same class that change the mathematics: refusing beats a silently wrong score.
fn refuse_variants(family: &Family, raw: &Raw) -> Result<(), Fault> {
    let wanted = family.activation.name();
    for (key, act) in
        [("hidden_act", &raw.hidden_act), ("hidden_activation", &raw.hidden_activation)]
    {
        // A class acts upon its own key alone.
        let counts = key == family.activation_key;
        if let Some(act) = act.as_deref().filter(|act| counts && *act != wanted) {
            return Err(Fault::value(key, act, format!("`{wanted}`")));
        }
    }
    for (key, value) in [
        ("attention_bias", raw.attention_bias),
        ("mlp_bias", raw.mlp_bias),
        ("use_sliding_window", raw.use_sliding_window),
        ("use_bidirectional_attention", raw.use_bidirectional_attention),
    ] {
        if value == Some(true) {
            return Err(Fault::value(key, true, "false"));
        }
    }
    // Servers do not apply it to these classes, whatever the file says.
    if let Some(cap) = raw.attn_logit_softcapping {
        return Err(Fault::value("attn_logit_softcapping", cap, "none"));
    }
    if let Some(q) = raw.quantization_config.as_ref().filter(|q| !q.is_null()) {
        return Err(Fault::value("quantization_config", q, "no quantization (f32, bf16, f16)"));
    }
    rope::whole_heads(raw.partial_rotary_factor)
}

/// Families with windows name the number; with others it is the width of a head.
fn query_scalar(family: &Family, raw: &Raw, head_dim: usize) -> Result<f64, Fault> {
    if family.pattern == family::Pattern::Window {
        return positive("query_pre_attn_scalar", raw.query_pre_attn_scalar.unwrap_or(256.0), 1e6);
    }
    Ok(head_dim as f64)
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
