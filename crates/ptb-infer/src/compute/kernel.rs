//! Small dense kernels with one order of summation.
//!
//! The bodies are plain Rust over fixed-size arrays, compiled once per instruction set: `mul_add` is the
//! same correctly rounded operation everywhere and the compiler may not reorder it, so all versions
//! give the same bits. Machines without fused multiply-add (x86 before 2013) are correct and slow.

use half::bf16;

use super::math::{exp, max_lanes, sum_lanes};

/// Columns of a panel: weights, keys and values are stored `[panel][k][32]`.
pub(crate) const NR: usize = 32;
/// Positions in a block of the KV cache: two panels of keys.
pub(crate) const BLOCK: usize = 64;

/// A stored weight.
pub(crate) trait Element: Copy + Send + Sync {
    fn widen(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[derive(Clone, Copy)]
enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Plain,
}

/// The detection is cached by the standard library.
fn isa() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let half = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        if wide && half {
            return Isa::Avx512;
        }
        if half {
            return Isa::Avx2;
        }
    }
    Isa::Plain
}

/// Compiles `body::<ROWS>` for each instruction set and calls the best that the machine has. ROWS is the
/// number of rows held in registers.
macro_rules! by_isa {
    ($(#[$doc:meta])* $name:ident = $body:ident; $($arg:ident: $ty:ty),* $(,)?) => {
        $(#[$doc])*
        #[expect(unsafe_code, reason = "calls a version compiled for features just detected")]
        pub(crate) fn $name($($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512($($arg: $ty),*) {
                $body::<8>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) {
                $body::<3>($($arg),*)
            }
            match isa() {
                // SAFETY: `isa` has found every feature that the version is compiled for.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => unsafe { avx2($($arg),*) },
                Isa::Plain => $body::<4>($($arg),*),
            }
        }
    };
}

by_isa! {
    /// `out[rows][32] = a[rows][k] * panel[k][32]` with f32 weights.
    panel_f32 = panel; a: &[f32], k: usize, b: &[[f32; NR]], out: &mut [[f32; NR]],
}

by_isa! {
    /// The same with bf16 weights, widened exactly.
    panel_bf16 = panel; a: &[f32], k: usize, b: &[[bf16; NR]], out: &mut [[f32; NR]],
}

by_isa! {
    /// One block of keys and values for neighbouring queries; see [`Attend`].
    attend = attend_body; a: Attend<'_>, block: KvBlock<'_>,
}

by_isa! {
    /// `out = silu(gate) * up`, elementwise.
    silu_mul = silu_mul_body; gate: &[f32], up: &[f32], out: &mut [f32],
}

by_isa! {
    /// `out = gelu(gate) * up`, elementwise, with the hyperbolic tangent's approximation.
    gelu_mul = gelu_mul_body; gate: &[f32], up: &[f32], out: &mut [f32],
}

/// `acc[i][j] += sum over k of a[i][k] * b[k][j]`, k ascending, one chain for each element.
#[inline(always)]
fn tile<const MR: usize>(
    a: &[f32],
    stride: usize,
    b: &[[impl Element; NR]],
    acc: &mut [[f32; NR]; MR],
) {
    let k = b.len();
    let rows: [&[f32]; MR] = std::array::from_fn(|i| &a[i * stride..i * stride + k]);
    let mut sums = *acc;
    for (kk, b) in b.iter().enumerate() {
        let b: [f32; NR] = std::array::from_fn(|j| b[j].widen());
        for i in 0..MR {
            let x = rows[i][kk];
            for j in 0..NR {
                sums[i][j] = x.mul_add(b[j], sums[i][j]);
            }
        }
    }
    *acc = sums;
}

#[inline(always)]
fn panel<const MR: usize>(a: &[f32], k: usize, b: &[[impl Element; NR]], out: &mut [[f32; NR]]) {
    let (big, rest) = out.as_chunks_mut::<MR>();
    let (pairs, single) = rest.as_chunks_mut::<2>();
    let (a, a_rest) = a.split_at(big.len() * MR * k);
    let (a_pairs, a_single) = a_rest.split_at(pairs.len() * 2 * k);
    panel_tiles(a, k, b, big);
    panel_tiles(a_pairs, k, b, pairs);
    panel_tiles(a_single, k, b, single.as_chunks_mut::<1>().0);
}

#[inline(always)]
fn panel_tiles<const MR: usize>(
    a: &[f32],
    k: usize,
    b: &[[impl Element; NR]],
    out: &mut [[[f32; NR]; MR]],
) {
    for (a, out) in a.chunks_exact(MR * k).zip(out) {
        let mut acc = [[0.0; NR]; MR];
        tile(a, k, b, &mut acc);
        *out = acc;
    }
}

/// Neighbouring queries that look at one block, and their running softmax.
pub(crate) struct Attend<'a> {
    /// Queries `[n][dim]`, scaled and rotated.
    pub(crate) q: &'a [f32],
    /// Width of a head.
    pub(crate) dim: usize,
    /// Which of the block's positions each query sees: from the first to before the second, at least one.
    pub(crate) visible: &'a [(usize, usize)],
    /// Running maximum of each query's scores.
    pub(crate) max: &'a mut [f32],
    /// Running sum of exponentials.
    pub(crate) sum: &'a mut [f32],
    /// Running weighted values, `[n][value panels]`.
    pub(crate) out: &'a mut [[f32; NR]],
}

/// Keys and values of one head in one block.
pub(crate) struct KvBlock<'a> {
    /// `[2][dim][32]`: keys lie transposed, positions along the vector.
    pub(crate) keys: &'a [[f32; NR]],
    /// `[value panels][64][32]`.
    pub(crate) values: &'a [[f32; NR]],
}

#[inline(always)]
fn attend_body<const MR: usize>(mut a: Attend<'_>, block: KvBlock<'_>) {
    let n = a.visible.len();
    let mut at = 0;
    while n - at >= MR {
        attend_rows::<MR>(&mut a, at, &block);
        at += MR;
    }
    while n - at >= 2 {
        attend_rows::<2>(&mut a, at, &block);
        at += 2;
    }
    while at < n {
        attend_rows::<1>(&mut a, at, &block);
        at += 1;
    }
}

/// Softmax in one pass over blocks (arXiv 1805.02867): when a block raises a query's maximum, what was
/// gathered so far is scaled down. Every query goes through its blocks in order, so its numbers do not
/// depend on which other queries share the tile.
#[inline(always)]
fn attend_rows<const MR: usize>(a: &mut Attend<'_>, at: usize, block: &KvBlock<'_>) {
    let dim = a.dim;
    let q = &a.q[at * dim..(at + MR) * dim];
    let mut low = [[0.0; NR]; MR];
    let mut high = [[0.0; NR]; MR];
    tile(q, dim, &block.keys[..dim], &mut low);
    // A half that no query sees would add zeros; leaving it out gives the same bits sooner.
    let half = a.visible[at..at + MR].iter().all(|(_, end)| *end <= NR);
    if !half {
        tile(q, dim, &block.keys[dim..2 * dim], &mut high);
    }
    let mut scale = [1.0; MR];
    for i in 0..MR {
        let (begin, end) = a.visible[at + i];
        if end - begin < BLOCK {
            hide(&mut low[i], begin, end);
            hide(&mut high[i], begin.saturating_sub(NR), end.saturating_sub(NR));
        }
        let before = a.max[at + i];
        let max = before.max(max_lanes(&low[i], &high[i]));
        for j in 0..NR {
            low[i][j] = exp(low[i][j] - max);
            high[i][j] = exp(high[i][j] - max);
        }
        scale[i] = exp(before - max);
        a.max[at + i] = max;
        a.sum[at + i] = a.sum[at + i].mul_add(scale[i], sum_lanes(&low[i], &high[i]));
    }
    let panels = a.out.len() / a.visible.len();
    for p in 0..panels {
        let values = &block.values[p * BLOCK..(p + 1) * BLOCK];
        let mut acc: [[f32; NR]; MR] = std::array::from_fn(|i| a.out[(at + i) * panels + p]);
        for (row, scale) in acc.iter_mut().zip(&scale) {
            row.iter_mut().for_each(|x| *x *= scale);
        }
        tile(low.as_flattened(), NR, &values[..NR], &mut acc);
        if !half {
            tile(high.as_flattened(), NR, &values[NR..], &mut acc);
        }
        for (i, acc) in acc.into_iter().enumerate() {
            a.out[(at + i) * panels + p] = acc;
        }
    }
}

/// Positions that a query does not see weigh exactly zero. Written without a branch, or it is no vector code.
#[inline(always)]
fn hide(scores: &mut [f32; NR], begin: usize, end: usize) {
    let (begin, count) = (begin as u32, end.saturating_sub(begin) as u32);
    for (j, s) in (0_u32..).zip(scores.iter_mut()) {
        let seen = j.wrapping_sub(begin) < count;
        *s = if seen { *s } else { f32::NEG_INFINITY };
    }
}

#[inline(always)]
fn silu_mul_body<const MR: usize>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((g, u), out) in gate.iter().zip(up).zip(out) {
        *out = g / (1.0 + exp(-g)) * u;
    }
}

/// `x / 2 (1 + tanh(y))` is `x / (1 + e^(-2 y))`; here `y = sqrt(2 / pi) (x + 0.044715 x^3)`.
#[inline(always)]
fn gelu_mul_body<const MR: usize>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    const TWICE: f32 = 2.0 * 0.797_884_6;
    for ((g, u), out) in gate.iter().zip(up).zip(out) {
        let y = TWICE * (0.044_715 * g * g).mul_add(*g, *g);
        *out = g / (1.0 + exp(-y)) * u;
    }
}
