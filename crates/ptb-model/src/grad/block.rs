//! One layer of the model over rows of sequences: forward, keeping what its gradient needs, and back.

use super::attention::{
    AttendBack, Heads, Turned, angles, attend, attend_back, scratch, turn, turn_back,
};
use super::feed::{gated, gated_back};
use super::gemm::{Into, Mat, MatMut, product};
use super::norm::{norm, norm_back};
use super::pack::{Layer, Pack};

/// What a layer computed on its way forward.
#[derive(Default)]
pub(super) struct Kept {
    /// The residual stream before the layer, `[rows, hidden]`.
    pub(super) x: Vec<f32>,
    attention_rms: Vec<f32>,
    attention_in: Vec<f32>,
    projected: Vec<f32>,
    query_rms: Vec<f32>,
    key_rms: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    weights: Vec<f32>,
    attended: Vec<f32>,
    /// The residual stream between attention and feed-forward.
    middle: Vec<f32>,
    feed_rms: Vec<f32>,
    feed_in: Vec<f32>,
    gate_up: Vec<f32>,
    gated: Vec<f32>,
}

impl Kept {
    /// Makes room for these sequences. What is there is left as it is: all of it is overwritten.
    pub(super) fn fit(&mut self, p: &Pack, h: Heads) {
        let rows = h.rows();
        for (part, n) in [
            (&mut self.x, rows * p.hidden),
            (&mut self.attention_rms, rows),
            (&mut self.attention_in, rows * p.hidden),
            (&mut self.projected, rows * h.projected()),
            (&mut self.query_rms, rows * h.queries),
            (&mut self.key_rms, rows * h.keys),
            (&mut self.queries, rows * h.queries * h.dim),
            (&mut self.keys, rows * h.keys * h.dim),
            (&mut self.weights, h.weights()),
            (&mut self.attended, rows * h.width()),
            (&mut self.middle, rows * p.hidden),
            (&mut self.feed_rms, rows),
            (&mut self.feed_in, rows * p.hidden),
            (&mut self.gate_up, rows * 2 * p.feed),
            (&mut self.gated, rows * p.feed),
        ] {
            part.resize(n, 0.0);
        }
    }
}

/// Room for gradients of what a layer computed, shared by all layers.
#[derive(Default)]
pub(super) struct Room {
    hidden: Vec<f32>,
    attended: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    projected: Vec<f32>,
    scratch: Vec<f32>,
    gated: Vec<f32>,
}

impl Room {
    /// Makes room for these sequences.
    pub(super) fn fit(&mut self, p: &Pack, h: Heads) {
        let rows = h.rows();
        for (part, n) in [
            (&mut self.hidden, rows * p.hidden),
            (&mut self.attended, rows * h.width()),
            (&mut self.queries, rows * h.queries * h.dim),
            (&mut self.keys, rows * h.keys * h.dim),
            (&mut self.projected, rows * h.projected()),
            (&mut self.scratch, scratch(h)),
            (&mut self.gated, rows * p.feed),
        ] {
            part.resize(n, 0.0);
        }
    }
}

