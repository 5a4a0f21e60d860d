//! The model's gradient, written out. [`Joined`] gives it to a trainer as it is; [`Qwen3`](crate::Qwen3) hands
//! the same passes to the tensor library as operations, which differentiates what lies around them (tensors that
//! are computed from others, other losses).
//!
//! Chains of small tensor operations spend most of a small model's time on allocating, copying and adding
//! up tensors. Here a pass is matrix products of the `gemm` crate and a few loops between them, on one
//! thread: whoever trains divides a batch and gives each thread a part. Every loop and its gradient is
//! tested against the same formula in plain tensor operations, and the whole against finite differences.
//!
//! It must never: start a thread, or depend on anything but the parameters and the batch.

mod attention;
mod block;
mod feed;
mod gemm;
mod head;
mod norm;
mod pack;
mod pass;
mod simd;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use crate::checkpoint::Checkpoint;
use crate::config::Config;
use crate::error::ModelError;
use crate::layout::expected_tensors;
use pack::Pack;
use pass::{Ids, Model};

/// Logits of token ids, of all parameters joined in the order of the layout.
pub(crate) struct Logits {
    pack: Pack,
    ids: Vec<u32>,
    /// Sequences, and positions of each.
    size: (usize, usize),
}

impl Logits {
    /// For `ids` of so many sequences and positions, each id within the vocabulary.
    pub(crate) fn new(config: &Config, ids: Vec<u32>, size: (usize, usize)) -> Self {
        Self { pack: Pack::new(config), ids, size }
    }

    fn ids(&self) -> Ids<'_> {
        Ids { all: &self.ids, time: self.size.1 }
    }
}

impl CustomOp1 for Logits {
    fn name(&self) -> &'static str {
        "qwen3-logits"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let all = joined(&self.pack, storage, layout)?;
        let logits = Model { pack: self.pack, all }.logits(self.ids());
        let (batch, time) = self.size;
        Ok((CpuStorage::F32(logits), (batch, time, self.pack.vocabulary).into()))
    }

    fn bwd(&self, all: &Tensor, _: &Tensor, d: &Tensor) -> Result<Option<Tensor>> {
        let (all, d) = (all.to_vec1::<f32>()?, d.flatten_all()?.to_vec1::<f32>()?);
        let grads = Model { pack: self.pack, all: &all }.logits_back(self.ids(), &d);
        Ok(Some(Tensor::from_vec(grads, self.pack.len(), &candle_core::Device::Cpu)?))
    }
}

/// Sum of cross-entropies, of all parameters joined. The gradient is computed along with the value, as
/// long as what it needs is at hand; going back only scales it.
pub(crate) struct Loss {
    logits: Logits,
    targets: Vec<i64>,
    gradient: Option<Mutex<Option<Tensor>>>,
}

