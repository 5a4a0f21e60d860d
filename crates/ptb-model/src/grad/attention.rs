//! Causal attention with grouped queries, normed heads and rotary positions, and its gradient.
//!
//! Queries and keys leave [`turn`] with the head outside (`[sequence, head, time, dim]`), so that a head
//! is one matrix; values stay where their projection wrote them, and are read with a stride. Query heads
//! that share a key head read it in place. Formulas: Qwen3 technical report, arXiv 2505.09388; rotary
//! positions, arXiv 2104.09864; attention's gradient, arXiv 2205.14135 (appendix B).

use super::gemm::{Into, Mat, MatMut, product};
use super::norm::{inverse_rms, norm_back_row};
use super::simd::{LANES, exp, larger, load, max, store, sum, vectorized};

/// Queries taken at once: what lies above the diagonal is skipped by blocks of this many.
const BLOCK: usize = 64;

/// Sizes of the sequences at hand and of the heads.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) count: usize,
    pub(super) time: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
    pub(super) dim: usize,
}

impl Heads {
    pub(super) fn rows(&self) -> usize {
        self.count * self.time
    }

    /// Width of a row of projected queries, keys and values.
    pub(super) fn projected(&self) -> usize {
        (self.queries + 2 * self.keys) * self.dim
    }

    /// Width of a row of attention's result.
    pub(super) fn width(&self) -> usize {
        self.queries * self.dim
    }

    /// Length of a row of attention weights: the time, rounded up to whole lanes.
    pub(super) fn span(&self) -> usize {
        self.time.next_multiple_of(LANES)
    }

    /// Elements of the attention weights of all sequences.
    pub(super) fn weights(&self) -> usize {
        self.count * self.queries * self.time * self.span()
    }

    /// Every query head: where it begins in the turned queries, in the turned keys, in a row of
    /// values, in a row of results and in the weights, for its sequence's first position.
    fn each(self) -> impl Iterator<Item = Place> {
        let group = self.queries / self.keys.max(1);
        (0..self.count * self.queries).map(move |at| {
            let (sequence, head) = (at / self.queries, at % self.queries);
            let (row, key) = (sequence * self.time, head / group.max(1));
            Place {
                query: at * self.time * self.dim,
                key: (sequence * self.keys + key) * self.time * self.dim,
                value: row * self.projected() + (self.queries + self.keys + key) * self.dim,
                result: row * self.width() + head * self.dim,
                weight: at * self.time * self.span(),
            }
        })
    }

    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.time).step_by(BLOCK).map(move |first| (first, (first + BLOCK).min(self.time)))
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }
}

struct Place {
    query: usize,
    key: usize,
    value: usize,
    result: usize,
    weight: usize,
}

/// Cosines and sines of `time` positions, `[time, dim / 2]` each: frequencies `theta^(-2i/dim)`, in f32 as
/// `transformers` computes them.
pub(super) fn angles(time: usize, dim: usize, theta: f64) -> (Vec<f32>, Vec<f32>) {
    let half = dim / 2;
    let inverse = |i: usize| 1.0 / (theta as f32).powf((2 * i) as f32 / dim as f32);
    let inverse: Vec<f32> = (0..half).map(inverse).collect();
    let all = (0..time).flat_map(|t| inverse.iter().map(move |f| t as f32 * f));
    all.map(|angle| (angle.cos(), angle.sin())).unzip()
}

/// Which heads of a projected row [`turn`] takes.
#[derive(Clone, Copy)]
pub(super) struct Turned<'a> {
    pub(super) heads: Heads,
    /// First head in a projected row, and how many.
    pub(super) first: usize,
    pub(super) number: usize,
    pub(super) gain: &'a [f32],
    pub(super) cos: &'a [f32],
    pub(super) sin: &'a [f32],
    pub(super) eps: f32,
}

impl Turned<'_> {
    /// Of a sequence, a position and a head: where its projection begins, where its turned vector
    /// begins, and its number among the turned ones.
    #[inline(always)]
    fn at(&self, sequence: usize, time: usize, head: usize) -> (usize, usize, usize) {
        let Heads { time: times, dim, .. } = self.heads;
        let row = sequence * times + time;
        let number = (sequence * self.number + head) * times + time;
        (row * self.heads.projected() + (self.first + head) * dim, number * dim, number)
    }
}

