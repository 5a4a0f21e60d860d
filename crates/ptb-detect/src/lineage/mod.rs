//! Whether a model was trained from its base, or made from another one.
//!
//! With B the base, I a suspect (the official instruct model), F the model, u = F - B and D = I - B: training from B
//! leads in a direction of its own, of which next to nothing lies along D, because these spaces have millions of
//! dimensions; a model that was made from I has a part of D in it, the same part in every layer.

mod fingerprint;
mod pairs;
mod sums;

use std::path::{Path, PathBuf};

use ptb_model::{Checkpoint, Links, ModelDir, ModelError};
use serde::Serialize;

pub use fingerprint::{Fingerprint, TensorFingerprint, fingerprint};
use pairs::{Pairs, pairs};
use sums::{Sums, Three, sums};

/// What became of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It is the base, in whatever type.
    Unchanged,
    /// It is the suspect, in whatever type.
    Copy,
    /// Half of the way to the suspect, or more, in most layers.
    Suspect,
    /// A tenth of that way, or more, in most layers.
    Merged,
    /// Most matrices have nothing to do with the base's.
    Unrelated,
    /// Trained from the base.
    Base,
}

impl Decision {
    /// Whether a submission may be so.
    pub fn is_clear(self) -> bool {
        matches!(self, Self::Base | Self::Unchanged)
    }
}

impl std::fmt::Display for Decision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unchanged => "unchanged",
            Self::Copy => "copy",
            Self::Suspect => "suspect",
            Self::Merged => "merged",
            Self::Unrelated => "unrelated",
            Self::Base => "base",
        })
    }
}

/// What was measured of one tensor, or of all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// <u, D> / <D, D>; none without a suspect, or where suspect and base are equal.
    pub alpha: Option<f64>,
    /// Cosine between u and D.
    pub cosine: Option<f64>,
    /// |F - I| / |F - B|.
    pub distance_ratio: Option<f64>,
    /// |u| / |B|.
    pub moved: f64,
    /// Share of elements that equal the base's in bf16.
    pub same_as_base: f64,
    /// Share of elements that equal the suspect's in bf16.
    pub same_as_suspect: Option<f64>,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorLineage {
    /// What the model calls it.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measured: Measured,
}

/// A model's lineage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lineage {
    /// What became of the base.
    pub decision: Decision,
    /// All tensors together.
    #[serde(flatten)]
    pub pooled: Measured,
    /// Half of the range in which the middle half of the layers' alphas lie.
    pub spread: Option<f64>,
    /// The suspect that these numbers are about: of several, the one whose part is largest.
    pub suspect: Option<PathBuf>,
    /// Tensors of the base that the model has not.
    pub missing: Vec<String>,
    /// Each tensor.
    pub per_tensor: Vec<TensorLineage>,
}

/// Shares of alpha, in most layers.
const SUSPECT: f64 = 0.5;
const MERGED: f64 = 0.1;
/// Trainings for one task have a part of their ways in common, different in every layer, and what was merged is the same
/// part everywhere: least cosine, and largest spread as a share of alpha; from the second cosine on that is no matter.
const ALIKE: f64 = 0.12;
const EVEN: f64 = 0.25;
const CLEARLY_ALIKE: f64 = 0.3;
/// |u| / |B| of a matrix that has nothing to do with the base's.
const UNRELATED: f64 = 0.5;
/// Share of equal elements from which models are equal: types differ in how they round.
const EQUAL: f64 = 0.9999;

/// Compares a model with its base and with suspects. The model's directory is not trusted; the others' links are
/// followed.
///
/// # Errors
/// When one of the models cannot be read.
pub fn lineage(model: &Path, base: &Path, suspects: &[PathBuf]) -> Result<Lineage, ModelError> {
    let model = Checkpoint::open(&ModelDir::open(model)?)?;
    let open = |path: &Path| Checkpoint::open(&ModelDir::open_with(path, Links::Follow)?);
    let base = open(base)?;
    if suspects.is_empty() {
        return against(Three { model: &model, base: &base, suspect: None }, None);
    }
    let mut worst: Option<Lineage> = None;
    for path in suspects {
        let suspect = open(path)?;
        let three = Three { model: &model, base: &base, suspect: Some(&suspect) };
        let found = against(three, Some(path.clone()))?;
        if worst.as_ref().is_none_or(|worst| weight(&found) > weight(worst)) {
            worst = Some(found);
        }
    }
    worst.map_or_else(|| against(Three { model: &model, base: &base, suspect: None }, None), Ok)
}

/// A copy outweighs everything; else the larger part.
fn weight(lineage: &Lineage) -> f64 {
    match lineage.decision {
        Decision::Copy => f64::INFINITY,
        _ => lineage.pooled.alpha.unwrap_or(f64::NEG_INFINITY),
    }
}

fn against(three: Three<'_>, path: Option<PathBuf>) -> Result<Lineage, ModelError> {
    let Pairs { pairs, missing } = pairs(three.model, three.base, three.suspect)?;
    let sums = sums(three, &pairs)?;
    let mut all = Sums::default();
    sums.iter().for_each(|s| all.add(s));
    let with_suspect = three.suspect.is_some();
    let per_tensor: Vec<TensorLineage> = pairs
        .iter()
        .zip(&sums)
        .map(|(pair, s)| TensorLineage {
            name: pair.model.clone(),
            measured: measured(s, with_suspect && pair.suspect.is_some()),
        })
        .collect();
    let layers = by_layer(&pairs, &sums);
    let matrices: Vec<f64> =
        pairs.iter().zip(&sums).filter(|(pair, _)| pair.matrix).map(|(_, s)| s.moved()).collect();
    let pooled = measured(&all, with_suspect);
    let spread = quartiles(&layers).map(|(low, high)| (high - low) / 2.0);
    let decision = decide(&pooled, &layers, spread, &matrices, missing.len());
    Ok(Lineage { decision, pooled, spread, suspect: path, missing, per_tensor })
}

