//! A model in a few hundred numbers a tensor, for where its weights cannot be had.

use std::collections::BTreeMap;
use std::path::Path;

use ptb_model::{Checkpoint, Links, ModelDir, ModelError};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Buckets of a sketch: the cosine of two differences is right to about one in the root of this, for each tensor.
const BUCKETS: usize = 256;
const SEED: u64 = 0x7074_6273_6b65_7463;
const PART: usize = 1 << 18;

/// A model's fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Version of this form.
    pub schema: u32,
    /// SHA-256 over all tensors, as runs record it.
    pub sha256: String,
    /// Each tensor by name.
    pub tensors: BTreeMap<String, TensorFingerprint>,
}

/// A tensor's fingerprint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TensorFingerprint {
    /// Element type, as safetensors names it.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// SHA-256 of its type, shape and bytes.
    pub sha256: String,
    /// Euclidean norm.
    pub norm: f64,
    /// Count sketch (Charikar, Chen and Farach-Colton, 2002): linear, and inner products of sketches estimate those of
    /// the tensors.
    pub sketch: Vec<f32>,
}

/// Fingerprints a model. Its links are followed.
///
/// # Errors
/// When it cannot be read, or holds tensors of other types than weights have.
pub fn fingerprint(model: &Path) -> Result<Fingerprint, ModelError> {
    let checkpoint = Checkpoint::open(&ModelDir::open_with(model, Links::Follow)?)?;
    let hashes = checkpoint.tensor_hashes()?;
    let all: Vec<_> = checkpoint.tensors().iter().collect();
    let tensors = all.into_par_iter().map(|(name, info)| {
        let (sketch, norm) = sketch(&checkpoint, name)?;
        let sha256 = hashes.get(name).cloned().unwrap_or_default();
        let (dtype, shape) = (info.dtype.name().to_owned(), info.shape.clone());
        Ok((name.clone(), TensorFingerprint { dtype, shape, sha256, norm, sketch }))
    });
    Ok(Fingerprint {
        schema: 1,
        sha256: checkpoint.weights_hash()?,
        tensors: tensors.collect::<Result<_, _>>()?,
    })
}

fn sketch(checkpoint: &Checkpoint, name: &str) -> Result<(Vec<f32>, f64), ModelError> {
    let (mut room, mut part) = (Vec::new(), Vec::new());
    let mut buckets = [0f64; BUCKETS];
    let (mut at, mut squares) = (0u64, 0f64);
    loop {
        checkpoint.read_part(name, at, PART, &mut room, &mut part)?;
        if part.is_empty() {
            break;
        }
        for (place, x) in (at..).zip(&part) {
            let x = if x.is_finite() { f64::from(*x) } else { 0.0 };
            let (bucket, sign) = drawn(place);
            buckets[bucket] += sign * x;
            squares += x * x;
        }
        at += part.len() as u64;
    }
    Ok((buckets.iter().map(|x| *x as f32).collect(), squares.sqrt()))
}

/// The bucket and the sign of an element (the mixer of SplitMix64).
fn drawn(place: u64) -> (usize, f64) {
    let mut z = (place ^ SEED).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    (z as usize % BUCKETS, if z >> 63 == 0 { 1.0 } else { -1.0 })
}
