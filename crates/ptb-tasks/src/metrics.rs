//! From grades to an accuracy with its standard error.

use ptb_core::registry::ScorerKind;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// All grades of one sample, in a place that does not depend on the order in which answers came.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleScores {
    /// The sample's place in the dataset.
    pub index: usize,
    /// One score per seed (pairwise: per row of a seed), in the order of the seeds.
    pub scores: Vec<f64>,
}

/// How scores become an accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formula {
    /// The mean, its standard error clustered by sample.
    Mean,
    /// The mean over all rows. Its standard error takes every row for itself (the source: Arena-Hard's scorer as the
    /// published results were made with it); the interval is over samples.
    Rows,
    /// The mean, no lower than 0 and no higher than 1. Its standard error is the deviation of bootstrap means that are
    /// bounded likewise (HealthBench, arXiv 2505.08775, section 2).
    Bounded,
}

impl Formula {
    /// The formula of a scorer's benchmarks.
    pub const fn of(kind: ScorerKind) -> Self {
        match kind {
            ScorerKind::Rubric => Self::Bounded,
            ScorerKind::Pairwise => Self::Rows,
            _ => Self::Mean,
        }
    }

    /// The accuracy that scores come to; 0 without a score.
    pub fn accuracy(self, scores: &[f64]) -> f64 {
        self.bounded(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
    }

    fn bounded(self, mean: f64) -> f64 {
        // A negative zero becomes a plain one.
        if self == Self::Bounded { mean.clamp(0.0, 1.0) + 0.0 } else { mean }
    }
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over all scores.
    pub accuracy: f64,
    /// Standard error of the mean by the formula ([`Formula`]); 0 where there is a single sample.
    pub stderr: f64,
    /// Samples with at least one score.
    pub n: usize,
}

/// The mean of all scores and its standard error; none without a score.
///
/// [`Formula::Mean`]: scores of one sample under several seeds are not independent, so each sample is a cluster. With `N` scores
/// `s_ci` in `C` clusters and mean `m`:
///
/// `stderr = sqrt(C / (C - 1) * sum_c (sum_i (s_ci - m))^2) / N`
///
/// (the clustered standard error of Miller 2024, arXiv 2411.00640, section 2.2, with the usual correction for few
/// clusters). With one seed it is the sample standard deviation over the root of the number of samples.
/// Sums run in the order of `index`, so the same grades give the same bits in whatever order they came.
pub fn aggregate(formula: Formula, samples: &[SampleScores]) -> Option<Estimate> {
    let clusters = clusters(samples);
    let count: usize = clusters.iter().map(|s| s.scores.len()).sum();
    if count == 0 {
        return None;
    }
    let mean = clusters.iter().flat_map(|s| &s.scores).sum::<f64>() / count as f64;
    let of_sums = |sums: &mut dyn Iterator<Item = f64>, groups: usize| match groups {
        1 => 0.0,
        _ => {
            let squares: f64 = sums.map(|sum| sum.powi(2)).sum();
            (squares * groups as f64 / (groups as f64 - 1.0)).sqrt() / count as f64
        }
    };
    let all = || clusters.iter().flat_map(|s| &s.scores);
    let of_sample = |s: &&SampleScores| s.scores.iter().map(|x| x - mean).sum::<f64>();
    let stderr = match formula {
        Formula::Mean => of_sums(&mut clusters.iter().map(of_sample), clusters.len()),
        Formula::Rows => of_sums(&mut all().map(|x| x - mean), count),
        Formula::Bounded if clusters.len() == 1 => 0.0,
        Formula::Bounded => deviation(&bootstrap_means(formula, &clusters)),
    };
    Some(Estimate { accuracy: formula.bounded(mean), stderr, n: clusters.len() })
}

/// Samples with scores, in the order of the dataset.
fn clusters(samples: &[SampleScores]) -> Vec<&SampleScores> {
    let mut clusters: Vec<&SampleScores> =
        samples.iter().filter(|s| !s.scores.is_empty()).collect();
    clusters.sort_by_key(|s| s.index);
    clusters
}

/// The deviation of values from their mean.
fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt()
}

/// Resamples that an interval is read from.
const RESAMPLES: usize = 1000;
/// Seed of resampling: the same scores give the same interval.
const RESAMPLING_SEED: u64 = 42;

/// The 95 % interval of the mean by the percentile bootstrap (Efron 1979): samples, each with all its scores, are
/// drawn with replacement, and 2.5 % of the means lie below the first number, 2.5 % above the second.
/// None without a score.
pub fn bootstrap_interval(formula: Formula, samples: &[SampleScores]) -> Option<[f64; 2]> {
    let mut means = bootstrap_means(formula, &clusters(samples));
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means.get((RESAMPLES as f64 * share - share).round() as usize).copied();
    Some([at(0.025)?, at(0.975)?])
}

