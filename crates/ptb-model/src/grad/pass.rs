//! Passes over a batch: some sequences at a time, forward and at once back, so that what lies in memory
//! between the two is bounded by those sequences and stays near the processor.

use super::block::{Blocks, Kept, Room};
use super::head::Head;
use super::pack::Pack;

/// Rows (sequences times positions) that are taken at once: enough for products to be efficient, few enough
/// for a layer's values to stay in a core's cache at small widths.
const ROWS: usize = 512;

/// Token ids of sequences of one length, row by row; each within the vocabulary.
#[derive(Clone, Copy)]
pub(super) struct Ids<'a> {
    pub(super) all: &'a [u32],
    pub(super) time: usize,
}

impl<'a> Ids<'a> {
    /// Sequences that are taken at once.
    fn step(&self) -> usize {
        (ROWS / self.time.max(1)).max(1)
    }

    /// Parts of the batch.
    fn parts(self) -> impl Iterator<Item = &'a [u32]> {
        self.all.chunks((self.step() * self.time).max(1))
    }
}

/// A model of these parameters, joined.
pub(super) struct Model<'a> {
    pub(super) pack: Pack,
    pub(super) all: &'a [f32],
}

impl Model<'_> {
    fn head(&self) -> Head<'_> {
        Head { pack: &self.pack, all: self.all }
    }

    /// Logits `[sequences, time, vocabulary]`.
    pub(super) fn logits(&self, ids: Ids<'_>) -> Vec<f32> {
        let mut out = vec![0.0; ids.all.len() * self.pack.vocabulary];
        let mut rest = out.as_mut_slice();
        let mut work = Work::default();
        for part in ids.parts() {
            let (here, after) = rest.split_at_mut(part.len() * self.pack.vocabulary);
            work.forward(self, part, ids.time, Keep::Last);
            self.head().logits(&work.x, here);
            rest = after;
        }
        out
    }

    /// Given the gradient of the logits, that of the parameters.
    pub(super) fn logits_back(&self, ids: Ids<'_>, d: &[f32]) -> Vec<f32> {
        let mut grads = vec![0.0; self.pack.len()];
        let mut rest = d;
        let mut work = Work::default();
        for part in ids.parts() {
            let (here, after) = rest.split_at(part.len() * self.pack.vocabulary);
            let blocks = work.forward(self, part, ids.time, Keep::All);
            self.head().logits_back(&work.x, here, &mut work.d, &mut grads);
            work.back(self, &blocks, part, &mut grads);
            rest = after;
        }
        grads
    }

    /// Sum of the cross-entropies of the targets that are not negative; with `grads`, its gradient is added
    /// to them.
    pub(super) fn loss(&self, ids: Ids<'_>, targets: &[i64], mut grads: Option<&mut [f32]>) -> f64 {
        let mut work = Work::default();
        let parts = trimmed(ids, targets).map(|((ids, time), targets)| {
            self.part_loss(&mut work, Ids { all: &ids, time }, &targets, grads.as_deref_mut())
        });
        parts.sum()
    }

    fn part_loss(
        &self,
        work: &mut Work,
        ids: Ids<'_>,
        targets: &[i64],
        grads: Option<&mut [f32]>,
    ) -> f64 {
        let hidden = self.pack.hidden;
        let keep = if grads.is_some() { Keep::All } else { Keep::Last };
        let blocks = work.forward(self, ids.all, ids.time, keep);
        let counted = targets.iter().enumerate();
        let counted = counted.filter_map(|(row, t)| Some((row, u32::try_from(*t).ok()?)));
        let (rows, targets): (Vec<usize>, Vec<u32>) = counted.unzip();
        let mut x = vec![0.0; rows.len() * hidden];
        for (x, row) in x.chunks_exact_mut(hidden).zip(&rows) {
            x.copy_from_slice(&work.x[row * hidden..][..hidden]);
        }
        let Some(grads) = grads else { return self.head().loss(&x, &targets, None) };
        let mut d = vec![0.0; x.len()];
        let total = self.head().loss(&x, &targets, Some((&mut d, grads)));
        work.d.fill(0.0);
        for (d, row) in d.chunks_exact(hidden).zip(&rows) {
            work.d[row * hidden..][..hidden].copy_from_slice(d);
        }
        work.back(self, &blocks, ids.all, grads);
        total
    }
}

