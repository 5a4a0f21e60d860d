//! One step: new tokens of many rows go through the model together.

use ptb_model::Activation;
use rayon::prelude::*;

use super::attention::{Heads, Query, attention};
use super::kernel::{BLOCK, NR, gelu_mul, silu_mul};
use super::math::{rotary, rotate};
use super::weights::{Layer, Norm, Packed, Weights, scatter};
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
    /// Of each kind of rotary positions, for each token.
    turns: Vec<Turn>,
    panels: Vec<[f32; NR]>,
    more_panels: Vec<[f32; NR]>,
    qkv: Vec<f32>,
    q: Vec<f32>,
    attended: Vec<[f32; NR]>,
    joined: Vec<f32>,
    /// What is to be normed before it joins the residual stream.
    result: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    act: Vec<f32>,
    wanted: Vec<f32>,
    logits: Vec<f32>,
}

/// Cosines and sines of all tokens' positions, `[token][dim / 2]`.
#[derive(Default)]
struct Turn {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Turn {
    fn fit(&mut self, len: usize) {
        self.cos.resize(len, 0.0);
        self.sin.resize(len, 0.0);
    }

    /// Turns a head of the given token.
    fn apply(&self, token: usize, head: &mut [f32]) {
        let half = head.len() / 2;
        let angles = token * half..(token + 1) * half;
        rotate(head, &self.cos[angles.clone()], &self.sin[angles]);
    }
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
    s.turns.resize_with(weights.frequencies.len(), Turn::default);
    s.turns.iter_mut().for_each(|turn| turn.fit(tokens * half));
    for index in order {
        let slice = &slices[index];
        for (i, token) in slice.tokens.iter().enumerate() {
            let (n, position) = (queries.len(), slice.start + i);
            weights.embed(*token, &mut s.x[n * c.hidden_size..(n + 1) * c.hidden_size]);
            let angles = n * half..(n + 1) * half;
            for (turn, frequencies) in s.turns.iter_mut().zip(&weights.frequencies) {
                let (cos, sin) = (&mut turn.cos[angles.clone()], &mut turn.sin[angles.clone()]);
                rotary(position, frequencies, cos, sin);
            }
            queries.push(Query { table: slice.table, begin: 0, end: position + 1 });
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
        feed_forward(c.activation(), layer, active.len(), s);
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
    let turn = layer.rope.map(|rope| &s.turns[rope]);
    // A head as attention takes it: normed and turned, where the architecture does that.
    let prepare = |norm: &Option<Norm>, n: usize, from: &[f32], to: &mut [f32]| {
        match norm {
            Some(norm) => norm.apply(from, to),
            None => to.copy_from_slice(from),
        }
        if let Some(turn) = turn {
            turn.apply(n, to);
        }
    };
    let (width, keys_at) = (layer.qkv.outputs(), c.num_heads * dim);
    let values_at = keys_at + c.num_kv_heads * dim;
    let mut head = vec![0.0; dim];
    for (n, row) in s.qkv.chunks_exact(width).enumerate() {
        let (keys, values) = (&row[keys_at..values_at], &row[values_at..]);
        for (h, (key, value)) in keys.chunks_exact(dim).zip(values.chunks_exact(dim)).enumerate() {
            prepare(&layer.key_norm, n, key, &mut head);
            pool.write(places[n].block, places[n].slot, (index, h), &head, value);
        }
    }
    let (rows, scale) = (active.len(), 1.0 / (c.query_scalar as f32).sqrt());
    s.q.resize(rows * keys_at, 0.0);
    for (i, n) in active.iter().enumerate() {
        let row = &s.qkv[n * width..n * width + keys_at];
        for (h, q) in row.chunks_exact(dim).enumerate() {
            let at = ((h / group * rows + i) * group + h % group) * dim;
            let to = &mut s.q[at..at + dim];
            prepare(&layer.query_norm, *n, q, to);
            to.iter_mut().for_each(|x| *x *= scale);
        }
    }
    let heads = Heads { kv_heads: c.num_kv_heads, group, dim };
    let asking: Vec<Query<'_>> = active.iter().map(|n| seen(queries[*n], layer.window)).collect();
    attention(pool, index, heads, &asking, &s.q, &mut s.attended);
    join_heads(heads, rows, &s.attended, &mut s.joined);
    layer.attention_out.product(&s.joined, rows, &mut s.panels);
    keep_rows(&mut s.x, c.hidden_size, active);
    join(layer.attention_out_norm.as_ref(), rows, c.hidden_size, s);
}

/// A query of a layer that looks back over a window alone.
fn seen(query: Query<'_>, window: Option<usize>) -> Query<'_> {
    Query { begin: window.map_or(0, |window| query.end.saturating_sub(window)), ..query }
}

/// Adds a product's panels to the residual stream, normed where the architecture does that.
fn join(norm: Option<&Norm>, rows: usize, hidden: usize, s: &mut Scratch) {
    let Some(norm) = norm else {
        return scatter(&s.panels, rows, hidden, &mut s.x, |x, y| *x += y);
    };
    s.result.resize(rows * hidden, 0.0);
    scatter(&s.panels, rows, hidden, &mut s.result, |to, y| *to = y);
    s.normed.resize(rows * hidden, 0.0);
    norm.apply(&s.result, &mut s.normed);
    s.x.iter_mut().zip(&s.normed).for_each(|(x, y)| *x += y);
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

fn feed_forward(activation: Activation, layer: &Layer, rows: usize, s: &mut Scratch) {
    let gated = match activation {
        Activation::Silu => silu_mul,
        Activation::GeluTanh => gelu_mul,
    };
    s.normed.resize(s.x.len(), 0.0);
    layer.feed_forward_norm.apply(&s.x, &mut s.normed);
    product(&layer.gate, &s.normed, rows, &mut s.panels, &mut s.gate);
    product(&layer.up, &s.normed, rows, &mut s.more_panels, &mut s.up);
    s.act.resize(s.gate.len(), 0.0);
    let width = layer.gate.outputs();
    if s.act.len() < SERIAL {
        gated(&s.gate, &s.up, &mut s.act);
    } else {
        let inputs = s.gate.par_chunks(width).zip(s.up.par_chunks(width));
        s.act.par_chunks_mut(width).zip(inputs).for_each(|(act, (g, u))| gated(g, u, act));
    }
    layer.down.product(&s.act, rows, &mut s.panels);
    join(layer.down_norm.as_ref(), rows, layer.down.outputs(), s);
}

fn head<'s>(weights: &Weights, wanted: &[usize], s: &'s mut Scratch) -> &'s [f32] {
    let hidden = weights.config.hidden_size;
    s.wanted.resize(wanted.len() * hidden, 0.0);
    for (row, to) in wanted.iter().zip(s.wanted.chunks_exact_mut(hidden)) {
        weights.final_norm.apply(&s.x[row * hidden..(row + 1) * hidden], to);
    }
    product(&weights.head, &s.wanted, wanted.len(), &mut s.panels, &mut s.logits);
    if let Some(cap) = weights.config.logit_cap {
        let cap = cap as f32;
        s.logits.par_iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
    }
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
