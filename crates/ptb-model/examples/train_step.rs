//! Seconds that a training step's loss and gradient take on one thread, without an optimiser:
//! `cargo run --release -p ptb-model --example train_step [BATCH TIME FEED STEPS]`.
//!
//! The model is the tiny one with a feed-forward layer of FEED (384: 0.83 million parameters), every
//! position counts. The fastest step and the median are printed.
#![allow(clippy::print_stdout, reason = "an example's output")]

use std::time::Instant;

use candle_core::{Device, Tensor};
use ptb_model::{
    Checkpoint, Config, ModelDir, ModelError, Parameters, Qwen3, RandomModel, random_model,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sizes = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let mut size = |default| sizes.next().unwrap_or(Ok(default));
    let (batch, time, feed, steps) = (size(64)?, size(36)?, size(384)?, size(20)?);
    let (model, parameters) = model(feed)?;
    let count: usize = parameters.iter().map(|(_, var)| var.elem_count()).sum();
    let id = |i: usize| ((i * 7919) % 256) as u32;
    let ids = Tensor::from_vec((0..batch * time).map(id).collect(), (batch, time), &Device::Cpu)?;
    let targets: Vec<i64> = (1..=batch * time).map(|i| i64::from(id(i))).collect();
    let flat = ids.flatten_all()?.to_vec1()?;
    println!("{count} parameters, {batch} x {time} tokens");
    measure("loss and backward", steps, batch * time, || {
        let sum = model.loss(&ids, &targets)?;
        let grads = sum.backward()?;
        assert!(parameters.iter().all(|(_, var)| grads.get(var.as_tensor()).is_some()));
        Ok(f64::from(sum.to_scalar::<f32>()?))
    })?;
    let mut gradient = vec![0.0; count];
    measure("joined gradient", steps, batch * time, || {
        gradient.fill(0.0);
        model.joined()?.add_gradient(&flat, time, &targets, &mut gradient)
    })
}

fn measure(
    what: &str,
    steps: usize,
    tokens: usize,
    mut step: impl FnMut() -> candle_core::Result<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut seconds = Vec::new();
    let mut loss = 0.0;
    for _ in 0..steps.max(1) {
        let start = Instant::now();
        loss = step()? / tokens as f64;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let (best, median) = (seconds[0], seconds[seconds.len() / 2]);
    println!(
        "{what}: loss {loss:.4}, {best:.4} s at best, {median:.4} s in the median, {:.0} tokens a \
         second",
        tokens as f64 / best
    );
    Ok(())
}

fn model(feed: usize) -> Result<(Qwen3, Parameters), ModelError> {
    let home = std::env::temp_dir().join(format!("train-step-{}", std::process::id()));
    let shape = RandomModel { intermediate_size: feed, ..RandomModel::tiny(1) };
    random_model(&home, &shape)?;
    let dir = ModelDir::open(&home)?;
    let config = Config::read(&dir)?;
    let parameters = Parameters::load(&config, &Checkpoint::open(&dir)?, &Device::Cpu);
    let _ = std::fs::remove_dir_all(&home);
    let parameters = parameters?;
    Ok((Qwen3::new(config, parameters.clone()), parameters))
}
