//! Each loop alone, forward and back.

use candle_core::{Device, Tensor, Var};

use super::super::attention::{
    AttendBack, Heads, Turned, angles, attend, attend_back, scratch, turn, turn_back,
};
use super::super::feed::{gated, gated_back};
use super::super::head::{Head, cross_entropy};
use super::super::norm::{norm, norm_back};
use super::super::pack::Pack;
use super::{RandomModel, close, numbers, plain, values, var};

/// The gradients of `sum(y d)` by `inputs`.
fn back(y: &Tensor, d: &Tensor, inputs: &[&Tensor]) -> Vec<Vec<f32>> {
    let grads = y.mul(d).unwrap().sum_all().unwrap().backward().unwrap();
    inputs.iter().map(|x| values(grads.get(x).unwrap())).collect()
}

/// Numbers up to `size`.
fn spread(shape: &[usize], seed: usize, size: f64) -> Var {
    let small = var(shape, seed);
    small.set(&(small.as_tensor() * size).unwrap()).unwrap();
    small
}

fn free(t: &Tensor) -> Var {
    Var::from_tensor(&t.detach().copy().unwrap()).unwrap()
}

#[test]
fn rms_norm() {
    for (rows, width) in [(1, 16), (5, 37), (3, 128), (4, 7)] {
        let (x, gain, d) = (var(&[rows, width], 1), var(&[width], 2), var(&[rows, width], 3));
        let right = plain::norm(&x, &gain, 1e-3);
        let rights = back(&right, &d, &[&x, &gain]);
        let (x, gain, d) = (values(&x), values(&gain), values(&d));
        let (mut y, mut kept) = (vec![0.0; rows * width], vec![0.0; rows]);
        norm(&x, &gain, 1e-3, &mut y, &mut kept);
        close("norm", &y, &values(&right));
        let (mut dx, mut dgain) = (vec![0.0; rows * width], vec![0.0; width]);
        norm_back(&x, &kept, &gain, &d, &mut dx, &mut dgain);
        close("dx", &dx, &rights[0]);
        close("dgain", &dgain, &rights[1]);
    }
}

#[test]
fn gated_unit() {
    for (rows, width) in [(3, 16), (2, 53), (4, 5)] {
        let (wide, d) = (spread(&[rows, 2 * width], 4, 6.0), var(&[rows, width], 5));
        let gate = wide.narrow(1, 0, width).unwrap().contiguous().unwrap();
        let up = wide.narrow(1, width, width).unwrap().contiguous().unwrap();
        let right = plain::gated(&gate, &up);
        let rights = back(&right, &d, &[&wide]);
        let mut both = values(&wide);
        let mut y = vec![0.0; rows * width];
        gated(&both, width, &mut y);
        close("gated", &y, &values(&right));
        gated_back(&mut both, width, &values(&d));
        close("d", &both, &rights[0]);
    }
}

