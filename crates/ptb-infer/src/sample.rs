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
        let mut candidates: Vec<(u32, f64)> = Vec::with_capacity(logits.len());
        for (token, logit) in logits.iter().enumerate() {
            if !logit.is_finite() {
                return Err(NotFinite);
            }
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
