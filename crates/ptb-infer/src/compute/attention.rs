//! Attention of many rows over shared and own blocks.
//!
//! Rows are sorted by their block tables, so those that share a beginning are neighbours, and the queries
//! of all of them meet a shared block in one small matrix product instead of one by one.

use rayon::prelude::*;

use super::kernel::{Attend, BLOCK, NR, attend};
use crate::cache::{BlockId, Pool};

/// Queries worked on at once: few enough that their running sums stay in the first cache.
const TILE: usize = 64;
/// Multiply-adds below which one thread does it all.
const SERIAL: usize = 400_000;

/// A query token: its row's blocks and which positions it sees.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) table: &'a [BlockId],
    /// The first position.
    pub(crate) begin: usize,
    /// The one after the last.
    pub(crate) end: usize,
}

impl Query<'_> {
    /// What it sees of a block, if anything.
    fn visible(&self, index: usize) -> Option<(usize, usize)> {
        let start = index * BLOCK;
        let seen = (self.begin.saturating_sub(start), self.end.saturating_sub(start).min(BLOCK));
        (seen.0 < seen.1).then_some(seen)
    }
}

/// Shape of one layer's attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) kv_heads: usize,
    pub(crate) group: usize,
    pub(crate) dim: usize,
}

impl Heads {
    fn value_panels(self) -> usize {
        self.dim.div_ceil(NR)
    }
}

/// `q` is `[kv head][token][group][dim]`, scaled; `out` becomes `[kv head][token][group][value panels]`.
pub(crate) fn attention(
    pool: &Pool,
    layer: usize,
    heads: Heads,
    tokens: &[Query<'_>],
    q: &[f32],
    out: &mut Vec<[f32; NR]>,
) {
    let (per_head, panels) = (tokens.len() * heads.group, heads.value_panels());
    out.clear();
    if tokens.is_empty() {
        return;
    }
    out.resize(heads.kv_heads * per_head * panels, [0.0; NR]);
    let seen: usize = tokens.iter().map(|t| t.end - t.begin).sum();
    let serial = seen * heads.group * heads.dim * 2 * heads.kv_heads < SERIAL;
    let tile = (TILE / heads.group).max(1);
    let work = |head: usize, n: usize, out: &mut [[f32; NR]]| {
        let first = n * tile;
        let count = out.len() / (heads.group * panels);
        let at = (head * per_head + first * heads.group) * heads.dim;
        let q = &q[at..at + count * heads.group * heads.dim];
        attend_tile(pool, (layer, head), heads, &tokens[first..first + count], q, out);
    };
    let size = tile * heads.group * panels;
    if serial {
        for (head, out) in out.chunks_exact_mut(per_head * panels).enumerate() {
            out.chunks_mut(size).enumerate().for_each(|(n, out)| work(head, n, out));
        }
    } else {
        out.par_chunks_exact_mut(per_head * panels).enumerate().for_each(|(head, out)| {
            out.par_chunks_mut(size).enumerate().for_each(|(n, out)| work(head, n, out));
        });
    }
}

/// One tile of neighbouring queries through all their blocks.
fn attend_tile(
    pool: &Pool,
    (layer, head): (usize, usize),
    heads: Heads,
    tokens: &[Query<'_>],
    q: &[f32],
    out: &mut [[f32; NR]],
) {
    let (group, panels) = (heads.group, heads.value_panels());
    let mut max = vec![f32::NEG_INFINITY; tokens.len() * group];
    let mut sum = vec![0.0; tokens.len() * group];
    let mut visible = vec![(0, 0); tokens.len() * group];
    let first = tokens.iter().map(|t| t.begin / BLOCK).min().unwrap_or(0);
    let blocks = tokens.iter().map(|t| t.end.div_ceil(BLOCK)).max().unwrap_or(0);
    for index in first..blocks {
        let mut from = 0;
        while from < tokens.len() {
            let to = run_end(tokens, from, index);
            if tokens[from].visible(index).is_some() {
                for (visible, token) in
                    visible.chunks_exact_mut(group).zip(tokens).take(to).skip(from)
                {
                    visible.fill(token.visible(index).unwrap_or_default());
                }
                let own = from * group..to * group;
                let run = Attend {
                    q: &q[own.start * heads.dim..own.end * heads.dim],
                    dim: heads.dim,
                    visible: &visible[own.clone()],
                    max: &mut max[own.clone()],
                    sum: &mut sum[own.clone()],
                    out: &mut out[own.start * panels..own.end * panels],
                };
                attend(run, pool.view(tokens[from].table[index], layer, head));
            }
            from = to;
        }
    }
    for (out, sum) in out.chunks_exact_mut(panels).zip(&sum) {
        out.as_flattened_mut().iter_mut().for_each(|x| *x /= sum);
    }
}

/// The end of a run of tokens that see the same block at `index` (or that all see none there).
fn run_end(tokens: &[Query<'_>], from: usize, index: usize) -> usize {
    let key = |t: &Query<'_>| t.visible(index).map(|_| t.table[index]);
    let first = key(&tokens[from]);
    let run = tokens[from..].iter().take_while(|t| key(t) == first).count();
    from + run.max(1)
}
