//! One batch's gradient: shards on threads, sums in the shards' order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::Result;
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::batch::Shard;
use crate::weights::Weights;

/// What a batch gave.
#[derive(Debug)]
pub(crate) struct BatchGradient {
    /// Sum of the cross-entropy over learnt positions, in nats.
    pub(crate) loss: f64,
    /// Learnt positions.
    pub(crate) counted: usize,
    /// Of the loss's sum, by all of the model's values.
    pub(crate) gradient: Vec<f32>,
}

/// Sums so far, and shards that were done before their turn.
#[derive(Default)]
struct Sums {
    next: usize,
    early: BTreeMap<usize, (f64, Vec<f32>)>,
    loss: f64,
    gradient: Vec<f32>,
    /// Added already, to be filled anew.
    free: Vec<Vec<f32>>,
    error: Option<candle_core::Error>,
}

/// Computes loss and gradient of a batch.
pub(crate) fn batch_gradient(
    pool: &ThreadPool,
    weights: &Weights,
    shards: &[Shard],
) -> Result<BatchGradient> {
    let joined = weights.joined();
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let sums = Mutex::new(Sums::default());
    let locked = || sums.lock().unwrap_or_else(PoisonError::into_inner);
    pool.broadcast(|_| {
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(shard) = shards.get(index) else { return };
            let mut gradient = locked().free.pop().unwrap_or_default();
            gradient.clear();
            gradient.resize(joined.count(), 0.0);
            let (ids, width, targets) = (shard.ids(), shard.width(), shard.targets());
            match joined.add_gradient(ids, width, targets, &mut gradient) {
                Ok(loss) => locked().take(index, (loss, gradient)),
                Err(e) => {
                    failed.store(true, Ordering::Relaxed);
                    locked().error.get_or_insert(e);
                }
            }
        }
    });
    let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
    let counted = shards.iter().map(|s| s.counted).sum();
    match sums.error {
        Some(e) => Err(e),
        None => Ok(BatchGradient { loss: sums.loss, counted, gradient: sums.gradient }),
    }
}

impl Sums {
    /// Adds a shard when it is its turn, and those that have waited for it.
    fn take(&mut self, index: usize, done: (f64, Vec<f32>)) {
        self.early.insert(index, done);
        while let Some((loss, gradient)) = self.early.remove(&self.next) {
            self.next += 1;
            self.loss += loss;
            if self.gradient.is_empty() {
                self.gradient = gradient;
            } else {
                self.gradient.iter_mut().zip(&gradient).for_each(|(sum, g)| *sum += g);
                self.free.push(gradient);
            }
        }
    }
}

/// Mean cross-entropy over the learnt positions of shards, in nats.
pub(crate) fn mean_loss(pool: &ThreadPool, weights: &Weights, shards: &[Shard]) -> Result<f64> {
    let joined = weights.joined();
    let of = |shard: &Shard| joined.loss(shard.ids(), shard.width(), shard.targets());
    let losses: Vec<f64> =
        pool.install(|| shards.par_iter().map(of).collect::<Result<Vec<f64>>>())?;
    let counted: usize = shards.iter().map(|s| s.counted).sum();
    Ok(losses.iter().sum::<f64>() / counted.max(1) as f64)
}
