//! One step: new tokens of many rows go through the model together.

use rayon::prelude::*;

use super::attention::{Heads, Query, attention};
use super::kernel::{BLOCK, NR, silu_mul};
use super::math::{rotary, rotate};
use super::weights::{Layer, Packed, Weights, scatter};
use crate::cache::{BlockId, Pool};

/// Elements below which elementwise work stays on one thread.
const SERIAL: usize = 64 * 1024;

/// New tokens of one row.
pub(crate) struct Slice<'a> {
    /// The tokens, at least one.
    pub(crate) tokens: &'a [u32],
    /// Position of the first.
    pub(crate) start: usize,
    /// The row's blocks, enough for all positions up to the last of these tokens.
    pub(crate) table: &'a [BlockId],
    /// Whether the last token's logits are wanted.
    pub(crate) logits: bool,
}

/// Buffers kept from step to step.
#[derive(Default)]
pub(crate) struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
    panels: Vec<[f32; NR]>,
    more_panels: Vec<[f32; NR]>,
    qkv: Vec<f32>,
    q: Vec<f32>,
    attended: Vec<[f32; NR]>,
    joined: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    act: Vec<f32>,
    wanted: Vec<f32>,
    logits: Vec<f32>,
}

/// Where a token lies: its block and the slot in it.
#[derive(Clone, Copy)]
struct Place {
    block: BlockId,
    slot: usize,
}

/// Runs the slices; gives `[slice][vocabulary]` for those that want logits, in the given order.
pub(crate) fn step<'s>(
    weights: &Weights,
    pool: &mut Pool,
    slices: &[Slice<'_>],
    s: &'s mut Scratch,
) -> &'s [f32] {
    let c = &weights.config;
    let mut order: Vec<usize> = (0..slices.len()).collect();
    order.sort_by(|a, b| slices[*a].table.cmp(slices[*b].table));
    let mut queries = Vec::new();
    let mut places = Vec::new();
    // Row of each wanted logit, by slice.
    let mut last = vec![0; slices.len()];
    let half = c.head_dim / 2;
    let tokens: usize = slices.iter().map(|s| s.tokens.len()).sum();
    s.x.resize(tokens * c.hidden_size, 0.0);
    s.normed.resize(tokens * c.hidden_size, 0.0);
    s.cos.resize(tokens * half, 0.0);
    s.sin.resize(tokens * half, 0.0);
    for index in order {
        let slice = &slices[index];
        for (i, token) in slice.tokens.iter().enumerate() {
            let (n, position) = (queries.len(), slice.start + i);
            weights.embed(*token, &mut s.x[n * c.hidden_size..(n + 1) * c.hidden_size]);
            let angles = n * half..(n + 1) * half;
            let (cos, sin) = (&mut s.cos[angles.clone()], &mut s.sin[angles]);
            rotary(position, c.rope_theta as f32, cos, sin);
            queries.push(Query { table: slice.table, limit: position + 1 });
            places.push(Place { block: slice.table[position / BLOCK], slot: position % BLOCK });
            last[index] = n;
        }
    }
    for (index, layer) in weights.layers.iter().enumerate() {
        attend_layer(weights, pool, (index, layer), &queries, &places, s);
        feed_forward(layer, tokens, s);
    }
    let wanted: Vec<usize> =
        slices.iter().zip(last).filter_map(|(slice, row)| slice.logits.then_some(row)).collect();
    head(weights, &wanted, s)
}

