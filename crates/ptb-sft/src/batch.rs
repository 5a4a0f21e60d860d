//! Which examples go together: rows of like length, so that little of a batch is padding.
//!
//! Each epoch shuffles anew, cuts the order into windows, sorts each window by length, cuts it into batches
//! within the budget of tokens, and shuffles the batches. A batch is computed in shards, and which rows make a
//! shard depends on the batch alone: sums over shards in their order are then the same on any number of threads.

use ptb_model::IGNORED;

use crate::data::Example;
use crate::draw::{Draw, Stream};

/// Batches in a window: more pack tighter, fewer mix better.
const WINDOW: usize = 32;
/// Tokens of a shard, about: its activations fit into a core's cache.
const SHARD: usize = 512;
/// Shards come in multiples of this, so that they are spread evenly over two or four threads.
const MULTIPLE: usize = 4;

/// Indices of examples that make one optimiser step.
pub(crate) type Batch = Vec<usize>;

/// Tokens that go into the model for an example: its last one is only ever predicted.
pub(crate) fn width(example: &Example) -> usize {
    example.ids.len().saturating_sub(1).max(1)
}

/// An epoch's batches.
pub(crate) fn epoch(widths: &[usize], budget: usize, seed: u64, epoch: u32) -> Vec<Batch> {
    let mut draw = Draw::new(seed, Stream::Epoch(epoch));
    let mut order: Vec<usize> = (0..widths.len()).collect();
    draw.shuffle(&mut order);
    let tokens: usize = widths.iter().sum();
    let mean = (tokens / widths.len().max(1)).max(1);
    let window = (budget / mean).max(1) * WINDOW;
    let mut batches = Vec::new();
    for rows in order.chunks_mut(window) {
        rows.sort_by_key(|row| widths[*row]);
        let mut batch = Batch::new();
        for row in rows.iter().copied() {
            // Rows come in rising width, so the newest is the widest.
            if !batch.is_empty() && (batch.len() + 1) * widths[row] > budget {
                batches.push(std::mem::take(&mut batch));
            }
            batch.push(row);
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
    }
    draw.shuffle(&mut batches);
    batches
}

/// Rows that are computed together.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Row by row, padded on the right.
    ids: Vec<u32>,
    targets: Vec<i64>,
    rows: usize,
    width: usize,
    /// Tokens that are no padding.
    pub(crate) tokens: usize,
    /// Positions that are learnt.
    pub(crate) counted: usize,
}

impl Shard {
    fn of(rows: &[&Example]) -> Self {
        let width = rows.iter().map(|row| width(row)).max().unwrap_or(1);
        let mut shard = Self {
            ids: Vec::with_capacity(rows.len() * width),
            targets: Vec::with_capacity(rows.len() * width),
            rows: rows.len(),
            width,
            tokens: 0,
            counted: 0,
        };
        for (row, example) in rows.iter().enumerate() {
            let count = example.ids.len().saturating_sub(1);
            shard.ids.extend(example.ids.iter().take(count));
            let targets = example.ids.iter().zip(&example.learn).skip(1);
            shard.targets.extend(targets.map(|(id, l)| if *l { i64::from(*id) } else { IGNORED }));
            shard.ids.resize((row + 1) * width, 0);
            shard.targets.resize((row + 1) * width, IGNORED);
            shard.tokens += count;
            shard.counted += example.counted();
        }
        shard
    }

    /// Tokens, padding included.
    pub(crate) fn area(&self) -> usize {
        self.rows * self.width
    }

    /// Row by row, each as long as [`Shard::width`].
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Tokens of a row, padding included.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// What should follow each id, or [`IGNORED`].
    pub(crate) fn targets(&self) -> &[i64] {
        &self.targets
    }
}

/// A batch's shards, widest rows first.
pub(crate) fn shards(examples: &[Example], batch: &[usize]) -> Vec<Shard> {
    let mut rows: Vec<&Example> = batch.iter().filter_map(|i| examples.get(*i)).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(width(row)));
    let area: usize = rows.iter().map(|row| width(row)).sum();
    let count = area.div_ceil(SHARD).next_multiple_of(MULTIPLE).min(rows.len());
    let mut shards = Vec::with_capacity(count);
    let (mut begin, mut done) = (0, 0);
    for end in 1..=rows.len() {
        done += width(rows[end - 1]);
        // Cut where the next share of the area is full, leaving a row at least for each later shard.
        let full = done * count >= area * (shards.len() + 1);
        let last = rows.len() - end == count - shards.len() - 1;
        if shards.len() + 1 < count && (full || last) {
            shards.push(Shard::of(&rows[begin..end]));
            begin = end;
        }
    }
    if begin < rows.len() {
        shards.push(Shard::of(&rows[begin..]));
    }
    shards
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example(length: usize) -> Example {
        let ids = (0..length).map(|i| i as u32).collect();
        Example { ids, learn: (0..length).map(|i| i % 2 == 1).collect() }
    }

    #[test]
    fn targets_are_shifted_and_padding_is_ignored() {
        let shard = Shard::of(&[&example(4), &example(2)]);
        assert_eq!(shard.ids, [0, 1, 2, 0, 0, 0]);
        let x = IGNORED;
        assert_eq!(shard.targets, [1, x, 3, 1, x, x]);
        assert_eq!((shard.area(), shard.tokens, shard.counted), (6, 4, 3));
    }

    #[test]
    fn epochs_differ_and_a_seed_repeats() {
        let widths: Vec<usize> = (0..500).map(|i| 5 + i * 7 % 60).collect();
        let of = |seed, number| epoch(&widths, 1000, seed, number);
        assert_eq!(of(1, 0), of(1, 0));
        assert_ne!(of(1, 0), of(1, 1));
        assert_ne!(of(1, 0), of(2, 0));
        let padded: usize =
            of(1, 0).iter().map(|b| b.len() * b.iter().map(|i| widths[*i]).max().unwrap()).sum();
        let tokens: usize = widths.iter().sum();
        assert!(padded * 100 < tokens * 108, "{padded} for {tokens}");
    }

    proptest! {
        #[test]
        fn every_row_once_and_within_the_budget(
            widths in proptest::collection::vec(1_usize..80, 1..300), budget in 1_usize..400,
        ) {
            let batches = epoch(&widths, budget, 5, 0);
            let mut seen: Vec<usize> = batches.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..widths.len()).collect::<Vec<_>>());
            for batch in &batches {
                let widest = batch.iter().map(|i| widths[*i]).max().unwrap();
                prop_assert!(batch.len() == 1 || batch.len() * widest <= budget);
            }
        }

        #[test]
        fn shards_hold_every_row_once(lengths in proptest::collection::vec(2_usize..60, 1..90)) {
            let examples: Vec<Example> = lengths.iter().map(|n| example(*n)).collect();
            let batch: Batch = (0..examples.len()).collect();
            let shards = shards(&examples, &batch);
            let tokens: usize = lengths.iter().map(|n| n - 1).sum();
            prop_assert_eq!(shards.iter().map(|s| s.rows).sum::<usize>(), examples.len());
            prop_assert_eq!(shards.iter().map(|s| s.tokens).sum::<usize>(), tokens);
            let wanted = tokens.div_ceil(SHARD).next_multiple_of(MULTIPLE).min(examples.len());
            prop_assert_eq!(shards.len(), wanted);
            prop_assert!(shards.iter().all(|s| s.rows > 0 && s.counted > 0));
        }
    }
}
