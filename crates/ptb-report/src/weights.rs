//! Weights of benchmarks in the average.
//!
//! A benchmark on which post-training gains little must not be drowned by one on which it gains much:
//! `w_i` is proportional to `1 / (s_instruct,i - s_base,i)`, each score the mean over base models
//! (arXiv 2603.08640), normalised to sum 1 over the benchmarks of the table.
//!
//! For each benchmark the first of these that exists counts: the table of a named preset or of the
//! edition; `[weight]` in the benchmark's file; the experiment's own baselines.
//!
//! **One scale.** A table's weights and `[weight]` values are on one scale (an edition's table sums to 1
//! over its benchmarks; `[weight]` beside it is read as another entry of that table). The baselines' raw
//! `1/gap` is on another. Where a table mixes both, the raw values are multiplied by
//!
//! ```text
//! c = sum_a w_a / sum_a (1 / gap_a)      over benchmarks a with a fixed weight and a known gap above 0
//! ```
//!
//! so that fixed weights that follow the rule exactly give exactly the weights of pure baselines, and
//! multiplying all fixed weights by a number changes nothing. Where no such benchmark exists, the two
//! scales cannot be joined and the weights are unknown.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::aggregate::mean;

/// Why benchmarks cannot be weighted.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum WeightsError {
    /// The rule needs a model that gained.
    #[error(
        "cannot weight benchmark `{benchmark}` by its baselines: instruct scores {} % and does not beat base \
         with {} %; hint: give it a fixed weight with `[weight]` (value = NUMBER) in registry/benchmarks/{benchmark}/benchmark.toml, \
         or choose the weights `equal`",
        crate::text::percent(*instruct), crate::text::percent(*base)
    )]
    NotAbove {
        /// The benchmark.
        benchmark: String,
        /// Mean score of the base models, 0 to 1.
        base: f64,
        /// Mean score of the instruct counterparts, 0 to 1.
        instruct: f64,
    },
}

/// Mean scores of the baselines on one benchmark, over the base models for which both are known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Of the base models, 0 to 1.
    pub base: f64,
    /// Of their instruct counterparts, 0 to 1.
    pub instruct: f64,
    /// How many models.
    pub models: usize,
}

impl Baselines {
    /// From (base, instruct) scores, one pair a model.
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Option<Self> {
        let of = |pick: fn(&(f64, f64)) -> f64| mean(&pairs.iter().map(pick).collect::<Vec<_>>());
        Some(Self { base: of(|p| p.0)?, instruct: of(|p| p.1)?, models: pairs.len() })
    }

    /// `1 / (instruct - base)`, where instruct beats base.
    pub fn raw_weight(&self) -> Option<f64> {
        let gap = self.instruct - self.base;
        (gap > 0.0).then(|| 1.0 / gap)
    }
}

/// All that is known about the weight of one benchmark.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// Benchmark id.
    pub benchmark: String,
    /// What the preset's or edition's table says, and whose table that is.
    pub table: Option<(String, f64)>,
    /// `[weight]` of its file.
    pub own: Option<f64>,
    /// Its baselines.
    pub baselines: Option<Baselines>,
}

/// Where a weight comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// The only benchmark of the table.
    Single,
    /// All weigh the same, by choice.
    Equal,
    /// The table of an edition.
    Edition {
        /// Its id.
        edition: String,
    },
    /// `[weight]` in the benchmark's file.
    Benchmark,
    /// The experiment's base and instruct baselines.
    Baselines {
        /// Over how many base models.
        models: usize,
    },
    /// It cannot be known yet.
    Unknown {
        /// Why, and what to do next.
        reason: String,
    },
}

/// A benchmark's weight and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighed {
    /// Share in the average; the known ones of a table sum to 1. Unknown for all while it is for one.
    pub weight: Option<f64>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Which claims count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Table, `[weight]`, baselines: the first that exists.
    Precedence,
    /// All weigh the same.
    Equal,
    /// Baselines alone.
    Baselines,
}

/// Scales weights to sum 1.
pub fn normalise(weights: &[f64]) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|w| w / sum).collect()
}

/// The weights of a table's benchmarks, in the order of `claims`.
pub fn resolve(claims: &[Claims], rule: Rule) -> Result<Vec<Weighed>, WeightsError> {
    if let [_] = claims {
        return Ok(vec![Weighed { weight: Some(1.0), origin: Origin::Single }]);
    }
    let mut raw = Vec::with_capacity(claims.len());
    for claim in claims {
        raw.push(match rule {
            Rule::Equal => (Some(1.0), Origin::Equal),
            Rule::Baselines => by_baselines(claim, None)?,
            Rule::Precedence => by_precedence(claim, claims)?,
        });
    }
    let values: Option<Vec<f64>> = raw.iter().map(|(value, _)| *value).collect();
    let shares = values.map(|v| normalise(&v));
    let weight = |i: usize| shares.as_ref().and_then(|s| s.get(i).copied());
    Ok(raw
        .into_iter()
        .enumerate()
        .map(|(i, (_, origin))| Weighed { weight: weight(i), origin })
        .collect())
}

type Raw = (Option<f64>, Origin);

fn fixed(claim: &Claims) -> Option<(f64, Origin)> {
    let table = claim.table.as_ref();
    table
        .map(|(edition, weight)| (*weight, Origin::Edition { edition: edition.clone() }))
        .or_else(|| claim.own.map(|weight| (weight, Origin::Benchmark)))
}

fn by_precedence(claim: &Claims, all: &[Claims]) -> Result<Raw, WeightsError> {
    if let Some((weight, origin)) = fixed(claim) {
        return Ok((Some(weight), origin));
    }
    let fixed: Vec<(f64, Option<f64>)> = all
        .iter()
        .filter_map(|c| Some((fixed(c)?.0, c.baselines.and_then(|b| b.raw_weight()))))
        .collect();
    let anchors: Vec<(f64, f64)> =
        fixed.iter().filter_map(|(w, raw)| Some((*w, (*raw)?))).collect();
    let scale = match (fixed.is_empty(), anchors.is_empty()) {
        (true, _) => Some(1.0),
        (false, true) => None,
        (false, false) => Some(
            anchors.iter().map(|(w, _)| w).sum::<f64>()
                / anchors.iter().map(|(_, r)| r).sum::<f64>(),
        ),
    };
    by_baselines(claim, Some(scale))
}

/// `scale`: what the raw weight is multiplied by; `Some(None)` where that cannot be known.
fn by_baselines(claim: &Claims, scale: Option<Option<f64>>) -> Result<Raw, WeightsError> {
    let benchmark = &claim.benchmark;
    let unknown = |reason: String| Ok((None, Origin::Unknown { reason }));
    let Some(baselines) = claim.baselines else {
        return unknown(format!(
            "no base model has both baselines on `{benchmark}`: run the agents `base` and `instruct`, \
             give it `[weight]` in its file, or choose other weights"
        ));
    };
    let Some(raw) = baselines.raw_weight() else {
        let Baselines { base, instruct, .. } = baselines;
        return Err(WeightsError::NotAbove { benchmark: benchmark.clone(), base, instruct });
    };
    match scale.unwrap_or(Some(1.0)) {
        Some(scale) => Ok((Some(raw * scale), Origin::Baselines { models: baselines.models })),
        None => unknown(format!(
            "the weight of `{benchmark}` by baselines cannot be put on the scale of the fixed weights, because \
             no benchmark with a fixed weight has an instruct model that beats its base: give `{benchmark}` \
             `[weight]` in its file, or choose other weights"
        )),
    }
}

#[cfg(test)]
mod tests;
