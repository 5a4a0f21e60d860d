//! The second look: how much of a passage a stretch of a document holds.

use rustc_hash::FxHashSet;

use super::index::{ALLOWED_RUN, Index, Passage, gram, pair, runs};
use super::token::Word;

/// A document's words as the comparison needs them.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    pub(super) words: Vec<Word>,
    slots: Vec<u64>,
    /// Words that are text of an allowed source.
    allowed: Vec<bool>,
}

impl Stretch {
    pub(super) fn new(index: &Index, words: Vec<Word>) -> Self {
        let slots = words.iter().map(|w| index.slot(w)).collect();
        let mut allowed = vec![false; words.len()];
        if !index.allowed.is_empty() {
            for (at, run) in runs(&words) {
                if index.allowed.contains(&run) {
                    allowed[at..at + ALLOWED_RUN].fill(true);
                }
            }
        }
        Self { words, slots, allowed }
    }

    /// The words that lie between two bytes.
    fn between(&self, from: usize, to: usize) -> (usize, usize) {
        let first = self.words.partition_point(|w| (w.end as usize) <= from);
        let last = self.words.partition_point(|w| (w.start as usize) < to);
        (first, last.max(first))
    }
}

/// What a stretch has in common with a passage; shares are weighted by how rare the passage's words are.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Common {
    /// Share of the passage in runs of three words or more.
    pub(super) verbatim: f64,
    /// The same with numbers and names as slots.
    pub(super) slotted: f64,
    /// Longest run of words, and its weight.
    pub(super) run: u32,
    pub(super) run_weight: f64,
    /// Share of the passage's different content words, numbers and names left out.
    pub(super) content: f64,
    /// How many of these it has.
    pub(super) words_of: u32,
    /// Of its different numbers; 1 where it has none.
    pub(super) numbers: f64,
    /// How many different numbers it has.
    pub(super) numbers_of: u32,
    /// Share of its neighbouring content words that are neighbours, or nearly, in the stretch.
    pub(super) pairs: f64,
    /// Share of the stretch's own content words, within the match, that the passage does not have.
    pub(super) foreign: f64,
    /// The same between the first and the last pair of words that pointed to the passage.
    pub(super) foreign_within: f64,
    /// Bytes of the document in which it lies.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Compares a passage with the stretch between two bytes; `within` is what pointed to the passage.
pub(super) fn compare(
    index: &Index,
    passage: &Passage,
    stretch: &Stretch,
    (from, to): (usize, usize),
    within: (u32, u32),
) -> Common {
    let (first, last) = stretch.between(from, to);
    let words = &stretch.words[first..last];
    let mut common = Common { from: u32::MAX, ..Common::default() };
    let masked = &stretch.allowed[first..last];
    let hashes: Vec<u64> = words.iter().map(|w| w.hash).collect();
    let (verbatim, places) = covered(passage, &passage.grams, &hashes, masked);
    common.verbatim = verbatim;
    longest_run(passage, &places, &mut common);
    common.slotted = covered(passage, &passage.slotted, &stretch.slots[first..last], masked).0;
    by_words(index, passage, words, masked, within, &mut common);
    common
}

/// Share of the passage's weight that lies in common grams, and where each of the words' grams is in the passage.
fn covered(
    passage: &Passage,
    grams: &[(u64, u32)],
    hashes: &[u64],
    masked: &[bool],
) -> (f64, Vec<Option<u32>>) {
    let mut hit = vec![false; passage.words.len()];
    let mut places = Vec::with_capacity(hashes.len());
    for (i, w) in hashes.windows(3).enumerate() {
        let gram = gram(w[0], w[1], w[2]);
        let at = grams.partition_point(|(g, _)| *g < gram);
        let mut same = grams[at..].iter().take_while(|(g, _)| *g == gram).peekable();
        if same.peek().is_none() || masked[i..i + 3].contains(&true) {
            places.push(None);
            continue;
        }
        // The place that goes on from the gram before, else the first.
        let after = places.last().copied().flatten().map(|p: u32| p + 1);
        let mut chosen = None;
        for (_, place) in same {
            hit[*place as usize..*place as usize + 3].fill(true);
            if chosen.is_none() || after == Some(*place) {
                chosen = Some(*place);
            }
        }
        places.push(chosen);
    }
    let weight: f64 =
        hit.iter().zip(&passage.words).filter(|(hit, _)| **hit).map(|(_, w)| w.weight as f64).sum();
    (weight / passage.weight, places)
}

