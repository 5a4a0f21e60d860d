//! One document through both looks.

use super::code::may_be_code;
use super::compare::{Common, Stretch, compare};
use super::decide::{Kind, decide};
use super::hidden;
use super::index::{Index, Passage};
use super::look::{Candidate, Looker};
use super::token::{Escapes, all_words, words};

/// Longest document, in bytes, whose words are read once for all of its candidates.
const WHOLE: usize = 16 << 10;
/// How deep a text in disguise is followed.
const DEEPEST: usize = 2;
/// Largest text in disguise, in bytes.
const LARGEST_HIDDEN: usize = 16 << 20;

/// How a document's text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is read.
    Plain,
    /// In strings of JSON.
    Json,
    /// Partly in strings of a program.
    Source,
}

impl Form {
    fn escapes(self) -> Escapes {
        match self {
            Self::Plain => Escapes::Plain,
            Self::Json | Self::Source => Escapes::Decoded,
        }
    }
}

/// An item found in a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Place of the item in the index.
    pub(super) item: u32,
    pub(super) kind: Kind,
    pub(super) score: f64,
    /// Bytes of the document.
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Looks documents through; keeps its room from one to the next.
#[derive(Debug, Default)]
pub(super) struct Reader {
    looker: Looker,
}

impl Reader {
    /// What of the benchmark a document holds.
    pub(super) fn read(
        &mut self,
        index: &Index,
        text: &[u8],
        form: Form,
        running: bool,
    ) -> Vec<Found> {
        let mut found = Vec::new();
        self.read_at(index, text, form, 0, &mut found);
        best(found, running)
    }

    fn read_at(
        &mut self,
        index: &Index,
        text: &[u8],
        form: Form,
        depth: usize,
        found: &mut Vec<Found>,
    ) {
        let escapes = form.escapes();
        let (candidates, long) = self.looker.look(index, text, escapes);
        if !candidates.is_empty() {
            compare_all(index, text, escapes, candidates, found);
        }
        if !index.code.is_empty() && may_be_code(text) {
            find_code(index, text, form, found);
        }
        if long && depth < DEEPEST {
            for (at, hidden) in hidden::texts(text) {
                if hidden.len() > LARGEST_HIDDEN {
                    continue;
                }
                let mut inner = Vec::new();
                self.read_at(index, &hidden, Form::Plain, depth + 1, &mut inner);
                found.extend(inner.into_iter().map(|f| Found {
                    from: at as u32,
                    to: at as u32,
                    ..f
                }));
            }
        }
    }
}

fn compare_all(
    index: &Index,
    text: &[u8],
    escapes: Escapes,
    candidates: &[Candidate],
    found: &mut Vec<Found>,
) {
    each_common(index, text, escapes, candidates, |passage, common| {
        if let Some((kind, score)) = decide(passage, common) {
            let (from, to) = (common.from, common.to);
            found.extend(passage.owners.iter().map(|&item| Found { item, kind, score, from, to }));
        }
    });
}

/// Compares each candidate with its surroundings.
pub(super) fn each_common(
    index: &Index,
    text: &[u8],
    escapes: Escapes,
    candidates: &[Candidate],
    mut each: impl FnMut(&Passage, &Common),
) {
    let whole = (text.len() <= WHOLE).then(|| Stretch::new(index, all_words(text, escapes)));
    for candidate in candidates {
        let Some(passage) = index.passages.get(candidate.passage as usize) else { continue };
        let margin = passage.bytes * expansion(text, escapes, candidate) / 2 + 64;
        let from = (candidate.from as usize).saturating_sub(margin);
        let to = (candidate.to as usize + margin).min(text.len());
        let within = (candidate.from, candidate.to);
        let common = match &whole {
            Some(whole) => compare(index, passage, whole, (from, to), within),
            None => {
                let mut own = Vec::new();
                // The words are read from a place at which one begins.
                let start = text[..from].iter().rposition(|b| *b == b' ').unwrap_or(from);
                words(&text[start..to], escapes, |mut w| {
                    w.start += start as u32;
                    w.end += start as u32;
                    own.push(w);
                });
                compare(index, passage, &Stretch::new(index, own), (from, to), within)
            }
        };
        each(passage, &common);
    }
}

/// How much longer a text may be than what it stands for: escapes of letters take three times their bytes.
fn expansion(text: &[u8], escapes: Escapes, candidate: &Candidate) -> usize {
    let near = text.get(candidate.from as usize..=candidate.to as usize).unwrap_or_default();
    let escaped = escapes == Escapes::Decoded
        && memchr::memmem::find_iter(near, b"\\u").count() * 40 > near.len();
    if escaped { 3 } else { 1 }
}

fn find_code(index: &Index, text: &[u8], form: Form, found: &mut Vec<Found>) {
    let mut tell = |source: &str, known: bool| {
        let place = |at: u32| if known { at } else { 0 };
        found.extend(index.code.find(source).into_iter().map(|m| {
            let (from, to) = (place(m.from), place(m.to));
            Found { item: m.owner, kind: Kind::Code, score: m.score, from, to }
        }));
    };
    if form != Form::Json {
        tell(&String::from_utf8_lossy(text), true);
    }
    if form != Form::Plain {
        // Places in what was decoded do not lead back to the document's.
        tell(&super::unescape::strings(text), false);
    }
}

/// Bytes of a running text within which what points to one item is one finding.
const NEAR: u32 = 2000;

/// One entry for each item and kind, the best; words that stand in their own order need no weaker kind beside it. In
/// a text that goes on, what lies far apart is apart.
fn best(mut found: Vec<Found>, running: bool) -> Vec<Found> {
    found.sort_by_key(|f| (f.item, f.from));
    let mut kept: Vec<Found> = Vec::with_capacity(found.len());
    let mut group: Vec<Found> = Vec::new();
    for f in found {
        let near = group.last().is_some_and(|last| {
            last.item == f.item
                && (!running || f.from.saturating_sub(last.to.max(last.from)) < NEAR)
        });
        if !near {
            kept.append(&mut strongest(std::mem::take(&mut group)));
        }
        group.push(f);
    }
    kept.append(&mut strongest(group));
    kept
}

/// Of one item in one place: each kind once, and no weaker one beside it.
fn strongest(mut group: Vec<Found>) -> Vec<Found> {
    group.sort_by(|a, b| a.kind.cmp(&b.kind).then(b.score.total_cmp(&a.score)));
    group.dedup_by(|later, first| later.kind == first.kind);
    let words = |kind: Kind| matches!(kind, Kind::Verbatim | Kind::Normalised | Kind::Paraphrase);
    let first = group.iter().find(|f| words(f.kind)).map(|f| f.kind);
    group.retain(|f| !words(f.kind) || Some(f.kind) == first);
    group
}