/// The means of resamples; none without a sample.
fn bootstrap_means(formula: Formula, clusters: &[&SampleScores]) -> Vec<f64> {
    if clusters.is_empty() {
        return Vec::new();
    }
    let sums: Vec<(f64, f64)> =
        clusters.iter().map(|s| (s.scores.iter().sum(), s.scores.len() as f64)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(RESAMPLING_SEED);
    // The high half of a 64-bit product: a bias below one in 2^32 for any number of samples here.
    let mut place = || ((u128::from(random.next_u64()) * sums.len() as u128) >> 64) as usize;
    let mut mean = || {
        let drawn = (0..sums.len()).map(|_| sums[place()]);
        let (sum, count) = drawn.fold((0.0, 0.0), |(s, n), (sum, count)| (s + sum, n + count));
        formula.bounded(sum / count)
    };
    (0..RESAMPLES).map(|_| mean()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one_seed(scores: &[f64]) -> Vec<SampleScores> {
        scores
            .iter()
            .enumerate()
            .map(|(index, s)| SampleScores { index, scores: vec![*s] })
            .collect()
    }

    #[test]
    fn one_seed_gives_the_textbook_standard_error() {
        let e = aggregate(Formula::Mean, &one_seed(&[1.0, 0.0, 1.0, 1.0])).unwrap();
        assert_eq!((e.accuracy, e.n), (0.75, 4));
        // Sample variance 0.25, over 4 samples.
        assert!((e.stderr - 0.25).abs() < 1e-15, "{}", e.stderr);
        assert_eq!(
            aggregate(Formula::Mean, &one_seed(&[1.0])).unwrap(),
            Estimate { accuracy: 1.0, stderr: 0.0, n: 1 }
        );
        assert_eq!(aggregate(Formula::Mean, &[]), None);
        assert_eq!(aggregate(Formula::Mean, &[SampleScores { index: 0, scores: vec![] }]), None);
    }

    #[test]
    fn unequal_clusters_by_hand() {
        let samples = [
            SampleScores { index: 0, scores: vec![1.0, 1.0] },
            SampleScores { index: 1, scores: vec![0.0] },
            SampleScores { index: 2, scores: vec![1.0, 0.0] },
        ];
        // m = 0.6; cluster sums of deviations 0.8, -0.6, -0.2; squares 0.64 + 0.36 + 0.04 = 1.04; times 3/2; root; over 5.
        let e = aggregate(Formula::Mean, &samples).unwrap();
        assert!((e.stderr - 1.56f64.sqrt() / 5.0).abs() < 1e-15);
    }

    #[test]
    fn the_bootstrap_agrees_with_the_standard_error() {
        let scores: Vec<f64> = (0..400).map(|i| f64::from(i % 4 == 0)).collect();
        let samples = one_seed(&scores);
        let e = aggregate(Formula::Mean, &samples).unwrap();
        let [low, high] = bootstrap_interval(Formula::Mean, &samples).unwrap();
        let far = |bound: f64, by: f64| (bound - e.accuracy - by * e.stderr).abs() < 0.3 * e.stderr;
        assert!(far(low, -1.96) && far(high, 1.96), "{low} {high} {e:?}");
        // Seeds of one sample are no further samples.
        let thrice: Vec<_> = samples
            .iter()
            .map(|s| SampleScores { index: s.index, scores: vec![s.scores[0]; 3] })
            .collect();
        assert_eq!(bootstrap_interval(Formula::Mean, &thrice), Some([low, high]));
        assert_eq!(bootstrap_interval(Formula::Mean, &one_seed(&[1.0])), Some([1.0, 1.0]));
        assert_eq!(bootstrap_interval(Formula::Mean, &[]), None);
    }

    proptest! {
        #[test]
        fn repeating_every_score_changes_nothing(scores in proptest::collection::vec(0.0f64..=1.0, 2..40)) {
            let once = aggregate(Formula::Mean, &one_seed(&scores)).unwrap();
            let thrice: Vec<_> = one_seed(&scores)
                .into_iter()
                .map(|s| SampleScores { scores: vec![s.scores[0]; 3], ..s })
                .collect();
            let e = aggregate(Formula::Mean, &thrice).unwrap();
            prop_assert!((e.accuracy - once.accuracy).abs() < 1e-12);
            prop_assert!((e.stderr - once.stderr).abs() < 1e-12);
        }

        #[test]
        fn order_does_not_change_a_bit(
            scores in proptest::collection::vec(0.0f64..=1.0, 2..40), turn in 0usize..40
        ) {
            let samples = one_seed(&scores);
            let mut turned = samples.clone();
            turned.rotate_left(turn % scores.len());
            turned.reverse();
            prop_assert_eq!(aggregate(Formula::Mean, &samples), aggregate(Formula::Mean, &turned));
        }
    }
}