impl Loss {
    /// `targets` has one for each id: within the vocabulary, or negative and not counted. Without
    /// `gradient` there is no way back.
    pub(crate) fn new(logits: Logits, targets: Vec<i64>, gradient: bool) -> Self {
        Self { logits, targets, gradient: gradient.then(Mutex::default) }
    }
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "qwen3-loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Logits { pack, .. } = self.logits;
        let all = joined(&pack, storage, layout)?;
        let wanted = self.gradient.is_some();
        let mut gradient = wanted.then(|| vec![0.0; pack.len()]);
        let model = Model { pack, all };
        let loss = model.loss(self.logits.ids(), &self.targets, gradient.as_deref_mut());
        if let (Some(place), Some(gradient)) = (&self.gradient, gradient) {
            let gradient = Tensor::from_vec(gradient, pack.len(), &candle_core::Device::Cpu)?;
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(gradient);
        }
        Ok((CpuStorage::F32(vec![loss as f32]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, d: &Tensor) -> Result<Option<Tensor>> {
        let place =
            self.gradient.as_ref().map(|g| g.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(gradient) = place.as_ref().and_then(|g| g.as_ref()) else {
            bail!("the loss was computed without a gradient")
        };
        match d.to_scalar::<f32>()? {
            1.0 => Ok(Some(gradient.clone())),
            d => Ok(Some(gradient.affine(f64::from(d), 0.0)?)),
        }
    }
}

/// A model's parameters joined in one vector: loss and gradient without a graph of tensors, for trainers that
/// sum over parts of a batch on several threads.
#[derive(Debug, Clone)]
pub struct Joined {
    pack: Pack,
    ranges: Vec<(String, Range<usize>)>,
    all: Vec<f32>,
}

impl Joined {
    pub(crate) fn new(config: &Config, all: Vec<f32>) -> Result<Self> {
        let pack = Pack::new(config);
        if all.len() != pack.len() {
            bail!("{} parameters instead of {}", all.len(), pack.len());
        }
        Ok(Self { pack, ranges: ranges(config), all })
    }

    /// Reads every tensor that the architecture has, as f32.
    ///
    /// # Errors
    /// A model that cannot be trained here, a missing tensor, one of another shape, or one that cannot be read.
    pub fn read(config: &Config, checkpoint: &Checkpoint) -> std::result::Result<Self, ModelError> {
        config.check_trainable()?;
        crate::check::check_tensors(config, checkpoint)?;
        let pack = Pack::new(config);
        let mut all = Vec::with_capacity(pack.len());
        for (_, name, _) in expected_tensors(config) {
            all.extend(checkpoint.read_f32(&name)?);
        }
        Ok(Self { pack, ranges: ranges(config), all })
    }

    /// All parameters.
    pub fn values(&self) -> &[f32] {
        &self.all
    }

    /// All parameters, for an optimiser to move.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.all
    }

    /// Number of parameters: the length of a gradient.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Each tensor's name in the checkpoint and its place, in the order of the vector.
    pub fn ranges(&self) -> &[(String, Range<usize>)] {
        &self.ranges
    }

    /// As [`Qwen3::loss`](crate::Qwen3::loss) of sequences of `time` tokens, row by row, in 64 bits.
    ///
    /// # Errors
    /// Ids or targets outside of the vocabulary, a wrong number of either.
    pub fn loss(&self, ids: &[u32], time: usize, targets: &[i64]) -> Result<f64> {
        check(self.pack.vocabulary, ids, time, targets)?;
        Ok(self.model().loss(Ids { all: ids, time }, targets, None))
    }

    /// The same, and adds the gradient by all parameters to `gradient`.
    ///
    /// # Errors
    /// As [`Joined::loss`], and a gradient that is not [`Joined::count`] long.
    pub fn add_gradient(
        &self,
        ids: &[u32],
        time: usize,
        targets: &[i64],
        gradient: &mut [f32],
    ) -> Result<f64> {
        check(self.pack.vocabulary, ids, time, targets)?;
        if gradient.len() != self.count() {
            bail!("a gradient of {} values for {} parameters", gradient.len(), self.count());
        }
        Ok(self.model().loss(Ids { all: ids, time }, targets, Some(gradient)))
    }

    fn model(&self) -> Model<'_> {
        Model { pack: self.pack, all: &self.all }
    }
}

/// Each tensor's name and its place among all, in the order of the layout.
fn ranges(config: &Config) -> Vec<(String, Range<usize>)> {
    let mut end = 0;
    let ranges = expected_tensors(config).into_iter().map(|(_, name, shape)| {
        let start = end;
        end += shape.iter().product::<usize>();
        (name, start..end)
    });
    ranges.collect()
}

/// Ids and targets are within the vocabulary (targets may be negative), and as many as each other.
pub(crate) fn check(vocabulary: usize, ids: &[u32], time: usize, targets: &[i64]) -> Result<()> {
    if targets.len() != ids.len() || !ids.len().is_multiple_of(time.max(1)) {
        bail!("{} targets for {} ids in rows of {time}", targets.len(), ids.len());
    }
    check_ids(vocabulary, ids)?;
    let unknown = |t: &&i64| usize::try_from(**t).is_ok_and(|t| t >= vocabulary);
    match targets.iter().find(unknown) {
        None => Ok(()),
        Some(t) => bail!("target {t} is outside of the vocabulary of {vocabulary}"),
    }
}

/// Ids are within the vocabulary.
pub(crate) fn check_ids(vocabulary: usize, ids: &[u32]) -> Result<()> {
    match ids.iter().find(|id| **id as usize >= vocabulary) {
        None => Ok(()),
        Some(id) => bail!("token id {id} is outside of the vocabulary of {vocabulary}"),
    }
}

fn joined<'a>(pack: &Pack, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let all = match layout.contiguous_offsets() {
        Some((start, end)) => storage.as_slice::<f32>()?.get(start..end),
        None => None,
    };
    match all {
        Some(all) if all.len() == pack.len() => Ok(all),
        _ => bail!("the parameters are not {} contiguous values", pack.len()),
    }
}
