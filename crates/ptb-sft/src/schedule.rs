//! The learning rate over time: a linear rise, then a cosine down to a floor.

use crate::settings::Optimiser;

/// The learning rate at `progress`, the share of the training that will be done after the coming step
/// (above 0, at most 1).
pub(crate) fn rate(o: &Optimiser, progress: f64) -> f64 {
    let progress = progress.clamp(0.0, 1.0);
    if progress < o.warmup {
        return o.lr * progress / o.warmup;
    }
    let rest = (1.0 - o.warmup).max(f64::MIN_POSITIVE);
    let fall = (progress - o.warmup) / rest;
    let cosine = (1.0 + (std::f64::consts::PI * fall).cos()) / 2.0;
    o.lr * (o.floor + (1.0 - o.floor) * cosine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_to_the_rate_and_falls_to_the_floor() {
        let o = Optimiser { lr: 2.0, warmup: 0.1, floor: 0.25, ..Optimiser::default() };
        let at = |p| (rate(&o, p) * 1e6).round() / 1e6;
        assert_eq!((at(0.01), at(0.05), at(0.1)), (0.2, 1.0, 2.0));
        // Half way down the cosine: the mean of rate and floor.
        assert_eq!((at(0.55), at(1.0), at(7.0)), (1.25, 0.5, 0.5));
        let rates: Vec<f64> = (10..=100).map(|i| rate(&o, f64::from(i) / 100.0)).collect();
        assert!(rates.windows(2).all(|w| w[0] > w[1]));
        let flat = Optimiser { warmup: 0.0, floor: 1.0, ..o };
        assert!((1..100).all(|i| rate(&flat, f64::from(i) / 100.0) == 2.0));
        let all = Optimiser { warmup: 1.0, ..o };
        assert!(rate(&all, 1.0).is_finite() && rate(&all, 0.5) == 1.0);
    }
}
