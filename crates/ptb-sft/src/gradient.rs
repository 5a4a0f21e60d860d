//! One batch's gradient: shards on threads, sums in the shards' order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Result, Storage, Tensor};
use rayon::ThreadPool;

use crate::batch::Shard;
use crate::weights::Weights;

/// What a batch gave.
#[derive(Debug)]
pub(crate) struct BatchGradient {
    /// Sum of the cross-entropy over learnt positions, in nats.
    pub(crate) loss: f64,
    /// Learnt positions.
    pub(crate) counted: usize,
    /// Of the loss's sum, for each effective tensor.
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// Sums so far, and shards that were done before their turn.
struct Sums {
    next: usize,
    early: BTreeMap<usize, (f64, Vec<Option<Tensor>>)>,
    loss: f64,
    gradients: Vec<Vec<f32>>,
    error: Option<candle_core::Error>,
}

/// Computes loss and gradients of a batch.
pub(crate) fn batch_gradient(
    pool: &ThreadPool,
    weights: &Weights,
    shards: &[Shard],
) -> Result<BatchGradient> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let sums = Mutex::new(Sums {
        next: 0,
        early: BTreeMap::new(),
        loss: 0.0,
        gradients: weights.gradients(),
        error: None,
    });
    pool.broadcast(|_| {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = shards.get(index) else { return };
            let done = shard_gradient(weights, shard);
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(e) = done.and_then(|done| sums.take(index, done)) {
                failed.store(true, Ordering::Relaxed);
                sums.error.get_or_insert(e);
            }
        }
    });
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let counted = shards.iter().map(|s| s.counted).sum();
    match sums.error {
        Some(e) => Err(e),
        None => Ok(BatchGradient { loss: sums.loss, counted, gradients: sums.gradients }),
    }
}

fn shard_gradient(weights: &Weights, shard: &Shard) -> Result<(f64, Vec<Option<Tensor>>)> {
    let loss = weights.model().loss(&shard.ids()?, shard.targets())?;
    let mut gradients = loss.backward()?;
    let each = weights.variables().map(|var| gradients.remove(var.as_tensor()));
    let each = each.map(|g| g.map(|g| g.contiguous()).transpose()).collect::<Result<Vec<_>>>()?;
    Ok((f64::from(loss.to_scalar::<f32>()?), each))
}

impl Sums {
    /// Adds a shard when it is its turn, and those that have waited for it.
    fn take(&mut self, index: usize, done: (f64, Vec<Option<Tensor>>)) -> Result<()> {
        self.early.insert(index, done);
        while let Some((loss, gradients)) = self.early.remove(&self.next) {
            self.next += 1;
            self.loss += loss;
            for (sum, gradient) in self.gradients.iter_mut().zip(gradients) {
                gradient.map(|gradient| add(sum, &gradient)).transpose()?;
            }
        }
        Ok(())
    }
}

fn add(sum: &mut [f32], gradient: &Tensor) -> Result<()> {
    let (storage, layout) = gradient.storage_and_layout();
    let place = layout.contiguous_offsets();
    match (&*storage, place) {
        (Storage::Cpu(CpuStorage::F32(all)), Some((begin, end))) if end - begin == sum.len() => {
            sum.iter_mut().zip(&all[begin..end]).for_each(|(sum, g)| *sum += g);
            Ok(())
        }
        _ => candle_core::bail!("a gradient is not stored as expected"),
    }
}

/// Mean cross-entropy over the learnt positions of shards, in nats, without gradients.
pub(crate) fn mean_loss(pool: &ThreadPool, weights: &Weights, shards: &[Shard]) -> Result<f64> {
    use rayon::prelude::*;
    let of = |shard: &Shard| -> Result<f64> {
        let loss = weights.fixed_model().loss(&shard.ids()?, shard.targets())?;
        Ok(f64::from(loss.to_scalar::<f32>()?))
    };
    let losses: Vec<f64> =
        pool.install(|| shards.par_iter().map(of).collect::<Result<Vec<f64>>>())?;
    let counted: usize = shards.iter().map(|s| s.counted).sum();
    Ok(losses.iter().sum::<f64>() / counted.max(1) as f64)
}
