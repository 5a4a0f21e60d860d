//! Drawing operands that may be trained on.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Operands are below this.
pub(crate) const BELOW: u64 = 100;

/// The benchmark's rule, as its task description tells it: the squares add up to a number that leaves 3 when
/// divided by 7.
pub fn held_out(operands: &[u64]) -> bool {
    operands.iter().map(|n| n * n).sum::<u64>() % 7 == 3
}

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

/// A number below 100 in English words.
pub(crate) fn in_words(n: u64) -> String {
    const SMALL: &str = "zero one two three four five six seven eight nine ten eleven twelve thirteen \
                         fourteen fifteen sixteen seventeen eighteen nineteen";
    const TENS: &str = "twenty thirty forty fifty sixty seventy eighty ninety";
    let word = |list: &'static str, i: u64| list.split(' ').nth(i as usize).unwrap_or_default();
    match (n, n % 10) {
        (0..20, _) => word(SMALL, n).to_owned(),
        (_, 0) => word(TENS, n / 10 - 2).to_owned(),
        (_, ones) => format!("{}-{}", word(TENS, n / 10 - 2), word(SMALL, ones)),
    }
}
