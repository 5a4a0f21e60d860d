//! From grades to an accuracy with its standard error.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// All grades of one sample, in a place that does not depend on the order in which answers came.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleScores {
    /// The sample's place in the dataset.
    pub index: usize,
    /// One score per seed, 0 to 1, in the order of the seeds.
    pub scores: Vec<f64>,
}

/// A mean with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Mean over all scores.
    pub accuracy: f64,
    /// Standard error of the mean, clustered by sample; 0 where there is a single sample.
    pub stderr: f64,
    /// Samples with at least one score.
    pub n: usize,
}

/// The mean of all scores and its standard error; none without a score.
///
/// Scores of one sample under several seeds are not independent, so each sample is a cluster. With `N` scores
/// `s_ci` in `C` clusters and mean `m`:
///
/// `stderr = sqrt(C / (C - 1) * sum_c (sum_i (s_ci - m))^2) / N`
///
/// (the clustered standard error of Miller 2024, arXiv 2411.00640, section 2.2, with the usual correction for few
/// clusters). With one seed it is the sample standard deviation over the root of the number of samples.
/// Sums run in the order of `index`, so the same grades give the same bits in whatever order they came.
pub fn aggregate(samples: &[SampleScores]) -> Option<Estimate> {
    let mut clusters: Vec<&SampleScores> =
        samples.iter().filter(|s| !s.scores.is_empty()).collect();
    clusters.sort_by_key(|s| s.index);
    let count: usize = clusters.iter().map(|s| s.scores.len()).sum();
    if count == 0 {
        return None;
    }
    let mean = clusters.iter().flat_map(|s| &s.scores).sum::<f64>() / count as f64;
    let n = clusters.len();
    let squares: f64 =
        clusters.iter().map(|s| s.scores.iter().map(|x| x - mean).sum::<f64>().powi(2)).sum();
    let stderr = match n {
        1 => 0.0,
        _ => (squares * n as f64 / (n as f64 - 1.0)).sqrt() / count as f64,
    };
    Some(Estimate { accuracy: mean, stderr, n })
}

/// Resamples that an interval is read from.
const RESAMPLES: usize = 1000;
/// Seed of resampling: the same scores give the same interval.
const RESAMPLING_SEED: u64 = 42;

/// The 95 % interval of the mean by the percentile bootstrap (Efron 1979): samples, each with all its scores, are
/// drawn with replacement, and 2.5 % of the means lie below the first number, 2.5 % above the second.
/// None without a score.
pub fn bootstrap_interval(samples: &[SampleScores]) -> Option<[f64; 2]> {
    let mut clusters: Vec<&SampleScores> =
        samples.iter().filter(|s| !s.scores.is_empty()).collect();
    clusters.sort_by_key(|s| s.index);
    if clusters.is_empty() {
        return None;
    }
    let sums: Vec<(f64, f64)> =
        clusters.iter().map(|s| (s.scores.iter().sum(), s.scores.len() as f64)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(RESAMPLING_SEED);
    // The high half of a 64-bit product: a bias below one in 2^32 for any number of samples here.
    let mut place = || ((u128::from(random.next_u64()) * sums.len() as u128) >> 64) as usize;
    let mut mean = || {
        let drawn = (0..sums.len()).map(|_| sums[place()]);
        let (sum, count) = drawn.fold((0.0, 0.0), |(s, n), (sum, count)| (s + sum, n + count));
        sum / count
    };
    let mut means: Vec<f64> = (0..RESAMPLES).map(|_| mean()).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES - 1) as f64 * share).round() as usize];
    Some([at(0.025), at(0.975)])
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
        let e = aggregate(&one_seed(&[1.0, 0.0, 1.0, 1.0])).unwrap();
        assert_eq!((e.accuracy, e.n), (0.75, 4));
        // Sample variance 0.25, over 4 samples.
        assert!((e.stderr - 0.25).abs() < 1e-15, "{}", e.stderr);
        assert_eq!(
            aggregate(&one_seed(&[1.0])).unwrap(),
            Estimate { accuracy: 1.0, stderr: 0.0, n: 1 }
        );
        assert_eq!(aggregate(&[]), None);
        assert_eq!(aggregate(&[SampleScores { index: 0, scores: vec![] }]), None);
    }

    #[test]
    fn unequal_clusters_by_hand() {
        let samples = [
            SampleScores { index: 0, scores: vec![1.0, 1.0] },
            SampleScores { index: 1, scores: vec![0.0] },
            SampleScores { index: 2, scores: vec![1.0, 0.0] },
        ];
        // m = 0.6; cluster sums of deviations 0.8, -0.6, -0.2; squares 0.64 + 0.36 + 0.04 = 1.04; times 3/2; root; over 5.
        let e = aggregate(&samples).unwrap();
        assert!((e.stderr - 1.56f64.sqrt() / 5.0).abs() < 1e-15);
    }

    #[test]
    fn the_bootstrap_agrees_with_the_standard_error() {
        let scores: Vec<f64> = (0..400).map(|i| f64::from(i % 4 == 0)).collect();
        let samples = one_seed(&scores);
        let e = aggregate(&samples).unwrap();
        let [low, high] = bootstrap_interval(&samples).unwrap();
        let far = |bound: f64, by: f64| (bound - e.accuracy - by * e.stderr).abs() < 0.3 * e.stderr;
        assert!(far(low, -1.96) && far(high, 1.96), "{low} {high} {e:?}");
        // Seeds of one sample are no further samples.
        let thrice: Vec<_> = samples
            .iter()
            .map(|s| SampleScores { index: s.index, scores: vec![s.scores[0]; 3] })
            .collect();
        assert_eq!(bootstrap_interval(&thrice), Some([low, high]));
        assert_eq!(bootstrap_interval(&one_seed(&[1.0])), Some([1.0, 1.0]));
        assert_eq!(bootstrap_interval(&[]), None);
    }

    proptest! {
        #[test]
        fn repeating_every_score_changes_nothing(scores in proptest::collection::vec(0.0f64..=1.0, 2..40)) {
            let once = aggregate(&one_seed(&scores)).unwrap();
            let thrice: Vec<_> = one_seed(&scores)
                .into_iter()
                .map(|s| SampleScores { scores: vec![s.scores[0]; 3], ..s })
                .collect();
            let e = aggregate(&thrice).unwrap();
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
            prop_assert_eq!(aggregate(&samples), aggregate(&turned));
        }
    }
}
