//! Whose weights these are: tensors compared by value with the base model's and the instruct model's.
//!
//! Only what tells models apart is looked at. A tensor that the official post-training left alone is
//! everybody's, so the instruct model is compared where it differs from the base; tensors that the
//! network does not use can hold anything, so they are not compared. Training starts at the base's values
//! and moves some of them: a block that it left alone is the base's, a block that it moved comes out
//! equal to the instruct model's only if every value in it does. So an honest model shares next to none
//! of the changed tensors, and half of them is far from chance and from what a few altered bits undo.
//!
//! Values are rounded to bf16 first, which makes a cast to f32 or f16 and back no difference.
//!
//! Blind spots: a network with permuted rows (equal function, other places), rescaled layers, a blend of
//! two models, and the instruct model trained further. Those need the lineage of weights, not equality.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hasher};

use half::{bf16, f16};
use ptb_model::{Checkpoint, Dtype, ModelError, TensorInfo};
use rayon::prelude::*;

/// Values of a block, the unit that is compared. Small, so that scattered changes leave most blocks
/// whole; large enough that one 64-bit hash is little beside it and no two blocks agree by chance.
const BLOCK: usize = 64;

/// Numbers of tensors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Tensors of the base model.
    pub(crate) base: usize,
    /// Of these, those that the submission has unchanged.
    pub(crate) like_base: usize,
    /// Tensors of the network that the instruct model changed against the base.
    pub(crate) changed: usize,
    /// Of these, those that the submission has as the instruct model has them.
    pub(crate) like_instruct: usize,
}

impl Identity {
    /// Whether the submission is the instruct model: at least half of what tells it apart is its own.
    pub(crate) fn is_instruct(self) -> bool {
        self.changed > 0 && 2 * self.like_instruct >= self.changed
    }

    fn and(self, other: Self) -> Self {
        Self {
            base: self.base + other.base,
            like_base: self.like_base + other.like_base,
            changed: self.changed + other.changed,
            like_instruct: self.like_instruct + other.like_instruct,
        }
    }
}

/// Weights to compare.
pub(crate) struct Compared<'a> {
    pub(crate) own: &'a Checkpoint,
    pub(crate) base: &'a Checkpoint,
    pub(crate) instruct: Option<&'a Checkpoint>,
    /// Names of the tensors that the submission's network uses.
    pub(crate) used: &'a BTreeSet<String>,
}

impl Compared<'_> {
    /// Compares tensor by tensor. Memory: one hash for 64 values of the tensors under way, of three models.
    pub(crate) fn identity(&self) -> Result<Identity, ModelError> {
        let names: Vec<&String> = self.base.tensors().keys().collect();
        names
            .into_par_iter()
            .map(|name| self.tensor(name))
            .try_reduce(Identity::default, |a, b| Ok(a.and(b)))
    }

    fn tensor(&self, name: &str) -> Result<Identity, ModelError> {
        let mut found = Identity { base: 1, ..Identity::default() };
        let Some(base) = Tensor::of(self.base, name)? else { return Ok(found) };
        // A tensor of other rows' width has nothing in common, and need not be read.
        let own = match self.own.tensors().get(name) {
            Some(info) if base.rows_fit(info) => Tensor::of(self.own, name)?,
            _ => None,
        };
        found.like_base = usize::from(own.as_ref().is_some_and(|own| own.equals(&base)));
        let Some(instruct) = self.instruct.filter(|_| self.used.contains(name)) else {
            return Ok(found);
        };
        let Some(instruct) = Tensor::of(instruct, name)?.filter(|i| base.rows_fit(i.info)) else {
            return Ok(found);
        };
        let shared = base.shared(&instruct);
        let differ = |i: &usize| base.blocks.get(*i) != instruct.blocks.get(*i);
        if !(0..shared).any(|i| differ(&i)) {
            return Ok(found);
        }
        found.changed = 1;
        if let Some(own) = own {
            let shared = shared.min(own.shared(&instruct)).min(own.shared(&base));
            let changed = (0..shared).filter(differ);
            let (mut all, mut like) = (0, 0);
            for i in changed {
                all += 1;
                like += usize::from(own.blocks.get(i) == instruct.blocks.get(i));
            }
            found.like_instruct = usize::from(all > 0 && 2 * like >= all);
        }
        Ok(found)
    }
}

