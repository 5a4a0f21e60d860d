//! RMS norm and its gradient: Zhang and Sennrich, arXiv 1910.07467.

use super::simd::{LANES, sum, sum_of, vectorized};

/// Each row of `x`, as wide as `gain`: `out = x r gain` with `r = 1 / sqrt(mean(x^2) + eps)`, kept.
pub(super) fn norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32], kept: &mut [f32]) {
    #[inline(always)]
    fn body(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32], kept: &mut [f32]) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(out.chunks_exact_mut(width));
        for ((x, out), kept) in rows.zip(kept) {
            *kept = inverse_rms(x, eps);
            for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
                *out = x * *kept * gain;
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(x, gain, eps, out, kept),
    );
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(super) fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of(x, x, |a, b| a * b) / x.len() as f32 + eps).sqrt()
}

/// Given the gradient `dy` of the output, adds to `dx` that of `x` and to `dgain` that of the gain.
///
/// With `u = x r` and `g = dy gain`: `dx += r (g - u mean(g u))`, `dgain += dy u`.
pub(super) fn norm_back(
    x: &[f32],
    kept: &[f32],
    gain: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    #[inline(always)]
    fn body(x: &[f32], kept: &[f32], gain: &[f32], dy: &[f32], dx: &mut [f32], dgain: &mut [f32]) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(kept);
        for (((x, dy), r), dx) in rows.zip(dx.chunks_exact_mut(width)) {
            norm_back_row(x, *r, gain, dy, dx, dgain);
        }
    }
    vectorized(
        #[inline(always)]
        || body(x, kept, gain, dy, dx, dgain),
    );
}

/// One row of [`norm_back`].
#[inline(always)]
pub(super) fn norm_back_row(
    x: &[f32],
    r: f32,
    gain: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    // sum(g u) = r sum(dy gain x), in one pass: the gradient of the gain is taken along.
    let mut lanes = [0.0; LANES];
    let ((xs, x_rest), (gains, gain_rest)) = (x.as_chunks::<LANES>(), gain.as_chunks::<LANES>());
    let ((dys, dy_rest), (sums, sum_rest)) =
        (dy.as_chunks::<LANES>(), dgain.as_chunks_mut::<LANES>());
    for (((x, gain), dy), sum) in xs.iter().zip(gains).zip(dys).zip(sums) {
        for j in 0..LANES {
            let du = dy[j] * x[j];
            lanes[j] += du * gain[j];
            sum[j] += du * r;
        }
    }
    let rest = x_rest.iter().zip(gain_rest).zip(dy_rest).zip(sum_rest);
    for (lane, (((x, gain), dy), sum)) in lanes.iter_mut().zip(rest) {
        let du = dy * x;
        *lane += du * gain;
        *sum += du * r;
    }
    let pull = sum(lanes) * r * r / gain.len() as f32;
    for (((dx, x), gain), dy) in dx.iter_mut().zip(x).zip(gain).zip(dy) {
        *dx += r * (dy * gain - x * pull);
    }
}