/// Parts of a batch without what no counted target depends on: sequences that have none, and the
/// positions after the last one of any sequence in the part.
fn trimmed<'a>(
    ids: Ids<'a>,
    targets: &'a [i64],
) -> impl Iterator<Item = ((Vec<u32>, usize), Vec<i64>)> + 'a {
    let time = ids.time.max(1);
    let rows = ids.all.chunks(time).zip(targets.chunks(time));
    let needed = |targets: &[i64]| targets.iter().rposition(|t| *t >= 0).map(|last| last + 1);
    let mut rows =
        rows.filter_map(move |(ids, targets)| Some((ids, targets, needed(targets)?))).peekable();
    std::iter::from_fn(move || {
        let mut part = Vec::new();
        let mut longest = 0;
        while let Some((_, _, n)) = rows.peek() {
            let wider = longest.max(*n);
            if !part.is_empty() && wider * (part.len() + 1) > ROWS {
                break;
            }
            longest = wider;
            part.extend(rows.next());
        }
        let of = |cut: &[u32]| cut[..longest].to_vec();
        let all = part.iter().flat_map(|(ids, ..)| of(ids)).collect();
        let targets = part.iter().flat_map(|(_, t, _)| t[..longest].to_vec()).collect();
        (!part.is_empty()).then_some(((all, longest), targets))
    })
}

/// Which layers' values a forward pass keeps.
#[derive(PartialEq, Eq)]
enum Keep {
    All,
    Last,
}

/// What passes over one part of a batch after the other work in.
#[derive(Default)]
struct Work {
    kept: Vec<Kept>,
    room: Room,
    /// The residual stream after the last layer.
    x: Vec<f32>,
    /// Its gradient.
    d: Vec<f32>,
}

impl Work {
    fn forward(&mut self, model: &Model<'_>, ids: &[u32], time: usize, keep: Keep) -> Blocks {
        let pack = model.pack;
        let hidden = pack.hidden;
        let blocks = Blocks::new(pack, ids.len() / time.max(1), time);
        let layers = if keep == Keep::All { pack.layers } else { 1 };
        self.kept.resize_with(layers, Kept::default);
        self.kept.iter_mut().for_each(|kept| kept.fit(&pack, blocks.heads));
        self.x.resize(ids.len() * hidden, 0.0);
        self.d.resize(ids.len() * hidden, 0.0);
        let table = &model.all[pack.embedding()];
        for (x, id) in self.x.chunks_exact_mut(hidden).zip(ids) {
            x.copy_from_slice(&table[*id as usize * hidden..][..hidden]);
        }
        for layer in 0..pack.layers {
            let kept = &mut self.kept[layer.min(layers - 1)];
            std::mem::swap(&mut kept.x, &mut self.x);
            blocks.forward(&pack.layer(model.all, layer), kept, &mut self.x);
        }
        blocks
    }

    /// Given the gradient `d` of the residual stream at the end, adds that of all parameters below the
    /// head. Uses up what a forward pass that keeps all has kept.
    fn back(&mut self, model: &Model<'_>, blocks: &Blocks, ids: &[u32], grads: &mut [f32]) {
        let pack = &model.pack;
        self.room.fit(pack, blocks.heads);
        for (layer, kept) in self.kept.iter_mut().enumerate().rev() {
            let weights = pack.layer(model.all, layer);
            let mut grads = pack.layer_mut(grads, layer);
            blocks.back(&weights, kept, &mut self.room, &mut self.d, &mut grads);
        }
        let hidden = pack.hidden;
        let table = &mut grads[pack.embedding()];
        for (d, id) in self.d.chunks_exact(hidden).zip(ids) {
            let row = &mut table[*id as usize * hidden..][..hidden];
            row.iter_mut().zip(d).for_each(|(row, d)| *row += d);
        }
    }
}