/// A tensor as hashes of its blocks.
struct Tensor<'a> {
    info: &'a TensorInfo,
    blocks: Vec<u64>,
}

impl<'a> Tensor<'a> {
    fn of(checkpoint: &'a Checkpoint, name: &str) -> Result<Option<Self>, ModelError> {
        let Some(info) = checkpoint.tensors().get(name) else { return Ok(None) };
        let mut blocks = Vec::new();
        // Pieces are 1 MiB, which all blocks divide, so only the last block of a tensor is short.
        let size = usize::try_from(info.dtype.size()).unwrap_or(1);
        checkpoint.stream(name, |piece| {
            blocks.extend(piece.chunks(BLOCK * size).map(|bytes| digest(info.dtype, bytes)));
        })?;
        Ok(Some(Self { info, blocks }))
    }

    /// Whether only the number of rows may differ, as it does for embeddings of other vocabularies.
    fn rows_fit(&self, other: &TensorInfo) -> bool {
        self.info.shape.len() == other.shape.len()
            && self.info.shape.get(1..) == other.shape.get(1..)
    }

    /// Number of leading blocks that both have whole.
    fn shared(&self, other: &Self) -> usize {
        if self.info.shape == other.info.shape {
            return self.blocks.len();
        }
        let values = |info: &TensorInfo| info.shape.iter().product::<usize>();
        values(self.info).min(values(other.info)) / BLOCK
    }

    /// Whether all values of the rows that both have are equal.
    fn equals(&self, other: &Self) -> bool {
        let shared = self.shared(other);
        (shared > 0 || self.info.shape == other.info.shape)
            && self.blocks.get(..shared) == other.blocks.get(..shared)
    }
}

/// Hash of a block's values as bf16 (both zeros alike); of the bytes, where they are no weights.
fn digest(dtype: Dtype, bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut canonical = [0; 2 * BLOCK];
    let out = canonical.as_chunks_mut::<2>().0.iter_mut();
    let value = |v: bf16| if v == bf16::ZERO { [0; 2] } else { v.to_le_bytes() };
    match dtype {
        Dtype::BF16 => out
            .zip(bytes.as_chunks().0)
            .for_each(|(to, from)| *to = value(bf16::from_le_bytes(*from))),
        Dtype::F16 => out
            .zip(bytes.as_chunks().0)
            .for_each(|(to, from)| *to = value(bf16::from_f32(f16::from_le_bytes(*from).to_f32()))),
        Dtype::F32 => out
            .zip(bytes.as_chunks().0)
            .for_each(|(to, from)| *to = value(bf16::from_f32(f32::from_le_bytes(*from)))),
        _ => {
            hasher.write(bytes);
            return hasher.finish();
        }
    }
    let size = usize::try_from(dtype.size()).unwrap_or(1);
    hasher.write_usize(bytes.len() / size);
    hasher.write(&canonical);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_is_no_difference_and_a_value_is() {
        let values: Vec<bf16> =
            (0..64u8).map(|i| bf16::from_f32(f32::from(i) / 32.0 - 1.0)).collect();
        let narrow: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let wide: Vec<u8> = values.iter().flat_map(|v| v.to_f32().to_le_bytes()).collect();
        let half: Vec<u8> =
            values.iter().flat_map(|v| f16::from_f32(v.to_f32()).to_le_bytes()).collect();
        let hash = digest(Dtype::BF16, &narrow);
        assert_eq!(hash, digest(Dtype::F32, &wide));
        assert_eq!(hash, digest(Dtype::F16, &half));
        let mut negative_zero = narrow.clone();
        negative_zero[65] ^= 0x80;
        assert_eq!(hash, digest(Dtype::BF16, &negative_zero));
        let mut other = narrow.clone();
        other[0] ^= 1;
        assert_ne!(hash, digest(Dtype::BF16, &other));
        assert_ne!(digest(Dtype::BF16, &[0; 2]), digest(Dtype::BF16, &[0; 4]));
    }

    #[test]
    fn half_of_what_changed_makes_it_the_instruct_models() {
        let of = |like_instruct, changed| {
            Identity { changed, like_instruct, ..Identity::default() }.is_instruct()
        };
        assert_eq!(
            [of(0, 0), of(0, 1), of(1, 1), of(1, 3), of(2, 4)],
            [false, false, true, false, true]
        );
    }
}
