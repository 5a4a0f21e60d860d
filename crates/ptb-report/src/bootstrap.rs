//! The interval of an average: a seeded bootstrap over what varies.
//!
//! The average is `A = sum_c a_c * s_c` over cells c = (benchmark i, base model m), with
//! `a_c = w_i / M_i` (M_i models) and `s_c` the mean of the cell's repeats. Benchmarks, base models and
//! test items are fixed: they are what is measured, not samples of a population; weights are fixed too.
//! What varies is the run. Cells are independent, so each is drawn for itself, [`RESAMPLES`] times:
//!
//! - **repeats**: a cell of an agent with R >= 2 repeats. R scores are drawn with replacement, and
//!   `s*_c = s_c + sqrt(R / (R - 1)) * (mean of drawn - s_c)`. The factor makes the variance of `s*_c`
//!   equal to the unbiased `s^2 / R` (the rescaling bootstrap of Rao and Wu, 1988); without it three
//!   repeats would seem a fifth narrower than they are.
//! - **samples**: a cell with one run, and every cell of a baseline (whose repeats are the same
//!   completions): `s*_c = s_c + stderr_c * z`, z standard normal, stderr the evaluation's standard error.
//!   This covers the luck of the questions and not the agent's from run to run, so it is a lower bound;
//!   the report says which basis an interval has.
//!
//! The interval is the 2.5 % and 97.5 % quantile of A* (linear interpolation), within 0 and 1, rounded to
//! 6 decimals: digits beyond the resampling's own error would differ between processors' logarithms.

use std::cmp::Ordering;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::aggregate::mean;

/// Draws of the average.
pub const RESAMPLES: usize = 2000;
/// Seed of every row's generator: an interval depends on its row alone.
pub const SEED: u64 = 42;

/// What an interval rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// The spread over repeats, in every cell.
    Repeats,
    /// The standard error over samples, in every cell.
    Samples,
    /// Repeats in some cells, samples in others.
    Mixed,
}

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// 2.5 % quantile, 0 to 1.
    pub low: f64,
    /// 97.5 % quantile, 0 to 1.
    pub high: f64,
    /// What it rests on.
    pub basis: Basis,
}

/// What is known of one cell.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Scores of independent repeats, at least two.
    Repeats(Vec<f64>),
    /// One score with its standard error over samples.
    Samples {
        /// The score.
        score: f64,
        /// Its standard error.
        stderr: f64,
    },
}

impl Cell {
    fn draw(&self, rng: &mut ChaCha8Rng, normals: &mut Normals) -> f64 {
        match self {
            Self::Samples { score, stderr } => score + stderr * normals.next(rng),
            Self::Repeats(scores) => {
                let n = scores.len();
                let center = mean(scores).unwrap_or_default();
                let drawn: f64 = (0..n).filter_map(|_| scores.get(below(rng, n))).sum();
                let rescale = (n as f64 / (n.max(2) - 1) as f64).sqrt();
                center + rescale * (drawn / n.max(1) as f64 - center)
            }
        }
    }
}

/// The 95 % interval of `sum a_c * s_c` over `(a_c, cell)`; none of no cells.
pub fn interval(cells: &[(f64, Cell)]) -> Option<Interval> {
    let repeats = cells.iter().filter(|(_, c)| matches!(c, Cell::Repeats(_))).count();
    let basis = match repeats {
        0 if cells.is_empty() => return None,
        0 => Basis::Samples,
        n if n == cells.len() => Basis::Repeats,
        _ => Basis::Mixed,
    };
    let (mut rng, mut normals) = (ChaCha8Rng::seed_from_u64(SEED), Normals(None));
    let mut draws: Vec<f64> = (0..RESAMPLES)
        .map(|_| cells.iter().map(|(a, cell)| a * cell.draw(&mut rng, &mut normals)).sum())
        .collect();
    draws.sort_by(f64::total_cmp);
    let bound = |q| (quantile(&draws, q).clamp(0.0, 1.0) * 1e6).round() / 1e6;
    Some(Interval { low: bound(0.025), high: bound(0.975), basis })
}

/// Quantile of sorted values by linear interpolation between the nearest two.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len().max(1) - 1) as f64;
    let at = |i: f64| sorted.get(i as usize).copied().unwrap_or_default();
    let (low, high) = (at(position.floor()), at(position.ceil()));
    match low.partial_cmp(&high) {
        Some(Ordering::Less) => low + (high - low) * position.fract(),
        _ => low,
    }
}

/// A number below `n`, by multiplication of 64 random bits (bias under n / 2^64).
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Standard normal numbers by Marsaglia's polar method, which makes two at a time.
struct Normals(Option<f64>);

impl Normals {
    fn next(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        if let Some(kept) = self.0.take() {
            return kept;
        }
        loop {
            let mut unit = || (rng.next_u64() >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
            let (x, y) = (unit(), unit());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                self.0 = Some(y * factor);
                return x * factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(score: f64, stderr: f64) -> Cell {
        Cell::Samples { score, stderr }
    }

    #[test]
    fn one_normal_cell_has_the_textbook_interval() {
        let i = interval(&[(1.0, sample(0.5, 0.05))]).unwrap();
        assert_eq!(i.basis, Basis::Samples);
        assert!((i.low - (0.5 - 0.098)).abs() < 0.006, "{i:?}");
        assert!((i.high - (0.5 + 0.098)).abs() < 0.006, "{i:?}");
    }

    #[test]
    fn independent_cells_shrink_together() {
        let cells: Vec<_> = (0..25).map(|_| (1.0 / 25.0, sample(0.5, 0.05))).collect();
        let i = interval(&cells).unwrap();
        assert!((i.high - i.low - 2.0 * 0.0196).abs() < 0.003, "{i:?}");
    }

    #[test]
    fn repeats_have_the_unbiased_variance() {
        // Many cells make A* nearly normal, so the width tells the variance: 28 cells of 3 repeats.
        let scores = vec![0.2, 0.3, 0.7];
        let variance = crate::aggregate::sample_std(&scores).unwrap().powi(2) / 3.0;
        let cells: Vec<_> = (0..28).map(|_| (1.0 / 28.0, Cell::Repeats(scores.clone()))).collect();
        let i = interval(&cells).unwrap();
        let expected = 2.0 * 1.96 * (variance / 28.0).sqrt();
        assert_eq!(i.basis, Basis::Repeats);
        assert!(((i.high - i.low) / expected - 1.0).abs() < 0.08, "{i:?} {expected}");
    }

    #[test]
    fn bounds_hold_and_nothing_gives_nothing() {
        assert_eq!(interval(&[]), None);
        let i = interval(&[(0.5, sample(0.0, 0.1)), (0.5, Cell::Repeats(vec![0.0, 0.1]))]).unwrap();
        assert_eq!((i.low, i.basis), (0.0, Basis::Mixed));
        let i = interval(&[(1.0, Cell::Repeats(vec![0.25, 0.25]))]).unwrap();
        assert_eq!((i.low, i.high), (0.25, 0.25));
    }

    proptest! {
        #[test]
        fn an_interval_is_ordered_and_repeatable(
            cells in prop::collection::vec((0.0..1.0f64, prop::collection::vec(0.0..1.0f64, 2..5)), 1..4)
        ) {
            let cells: Vec<_> = cells.into_iter().map(|(a, s)| (a, Cell::Repeats(s))).collect();
            let i = interval(&cells).unwrap();
            prop_assert!(0.0 <= i.low && i.low <= i.high && i.high <= 1.0);
            prop_assert_eq!(interval(&cells).unwrap(), i);
        }
    }
}
