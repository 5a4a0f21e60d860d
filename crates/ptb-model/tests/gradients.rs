//! The model differentiates: every parameter gets a gradient, and the gradients are those that finite
//! differences measure.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![cfg(feature = "autograd")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use ptb_model::{
    Checkpoint, Config, IGNORED, ModelDir, Parameters, Qwen3, RandomModel, random_model,
};

fn model(shape: &RandomModel) -> (Qwen3, Parameters) {
    let home = tempfile::tempdir().unwrap();
    random_model(home.path(), shape).unwrap();
    let dir = ModelDir::open(home.path()).unwrap();
    let config = Config::read(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let parameters = Parameters::load(&config, &checkpoint, &Device::Cpu).unwrap();
    (Qwen3::new(config, parameters.clone()), parameters)
}

fn untied(seed: u64) -> RandomModel {
    RandomModel { tie_word_embeddings: false, ..RandomModel::mini(seed) }
}

/// Two rows: a prompt that does not count, an answer, padding; and a row that counts throughout.
fn batch() -> (Tensor, Vec<i64>) {
    let ids = [[72_u32, 101, 108, 108, 111, 257, 256, 256], [258, 1, 2, 3, 2, 1, 258, 257]];
    let targets = [
        [IGNORED, IGNORED, IGNORED, 33, 7, IGNORED, IGNORED, IGNORED],
        [1, 2, 3, 2, 1, 258, 257, 90],
    ];
    (Tensor::new(&ids, &Device::Cpu).unwrap(), targets.concat())
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The loss in 64 bits, where a small step is not lost in the sum's rounding.
fn loss(model: &Qwen3) -> f64 {
    let (ids, targets) = batch();
    let ids: Vec<u32> = ids.flatten_all().unwrap().to_vec1().unwrap();
    model.joined().unwrap().loss(&ids, 8, &targets).unwrap()
}

/// Slope of the loss when `var` moves along `direction`, from both sides, at two step sizes: the error is
/// then of fourth order in the step (Richardson).
fn slope(model: &Qwen3, var: &Var, direction: &[f32]) -> f64 {
    let before = var.as_tensor().copy().unwrap();
    let direction = Tensor::from_slice(direction, before.shape(), &Device::Cpu).unwrap();
    let at = |step: f64| {
        var.set(&(&before + (&direction * step).unwrap()).unwrap()).unwrap();
        loss(model)
    };
    let central = |step: f64| (at(step) - at(-step)) / (2.0 * step);
    let (wide, narrow) = (central(1e-2), central(5e-3));
    var.set(&before).unwrap();
    (4.0 * narrow - wide) / 3.0
}

fn near(what: &str, measured: f64, gradient: f64, size: f64) {
    let bound = 0.01 * gradient.abs() + 2e-3 * size + 1e-3;
    assert!((measured - gradient).abs() < bound, "{what}: measured {measured}, is {gradient}");
}

#[test]
fn gradients_equal_finite_differences_for_every_parameter() {
    for shape in [RandomModel::mini(4), untied(5)] {
        let (model, parameters) = model(&shape);
        let (ids, targets) = batch();
        let grads = model.loss(&ids, &targets).unwrap().backward().unwrap();
        let mut seen = 0;
        for (name, var) in parameters.iter() {
            let grad =
                grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
            let grad = values(grad);
            let norm = grad.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 1e-4, "{name}: the gradient vanishes");
            // Along the gradient the loss rises by the gradient's norm.
            let along: Vec<f32> = grad.iter().map(|g| (f64::from(*g) / norm) as f32).collect();
            near(name, slope(&model, var, &along), norm, norm);
            // Single coordinates: some from everywhere, and the steepest.
            let steepest = (0..grad.len()).max_by(|a, b| grad[*a].abs().total_cmp(&grad[*b].abs()));
            let some = (1..5).map(|n| n * 2_654_435_761 % grad.len());
            for at in some.chain(steepest) {
                let mut one = vec![0.0; grad.len()];
                one[at] = 1.0;
                near(&format!("{name}[{at}]"), slope(&model, var, &one), grad[at].into(), 0.0);
            }
            seen += 1;
        }
        assert_eq!(seen, 2 * 11 + 2 + usize::from(!shape.tie_word_embeddings));
    }
}

/// Shards of a batch add up to it; what pads a row changes nothing.
#[test]
fn parts_of_a_batch_add_up() {
    let (model, parameters) = model(&untied(6));
    let (ids, targets) = batch();
    let of = |ids: &Tensor, targets: &[i64]| {
        let loss = model.loss(ids, targets).unwrap();
        (loss.to_scalar::<f32>().unwrap(), loss.backward().unwrap())
    };
    let (whole, grads) = of(&ids, &targets);
    // The first row alone, without its padding.
    let (first, first_grads) =
        of(&ids.narrow(0, 0, 1).unwrap().narrow(1, 0, 5).unwrap(), &targets[..5]);
    let (second, second_grads) = of(&ids.narrow(0, 1, 1).unwrap(), &targets[8..]);
    assert!((whole - first - second).abs() < 1e-4 * whole, "{whole} {first} {second}");
    for (name, var) in parameters.iter() {
        let get = |g: &candle_core::backprop::GradStore| values(g.get(var.as_tensor()).unwrap());
        let sums = get(&first_grads).into_iter().zip(get(&second_grads)).map(|(a, b)| a + b);
        for (sum, whole) in sums.zip(get(&grads)) {
            assert!((sum - whole).abs() < 1e-4 + 1e-3 * whole.abs(), "{name}: {sum} {whole}");
        }
    }
}

/// Weights that are computed from others pass their gradient on: a low-rank adapter on every projection.
#[test]
fn gradients_flow_through_computed_weights() {
    let (_, parameters) = model(&RandomModel::mini(7));
    let (config, (ids, targets)) = (RandomModel::mini(7).config(), batch());
    let mut tensors = BTreeMap::new();
    let mut adapters = Vec::new();
    for (name, var) in parameters.iter() {
        let fixed = var.as_detached_tensor();
        let Ok((rows, cols)) = fixed.dims2() else {
            tensors.insert(name.to_owned(), fixed);
            continue;
        };
        let b = Var::randn(0.0_f32, 0.02, (rows, 2), &Device::Cpu).unwrap();
        let a = Var::randn(0.0_f32, 0.02, (2, cols), &Device::Cpu).unwrap();
        let product = b.matmul(a.as_tensor()).unwrap();
        tensors.insert(name.to_owned(), (fixed + (product * 2.0).unwrap()).unwrap());
        adapters.push((name, a, b));
    }
    let model = Qwen3::over(config.clone(), tensors.clone()).unwrap();
    let grads = model.loss(&ids, &targets).unwrap().backward().unwrap();
    assert_eq!(adapters.len(), 2 * 7 + 1);
    for (name, a, b) in &adapters {
        for var in [a, b] {
            let grad = values(grads.get(var.as_tensor()).unwrap());
            assert!(grad.iter().any(|g| g.abs() > 1e-5), "{name}");
        }
    }
    // Nothing to differentiate: a plain number.
    for tensor in tensors.values_mut() {
        *tensor = tensor.detach();
    }
    let fixed = Qwen3::over(config, tensors).unwrap().loss(&ids, &targets).unwrap();
    let loss = model.loss(&ids, &targets).unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(fixed.to_scalar::<f32>().unwrap(), loss);
    assert!(!fixed.track_op());
}

#[test]
fn without_counted_targets_loss_and_gradients_are_zero() {
    let (model, parameters) = model(&RandomModel::mini(8));
    let (ids, targets) = batch();
    let empty = Tensor::zeros((0, 8), candle_core::DType::U32, &Device::Cpu).unwrap();
    let short = Tensor::zeros((3, 0), candle_core::DType::U32, &Device::Cpu).unwrap();
    for (ids, targets) in [(&ids, vec![IGNORED; targets.len()]), (&empty, vec![]), (&short, vec![])]
    {
        let loss = model.loss(ids, &targets).unwrap();
        assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.0);
        let grads = loss.backward().unwrap();
        for (name, var) in parameters.iter() {
            let grad = values(grads.get(var.as_tensor()).unwrap());
            assert!(grad.iter().all(|g| *g == 0.0), "{name}");
        }
    }
    assert_eq!(model.forward(&empty).unwrap().dims(), [0, 8, 288]);
    assert_eq!(model.forward(&short).unwrap().dims(), [3, 0, 288]);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let (model, _) = model(&RandomModel::mini(9));
    let (ids, targets) = batch();
    let says = |result: candle_core::Result<Tensor>, text: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    let beyond = Tensor::new(&[[288_u32]], &Device::Cpu).unwrap();
    says(model.forward(&beyond), "token id 288 is outside");
    // Even where nothing counts, and so nothing would be computed.
    says(model.loss(&beyond, &[IGNORED]), "token id 288 is outside");
    says(model.loss(&ids, &targets[1..]), "15 targets for 16 ids");
    for bad in [288, i64::MAX] {
        let mut targets = targets.clone();
        targets[3] = bad;
        says(model.loss(&ids, &targets), "is outside of the vocabulary of 288");
    }
    let joined = model.joined().unwrap();
    assert!(joined.loss(&[1, 2, 3], 2, &[1, 2, 3]).is_err());
    assert!(joined.add_gradient(&[1], 1, &[1], &mut [0.0]).is_err());
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let (model, _) = model(&RandomModel::mini(10));
    let all: BTreeMap<String, Tensor> =
        model.tensors().map(|(name, t)| (name.to_owned(), t.clone())).collect();
    let over = |tensors| Qwen3::over(model.config().clone(), tensors).map(drop);
    assert!(over(all.clone()).is_ok());
    let name = "model.norm.weight";
    let with = |tensor: Option<Tensor>| {
        let mut all = all.clone();
        all.remove(name);
        all.extend(tensor.map(|t| (name.to_owned(), t)));
        over(all).unwrap_err().to_string()
    };
    assert!(with(None).contains("`model.norm.weight` is missing"));
    let ones = |n: usize| Tensor::ones(n, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(with(Some(ones(3))).contains("has shape [3]"));
    let wide = ones(48).to_dtype(candle_core::DType::F64).unwrap();
    assert!(with(Some(wide)).contains("f64"));
}

#[test]
fn padding_on_the_right_changes_nothing_before_it() {
    let (model, _) = model(&RandomModel::mini(6));
    let short = Tensor::new(&[[72_u32, 101, 108]], &Device::Cpu).unwrap();
    let long = Tensor::new(&[[72_u32, 101, 108, 9, 9, 9]], &Device::Cpu).unwrap();
    let a = values(&model.forward(&short).unwrap());
    let b = values(&model.forward(&long).unwrap().narrow(1, 0, 3).unwrap());
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() < 1e-4, "{x} {y}");
    }
}
