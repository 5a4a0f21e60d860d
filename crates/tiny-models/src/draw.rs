//! Drawing operands that may be trained on.

use ptb_sft::arithmetic::{BELOW, held_out};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Numbers from a seed.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A number below `n`. The bias of a remainder of 64 bits is far too small to matter here.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// One of several.
    pub(crate) fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// So many operands that are not held out and that `accept` takes.
    pub(crate) fn operands(&mut self, count: usize, accept: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        loop {
            let operands: Vec<u64> = (0..count).map(|_| self.below(BELOW)).collect();
            if !held_out(&operands) && accept(&operands) {
                return operands;
            }
        }
    }
}
