//! Rotary positions: the frequencies by which queries and keys are turned.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::error::Fault;

/// How the frequencies are stretched for texts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Scaling {
    /// Not at all.
    None,
    /// All divided by `factor` (arXiv 2306.15595).
    Linear {
        /// What they are divided by.
        factor: f64,
    },
    /// Llama 3.1's: long waves divided by `factor`, short ones left, those between interpolated.
    Llama3 {
        /// What long waves' frequencies are divided by.
        factor: f64,
        /// Waves longer than `original` divided by this are long.
        low: f64,
        /// Waves shorter than `original` divided by this are short.
        high: f64,
        /// Context of the first training, in tokens.
        original: f64,
    },
}

/// Rotary positions of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are stretched.
    pub scaling: Scaling,
}

impl Rope {
    /// Angle in radians by which each pair of a head of width `dim` turns from one position to the next, computed
    /// in f32 as the reference (`transformers`' `modeling_rope_utils`) does.
    pub fn frequencies(&self, dim: usize) -> Vec<f32> {
        let theta = self.theta as f32;
        let plain = (0..dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / dim as f32));
        match self.scaling {
            Scaling::None => plain.collect(),
            Scaling::Linear { factor } => plain.map(|f| f / factor as f32).collect(),
            Scaling::Llama3 { factor, low, high, original } => {
                let [factor, low, high, original] = [factor, low, high, original].map(|x| x as f32);
                let scaled = |f: f32| {
                    let wave = 2.0 * std::f32::consts::PI / f;
                    if wave < original / high {
                        return f;
                    }
                    if wave > original / low {
                        return f / factor;
                    }
                    let smooth = (original / wave - low) / (high - low);
                    (1.0 - smooth) * f / factor + smooth * f
                };
                plain.map(scaled).collect()
            }
        }
    }
}

/// What files say, under `rope_scaling` (without a base) or `rope_parameters`.
#[derive(Deserialize, Clone, Default)]
pub(super) struct Raw {
    pub(super) rope_theta: Option<f64>,
    rope_type: Option<String>,
    /// The former name of the same.
    r#type: Option<String>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
    /// By kind of layer, in files of families whose layers differ.
    pub(super) full_attention: Option<Box<Raw>>,
    pub(super) sliding_attention: Option<Box<Raw>>,
}

impl Raw {
    /// Whether it says something by itself, and not by kind of layer.
    pub(super) fn is_flat(&self) -> bool {
        self.rope_theta.is_some() || self.rope_type.is_some() || self.r#type.is_some()
    }

    /// Checks what is said of scaling; `positions` is what an absent first context means.
    pub(super) fn scaling(&self, positions: usize) -> Result<Scaling, Fault> {
        whole_heads(self.partial_rotary_factor)?;
        let kind = match (self.rope_type.as_deref(), self.r#type.as_deref()) {
            (Some(a), Some(b)) if a != b => {
                return Err(Fault::value("type", b, format!("`{a}`, as in `rope_type`")));
            }
            (a, b) => a.or(b).unwrap_or("default"),
        };
        let number = |key: &str, value: Option<f64>| match value {
            Some(value) => positive(key, value, 1e9),
            None => Err(Fault::value(key, "absent", format!("a number, for rope_type `{kind}`"))),
        };
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear { factor: number("factor", self.factor)? }),
            "llama3" => {
                let original = self.original_max_position_embeddings.unwrap_or(positions as f64);
                let (low, high) = (
                    number("low_freq_factor", self.low_freq_factor)?,
                    number("high_freq_factor", self.high_freq_factor)?,
                );
                if high <= low {
                    let expected = format!("above low_freq_factor, {low}");
                    return Err(Fault::value("high_freq_factor", high, expected));
                }
                Ok(Scaling::Llama3 {
                    factor: number("factor", self.factor)?,
                    low,
                    high,
                    original: number("original_max_position_embeddings", Some(original))?,
                })
            }
            other => Err(Fault::value("rope_type", other, "`default`, `linear` or `llama3`")),
        }
    }
}

/// Heads that are turned in part are none that the code knows.
pub(super) fn whole_heads(partial: Option<f64>) -> Result<(), Fault> {
    match partial {
        Some(part) if part != 1.0 => Err(Fault::value("partial_rotary_factor", part, "1")),
        _ => Ok(()),
    }
}

/// One base, said in either place or in both alike.
pub(super) fn theta(nested: Option<f64>, flat: Option<f64>, absent: f64) -> Result<f64, Fault> {
    let theta = match (nested, flat) {
        (Some(a), Some(b)) if a != b => {
            return Err(Fault::value("rope_theta", b, format!("{a}, as in `rope_parameters`")));
        }
        (a, b) => a.or(b).unwrap_or(absent),
    };
    positive("rope_theta", theta, 1e12)
}