/// Heads, normed and turned, then attention over them, each with its way back.
#[test]
fn heads_and_attention() {
    for (count, time, queries, keys, dim) in
        [(2, 5, 4, 2, 16), (1, 1, 2, 2, 6), (2, 64, 2, 1, 40), (1, 131, 3, 1, 32)]
    {
        let h = Heads { count, time, queries, keys, dim };
        let (cos, sin) = angles(time, dim, 1e4);
        let rows = var(&[count, time, queries + 2 * keys, dim], 6);
        let gain = var(&[dim], 7);
        let part = |from, n| rows.narrow(2, from, n).unwrap();
        let turned = |from, n| {
            let x = plain::norm(&part(from, n), &gain, 1e-6);
            plain::rotate(&x.transpose(1, 2).unwrap().contiguous().unwrap(), 1e4)
        };
        let (q, k) = (turned(0, queries), turned(queries, keys));
        let v = part(queries + keys, keys).transpose(1, 2).unwrap();
        let right = plain::attend(&q, &k, &v).transpose(1, 2).unwrap();
        let d = var(&[count, time, queries, dim], 8);
        let rights = back(&right, &d, &[&rows, &gain]);
        let (fq, fk) = (free(&q), free(&k));
        let of_turned = plain::attend(&fq, &fk, &v).transpose(1, 2).unwrap();
        let of_turned = back(&of_turned, &d, &[&fq, &fk]);

        let (projected, gain, d) = (values(&rows), values(&gain), values(&d));
        let turned = |keys: bool| {
            let (first, number) = if keys { (h.queries, h.keys) } else { (0, h.queries) };
            Turned { heads: h, first, number, gain: &gain, cos: &cos, sin: &sin, eps: 1e-6 }
        };
        let room = |heads: usize| (vec![0.0; h.rows() * heads * dim], vec![0.0; h.rows() * heads]);
        let ((mut tq, mut rq), (mut tk, mut rk)) = (room(queries), room(keys));
        turn(turned(false), &projected, &mut tq, &mut rq);
        turn(turned(true), &projected, &mut tk, &mut rk);
        close("queries", &tq, &values(&q));
        close("keys", &tk, &values(&k));
        // What a former batch left must not show.
        let (mut p, mut y) = (vec![f32::NAN; h.weights()], vec![f32::NAN; h.rows() * h.width()]);
        attend(h, &tq, &tk, &projected, &mut p, &mut y);
        close("attention", &y, &values(&right));

        let (mut dq, mut dk) = (vec![f32::NAN; tq.len()], vec![f32::NAN; tk.len()]);
        let mut dprojected = vec![0.0; projected.len()];
        let mut scratch = vec![f32::NAN; scratch(h)];
        let to = AttendBack {
            queries: &mut dq,
            keys: &mut dk,
            projected: &mut dprojected,
            scratch: &mut scratch,
        };
        attend_back(h, &tq, &tk, &projected, &p, &d, to);
        if time > 1 {
            close("dqueries", &dq, &of_turned[0]);
            close("dkeys", &dk, &of_turned[1]);
        }
        let mut dgain = vec![0.0; dim];
        turn_back(turned(false), &projected, &rq, &mut dq, &mut dprojected, &mut dgain);
        turn_back(turned(true), &projected, &rk, &mut dk, &mut dprojected, &mut dgain);
        close("dprojected", &dprojected, &rights[0]);
        if time > 1 {
            close("dgain", &dgain, &rights[1]);
        }
    }
}

#[test]
fn cross_entropy_of_rows() {
    for (rows, vocabulary) in [(3, 16), (4, 301), (1, 5)] {
        let wide = spread(&[rows, vocabulary], 9, 20.0);
        let targets: Vec<u32> = (0..rows).map(|r| (r * 7 % vocabulary) as u32).collect();
        let signed: Vec<i64> = targets.iter().map(|t| i64::from(*t)).collect();
        let right = plain::cross_entropy(&wide, &signed);
        let rights = back(&right, &Tensor::new(1.0_f32, &Device::Cpu).unwrap(), &[&wide]);
        let mut both = values(&wide);
        let total = cross_entropy(&mut both, vocabulary, &targets);
        close("loss", &[total as f32], &values(&right));
        close("d", &both, &rights[0]);
    }
    // Far apart logits neither overflow nor lose the loss.
    let mut row = [1000.0, -1000.0, 0.0];
    assert_eq!(cross_entropy(&mut row, 3, &[1]), 2000.0);
    assert_eq!(row, [1.0, -1.0, 0.0]);
    let mut row = numbers(20, 1);
    row[3] = f32::NAN;
    assert!(cross_entropy(&mut row, 20, &[1]).is_nan(), "a broken model must be seen");
}

/// Each pass over a large vocabulary's projection serves many rows, and a small one's logits still are bounded.
#[test]
fn the_head_takes_many_rows_at_once() {
    let step = |vocab_size: usize| {
        let config = RandomModel { vocab_size, ..RandomModel::mini(1) }.config();
        Head { pack: &Pack::new(&config), all: &[] }.step()
    };
    assert_eq!([step(1 << 8), step(1 << 12), step(151_936)], [1 << 10, 64, 64]);
}
