//! Means, spreads, the weighted average, and the rule that a run without a score of its own falls back to
//! its base model's.

/// Arithmetic mean; nothing of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a sample, `sqrt(sum (x - mean)^2 / (n - 1))`: what the published tables show.
/// One value has no spread.
pub fn sample_std(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The score that counts: the run's own, or the base model's where there is none or it does not count.
/// Without either it is unknown.
pub fn fall_back(own: Option<f64>, base: Option<f64>) -> Option<f64> {
    own.or(base)
}

/// The average of a row, `sum_i w_i * s_i`, of weights that sum to 1. Unknown while one of its terms is.
pub fn weighted(terms: impl IntoIterator<Item = (Option<f64>, Option<f64>)>) -> Option<f64> {
    let mut terms = terms.into_iter().peekable();
    terms.peek()?;
    terms.map(|(weight, score)| Some(weight? * score?)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_spreads() {
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[0.25, 0.75]), Some(0.5));
        assert_eq!(sample_std(&[0.5]), None);
        assert_eq!(sample_std(&[0.25, 0.75]), Some(0.125f64.sqrt()));
    }

    #[test]
    fn what_is_unknown_stays_unknown() {
        assert_eq!(fall_back(Some(0.1), Some(0.2)), Some(0.1));
        assert_eq!(fall_back(None, Some(0.2)), Some(0.2));
        assert_eq!(fall_back(None, None), None);
        assert_eq!(weighted([]), None);
        assert_eq!(weighted([(Some(0.5), Some(0.5)), (Some(0.5), Some(1.0))]), Some(0.75));
        assert_eq!(weighted([(Some(0.5), Some(0.5)), (Some(0.5), None)]), None);
        assert_eq!(weighted([(Some(0.5), Some(0.5)), (None, Some(0.5))]), None);
    }
}
