//! What is added up over the elements of a tensor, in one reading of up to three models.

use ptb_model::{Checkpoint, ModelError};
use rayon::prelude::*;

use super::pairs::Pair;

/// Elements that one thread reads at once.
const PART: usize = 1 << 18;
/// Elements that are added up in single precision before they go on in double.
const BLOCK: usize = 512;

/// Sums over elements of B (base), I (suspect) and F (the model), with u = F - B and D = I - B.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) elements: f64,
    /// <B, B>.
    pub(super) bb: f64,
    /// <u, u>.
    pub(super) uu: f64,
    /// <u, D>.
    pub(super) ud: f64,
    /// <D, D>.
    pub(super) dd: f64,
    /// Elements that are those of the base, in bf16.
    pub(super) same_base: f64,
    /// Elements that are those of the suspect, in bf16.
    pub(super) same_suspect: f64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.elements += other.elements;
        self.bb += other.bb;
        self.uu += other.uu;
        self.ud += other.ud;
        self.dd += other.dd;
        self.same_base += other.same_base;
        self.same_suspect += other.same_suspect;
    }

    /// How far the model has gone on the way from base to suspect: the alpha for which B + alpha D comes closest to F.
    pub(super) fn alpha(&self) -> Option<f64> {
        (self.dd > 0.0).then(|| self.ud / self.dd)
    }

    /// Cosine between the two ways.
    pub(super) fn cosine(&self) -> Option<f64> {
        let both = (self.uu * self.dd).sqrt();
        (both > 0.0).then(|| self.ud / both)
    }

    /// |u| / |B|.
    pub(super) fn moved(&self) -> f64 {
        if self.bb > 0.0 { (self.uu / self.bb).sqrt() } else { 0.0 }
    }

    /// |F - I| / |F - B|.
    pub(super) fn distance_ratio(&self) -> Option<f64> {
        // |F - I|^2 = |u - D|^2, which rounding can bring below zero.
        let from_suspect = (self.uu - 2.0 * self.ud + self.dd).max(0.0);
        (self.uu > 0.0 && self.dd > 0.0).then(|| (from_suspect / self.uu).sqrt())
    }
}

/// The three models.
#[derive(Clone, Copy)]
pub(super) struct Three<'m> {
    pub(super) model: &'m Checkpoint,
    pub(super) base: &'m Checkpoint,
    pub(super) suspect: Option<&'m Checkpoint>,
}

/// The sums of each pair of tensors. Parts go to threads, and are added in their own order: the result does not depend
/// on how many threads there are.
pub(super) fn sums(three: Three<'_>, pairs: &[Pair]) -> Result<Vec<Sums>, ModelError> {
    let parts: Vec<(usize, u64, usize)> = pairs
        .iter()
        .enumerate()
        .flat_map(|(i, pair)| {
            let starts = (0..pair.elements).step_by(PART);
            starts.map(move |at| {
                (i, at, usize::try_from(pair.elements - at).unwrap_or(PART).min(PART))
            })
        })
        .collect();
    let found: Vec<Sums> = parts
        .par_iter()
        .map_init(Room::default, |room, (i, at, n)| room.part(three, &pairs[*i], *at, *n))
        .collect::<Result<_, _>>()?;
    let mut sums = vec![Sums::default(); pairs.len()];
    for ((i, _, _), found) in parts.iter().zip(found) {
        sums[*i].add(&found);
    }
    Ok(sums)
}

#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    model: Vec<f32>,
    base: Vec<f32>,
    suspect: Vec<f32>,
}

impl Room {
    fn part(
        &mut self,
        three: Three<'_>,
        pair: &Pair,
        at: u64,
        n: usize,
    ) -> Result<Sums, ModelError> {
        three.model.read_part(&pair.model, at, n, &mut self.bytes, &mut self.model)?;
        three.base.read_part(&pair.base, at, n, &mut self.bytes, &mut self.base)?;
        let suspect = match (three.suspect, &pair.suspect) {
            (Some(suspect), Some(name)) => {
                suspect.read_part(name, at, n, &mut self.bytes, &mut self.suspect)?;
                &self.suspect
            }
            _ => &self.base,
        };
        let mut sums = Sums::default();
        let blocks =
            self.model.chunks(BLOCK).zip(self.base.chunks(BLOCK)).zip(suspect.chunks(BLOCK));
        for ((f, b), i) in blocks {
            sums.add(&block(f, b, i));
        }
        Ok(sums)
    }
}

/// A block's sums, in eight lanes that the compiler can keep in one register each. Values that are no numbers count as 0.
fn block(f: &[f32], b: &[f32], i: &[f32]) -> Sums {
    const LANES: usize = 8;
    let mut lanes = [[0f32; LANES]; 4];
    let (mut same_base, mut same_suspect) = (0u32, 0u32);
    let finite = |x: f32| if x.is_finite() { x } else { 0.0 };
    let mut each = |lane: usize, f: f32, b: f32, i: f32| {
        same_base += u32::from(rounded(f) == rounded(b));
        same_suspect += u32::from(rounded(f) == rounded(i));
        let (f, b, i) = (finite(f), finite(b), finite(i));
        let (u, d) = (f - b, i - b);
        lanes[0][lane] += b * b;
        lanes[1][lane] += u * u;
        lanes[2][lane] += u * d;
        lanes[3][lane] += d * d;
    };
    for ((f, b), i) in f.chunks(LANES).zip(b.chunks(LANES)).zip(i.chunks(LANES)) {
        for (lane, ((f, b), i)) in f.iter().zip(b).zip(i).enumerate() {
            each(lane, *f, *b, *i);
        }
    }
    let [bb, uu, ud, dd] = lanes.map(|lanes| lanes.iter().map(|x| f64::from(*x)).sum());
    let (same_base, same_suspect) = (f64::from(same_base), f64::from(same_suspect));
    Sums { elements: f.len() as f64, bb, uu, ud, dd, same_base, same_suspect }
}

/// A number's bits in bf16, rounded to the nearest, ties to even.
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}