fn measured(s: &Sums, with_suspect: bool) -> Measured {
    let share = |n: f64| if s.elements > 0.0 { n / s.elements } else { 0.0 };
    Measured {
        alpha: s.alpha().filter(|_| with_suspect),
        cosine: s.cosine().filter(|_| with_suspect),
        distance_ratio: s.distance_ratio().filter(|_| with_suspect),
        moved: s.moved(),
        same_as_base: share(s.same_base),
        same_as_suspect: with_suspect.then(|| share(s.same_suspect)),
    }
}

/// Alphas of the layers, each layer's tensors taken together; what is in no layer is one.
fn by_layer(pairs: &[pairs::Pair], sums: &[Sums]) -> Vec<f64> {
    let mut layers: std::collections::BTreeMap<&str, Sums> = std::collections::BTreeMap::new();
    for (pair, s) in pairs.iter().zip(sums).filter(|(pair, _)| pair.suspect.is_some()) {
        layers.entry(layer(&pair.base)).or_default().add(s);
    }
    layers.values().filter_map(Sums::alpha).collect()
}

/// The number in a tensor's name.
fn layer(name: &str) -> &str {
    name.split('.').find(|part| part.bytes().all(|b| b.is_ascii_digit())).unwrap_or("")
}

fn quartiles(values: &[f64]) -> Option<(f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted.get((sorted.len().checked_sub(1)? * share + 2) / 4).copied();
    Some((at(1)?, at(3)?))
}

fn is_one_part(pooled: &Measured, spread: Option<f64>) -> bool {
    let cosine = pooled.cosine.unwrap_or(0.0);
    let even = pooled.alpha.zip(spread).is_some_and(|(alpha, spread)| spread <= EVEN * alpha);
    cosine >= CLEARLY_ALIKE || (cosine >= ALIKE && even)
}

fn decide(
    pooled: &Measured,
    layers: &[f64],
    spread: Option<f64>,
    matrices: &[f64],
    missing: usize,
) -> Decision {
    let most = |n: usize, of: usize| of > 0 && n * 2 > of;
    let layers_with =
        |least: f64| most(layers.iter().filter(|a| **a >= least).count(), layers.len());
    let strange = matrices.iter().filter(|moved| **moved > UNRELATED).count() + missing;
    match () {
        () if pooled.same_as_base >= EQUAL && missing == 0 => Decision::Unchanged,
        () if pooled.same_as_suspect.is_some_and(|same| same >= EQUAL) => Decision::Copy,
        () if layers_with(SUSPECT) => Decision::Suspect,
        () if most(strange, matrices.len() + missing) => Decision::Unrelated,
        () if layers_with(MERGED) && is_one_part(pooled, spread) => Decision::Merged,
        () => Decision::Base,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(alpha: f64, cosine: f64, same_as_base: f64, same_as_suspect: f64) -> Measured {
        Measured {
            alpha: Some(alpha),
            cosine: Some(cosine),
            distance_ratio: None,
            moved: 0.1,
            same_as_base,
            same_as_suspect: Some(same_as_suspect),
        }
    }

    #[test]
    fn decisions_follow_the_measures() {
        let layers = |alpha: f64| vec![alpha - 0.01, alpha, alpha + 0.01];
        let cases = [
            (of(0.0, 0.0, 1.0, 0.0), layers(0.0), 0.01, [0.0; 3], 0, Decision::Unchanged),
            (of(1.0, 1.0, 0.0, 1.0), layers(1.0), 0.01, [0.1; 3], 0, Decision::Copy),
            (of(0.6, 0.9, 0.0, 0.0), layers(0.6), 0.01, [0.1; 3], 0, Decision::Suspect),
            (of(0.2, 0.9, 0.0, 0.0), layers(0.2), 0.01, [0.1; 3], 0, Decision::Merged),
            (of(0.2, 0.2, 0.0, 0.0), layers(0.2), 0.04, [0.1; 3], 0, Decision::Merged),
            // Measured on an honest training for the suspect's own task.
            (of(0.155, 0.113, 0.0, 0.0), layers(0.155), 0.072, [0.2; 3], 0, Decision::Base),
            (of(0.3, 0.03, 0.0, 0.0), layers(0.3), 0.07, [1.3; 3], 0, Decision::Unrelated),
            (of(0.0, 0.0, 1.0, 0.0), layers(0.0), 0.01, [0.0; 3], 9, Decision::Unrelated),
            (of(0.02, 0.05, 0.2, 0.0), layers(0.02), 0.01, [0.1; 3], 0, Decision::Base),
        ];
        for (pooled, layers, spread, matrices, missing, expected) in cases {
            assert_eq!(
                decide(&pooled, &layers, Some(spread), &matrices, missing),
                expected,
                "{pooled:?}"
            );
        }
    }

    #[test]
    fn a_layer_is_the_number_in_a_name() {
        assert_eq!(layer("model.layers.12.mlp.up_proj.weight"), "12");
        assert_eq!(layer("model.norm.weight"), "");
    }
}
