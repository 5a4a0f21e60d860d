//! Two tables that are asked for every word of every document: small, flat, and nearly always answered by their
//! first cache line.

use rustc_hash::FxHashMap;

/// The words that passages consist of, stop words left out.
#[derive(Debug)]
pub(super) struct Vocabulary {
    slots: Vec<u32>,
    mask: usize,
}

/// The part of a hash that tells words of one slot apart; never 0.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}

impl Vocabulary {
    pub(super) fn new(words: Vec<u64>) -> Self {
        let size = (words.len() * 4).next_power_of_two().max(64);
        let mut slots = vec![0; size];
        let mask = size - 1;
        for hash in words {
            let mut at = hash as usize & mask;
            while slots[at] != 0 && slots[at] != tag(hash) {
                at = (at + 1) & mask;
            }
            slots[at] = tag(hash);
        }
        Self { slots, mask }
    }

    #[inline(always)]
    pub(super) fn has(&self, hash: u64) -> bool {
        let mut at = hash as usize & self.mask;
        loop {
            match self.slots[at] {
                0 => return false,
                found if found == tag(hash) => return true,
                _ => at = (at + 1) & self.mask,
            }
        }
    }
}

/// From pairs of words to the passages they are in: a set of bits that most pairs do not pass, then a table.
#[derive(Debug)]
pub(super) struct PairTable {
    bits: Vec<u64>,
    shift: u32,
    places: FxHashMap<u64, (u32, u32)>,
    lists: Vec<u32>,
}

impl PairTable {
    pub(super) fn new(postings: FxHashMap<u64, Vec<u32>>) -> Self {
        let size = (postings.len() * 12).next_power_of_two().max(1 << 12);
        let shift = 64 - size.trailing_zeros();
        let mut bits = vec![0u64; size / 64];
        let (mut places, mut lists) = (FxHashMap::default(), Vec::new());
        for (pair, list) in postings {
            let bit = (pair >> shift) as usize;
            bits[bit / 64] |= 1 << (bit % 64);
            places.insert(pair, (lists.len() as u32, list.len() as u32));
            lists.extend(list);
        }
        Self { bits, shift, places, lists }
    }

    /// The passages that a pair is in.
    #[inline(always)]
    pub(super) fn find(&self, pair: u64) -> &[u32] {
        let bit = (pair >> self.shift) as usize;
        if self.bits[bit / 64] >> (bit % 64) & 1 == 0 {
            return &[];
        }
        self.look_up(pair)
    }

    fn look_up(&self, pair: u64) -> &[u32] {
        let place = self.places.get(&pair);
        place.and_then(|(at, n)| self.lists.get(*at as usize..(at + n) as usize)).unwrap_or(&[])
    }
}
