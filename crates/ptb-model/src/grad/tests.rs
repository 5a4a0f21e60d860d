//! Every loop and the whole against the same formula in plain tensor operations, which the tensor library
//! differentiates by itself.

mod parts;
mod plain;

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use crate::config::Config;
use crate::forward::Qwen3;
use crate::layout::expected_tensors;
use crate::random::RandomModel;

/// Numbers from -1 to 1 without a pattern that sums could cancel in.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u64 * 0x9e37_79b9 + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn var(shape: &[usize], seed: usize) -> Var {
    Var::from_vec(numbers(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The difference is small beside the size of what is right.
#[track_caller]
fn close(what: &str, got: &[f32], right: &[f32]) {
    assert_eq!(got.len(), right.len(), "{what}");
    let norm =
        |v: &mut dyn Iterator<Item = f32>| v.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    let size = norm(&mut right.iter().copied());
    let off = norm(&mut got.iter().zip(right).map(|(a, b)| a - b));
    assert!(size > 1e-6, "{what}: nothing to compare");
    assert!(off < 2e-5 * size, "{what}: off by {off} of {size}");
}

fn variables(config: &Config) -> BTreeMap<String, Var> {
    let all = expected_tensors(config).into_iter().enumerate();
    let all = all.map(|(n, (role, name, shape))| {
        let fan_in = shape.last().copied().unwrap_or(1) as f32;
        let (mean, scale) = if role.is_norm() { (1.0, 0.5) } else { (0.0, 2.0 / fan_in.sqrt()) };
        let values = numbers(shape.iter().product(), n).iter().map(|x| mean + scale * x).collect();
        (name, Var::from_vec::<_, f32>(values, shape, &Device::Cpu).unwrap())
    });
    all.collect()
}

struct Case {
    shape: RandomModel,
    batch: usize,
    time: usize,
}

/// Heads of every grouping, sizes that fill no register, blocks of attention, more rows than are taken at
/// once, by all layers or by the head alone.
fn cases() -> Vec<Case> {
    let mini = || RandomModel { num_layers: 2, ..RandomModel::mini(1) };
    let untied = |shape| RandomModel { tie_word_embeddings: false, ..shape };
    vec![
        Case { shape: mini(), batch: 2, time: 1 },
        Case { shape: untied(mini()), batch: 3, time: 7 },
        Case { shape: RandomModel { num_kv_heads: 4, head_dim: 6, ..mini() }, batch: 2, time: 16 },
        Case {
            shape: untied(RandomModel {
                num_kv_heads: 1,
                head_dim: 40,
                hidden_size: 37,
                intermediate_size: 53,
                vocab_size: 301,
                ..mini()
            }),
            batch: 2,
            time: 70,
        },
        Case { shape: RandomModel { vocab_size: 5000, ..mini() }, batch: 2, time: 70 },
        Case { shape: RandomModel { num_layers: 1, ..mini() }, batch: 23, time: 33 },
        Case { shape: RandomModel { num_layers: 3, ..mini() }, batch: 1, time: 129 },
    ]
}

/// Ids, and targets of which some do not count: prompts, padding, a whole sequence.
fn batch(case: &Case) -> (Tensor, Vec<i64>) {
    let count = case.batch * case.time;
    let vocabulary = case.shape.vocab_size as f32;
    let draw = |seed| -> Vec<u32> {
        let of = |x: &f32| ((x + 1.0) / 2.0 * (vocabulary - 1.0)) as u32;
        numbers(count, seed).iter().map(of).collect()
    };
    let counts = |at: usize| {
        let (row, t) = (at / case.time, at % case.time);
        row != 1 && t >= row % 4 && t + (row * 5) % case.time.max(2) / 2 < case.time
    };
    let targets = draw(8).into_iter().enumerate();
    let targets = targets.map(|(at, id)| if counts(at) { i64::from(id) } else { -100 }).collect();
    let ids = Tensor::from_vec(draw(7), (case.batch, case.time), &Device::Cpu).unwrap();
    (ids, targets)
}

fn model(config: &Config, vars: &BTreeMap<String, Var>) -> Qwen3 {
    let tensors = vars.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
    Qwen3::over(config.clone(), tensors.collect()).unwrap()
}

#[test]
fn loss_and_gradients_equal_those_of_plain_operations() {
    for case in cases() {
        let config = case.shape.config();
        let vars = variables(&config);
        let (ids, targets) = batch(&case);
        let model = model(&config, &vars);
        let loss = model.loss(&ids, &targets).unwrap();
        let right = plain::loss(&config, &vars, &ids, &targets);
        close("loss", &values(&loss), &values(&right));
        let grads = loss.backward().unwrap();
        let rights = right.backward().unwrap();
        // A factor on the way back reaches the gradients.
        let scaled = (model.loss(&ids, &targets).unwrap() * -0.25).unwrap().backward().unwrap();
        let joined = model.joined().unwrap();
        let mut sums = vec![1.0; joined.count()];
        let ids = values_u32(&ids);
        let same = joined.add_gradient(&ids, case.time, &targets, &mut sums).unwrap();
        assert_eq!(same as f32, loss.to_scalar::<f32>().unwrap());
        assert_eq!(joined.loss(&ids, case.time, &targets).unwrap(), same);
        for (name, range) in joined.ranges() {
            let var = vars[name].as_tensor();
            let right = values(rights.get(var).unwrap());
            // With one position, attention looks at nothing but it, however its heads are turned.
            let fixed = ["q_proj", "k_proj", "q_norm", "k_norm"].iter().any(|n| name.contains(n));
            if case.time == 1 && fixed {
                assert!(values(grads.get(var).unwrap()).iter().all(|g| g.abs() < 1e-5), "{name}");
                continue;
            }
            close(name, &values(grads.get(var).unwrap()), &right);
            let back: Vec<f32> =
                values(scaled.get(var).unwrap()).iter().map(|g| g * -4.0).collect();
            close(name, &back, &right);
            let added: Vec<f32> = sums[range.clone()].iter().map(|g| g - 1.0).collect();
            let near = added.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-3 + b.abs() / 1e3);
            assert!(near, "{name}: added to what was there");
        }
    }
}

fn values_u32(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn logits_and_their_gradients_equal_those_of_plain_operations() {
    for case in cases() {
        let config = case.shape.config();
        let vars = variables(&config);
        let (ids, _) = batch(&case);
        let got = model(&config, &vars).forward(&ids).unwrap();
        let right = plain::logits(&config, &vars, &ids);
        assert_eq!(got.dims(), right.dims());
        close("logits", &values(&got), &values(&right));
        if case.time == 1 {
            continue;
        }
        // A function of all logits that is no cross-entropy.
        let mix = var(got.dims(), 99);
        let of = |logits: &Tensor| logits.mul(&mix).unwrap().sum_all().unwrap().backward().unwrap();
        let (grads, rights) = (of(&got), of(&right));
        for (name, var) in &vars {
            let (grad, right) = (grads.get(var).unwrap(), rights.get(var).unwrap());
            close(name, &values(grad), &values(right));
        }
    }
}

/// What no counted target depends on is left out, and that changes nothing.
#[test]
fn sequences_that_do_not_count_change_nothing() {
    let case = Case { shape: RandomModel::mini(1), batch: 4, time: 9 };
    let config = case.shape.config();
    let model = model(&config, &variables(&config)).joined().unwrap();
    let (ids, mut targets) = batch(&case);
    let mut ids = values_u32(&ids);
    targets[2 * 9..].fill(-1);
    targets[5..9].fill(-1);
    let of = |ids: &[u32]| {
        let mut sums = vec![0.0; model.count()];
        (model.add_gradient(ids, 9, &targets, &mut sums).unwrap(), sums)
    };
    let before = of(&ids);
    ids[2 * 9..].fill(0);
    ids[5..9].fill(0);
    assert_eq!(before, of(&ids));
}