fn attend_layer(
    weights: &Weights,
    pool: &mut Pool,
    (index, layer): (usize, &Layer),
    queries: &[Query<'_>],
    places: &[Place],
    s: &mut Scratch,
) {
    let c = &weights.config;
    let (rows, dim, group) = (queries.len(), c.head_dim, c.group());
    layer.attention_norm.apply(&s.x, &mut s.normed);
    let width = layer.qkv.outputs();
    product(&layer.qkv, &s.normed, rows, &mut s.panels, &mut s.qkv);
    s.q.resize(rows * c.num_heads * dim, 0.0);
    let (scale, half) = (1.0 / (dim as f32).sqrt(), dim / 2);
    let mut head = vec![0.0; dim];
    for (n, row) in s.qkv.chunks_exact(width).enumerate() {
        let angles = n * half..(n + 1) * half;
        let (cos, sin) = (&s.cos[angles.clone()], &s.sin[angles]);
        let (q, kv) = row.split_at(c.num_heads * dim);
        let (keys, values) = kv.split_at(c.num_kv_heads * dim);
        for (h, q) in q.chunks_exact(dim).enumerate() {
            let at = ((h / group * rows + n) * group + h % group) * dim;
            let to = &mut s.q[at..at + dim];
            layer.query_norm.apply(q, to);
            rotate(to, cos, sin);
            to.iter_mut().for_each(|x| *x *= scale);
        }
        for (h, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            layer.key_norm.apply(key, &mut head);
            rotate(&mut head, cos, sin);
            pool.write(places[n].block, places[n].slot, (index, h), &head, value);
        }
    }
    let heads = Heads { kv_heads: c.num_kv_heads, group, dim };
    attention(pool, index, heads, queries, &s.q, &mut s.attended);
    join_heads(heads, rows, &s.attended, &mut s.joined);
    layer.attention_out.product(&s.joined, rows, &mut s.panels);
    scatter(&s.panels, rows, c.hidden_size, &mut s.x, |x, y| *x += y);
}

/// From `[kv head][token][group][panels]` to `[token][head][dim]`.
fn join_heads(heads: Heads, rows: usize, attended: &[[f32; NR]], joined: &mut Vec<f32>) {
    let Heads { kv_heads, group, dim } = heads;
    joined.resize(rows * kv_heads * group * dim, 0.0);
    let panels = dim.div_ceil(NR);
    for (i, values) in attended.chunks_exact(panels).enumerate() {
        let (g, n, h) = (i % group, i / group % rows, i / group / rows);
        let at = (n * kv_heads * group + h * group + g) * dim;
        joined[at..at + dim].copy_from_slice(&values.as_flattened()[..dim]);
    }
}

fn feed_forward(layer: &Layer, rows: usize, s: &mut Scratch) {
    layer.feed_forward_norm.apply(&s.x, &mut s.normed);
    product(&layer.gate, &s.normed, rows, &mut s.panels, &mut s.gate);
    product(&layer.up, &s.normed, rows, &mut s.more_panels, &mut s.up);
    s.act.resize(s.gate.len(), 0.0);
    let width = layer.gate.outputs();
    if s.act.len() < SERIAL {
        silu_mul(&s.gate, &s.up, &mut s.act);
    } else {
        let inputs = s.gate.par_chunks(width).zip(s.up.par_chunks(width));
        s.act.par_chunks_mut(width).zip(inputs).for_each(|(act, (g, u))| silu_mul(g, u, act));
    }
    layer.down.product(&s.act, rows, &mut s.panels);
    let hidden = layer.down.outputs();
    scatter(&s.panels, rows, hidden, &mut s.x, |x, y| *x += y);
}

fn head<'s>(weights: &Weights, wanted: &[usize], s: &'s mut Scratch) -> &'s [f32] {
    let hidden = weights.config.hidden_size;
    s.wanted.resize(wanted.len() * hidden, 0.0);
    for (row, to) in wanted.iter().zip(s.wanted.chunks_exact_mut(hidden)) {
        weights.final_norm.apply(&s.x[row * hidden..(row + 1) * hidden], to);
    }
    product(&weights.head, &s.wanted, wanted.len(), &mut s.panels, &mut s.logits);
    &s.logits
}

/// A product laid out by rows.
fn product(
    weight: &Packed,
    a: &[f32],
    rows: usize,
    panels: &mut Vec<[f32; NR]>,
    out: &mut Vec<f32>,
) {
    weight.product(a, rows, panels);
    out.resize(rows * weight.outputs(), 0.0);
    scatter(panels, rows, weight.outputs(), out, |to, y| *to = y);
}