/// Layers' common part: sizes, and the angles of positions.
pub(super) struct Blocks {
    pub(super) pack: Pack,
    pub(super) heads: Heads,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Blocks {
    /// For `count` sequences of `time` positions.
    pub(super) fn new(pack: Pack, count: usize, time: usize) -> Self {
        let (cos, sin) = angles(time, pack.dim, pack.theta);
        let heads = Heads { count, time, queries: pack.queries, keys: pack.keys, dim: pack.dim };
        Self { pack, heads, cos, sin }
    }

    fn turned<'a>(&'a self, keys: bool, gain: &'a [f32]) -> Turned<'a> {
        let h = self.heads;
        let (first, number) = if keys { (h.queries, h.keys) } else { (0, h.queries) };
        let (cos, sin) = (self.cos.as_slice(), self.sin.as_slice());
        Turned { heads: h, first, number, gain, cos, sin, eps: self.pack.eps }
    }

    /// From `k.x` to the residual stream after the layer, in `out`.
    pub(super) fn forward(&self, w: &Layer<&[f32]>, k: &mut Kept, out: &mut [f32]) {
        let (p, h) = (&self.pack, self.heads);
        let (rows, hidden) = (h.rows(), p.hidden);
        norm(&k.x, w.attention_norm, p.eps, &mut k.attention_in, &mut k.attention_rms);
        linear(Into::Set, &mut k.projected, &k.attention_in, w.project, rows, hidden);
        turn(self.turned(false, w.query_norm), &k.projected, &mut k.queries, &mut k.query_rms);
        turn(self.turned(true, w.key_norm), &k.projected, &mut k.keys, &mut k.key_rms);
        attend(h, &k.queries, &k.keys, &k.projected, &mut k.weights, &mut k.attended);
        k.middle.copy_from_slice(&k.x);
        linear(Into::Add, &mut k.middle, &k.attended, w.out, rows, h.width());
        norm(&k.middle, w.feed_norm, p.eps, &mut k.feed_in, &mut k.feed_rms);
        linear(Into::Set, &mut k.gate_up, &k.feed_in, w.gate_up, rows, hidden);
        gated(&k.gate_up, p.feed, &mut k.gated);
        out.copy_from_slice(&k.middle);
        linear(Into::Add, out, &k.gated, w.down, rows, p.feed);
    }

    /// Given the gradient `d` of the residual stream after the layer, makes it that before the layer and
    /// adds the parameters' to `g`. What the layer kept is used up.
    pub(super) fn back(
        &self,
        w: &Layer<&[f32]>,
        k: &mut Kept,
        room: &mut Room,
        d: &mut [f32],
        g: &mut Layer<&mut [f32]>,
    ) {
        self.feed_back(w, k, room, d, g);
        self.attention_back(w, k, room, d, g);
    }

    fn feed_back(
        &self,
        w: &Layer<&[f32]>,
        k: &mut Kept,
        room: &mut Room,
        d: &mut [f32],
        g: &mut Layer<&mut [f32]>,
    ) {
        let (rows, hidden, feed) = (self.heads.rows(), self.pack.hidden, self.pack.feed);
        linear_back(g.down, d, &k.gated, rows, feed);
        linear_into(&mut room.gated, d, w.down, rows, hidden);
        gated_back(&mut k.gate_up, feed, &room.gated);
        linear_back(g.gate_up, &k.gate_up, &k.feed_in, rows, hidden);
        linear_into(&mut room.hidden, &k.gate_up, w.gate_up, rows, 2 * feed);
        norm_back(&k.middle, &k.feed_rms, w.feed_norm, &room.hidden, d, g.feed_norm);
    }

    fn attention_back(
        &self,
        w: &Layer<&[f32]>,
        k: &Kept,
        room: &mut Room,
        d: &mut [f32],
        g: &mut Layer<&mut [f32]>,
    ) {
        let (h, rows, hidden) = (self.heads, self.heads.rows(), self.pack.hidden);
        linear_back(g.out, d, &k.attended, rows, h.width());
        linear_into(&mut room.attended, d, w.out, rows, hidden);
        room.projected.fill(0.0);
        let to = AttendBack {
            queries: &mut room.queries,
            keys: &mut room.keys,
            projected: &mut room.projected,
            scratch: &mut room.scratch,
        };
        attend_back(h, &k.queries, &k.keys, &k.projected, &k.weights, &room.attended, to);
        let (dp, dq, dk) = (&mut room.projected, &mut room.queries, &mut room.keys);
        turn_back(
            self.turned(false, w.query_norm),
            &k.projected,
            &k.query_rms,
            dq,
            dp,
            g.query_norm,
        );
        turn_back(self.turned(true, w.key_norm), &k.projected, &k.key_rms, dk, dp, g.key_norm);
        linear_back(g.project, &room.projected, &k.attention_in, rows, hidden);
        linear_into(&mut room.hidden, &room.projected, w.project, rows, h.projected());
        norm_back(&k.x, &k.attention_rms, w.attention_norm, &room.hidden, d, g.attention_norm);
    }
}

/// `y = x W^T`, or `y += x W^T`; `x` has `rows` rows of `width`, `W` as many columns.
pub(super) fn linear(
    into: Into,
    y: &mut [f32],
    x: &[f32],
    weight: &[f32],
    rows: usize,
    width: usize,
) {
    let outputs = weight.len() / width.max(1);
    let weight = Mat::new(weight, outputs, width).t();
    product(into, MatMut::new(y, rows, outputs), Mat::new(x, rows, width), weight, 1.0);
}

/// The gradient of the input of [`linear`], `dx = dy W`; `dy` has rows of `outputs`.
pub(super) fn linear_into(dx: &mut [f32], dy: &[f32], weight: &[f32], rows: usize, outputs: usize) {
    let width = weight.len() / outputs.max(1);
    let weight = Mat::new(weight, outputs, width);
    product(Into::Set, MatMut::new(dx, rows, width), Mat::new(dy, rows, outputs), weight, 1.0);
}

/// Adds the gradient of the weight of [`linear`], `dW += dy^T x`; `x` has rows of `width`.
pub(super) fn linear_back(dweight: &mut [f32], dy: &[f32], x: &[f32], rows: usize, width: usize) {
    let outputs = dweight.len() / width.max(1);
    let (dy, x) = (Mat::new(dy, rows, outputs).t(), Mat::new(x, rows, width));
    product(Into::Add, MatMut::new(dweight, outputs, width), dy, x, 1.0);
}
