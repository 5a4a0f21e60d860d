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
    // What comes after the last layer's keys and values matters only where logits are wanted.
    let all: Vec<usize> = (0..tokens).collect();
    let wanted = |(slice, row): (&Slice<'_>, &usize)| slice.logits.then_some(*row);
    let rows: Vec<usize> = slices.iter().zip(&last).filter_map(wanted).collect();
    let mut ends = rows.clone();
    ends.sort_unstable();
    for (index, layer) in weights.layers.iter().enumerate() {
        let active = if index + 1 == weights.layers.len() { &ends } else { &all };
        attend_layer(weights, pool, (index, layer), &queries, &places, active, s);
        feed_forward(layer, active.len(), s);
    }
    let place = |row: &usize| ends.binary_search(row).unwrap_or(0);
    head(weights, &rows.iter().map(place).collect::<Vec<_>>(), s)
}

/// Stores keys and values of all rows and lets the `active` ones attend; `x` keeps these alone.
fn attend_layer(
    weights: &Weights,
    pool: &mut Pool,
    (index, layer): (usize, &Layer),
    queries: &[Query<'_>],
    places: &[Place],
    active: &[usize],
    s: &mut Scratch,
) {
    let c = &weights.config;
    let (dim, group) = (c.head_dim, c.group());
    layer.attention_norm.apply(&s.x, &mut s.normed);
    product(&layer.qkv, &s.normed, queries.len(), &mut s.panels, &mut s.qkv);
    let half = dim / 2;
    let angles = |n: usize| n * half..(n + 1) * half;
    let (width, keys_at) = (layer.qkv.outputs(), c.num_heads * dim);
    let values_at = keys_at + c.num_kv_heads * dim;
    let mut head = vec![0.0; dim];
    for (n, row) in s.qkv.chunks_exact(width).enumerate() {
        let (keys, values) = (&row[keys_at..values_at], &row[values_at..]);
        for (h, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            layer.key_norm.apply(key, &mut head);
            rotate(&mut head, &s.cos[angles(n)], &s.sin[angles(n)]);
            pool.write(places[n].block, places[n].slot, (index, h), &head, value);
        }
    }
    let (rows, scale) = (active.len(), 1.0 / (dim as f32).sqrt());
    s.q.resize(rows * keys_at, 0.0);
    for (i, n) in active.iter().enumerate() {
        let row = &s.qkv[n * width..n * width + keys_at];
        for (h, q) in row.chunks_exact(dim).enumerate() {
            let at = ((h / group * rows + i) * group + h % group) * dim;
            let to = &mut s.q[at..at + dim];
            layer.query_norm.apply(q, to);
            rotate(to, &s.cos[angles(*n)], &s.sin[angles(*n)]);
            to.iter_mut().for_each(|x| *x *= scale);
        }
    }
    let heads = Heads { kv_heads: c.num_kv_heads, group, dim };
    let asking: Vec<Query<'_>> = active.iter().map(|n| queries[*n]).collect();
    attention(pool, index, heads, &asking, &s.q, &mut s.attended);
    join_heads(heads, rows, &s.attended, &mut s.joined);
    layer.attention_out.product(&s.joined, rows, &mut s.panels);
    keep_rows(&mut s.x, c.hidden_size, active);
    scatter(&s.panels, rows, c.hidden_size, &mut s.x, |x, y| *x += y);
}

/// Keeps the given rows, which ascend.
fn keep_rows(x: &mut Vec<f32>, width: usize, rows: &[usize]) {
    for (to, from) in rows.iter().enumerate().filter(|(to, from)| to != *from) {
        x.copy_within(from * width..(from + 1) * width, to * width);
    }
    x.truncate(rows.len() * width);
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
    s.normed.resize(s.x.len(), 0.0);
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
