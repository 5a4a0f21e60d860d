//! AdamW: `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, and with `m' = m / (1 - b1^t)`,
//! `v' = v / (1 - b2^t)`: `w = w (1 - lr decay) - lr m' / (sqrt(v') + epsilon)`.
//!
//! Loshchilov and Hutter, "Decoupled weight decay regularization", arXiv 1711.05101, algorithm 2, with the rate
//! multiplying the decay as PyTorch has it.

use rayon::prelude::*;

use crate::settings::Optimiser;
use crate::weights::Param;

/// The moments of one parameter.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// The optimiser's memory.
#[derive(Debug, Clone)]
pub(crate) struct AdamW {
    /// In the order of the parameters.
    pub(crate) moments: Vec<Moments>,
    /// Steps taken.
    pub(crate) steps: u64,
}

impl AdamW {
    pub(crate) fn new(params: &[Param]) -> Self {
        let zero = |p: &Param| vec![0.0; p.values.len()];
        let moments = params.iter().map(|p| Moments { first: zero(p), second: zero(p) });
        Self { moments: moments.collect(), steps: 0 }
    }

    /// One step down gradients that are multiplied by `scale` first.
    pub(crate) fn step(
        &mut self,
        o: &Optimiser,
        lr: f64,
        params: &mut [Param],
        gradients: &[&[f32]],
        scale: f64,
    ) {
        self.steps += 1;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (b1, b2) = (o.beta1 as f32, o.beta2 as f32);
        let first_left = (1.0 - o.beta1.powi(t)) as f32;
        let root_left = (1.0 - o.beta2.powi(t)).sqrt() as f32;
        let (scale, epsilon) = (scale as f32, o.epsilon as f32);
        let rate = lr as f32 / first_left;
        let all = params.par_iter_mut().zip(&mut self.moments).zip(gradients);
        all.for_each(|((param, moments), gradient)| {
            let keep = if param.decay { (1.0 - lr * o.weight_decay) as f32 } else { 1.0 };
            let values = param.values.iter_mut().zip(*gradient);
            let moments = moments.first.iter_mut().zip(&mut moments.second);
            for ((w, g), (m, v)) in values.zip(moments) {
                let g = g * scale;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * (g * g);
                // A rate of 0 must not touch the sign of a zero.
                if rate != 0.0 {
                    *w = *w * keep - rate * *m / (v.sqrt() / root_left + epsilon);
                }
            }
        });
    }
}

/// The norm of all gradients together, summed in a fixed order.
pub(crate) fn norm(gradients: &[&[f32]]) -> f64 {
    let squares = |g: &&[f32]| g.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let parts: Vec<f64> = gradients.par_iter().map(squares).collect();
    parts.iter().sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(values: &[f32], decay: bool) -> Param {
        Param { name: String::new(), values: values.to_vec(), decay }
    }

    /// Three steps on two values, against numbers worked out with the formula in double precision.
    #[test]
    fn steps_follow_the_formula() {
        let o = Optimiser { weight_decay: 0.1, ..Optimiser::default() };
        let start = [0.5_f32, -2.0];
        let gradients = [[0.3_f32, -0.001], [-0.7, 0.002], [0.1, 5.0]];
        for decay in [true, false] {
            let mut params = vec![param(&start, decay)];
            let mut adam = AdamW::new(&params);
            let (mut w, mut m, mut v) = (start.map(f64::from), [0.0; 2], [0.0; 2]);
            for (t, g) in (1..).zip(gradients) {
                adam.step(&o, 0.01, &mut params, &[&g], 0.5);
                for i in 0..2 {
                    let g = 0.5 * f64::from(g[i]);
                    m[i] = 0.9 * m[i] + 0.1 * g;
                    v[i] = 0.999 * v[i] + 0.001 * g * g;
                    let (m, v) = (m[i] / (1.0 - 0.9_f64.powi(t)), v[i] / (1.0 - 0.999_f64.powi(t)));
                    w[i] *= if decay { 1.0 - 0.01 * 0.1 } else { 1.0 };
                    w[i] -= 0.01 * m / (v.sqrt() + 1e-8);
                }
                for (ours, w) in params[0].values.iter().zip(w) {
                    assert!((f64::from(*ours) - w).abs() < 1e-5, "{ours} {w}");
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_changes_no_bit() {
        let start = [0.5_f32, -0.0, 0.0, 1e-40, -3.0];
        let mut params = vec![param(&start, true)];
        let mut adam = AdamW::new(&params);
        for _ in 0..3 {
            adam.step(&Optimiser::default(), 0.0, &mut params, &[&[1.0, -1.0, 1.0, 2.0, 0.0]], 1.0);
        }
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&params[0].values), bits(&start));
    }

    #[test]
    fn the_norm_is_over_all() {
        assert_eq!(norm(&[&[3.0, 0.0], &[], &[-4.0]]), 5.0);
        assert!(norm(&[&[f32::NAN]]).is_nan());
    }
}
