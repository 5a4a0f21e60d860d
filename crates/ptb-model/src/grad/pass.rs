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
        for part in ids.parts() {
            let (here, after) = rest.split_at_mut(part.len() * self.pack.vocabulary);
            let state = State::forward(self, part, ids.time, Keep::Last);
            self.head().logits(&state.x, here);
            rest = after;
        }
        out
    }

    /// Given the gradient of the logits, that of the parameters.
    pub(super) fn logits_back(&self, ids: Ids<'_>, d: &[f32]) -> Vec<f32> {
        let mut grads = vec![0.0; self.pack.len()];
        let mut rest = d;
        for part in ids.parts() {
            let (here, after) = rest.split_at(part.len() * self.pack.vocabulary);
            let state = State::forward(self, part, ids.time, Keep::All);
            let mut dx = vec![0.0; state.x.len()];
            self.head().logits_back(&state.x, here, &mut dx, &mut grads);
            state.back(self, part, dx, &mut grads);
            rest = after;
        }
        grads
    }

    /// Sum of the cross-entropies of the targets that are not negative and, when asked for, its gradient.
    pub(super) fn loss(
        &self,
        ids: Ids<'_>,
        targets: &[i64],
        gradient: bool,
    ) -> (f64, Option<Vec<f32>>) {
        let mut grads = gradient.then(|| vec![0.0; self.pack.len()]);
        let mut total = 0.0;
        for (ids, targets) in trimmed(ids, targets) {
            total +=
                self.part_loss(Ids { all: &ids.0, time: ids.1 }, &targets, grads.as_deref_mut());
        }
        (total, grads)
    }

    fn part_loss(&self, ids: Ids<'_>, targets: &[i64], grads: Option<&mut [f32]>) -> f64 {
        let hidden = self.pack.hidden;
        let keep = if grads.is_some() { Keep::All } else { Keep::Last };
        let state = State::forward(self, ids.all, ids.time, keep);
        let counted =
            targets.iter().enumerate().filter_map(|(row, t)| Some((row, u32::try_from(*t).ok()?)));
        let (rows, targets): (Vec<usize>, Vec<u32>) = counted.unzip();
        let mut x = vec![0.0; rows.len() * hidden];
        for (x, row) in x.chunks_exact_mut(hidden).zip(&rows) {
            x.copy_from_slice(&state.x[row * hidden..][..hidden]);
        }
        let Some(grads) = grads else { return self.head().loss(&x, &targets, None) };
        let mut d = vec![0.0; x.len()];
        let total = self.head().loss(&x, &targets, Some((&mut d, grads)));
        let mut dx = vec![0.0; state.x.len()];
        for (d, row) in d.chunks_exact(hidden).zip(&rows) {
            dx[row * hidden..][..hidden].copy_from_slice(d);
        }
        state.back(self, ids.all, dx, grads);
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

/// A forward pass over some sequences, and what it kept.
struct State {
    blocks: Blocks,
    kept: Vec<Kept>,
    /// The residual stream after the last layer.
    x: Vec<f32>,
}

impl State {
    fn forward(model: &Model<'_>, ids: &[u32], time: usize, keep: Keep) -> Self {
        let pack = model.pack;
        let hidden = pack.hidden;
        let blocks = Blocks::new(pack, ids.len() / time.max(1), time);
        let layers = if keep == Keep::All { pack.layers } else { 1 };
        let mut kept: Vec<Kept> = (0..layers).map(|_| Kept::new(&pack, blocks.heads)).collect();
        let mut x = vec![0.0; ids.len() * hidden];
        let table = &model.all[pack.embedding()];
        for (x, id) in x.chunks_exact_mut(hidden).zip(ids) {
            x.copy_from_slice(&table[*id as usize * hidden..][..hidden]);
        }
        for layer in 0..pack.layers {
            let kept = &mut kept[layer.min(layers - 1)];
            std::mem::swap(&mut kept.x, &mut x);
            blocks.forward(&pack.layer(model.all, layer), kept, &mut x);
        }
        Self { blocks, kept, x }
    }

    /// Given the gradient of the residual stream at the end, adds that of all parameters below the head.
    fn back(mut self, model: &Model<'_>, ids: &[u32], mut d: Vec<f32>, grads: &mut [f32]) {
        let pack = &model.pack;
        let mut room = Room::new(pack, self.blocks.heads);
        for (layer, kept) in self.kept.iter_mut().enumerate().rev() {
            let weights = pack.layer(model.all, layer);
            let mut grads = pack.layer_mut(grads, layer);
            self.blocks.back(&weights, kept, &mut room, &mut d, &mut grads);
        }
        let hidden = pack.hidden;
        let table = &mut grads[pack.embedding()];
        for (d, id) in d.chunks_exact(hidden).zip(ids) {
            let row = &mut table[*id as usize * hidden..][..hidden];
            row.iter_mut().zip(d).for_each(|(row, d)| *row += d);
        }
    }
}
