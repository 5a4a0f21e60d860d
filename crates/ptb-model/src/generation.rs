//! `generation_config.json`: how the model's owner wants it sampled.
//!
//! Format: Hugging Face `transformers`, class `GenerationConfig`. A key that is absent or null means
//! the library's default.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::{Ids, token_ids};
use crate::dir::ModelDir;
use crate::error::{Fault, ModelError};

const LIMIT: u64 = 1 << 20;
const FILE: &str = "generation_config.json";

#[derive(Deserialize)]
struct Raw {
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    max_new_tokens: Option<u64>,
    eos_token_id: Option<Ids>,
}

/// What the file says; `None` where it says nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct GenerationConfig {
    /// Whether to sample at all; `transformers` takes false when absent, vLLM does not look at it.
    pub do_sample: Option<bool>,
    /// Softmax temperature, 0 or above.
    pub temperature: Option<f64>,
    /// Nucleus: the smallest set of tokens whose probability reaches this, above 0 to 1.
    pub top_p: Option<f64>,
    /// How many of the likeliest tokens are kept; 0 keeps all (-1 in the file is read as 0).
    pub top_k: Option<u32>,
    /// Tokens below this share of the likeliest token's probability are dropped, 0 to 1.
    pub min_p: Option<f64>,
    /// Divides (or multiplies, when negative) the logits of tokens already seen, above 0.
    pub repetition_penalty: Option<f64>,
    /// Bound of generated tokens.
    pub max_new_tokens: Option<u64>,
    /// Tokens that end a generation; empty when the file names none.
    pub eos: Vec<u32>,
}

/// Complete sampling parameters, defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f64,
    /// 1 keeps all.
    pub top_p: f64,
    /// 0 keeps all.
    pub top_k: u32,
    /// 0 keeps all.
    pub min_p: f64,
    /// 1 changes nothing.
    pub repetition_penalty: f64,
}

impl Sampling {
    /// Whether the likeliest token is always taken, so that seeds change nothing.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

impl Default for Sampling {
    /// Plain sampling from the model's distribution.
    fn default() -> Self {
        Self { temperature: 1.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl GenerationConfig {
    /// Reads the file; a directory without it gives the empty configuration.
    ///
    /// # Errors
    /// When it is there and malformed, or a value lies outside of what samplers accept.
    pub fn read(dir: &ModelDir) -> Result<Self, ModelError> {
        if !dir.has(FILE) {
            return Ok(Self::default());
        }
        let raw: Raw = dir.json(FILE, LIMIT)?;
        Self::checked(raw).map_err(|fault| dir.error(FILE, fault))
    }

    fn checked(raw: Raw) -> Result<Self, Fault> {
        let number = |key: &str, value: Option<f64>, low: f64, open: bool, high: f64| {
            match value {
                // Comparisons are written so that NaN fails them.
                Some(v) if !((v > low || (!open && v == low)) && v <= high) => {
                    let from = if open { "above" } else { "from" };
                    Err(Fault::value(key, v, format!("a number {from} {low} to {high}")))
                }
                value => Ok(value),
            }
        };
        let top_k = match raw.top_k {
            None => None,
            Some(-1) => Some(0),
            Some(k) => {
                let k = u32::try_from(k).map_err(|_| {
                    Fault::value("top_k", k, "a whole number from 0, or -1 for all")
                })?;
                Some(k)
            }
        };
        Ok(Self {
            do_sample: raw.do_sample,
            temperature: number("temperature", raw.temperature, 0.0, false, 100.0)?,
            top_p: number("top_p", raw.top_p, 0.0, true, 1.0)?,
            top_k,
            min_p: number("min_p", raw.min_p, 0.0, false, 1.0)?,
            repetition_penalty: number(
                "repetition_penalty",
                raw.repetition_penalty,
                0.0,
                true,
                100.0,
            )?,
            max_new_tokens: raw.max_new_tokens,
            eos: token_ids("eos_token_id", raw.eos_token_id)?,
        })
    }

    /// The file that says this and nothing else, in the format's own names.
    pub fn to_json(&self) -> Value {
        let mut file = json!({
            "do_sample": self.do_sample,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "max_new_tokens": self.max_new_tokens,
            "eos_token_id": (!self.eos.is_empty()).then_some(&self.eos),
        });
        if let Some(members) = file.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        file
    }

    /// Sampling as vLLM's server takes it from this file: named values count, `do_sample` does not,
    /// and what is absent is neutral (temperature 1, no truncation).
    pub fn sampling(&self) -> Sampling {
        let neutral = Sampling::default();
        Sampling {
            temperature: self.temperature.unwrap_or(neutral.temperature),
            top_p: self.top_p.unwrap_or(neutral.top_p),
            top_k: self.top_k.unwrap_or(neutral.top_k),
            min_p: self.min_p.unwrap_or(neutral.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(neutral.repetition_penalty),
        }
    }

    /// Sampling as `transformers`' `generate` takes it: greedy unless `do_sample` is true, and
    /// `top_k` 50 when absent.
    pub fn sampling_transformers(&self) -> Sampling {
        let mut sampling = self.sampling();
        sampling.top_k = self.top_k.unwrap_or(50);
        if !self.do_sample.unwrap_or(false) {
            sampling.temperature = 0.0;
        }
        sampling
    }
}