/// Norms each head and turns it by its position's angles: halves (a, b) become
/// (a cos - b sin, b cos + a sin). `kept` receives each head's inverse root mean square.
pub(super) fn turn(turned: Turned<'_>, projected: &[f32], out: &mut [f32], kept: &mut [f32]) {
    #[inline(always)]
    fn body(t: Turned<'_>, projected: &[f32], out: &mut [f32], kept: &mut [f32]) {
        let (dim, half) = (t.heads.dim, t.heads.dim / 2);
        for sequence in 0..t.heads.count {
            for (time, (cos, sin)) in t
                .cos
                .chunks_exact(half)
                .zip(t.sin.chunks_exact(half))
                .take(t.heads.time)
                .enumerate()
            {
                for head in 0..t.number {
                    let (from, to, number) = t.at(sequence, time, head);
                    let (x, out) = (&projected[from..from + dim], &mut out[to..to + dim]);
                    let r = inverse_rms(x, t.eps);
                    kept[number] = r;
                    let ((xa, xb), (ga, gb)) = (x.split_at(half), t.gain.split_at(half));
                    let (oa, ob) = out.split_at_mut(half);
                    for at in (0..half).step_by(LANES) {
                        let (mut a, mut b) = (load(xa, at), load(xb, at));
                        let (ga, gb) = (load(ga, at), load(gb, at));
                        let (cos, sin) = (load(cos, at), load(sin, at));
                        for j in 0..LANES {
                            let (x, y) = (a[j] * r * ga[j], b[j] * r * gb[j]);
                            (a[j], b[j]) = (x * cos[j] - y * sin[j], y * cos[j] + x * sin[j]);
                        }
                        store(oa, at, a);
                        store(ob, at, b);
                    }
                }
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(turned, projected, out, kept),
    );
}

/// Given the gradient of the turned heads (which it overwrites), adds that of the projections to
/// `dprojected` and that of the gain to `dgain`. The gradient of a turn is the turn back.
pub(super) fn turn_back(
    turned: Turned<'_>,
    projected: &[f32],
    kept: &[f32],
    d: &mut [f32],
    dprojected: &mut [f32],
    dgain: &mut [f32],
) {
    #[inline(always)]
    fn body(
        t: Turned<'_>,
        projected: &[f32],
        kept: &[f32],
        d: &mut [f32],
        dprojected: &mut [f32],
        dgain: &mut [f32],
    ) {
        let (dim, half) = (t.heads.dim, t.heads.dim / 2);
        for sequence in 0..t.heads.count {
            for (time, (cos, sin)) in t
                .cos
                .chunks_exact(half)
                .zip(t.sin.chunks_exact(half))
                .take(t.heads.time)
                .enumerate()
            {
                for head in 0..t.number {
                    let (from, to, number) = t.at(sequence, time, head);
                    let (da, db) = d[to..to + dim].split_at_mut(half);
                    for at in (0..half).step_by(LANES) {
                        let (mut a, mut b) = (load(da, at), load(db, at));
                        let (cos, sin) = (load(cos, at), load(sin, at));
                        for j in 0..LANES {
                            let (x, y) = (a[j], b[j]);
                            (a[j], b[j]) = (x * cos[j] + y * sin[j], y * cos[j] - x * sin[j]);
                        }
                        store(da, at, a);
                        store(db, at, b);
                    }
                    let x = &projected[from..from + dim];
                    let dx = &mut dprojected[from..from + dim];
                    norm_back_row(x, kept[number], t.gain, &d[to..to + dim], dx, dgain);
                }
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(turned, projected, kept, d, dprojected, dgain),
    );
}

/// `softmax(Q K^T / sqrt(dim)) V` for every head, each position seeing itself and what is before it. The
/// weights are kept in `weights`, `[sequence, head, time, span]`.
pub(super) fn attend(
    h: Heads,
    queries: &[f32],
    keys: &[f32],
    projected: &[f32],
    weights: &mut [f32],
    out: &mut [f32],
) {
    let (dim, span) = (h.dim, h.span());
    for at in h.each() {
        for (first, end) in h.blocks() {
            let rows = end - first;
            let q = Mat::new(&queries[at.query + first * dim..], rows, dim);
            let k = Mat::new(&keys[at.key..], end, dim);
            let v = Mat::strided(&projected[at.value..], end, dim, h.projected());
            let p = &mut weights[at.weight + first * span..][..rows * span];
            product(Into::Set, MatMut::strided(p, rows, end, span), q, k.t(), h.scale());
            softmax(p, first, span);
            let p = Mat::strided(p, rows, end, span);
            let o = &mut out[at.result + first * h.width()..];
            product(Into::Set, MatMut::strided(o, rows, dim, h.width()), p, v, 1.0);
        }
    }
}

/// Softmax of rows of scores, the first of which sees `first + 1` positions, the next one more; what a row
/// does not see becomes 0.
fn softmax(scores: &mut [f32], first: usize, span: usize) {
    #[inline(always)]
    fn body(scores: &mut [f32], first: usize, span: usize) {
        for (n, row) in scores.chunks_exact_mut(span).enumerate() {
            let seen = first + n + 1;
            row[seen..].fill(f32::NEG_INFINITY);
            let (row, unseen) = row.split_at_mut(seen.next_multiple_of(LANES));
            unseen.fill(0.0);
            let (chunks, _) = row.as_chunks_mut::<LANES>();
            let mut top = [f32::NEG_INFINITY; LANES];
            for chunk in chunks.iter() {
                for j in 0..LANES {
                    top[j] = larger(top[j], chunk[j]);
                }
            }
            let (top, mut total) = (max(top), [0.0; LANES]);
            for chunk in chunks.iter_mut() {
                for j in 0..LANES {
                    chunk[j] = exp(chunk[j] - top);
                    total[j] += chunk[j];
                }
            }
            let share = 1.0 / sum(total);
            for chunk in chunks {
                for value in chunk {
                    *value *= share;
                }
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(scores, first, span),
    );
}

/// Gradients that [`attend_back`] writes and the room it works in.
pub(super) struct AttendBack<'a> {
    /// Of the turned queries; overwritten.
    pub(super) queries: &'a mut [f32],
    /// Of the turned keys; overwritten.
    pub(super) keys: &'a mut [f32],
    /// Of the projections; the values' part is added to.
    pub(super) projected: &'a mut [f32],
    /// At least a block of rows of weights.
    pub(super) scratch: &'a mut [f32],
}

/// Elements of [`AttendBack::scratch`].
pub(super) fn scratch(h: Heads) -> usize {
    BLOCK.min(h.time) * h.span()
}

/// Given the gradient `d` of attention's result, those of queries, keys and values:
/// `dV = P^T d`, `dP = d V^T`, `dS = P (dP - rowsum(P dP))`, `dQ = dS K / sqrt(dim)`,
/// `dK = dS^T Q / sqrt(dim)`.
pub(super) fn attend_back(
    h: Heads,
    queries: &[f32],
    keys: &[f32],
    projected: &[f32],
    weights: &[f32],
    d: &[f32],
    to: AttendBack<'_>,
) {
    let (dim, span, wide) = (h.dim, h.span(), h.projected());
    to.keys.fill(0.0);
    for at in h.each() {
        for (first, end) in h.blocks() {
            let rows = end - first;
            let q = Mat::new(&queries[at.query + first * dim..], rows, dim);
            let k = Mat::new(&keys[at.key..], end, dim);
            let v = Mat::strided(&projected[at.value..], end, dim, wide);
            let p = &weights[at.weight + first * span..][..rows * span];
            let d = Mat::strided(&d[at.result + first * h.width()..], rows, dim, h.width());
            let dv = MatMut::strided(&mut to.projected[at.value..], end, dim, wide);
            product(Into::Add, dv, Mat::strided(p, rows, end, span).t(), d, 1.0);
            let ds = &mut to.scratch[..rows * span];
            product(Into::Set, MatMut::strided(ds, rows, end, span), d, v.t(), 1.0);
            softmax_back(p, ds, first, span);
            let ds = Mat::strided(ds, rows, end, span);
            let dq = MatMut::new(&mut to.queries[at.query + first * dim..], rows, dim);
            product(Into::Set, dq, ds, k, h.scale());
            let dk = MatMut::new(&mut to.keys[at.key..], end, dim);
            product(Into::Add, dk, ds.t(), q, h.scale());
        }
    }
}

/// Replaces the gradient of each row's weights by that of its scores: `p (d - sum(p d))`.
fn softmax_back(weights: &[f32], d: &mut [f32], first: usize, span: usize) {
    #[inline(always)]
    fn body(weights: &[f32], d: &mut [f32], first: usize, span: usize) {
        let rows = weights.chunks_exact(span).zip(d.chunks_exact_mut(span));
        for (n, (p, d)) in rows.enumerate() {
            let seen = first + n + 1;
            d[seen..].fill(0.0);
            let whole = seen.next_multiple_of(LANES);
            let (p, d) = (&p[..whole], &mut d[..whole]);
            let pull = super::simd::sum_of(p, d, |p, d| p * d);
            for (p, d) in p.iter().zip(d) {
                *d = p * (*d - pull);
            }
        }
    }
    vectorized(
        #[inline(always)]
        || body(weights, d, first, span),
    );
}
