//! The gated unit of the feed-forward layer, `silu(gate) up`, and its gradient: Shazeer, arXiv 2002.05202.

use super::simd::{exp, vectorized};

/// Rows of `both` are a gate and an input of `width` each: `out = gate sigmoid(gate) input`.
pub(super) fn gated(both: &[f32], width: usize, out: &mut [f32]) {
    #[inline(always)]
    fn body((both, width, out): (&[f32], usize, &mut [f32])) {
        for (both, out) in both.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = both.split_at(width);
            for ((out, g), u) in out.iter_mut().zip(gate).zip(up) {
                *out = g / (1.0 + exp(-g)) * u;
            }
        }
    }
    vectorized((both, width, out), body);
}

/// Replaces gates and inputs by their gradients, given that of the output.
///
/// With `s = sigmoid(gate)`: `dgate = d input s (1 + gate (1 - s))` and `dinput = d gate s`.
pub(super) fn gated_back(both: &mut [f32], width: usize, d: &[f32]) {
    #[inline(always)]
    fn body((both, width, d): (&mut [f32], usize, &[f32])) {
        for (both, d) in both.chunks_exact_mut(2 * width).zip(d.chunks_exact(width)) {
            let (gate, up) = both.split_at_mut(width);
            for ((g, u), d) in gate.iter_mut().zip(up).zip(d) {
                let s = 1.0 / (1.0 + exp(-*g));
                let (dg, du) = (d * *u * s * (1.0 + *g * (1.0 - s)), d * *g * s);
                (*g, *u) = (dg, du);
            }
        }
    }
    vectorized((both, width, d), body);
}
