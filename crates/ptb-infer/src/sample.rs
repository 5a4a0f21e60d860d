//! From logits to a token.
//!
//! The order is vLLM's: repetition penalty, temperature, min_p, top_k, top_p. One uniform number is drawn
//! for each token from the request's own generator, so a text depends on its seed and nothing else.

use std::cmp::Ordering;

use ptb_model::Sampling;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One request's sampler.
pub(crate) struct Sampler {
    settings: Sampling,
    rng: ChaCha8Rng,
    /// Tokens of prompt and answer so far, when a repetition penalty needs them.
    seen: Vec<bool>,
}

/// The model's numbers are not numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotFinite;

impl Sampler {
    pub(crate) fn new(settings: Sampling, seed: u64, prompt: &[u32], vocab: usize) -> Self {
        let mut seen = Vec::new();
        if settings.repetition_penalty != 1.0 {
            seen.resize(vocab, false);
            prompt.iter().for_each(|t| seen[*t as usize] = true);
        }
        Self { settings, rng: ChaCha8Rng::seed_from_u64(seed), seen }
    }

    /// Chooses the next token.
    pub(crate) fn next(&mut self, logits: &[f32]) -> Result<u32, NotFinite> {
        if !logits.iter().all(|logit| logit.is_finite()) {
            return Err(NotFinite);
        }
        if self.settings.temperature == 0.0 && self.seen.is_empty() {
            return Ok(likeliest(logits));
        }
        let mut candidates: Vec<(u32, f64)> = Vec::with_capacity(logits.len());
        for (token, logit) in logits.iter().enumerate() {
            let seen = self.seen.get(token).copied().unwrap_or(false);
            candidates.push((token as u32, self.penalised(f64::from(*logit), seen)));
        }
        let token = if self.settings.temperature == 0.0 {
            candidates.iter().min_by(|a, b| likelier(a, b)).map_or(0, |c| c.0)
        } else {
            self.draw(candidates)
        };
        if let Some(seen) = self.seen.get_mut(token as usize) {
            *seen = true;
        }
        Ok(token)
    }

    /// arXiv 1909.05858, section 4.1, with the sign that libraries use.
    fn penalised(&self, logit: f64, seen: bool) -> f64 {
        match seen {
            true if logit > 0.0 => logit / self.settings.repetition_penalty,
            true => logit * self.settings.repetition_penalty,
            false => logit,
        }
    }

    fn draw(&mut self, mut candidates: Vec<(u32, f64)>) -> u32 {
        let uniform = uniform(&mut self.rng);
        weigh(&mut candidates, self.settings.temperature);
        self.truncate(&mut candidates);
        let total: f64 = candidates.iter().map(|c| c.1).sum();
        let mut left = uniform * total;
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        // Rounding can leave a crumb beyond the last candidate.
        candidates.iter().rev().find(|c| c.1 > 0.0).map_or(0, |c| c.0)
    }

    fn truncate(&self, candidates: &mut Vec<(u32, f64)>) {
        let Sampling { top_p, top_k, min_p, .. } = self.settings;
        if min_p > 0.0 {
            // The likeliest weighs 1.
            candidates.retain(|c| c.1 >= min_p);
        }
        let k = top_k as usize;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, likelier);
            candidates.truncate(k);
        }
        if top_p < 1.0 {
            candidates.sort_unstable_by(likelier);
            let mut left = top_p * candidates.iter().map(|c| c.1).sum::<f64>();
            let mut keep = 0;
            while keep < candidates.len() && (keep == 0 || left > 0.0) {
                left -= candidates[keep].1;
                keep += 1;
            }
            candidates.truncate(keep);
        } else if k > 0 {
            // Selection leaves an order that depends on the library; the draw must not.
            candidates.sort_unstable_by_key(|c| c.0);
        }
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (token as u32, *logit);
        }
    }
    best.0
}

/// Turns logits into weights, the likeliest weighing 1.
fn weigh(candidates: &mut [(u32, f64)], temperature: f64) {
    let max = candidates.iter().map(|c| c.1).fold(f64::NEG_INFINITY, f64::max);
    for (_, value) in candidates {
        *value = ((*value - max) / temperature).exp();
    }
}