fn longest_run(passage: &Passage, places: &[Option<u32>], common: &mut Common) {
    let mut at = 0;
    while at < places.len() {
        let Some(start) = places[at] else {
            at += 1;
            continue;
        };
        let mut n = 1;
        while places.get(at + n).copied().flatten() == Some(start + n as u32) {
            n += 1;
        }
        let from = start as usize;
        let weight: f64 = passage.words[from..from + n + 2]
            .iter()
            .filter(|w| w.content)
            .map(|w| w.weight as f64)
            .sum();
        if weight > common.run_weight {
            (common.run, common.run_weight) = (n as u32 + 2, weight);
        }
        at += n;
    }
}

/// Words, numbers and neighbours, whatever their order.
fn by_words(
    index: &Index,
    passage: &Passage,
    words: &[Word],
    masked: &[bool],
    within: (u32, u32),
    common: &mut Common,
) {
    let (mut own, mut neighbours) = (FxHashSet::default(), FxHashSet::default());
    let mut content: [u64; 2] = [0; 2];
    let theirs: FxHashSet<u64> =
        passage.words.iter().filter(|w| w.content).map(|w| w.hash).collect();
    let (mut foreign, mut all, mut foreign_within, mut all_within) = (0u32, 0u32, 0u32, 0u32);
    for (w, masked) in words.iter().zip(masked) {
        if *masked {
            content = [0; 2];
            continue;
        }
        own.insert(w.hash);
        let shared = theirs.contains(&w.hash);
        if !index.stop.contains(&w.hash) {
            all += 1;
            foreign += u32::from(!shared);
            if (within.0..=within.1).contains(&w.start) {
                all_within += 1;
                foreign_within += u32::from(!shared);
            }
        }
        if shared {
            common.from = common.from.min(w.start);
            common.to = w.end;
        }
        if index.vocabulary.has(w.hash) {
            neighbours.extend(content.map(|before| pair(before, w.hash)));
            content = [w.hash, content[0]];
        }
    }
    common.foreign = foreign as f64 / all.max(1) as f64;
    common.foreign_within = foreign_within as f64 / all_within.max(1) as f64;
    let (mut weight, mut found) = (0.0, 0.0);
    let (mut numbers, mut numbers_found) = (0u32, 0u32);
    let mut seen = FxHashSet::default();
    let plain = |w: &&super::index::PassageWord| w.number || (w.content && w.slot == w.hash);
    for w in passage.words.iter().filter(plain) {
        if !seen.insert(w.hash) {
            continue;
        }
        let there = own.contains(&w.hash);
        if w.number {
            numbers += 1;
            numbers_found += u32::from(there);
        } else {
            common.words_of += 1;
            weight += w.weight as f64;
            found += if there { w.weight as f64 } else { 0.0 };
        }
    }
    common.content = if weight > 0.0 { found / weight } else { 0.0 };
    common.numbers = if numbers > 0 { numbers_found as f64 / numbers as f64 } else { 1.0 };
    common.numbers_of = numbers;
    let content: Vec<u64> = passage.words.iter().filter(|w| w.content).map(|w| w.hash).collect();
    let near = content.windows(2).filter(|w| neighbours.contains(&pair(w[0], w[1]))).count();
    common.pairs = near as f64 / (content.len().saturating_sub(1)).max(1) as f64;
}
