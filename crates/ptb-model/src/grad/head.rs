//! The end of the model: last norm, logits, and their cross-entropy, over the rows that count.
//!
//! Rows are taken some at a time, so that logits over a large vocabulary never lie in memory for a whole
//! batch; a row's logits become their own gradient in place.

use super::block::{linear, linear_back, linear_into};
use super::gemm::Into;
use super::norm::{norm, norm_back};
use super::pack::Pack;
use super::simd::{LANES, exp, larger, max, sum, vectorized};

/// Logits that lie in memory at once, at most, unless that is too few rows.
const LOGITS: usize = 1 << 18;
/// Rows that are taken at once at least: each pass over the output projection and its gradient, which are no
/// small part of a model with a large vocabulary, is to serve so many.
const ROWS: usize = 64;

/// The last norm and the output projection.
pub(super) struct Head<'a> {
    pub(super) pack: &'a Pack,
    pub(super) all: &'a [f32],
}

impl Head<'_> {
    fn gain(&self) -> &[f32] {
        &self.all[self.pack.final_norm()]
    }

    fn weight(&self) -> &[f32] {
        &self.all[self.pack.head()]
    }

    /// Rows taken at once.
    pub(super) fn step(&self) -> usize {
        (LOGITS / self.pack.vocabulary).max(ROWS)
    }

    /// Logits of rows of the residual stream.
    pub(super) fn logits(&self, x: &[f32], out: &mut [f32]) {
        let (hidden, vocabulary) = (self.pack.hidden, self.pack.vocabulary);
        let step = self.step();
        let (mut normed, mut rms) = (vec![0.0; step * hidden], vec![0.0; step]);
        for (x, out) in x.chunks(step * hidden).zip(out.chunks_mut(step * vocabulary)) {
            let rows = x.len() / hidden;
            norm(x, self.gain(), self.pack.eps, &mut normed[..x.len()], &mut rms[..rows]);
            linear(Into::Set, out, &normed[..x.len()], self.weight(), rows, hidden);
        }
    }

    /// Given the gradient of the logits, that of the rows in `dx`; adds the parameters' to `grads`.
    pub(super) fn logits_back(&self, x: &[f32], d: &[f32], dx: &mut [f32], grads: &mut [f32]) {
        let (hidden, vocabulary) = (self.pack.hidden, self.pack.vocabulary);
        let step = self.step();
        let mut room = Room::new(step, hidden);
        let parts = x.chunks(step * hidden).zip(d.chunks(step * vocabulary));
        for ((x, d), dx) in parts.zip(dx.chunks_mut(step * hidden)) {
            room.norm(self, x);
            room.back(self, x, d, dx, grads);
        }
    }

    /// Sum of the cross-entropies of rows of the residual stream; with `back`, their gradient goes to its
    /// first part and the parameters' are added to its second.
    pub(super) fn loss(
        &self,
        x: &[f32],
        targets: &[u32],
        mut back: Option<(&mut [f32], &mut [f32])>,
    ) -> f64 {
        let (hidden, vocabulary) = (self.pack.hidden, self.pack.vocabulary);
        let step = self.step();
        let mut room = Room::new(step, hidden);
        let mut logits = vec![0.0; step.min(targets.len()) * vocabulary];
        let mut total = 0.0;
        for (n, (x, targets)) in x.chunks(step * hidden).zip(targets.chunks(step)).enumerate() {
            let logits = &mut logits[..targets.len() * vocabulary];
            room.norm(self, x);
            let normed = &room.normed[..x.len()];
            linear(Into::Set, logits, normed, self.weight(), targets.len(), hidden);
            total += cross_entropy(logits, vocabulary, targets);
            if let Some((dx, grads)) = &mut back {
                let dx = &mut dx[n * step * hidden..][..x.len()];
                room.back(self, x, logits, dx, grads);
            }
        }
        total
    }
}

/// Room for some rows.
struct Room {
    normed: Vec<f32>,
    rms: Vec<f32>,
    d: Vec<f32>,
}

impl Room {
    fn new(step: usize, hidden: usize) -> Self {
        let zeros = |n: usize| vec![0.0; n];
        Self { normed: zeros(step * hidden), rms: zeros(step), d: zeros(step * hidden) }
    }

    fn norm(&mut self, head: &Head<'_>, x: &[f32]) {
        let rows = x.len() / head.pack.hidden;
        let (normed, rms) = (&mut self.normed[..x.len()], &mut self.rms[..rows]);
        norm(x, head.gain(), head.pack.eps, normed, rms);
    }

    /// After [`Room::norm`] of the same rows.
    fn back(&mut self, head: &Head<'_>, x: &[f32], d: &[f32], dx: &mut [f32], grads: &mut [f32]) {
        let Pack { hidden, vocabulary, .. } = *head.pack;
        let rows = x.len() / hidden;
        let normed = &self.normed[..x.len()];
        linear_back(&mut grads[head.pack.head()], d, normed, rows, hidden);
        let inner = &mut self.d[..x.len()];
        linear_into(inner, d, head.weight(), rows, vocabulary);
        dx.fill(0.0);
        let gain = &mut grads[head.pack.final_norm()];
        norm_back(x, &self.rms[..rows], head.gain(), inner, dx, gain);
    }
}

/// Sum of `ln(sum(exp(z))) - z[target]` over rows of logits, each of which becomes its gradient
/// `softmax(z) - onehot(target)`.
pub(super) fn cross_entropy(logits: &mut [f32], vocabulary: usize, targets: &[u32]) -> f64 {
    #[inline(always)]
    fn body(logits: &mut [f32], vocabulary: usize, targets: &[u32]) -> f64 {
        let mut total = 0.0;
        for (row, target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let Some(wanted) = row.get(*target as usize).copied() else { continue };
            let top = top(row);
            let sum = exponentials(row, top);
            total += f64::from(sum.ln()) + f64::from(top) - f64::from(wanted);
            let share = 1.0 / sum;
            row.iter_mut().for_each(|value| *value *= share);
            if let Some(value) = row.get_mut(*target as usize) {
                *value -= 1.0;
            }
        }
        total
    }
    vectorized(
        #[inline(always)]
        || body(logits, vocabulary, targets),
    )
}

#[inline(always)]
fn top(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for j in 0..LANES {
            lanes[j] = larger(lanes[j], chunk[j]);
        }
    }
    rest.iter().fold(max(lanes), |a, b| larger(a, *b))
}

/// Makes each value `exp(value - top)` and sums them.
#[inline(always)]
fn exponentials(row: &mut [f32], top: f32) -> f32 {
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for j in 0..LANES {
            chunk[j] = exp(chunk[j] - top);
            lanes[j] += chunk[j];
        }
    }
    for value in rest.iter_mut() {
        *value = exp(*value - top);
    }
    rest.iter().fold(sum(lanes), |a, b| a + b)
}
