//! The forward pass differentiates: every parameter gets a gradient, and the gradients are right.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]
#![cfg(feature = "autograd")]

use candle_core::{DType, Device, Tensor};
use ptb_model::{Checkpoint, Config, ModelDir, Parameters, Qwen3, RandomModel, random_model};

fn model(shape: &RandomModel) -> (Qwen3, Parameters) {
    let home = tempfile::tempdir().unwrap();
    random_model(home.path(), shape).unwrap();
    let dir = ModelDir::open(home.path()).unwrap();
    let config = Config::read(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let parameters = Parameters::load(&config, &checkpoint, &Device::Cpu).unwrap();
    (Qwen3::new(config, parameters.clone()), parameters)
}

/// A smooth function of all logits: their product with fixed numbers.
fn loss(model: &Qwen3, ids: &Tensor) -> Tensor {
    let logits = model.forward(ids).unwrap();
    let count = logits.elem_count();
    let mix: Vec<f32> =
        (0..count).map(|i| ((i * 7919 % 1000) as f32 / 500.0 - 1.0) / 100.0).collect();
    let mix = Tensor::from_vec(mix, logits.shape(), &Device::Cpu).unwrap();
    (logits * mix).unwrap().sum_all().unwrap()
}

fn ids() -> Tensor {
    Tensor::new(&[[72_u32, 101, 108, 108, 111, 257], [258, 1, 2, 3, 2, 1]], &Device::Cpu).unwrap()
}

#[test]
fn gradients_equal_finite_differences_for_every_parameter() {
    let shape = RandomModel { tie_word_embeddings: false, ..RandomModel::mini(5) };
    let (model, parameters) = model(&shape);
    let grads = loss(&model, &ids()).backward().unwrap();
    let value = |model: &Qwen3| f64::from(loss(model, &ids()).to_scalar::<f32>().unwrap());
    for (name, var) in parameters.iter() {
        let grad = grads.get(var.as_tensor()).unwrap_or_else(|| panic!("{name} has no gradient"));
        let flat: Vec<f32> = grad.flatten_all().unwrap().to_vec1().unwrap();
        let norm = flat.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        assert!(norm > 1e-6, "{name}: the gradient vanishes");
        // Along the gradient the loss must rise by its norm.
        let direction = (grad.to_dtype(DType::F32).unwrap() * (1.0 / norm)).unwrap();
        let before = var.as_tensor().copy().unwrap();
        let step = 2e-3;
        var.set(&(&before + (&direction * step).unwrap()).unwrap()).unwrap();
        let up = value(&model);
        var.set(&(&before - (&direction * step).unwrap()).unwrap()).unwrap();
        let down = value(&model);
        var.set(&before).unwrap();
        let slope = (up - down) / (2.0 * step);
        assert!(
            (slope - norm).abs() < 0.02 * norm + 2e-3,
            "{name}: slope {slope}, gradient {norm}"
        );
    }
}

#[test]
fn padding_on_the_right_changes_nothing_before_it() {
    let (model, _) = model(&RandomModel::mini(6));
    let short = Tensor::new(&[[72_u32, 101, 108]], &Device::Cpu).unwrap();
    let long = Tensor::new(&[[72_u32, 101, 108, 9, 9, 9]], &Device::Cpu).unwrap();
    let a: Vec<f32> = model.forward(&short).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let b = model.forward(&long).unwrap().narrow(1, 0, 3).unwrap();
    let b: Vec<f32> = b.flatten_all().unwrap().to_vec1().unwrap();
    for (x, y) in a.iter().zip(&b) {
        assert!((x - y).abs() < 1e-4, "{x} {y}");
    }
    assert!(model.forward(&Tensor::new(&[[288_u32]], &Device::Cpu).unwrap()).is_err());
}
