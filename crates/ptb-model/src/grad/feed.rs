//! The gated unit of the feed-forward layer, `silu(gate) up`, and its gradient: Shazeer, arXiv 2002.05202.

use super::simd::{LANES, exp, load, store, vectorized};

/// Rows of `both` are a gate and an input of `width` each: `out = gate sigmoid(gate) input`.
pub(super) fn gated(both: &[f32], width: usize, out: &mut [f32]) {
    #[inline(always)]
    fn body(both: &[f32], width: usize, out: &mut [f32]) {
        for (both, out) in both.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
            let (gate, up) = both.split_at(width);
            for at in (0..width).step_by(LANES) {
                let (mut g, u) = (load(gate, at), load(up, at));
                for j in 0..LANES {
                    g[j] = g[j] / (1.0 + exp(-g[j])) * u[j];
                }
                store(out, at, g);
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(both, width, out),
    );
}

/// Replaces gates and inputs by their gradients, given that of the output.
///
/// With `s = sigmoid(gate)`: `dgate = d input s (1 + gate (1 - s))` and `dinput = d gate s`.
pub(super) fn gated_back(both: &mut [f32], width: usize, d: &[f32]) {
    #[inline(always)]
    fn body(both: &mut [f32], width: usize, d: &[f32]) {
        for (both, d) in both.chunks_exact_mut(2 * width).zip(d.chunks_exact(width)) {
            let (gate, up) = both.split_at_mut(width);
            for at in (0..width).step_by(LANES) {
                let (mut g, mut u, d) = (load(gate, at), load(up, at), load(d, at));
                for j in 0..LANES {
                    let s = 1.0 / (1.0 + exp(-g[j]));
                    let ds = d[j] * s;
                    (g[j], u[j]) = (ds * u[j] * (1.0 + g[j] * (1.0 - s)), ds * g[j]);
                }
                store(gate, at, g);
                store(up, at, u);
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(both, width, d),
    );
}
