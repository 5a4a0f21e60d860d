//! Scalar functions written so that they vectorise and give the same bits everywhere.

use super::kernel::NR;

/// `e^x` to about one unit in the last place; 0 below -87, and at most `e^88`.
///
/// Range reduction to `2^n * e^r` with a two-part logarithm and a polynomial of degree 5 on
/// `[-ln2/2, ln2/2]`, coefficients from Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to whole numbers and leaves them in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let y = if x > 88.0 { 88.0 } else { x };
    let shifted = y.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-0.693_359_4, y);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = r.mul_add(1.987_569_1e-4, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let e = p * scale;
    if x < -87.0 { 0.0 } else { e }
}

/// Sum of 64 values: 16 lanes of four, then halves. The order is part of the result.
#[inline(always)]
pub(crate) fn sum_lanes(low: &[f32; NR], high: &[f32; NR]) -> f32 {
    let mut lanes = [0.0; 16];
    for j in 0..16 {
        lanes[j] = (low[j] + low[j + 16]) + (high[j] + high[j + 16]);
    }
    fold(lanes, |a, b| a + b)
}

/// Largest of 64 values.
#[inline(always)]
pub(crate) fn max_lanes(low: &[f32; NR], high: &[f32; NR]) -> f32 {
    let max = |a: f32, b: f32| if a > b { a } else { b };
    let mut lanes = [0.0; 16];
    for j in 0..16 {
        lanes[j] = max(max(low[j], low[j + 16]), max(high[j], high[j + 16]));
    }
    fold(lanes, max)
}

#[inline(always)]
fn fold(mut lanes: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    for width in [8, 4, 2, 1] {
        for j in 0..width {
            lanes[j] = f(lanes[j], lanes[j + width]);
        }
    }
    lanes[0]
}

/// `out = x / sqrt(mean(x^2) + eps) * gain`, the squares summed in 16 lanes.
pub(crate) fn rms_norm(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = x.as_chunks::<16>();
    for chunk in chunks {
        for j in 0..16 {
            lanes[j] += chunk[j] * chunk[j];
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += v * v;
    }
    let mean = fold(lanes, |a, b| a + b) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
        *out = x * scale * gain;
    }
}

/// Cosines and sines of one position.
pub(crate) fn rotary(position: usize, frequencies: &[f32], cos: &mut [f32], sin: &mut [f32]) {
    for ((frequency, cos), sin) in frequencies.iter().zip(cos).zip(sin) {
        (*sin, *cos) = (position as f32 * frequency).sin_cos();
    }
}

/// Turns one head by its position's angles: halves (a, b) become (a cos - b sin, b cos + a sin).
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (a, b) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_librarys_everywhere() {
        let mut worst = 0.0_f64;
        for i in -86_999..88_000 {
            let x = i as f32 / 1000.0;
            let (ours, exact) = (f64::from(exp(x)), f64::from(x).exp());
            worst = worst.max(((ours - exact) / exact).abs());
        }
        assert!(worst < 2e-7, "relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }
}
