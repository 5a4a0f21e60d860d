//! `editions/<id>.toml`: a named rule set. A score names its edition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Benchmark, Entry};

/// A named rule set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edition {
    /// Name for people.
    pub name: String,
    /// What a reader must know, in a sentence or two.
    pub description: String,
    /// Benchmarks of the edition.
    pub benchmarks: Vec<String>,
    /// Run seeds of final evaluations of the edition's benchmarks; they win over a benchmark's own.
    #[serde(default)]
    pub seeds: Option<Vec<u64>>,
    /// Weights of the edition's benchmarks, all or none.
    #[serde(default)]
    pub weights: BTreeMap<String, f64>,
}

impl Edition {
    /// Run seeds of a benchmark's final evaluation: the edition's where the benchmark belongs to it.
    pub fn seeds_of(&self, benchmark: &Entry<Benchmark>) -> Vec<u64> {
        let own = || benchmark.value.evaluate.seeds.clone();
        let here = self.benchmarks.contains(&benchmark.id);
        self.seeds.clone().filter(|_| here).unwrap_or_else(own)
    }

    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        if self.benchmarks.is_empty() {
            return Some((
                "benchmarks",
                "the edition has no benchmarks".into(),
                "name at least one".into(),
            ));
        }
        if self.seeds.as_ref().is_some_and(Vec::is_empty) {
            return Some((
                "seeds",
                "there are no seeds".into(),
                "leave `seeds` out or name some".into(),
            ));
        }
        let complete = self.benchmarks.iter().all(|b| self.weights.contains_key(b))
            && self.weights.keys().all(|w| self.benchmarks.contains(w));
        if !self.weights.is_empty() && !complete {
            let hint = "name every benchmark of the edition once, and no other".to_owned();
            return Some(("[weights]", "the weights do not fit the benchmarks".into(), hint));
        }
        let bad = self.weights.values().any(|w| !(w.is_finite() && *w > 0.0));
        bad.then(|| ("[weights]", "a weight is not above 0".into(), "give numbers above 0".into()))
    }
}
