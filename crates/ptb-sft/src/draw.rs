//! Random numbers from a seed: the same on every machine and with every later version of a library, as the
//! stream is ChaCha8's by its specification and drawing from it is written out here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Draw(ChaCha8Rng);

/// What streams of one seed are for, so that none repeats another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    /// The order of an epoch's examples.
    Epoch(u32),
    /// Which examples are held back.
    Validation,
    /// The first values of the adapter of the n-th trained tensor.
    Adapter(u32),
    /// Generated questions.
    Questions,
}

impl Draw {
    pub(crate) fn new(seed: u64, stream: Stream) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        let (kind, index) = match stream {
            Stream::Epoch(n) => (1_u64, n),
            Stream::Validation => (2, 0),
            Stream::Adapter(n) => (3, n),
            Stream::Questions => (4, 0),
        };
        rng.set_stream(kind << 32 | u64::from(index));
        Self(rng)
    }

    /// A number below `n`, all alike: draws above the last whole multiple of `n` are thrown away.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        let n = n.max(1);
        let whole = u64::MAX - u64::MAX % n;
        loop {
            let x = self.0.next_u64();
            if x < whole {
                return x % n;
            }
        }
    }

    /// An index into something of `n` parts.
    pub(crate) fn index(&mut self, n: usize) -> usize {
        // The result is below a usize.
        usize::try_from(self.below(n as u64)).unwrap_or(0)
    }

    /// A number from -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.index(last + 1);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_seed_differ_and_never_change() {
        let first = |seed, stream| Draw::new(seed, stream).below(1_000_000);
        let drawn = [
            first(0, Stream::Epoch(0)),
            first(0, Stream::Epoch(1)),
            first(1, Stream::Epoch(0)),
            first(0, Stream::Validation),
            first(0, Stream::Adapter(0)),
            first(0, Stream::Questions),
        ];
        assert_eq!(drawn, [402_678, 841_187, 812_422, 367_602, 1_001, 482_509]);
    }

    #[test]
    fn a_shuffle_moves_and_keeps_everything() {
        let mut items: Vec<u32> = (0..100).collect();
        Draw::new(3, Stream::Questions).shuffle(&mut items);
        assert!(items.windows(2).any(|w| w[0] > w[1]));
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        let mut draw = Draw::new(3, Stream::Questions);
        let units: Vec<f32> = (0..10_000).map(|_| draw.unit()).collect();
        assert!(units.iter().all(|u| (-1.0..=1.0).contains(u)));
        assert!(units.iter().sum::<f32>().abs() < 200.0 && units.iter().any(|u| *u < -0.9));
    }
}
