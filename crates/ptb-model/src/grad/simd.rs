//! Loops compiled for the instruction set that the machine has, and the few functions they share.
//!
//! Bodies are plain Rust over lanes of 16; `pulp` chooses among the versions that the compiler makes of
//! them. Results differ in the last bits between instruction sets, as they do in the matrix products.

/// Lanes of a running sum: one AVX-512 register, two of AVX2.
pub(super) const LANES: usize = 16;

/// Calls `f` compiled for the best instruction set. `f` and all that it calls must be marked
/// `#[inline(always)]`: what stays a function of its own is compiled for the oldest processor.
#[inline(always)]
pub(super) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// The lanes of `x` from `at` on; those beyond its end are 0.
///
/// Loops that read several slices and write several go by whole lanes through [`load`] and [`store`]: with
/// that many pointers the compiler cannot tell that they do not overlap, and would take one at a time.
#[inline(always)]
pub(super) fn load(x: &[f32], at: usize) -> [f32; LANES] {
    let rest = x.get(at..).unwrap_or_default();
    if let Some(lanes) = rest.first_chunk() {
        return *lanes;
    }
    let mut lanes = [0.0; LANES];
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane = *value);
    lanes
}

/// Writes lanes to `out` from `at` on; those beyond its end are dropped.
#[inline(always)]
pub(super) fn store(out: &mut [f32], at: usize, lanes: [f32; LANES]) {
    let rest = out.get_mut(at..).unwrap_or_default();
    if let Some(place) = rest.first_chunk_mut() {
        *place = lanes;
        return;
    }
    rest.iter_mut().zip(lanes).for_each(|(value, lane)| *value = lane);
}

/// `e^x` to about two units in the last place; 0 below -87, at most `e^88`, NaN of NaN.
///
/// `2^n * e^r` with r in `[-ln2/2, ln2/2]`, the logarithm of 2 in two parts, and the polynomial of Cephes'
/// `expf` (Moshier).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to a whole number and leaves it in the low bits.
    const SHIFT: f32 = 12_582_912.0;
    let y = if x > 88.0 { 88.0 } else { x };
    let shifted = y * std::f32::consts::LOG2_E + SHIFT;
    let n = shifted - SHIFT;
    let r = (y - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = (p * (r * r) + r) + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let e = p * scale;
    if x < -87.0 { 0.0 } else { e }
}

/// Sum of the lanes, halves onto halves.
#[inline(always)]
pub(super) fn sum(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for j in 0..width {
            lanes[j] += lanes[j + width];
        }
    }
    lanes[0]
}

/// Largest of the lanes.
#[inline(always)]
pub(super) fn max(mut lanes: [f32; LANES]) -> f32 {
    for width in [8, 4, 2, 1] {
        for j in 0..width {
            lanes[j] = larger(lanes[j], lanes[j + width]);
        }
    }
    lanes[0]
}

/// The larger of two; the second when either is NaN (`f32::max` compiles to more instructions).
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// Sum of `f(a, b)` over two slices of one length.
#[inline(always)]
pub(super) fn sum_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for j in 0..LANES {
            lanes[j] += f(a[j], b[j]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(*a, *b);
    }
    sum(lanes)
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
        assert!(worst < 3e-7, "relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::INFINITY) > 1e38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_take_every_element() {
        let a: Vec<f32> = (0..37).map(|i| i as f32).collect();
        assert_eq!(sum_of(&a, &a, |a, b| a + b), 36.0 * 37.0);
        let mut out = [9.0; 5];
        store(&mut out, 3, load(&a, 35));
        assert_eq!(
            (load(&a, 35)[..3].to_vec(), out),
            (vec![35.0, 36.0, 0.0], [9.0, 9.0, 9.0, 35.0, 36.0])
        );
        assert_eq!(max(std::array::from_fn(|i| if i == 11 { 5.0 } else { -1.0 })), 5.0);
    }
}