/// Heavier first; equal ones by id.
fn likelier(a: &(u32, f64), b: &(u32, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// A number from 0 to below 1 with 53 random bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(settings: Sampling, seed: u64) -> Sampler {
        Sampler::new(settings, seed, &[], 8)
    }

    fn counts(settings: Sampling, logits: &[f32], draws: usize) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        let mut sampler = sampler(settings, 42);
        for _ in 0..draws {
            counts[sampler.next(logits).unwrap() as usize] += 1.0;
        }
        counts
    }

    /// Pearson's statistic against softmax(logits / temperature).
    fn chi_square(counts: &[f64], logits: &[f32], temperature: f64) -> f64 {
        let weights: Vec<f64> =
            logits.iter().map(|l| (f64::from(*l) / temperature).exp()).collect();
        let (total, draws): (f64, f64) = (weights.iter().sum(), counts.iter().sum());
        let terms = counts.iter().zip(weights).map(|(c, w)| {
            let expected = draws * w / total;
            (c - expected).powi(2) / expected
        });
        terms.sum()
    }

    const LOGITS: [f32; 6] = [1.0, 0.0, -1.0, 2.0, 0.5, 0.5];

    #[test]
    fn draws_follow_the_softmax() {
        for temperature in [0.5, 1.0, 2.0] {
            let settings = Sampling { temperature, ..Sampling::default() };
            let counts = counts(settings, &LOGITS, 20_000);
            // 5 degrees of freedom: 20.5 is exceeded once in a thousand; the seed is fixed.
            let x = chi_square(&counts, &LOGITS, temperature);
            assert!(x < 20.5, "temperature {temperature}: {x}");
            // The test can tell: the same counts do not fit another temperature.
            assert!(chi_square(&counts, &LOGITS, temperature * 1.2) > 20.5);
        }
    }

    #[test]
    fn truncations_keep_exactly_what_they_should() {
        let kept = |settings| -> Vec<usize> {
            let counts = counts(settings, &LOGITS, 5_000);
            (0..6).filter(|i| counts[*i] > 0.0).collect()
        };
        let plain = Sampling::default();
        assert_eq!(kept(plain), [0, 1, 2, 3, 4, 5]);
        assert_eq!(kept(Sampling { top_k: 2, ..plain }), [0, 3]);
        assert_eq!(kept(Sampling { top_k: 3, ..plain }), [0, 3, 4], "ties go to the smaller id");
        // Weights beside the likeliest: 0.37, 0.14, 0.05, 1, 0.22, 0.22.
        assert_eq!(kept(Sampling { min_p: 0.2, ..plain }), [0, 3, 4, 5]);
        assert_eq!(kept(Sampling { min_p: 0.25, ..plain }), [0, 3]);
        // Probabilities: 0.50, 0.18, 0.11, 0.11, 0.07, 0.02.
        assert_eq!(kept(Sampling { top_p: 0.4, ..plain }), [3]);
        assert_eq!(kept(Sampling { top_p: 0.6, ..plain }), [0, 3]);
        assert_eq!(kept(Sampling { top_p: 0.75, ..plain }), [0, 3, 4]);
    }

    #[test]
    fn repetition_penalty_divides_positive_and_multiplies_negative_logits() {
        let settings =
            Sampling { temperature: 0.0, repetition_penalty: 2.0, ..Sampling::default() };
        let mut sampler = Sampler::new(settings, 0, &[1], 4);
        let logits = [-1.0, 3.0, 2.0, -1.5];
        assert_eq!(sampler.next(&logits), Ok(2), "3/2 is below 2");
        assert_eq!(sampler.next(&logits), Ok(1), "2/2 is below 3/2");
        let negative = [-2.0, -1.0, -1.9, -2.2];
        assert_eq!(sampler.next(&negative), Ok(0), "-1 and -1.9 have become -2 and -3.8");
    }

    #[test]
    fn numbers_that_are_none_are_an_error() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(sampler(Sampling::default(), 1).next(&[0.0, bad]), Err(NotFinite));
        }
    }

    proptest! {
        #[test]
        fn one_candidate_is_greedy(
            logits in prop::collection::vec(-20.0_f32..20.0, 1..50),
            temperature in 0.01..5.0,
            seed: u64,
        ) {
            let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
            let one = Sampling { temperature, top_k: 1, ..Sampling::default() };
            let tight = Sampling { temperature, top_p: 1e-9, ..Sampling::default() };
            let expected = sampler(greedy, seed).next(&logits);
            prop_assert_eq!(expected, sampler(one, seed).next(&logits));
            prop_assert_eq!(expected, sampler(tight, seed).next(&logits));
        }

        #[test]
        fn equal_seeds_draw_alike(logits in prop::collection::vec(-3.0_f32..3.0, 2..50), seed: u64) {
            let draw = |n: u64| {
                let mut sampler = sampler(Sampling { top_k: 9, top_p: 0.9, ..Sampling::default() }, n);
                (0..20).map(|_| sampler.next(&logits).unwrap()).collect::<Vec<_>>()
            };
            prop_assert_eq!(draw(seed), draw(seed));
        }
    }
}
