//! Python's `random.Random(seed)`: whoever knows the seed brings things into the same order.

use rand_mt::Mt;

/// Brings items into the order of Python's `random.Random(seed).shuffle`.
pub(super) fn shuffle<T>(items: &mut [T], seed: u64) {
    PythonRandom::new(seed).shuffle(items);
}

/// CPython's `random.Random`: the Mersenne Twister seeded with the 32-bit words of a number, and its way from
/// random words to a permutation (`Lib/random.py`).
pub(super) struct PythonRandom(Mt);

impl PythonRandom {
    pub(super) fn new(seed: u64) -> Self {
        let words = [seed as u32, (seed >> 32) as u32];
        // A number has no leading zero words; zero itself is one word.
        let words = if words[1] == 0 { &words[..1] } else { &words[..] };
        Self(Mt::new_with_key(words.iter().copied()))
    }

    /// A number below `n`: as many high bits of a word as `n` has, drawn again until they are below it.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = (self.0.next_u32() >> (32 - bits.clamp(1, 32))) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(seed: u64, n: usize) -> Vec<usize> {
        let mut items: Vec<usize> = (0..n).collect();
        PythonRandom::new(seed).shuffle(&mut items);
        items
    }

    /// What CPython 3.11 prints for `r = random.Random(seed); x = list(range(n)); r.shuffle(x)`.
    #[test]
    fn orders_are_those_of_python() {
        assert_eq!(order(42, 10), [7, 3, 2, 8, 5, 6, 9, 4, 0, 1]);
        assert_eq!(order(0, 4), [2, 0, 1, 3]);
        assert_eq!(order(u64::MAX, 6), [4, 5, 3, 2, 1, 0]);
        assert_eq!(order(1 << 32, 6), [1, 4, 5, 3, 2, 0]);
        assert_eq!((order(1, 0), order(1, 1)), (vec![], vec![0]));
    }
}
