//! Finds the next secret, and says from where on too little is known.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind, StartKind};

use super::replacement;
use super::shapes::{SHAPES, Shape, Verdict};

/// So many bytes before a key decide whether it may begin there.
pub(super) const CONTEXT: usize = 6;
/// Up to so many bytes of patterns the quicker and larger machine is built.
const SMALL: usize = 32 << 10;

/// A part of a text.
pub(super) struct Window<'a> {
    /// What came before it, as far as [`CONTEXT`] goes.
    pub(super) before: &'a [u8],
    pub(super) data: &'a [u8],
    /// Nothing comes after it.
    pub(super) whole: bool,
}

impl Window<'_> {
    fn from(&self, start: usize) -> &[u8] {
        self.data.get(start..).unwrap_or_default()
    }

    /// The bytes before a place.
    pub(super) fn context(&self, place: usize) -> Vec<u8> {
        let data = self.data.get(..place).unwrap_or(self.data);
        let data = data.get(data.len().saturating_sub(CONTEXT)..).unwrap_or_default();
        let missing = (CONTEXT - data.len()).min(self.before.len());
        let before = self.before.get(self.before.len() - missing..).unwrap_or_default();
        [before, data].concat()
    }
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// A secret, and what stands in its place.
    Secret { start: usize, end: usize, replacement: &'a [u8] },
    /// None before this place; from there on more must be known. The end of the data, where all is known.
    None { until: usize },
}

/// What a pattern of the searcher stands for.
enum Meaning {
    Secret(Arc<[u8]>),
    Shape { shape: &'static Shape, replacement: Vec<u8> },
}

/// Finds secrets and keys.
pub(super) struct Search {
    machine: AhoCorasick,
    meanings: Vec<Meaning>,
    /// The patterns, sorted, and which bytes they begin with: for the end of a piece.
    sorted: Vec<Vec<u8>>,
    begins: [bool; 256],
    longest: usize,
}

impl Search {
    /// Of secrets' forms with what stands in their place.
    pub(super) fn new(literals: Vec<(Vec<u8>, Arc<[u8]>)>) -> Result<Self, BuildError> {
        let (mut patterns, mut meanings) = (Vec::new(), Vec::new());
        for (pattern, replacement) in literals {
            patterns.push(pattern);
            meanings.push(Meaning::Secret(replacement));
        }
        for shape in SHAPES {
            for start in shape.starts {
                patterns.push(start.as_bytes().to_vec());
                meanings.push(Meaning::Shape { shape, replacement: replacement(shape.name) });
            }
        }
        let bytes: usize = patterns.iter().map(Vec::len).sum();
        let machine = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Unanchored)
            .kind((bytes <= SMALL).then_some(AhoCorasickKind::DFA))
            .build(&patterns)?;
        let mut begins = [false; 256];
        for first in patterns.iter().filter_map(|pattern| pattern.first()) {
            begins[usize::from(*first)] = true;
        }
        let longest = patterns.iter().map(Vec::len).max().unwrap_or_default();
        let mut sorted = patterns;
        sorted.sort_unstable();
        sorted.dedup();
        Ok(Self { machine, meanings, sorted, begins, longest })
    }

    /// The next secret from a place on.
    pub(super) fn next(&self, window: &Window<'_>, from: usize) -> Found<'_> {
        let known = if window.whole { window.data.len() } else { self.known(window.data, from) };
        let mut at = from;
        while at < known {
            let input = Input::new(window.data).span(at..window.data.len());
            let Some(found) = self.machine.find(input).filter(|found| found.start() < known) else {
                break;
            };
            let start = found.start();
            match self.meanings.get(found.pattern().as_usize()) {
                Some(Meaning::Secret(replacement)) => {
                    return Found::Secret { start, end: found.end(), replacement };
                }
                Some(Meaning::Shape { shape, replacement }) => {
                    let rest = window.from(found.end());
                    let may = Shape::may_follow(&window.context(start));
                    match if may { shape.judge(rest, window.whole) } else { Verdict::Other } {
                        Verdict::Key(length) => {
                            let end = found.end() + length;
                            return Found::Secret { start, end, replacement };
                        }
                        Verdict::Open => return Found::None { until: start },
                        Verdict::Other => {
                            if let Some((end, replacement)) = self.secret_at(window.from(start)) {
                                return Found::Secret { start, end: start + end, replacement };
                            }
                        }
                    }
                }
                None => {}
            }
            at = start + 1;
        }
        Found::None { until: known.max(from) }
    }

    /// The longest secret that a text begins with, where a longer beginning of a key hid it from the searcher.
    fn secret_at(&self, text: &[u8]) -> Option<(usize, &[u8])> {
        let secrets = self.sorted.iter().filter(|pattern| text.starts_with(pattern));
        let found = secrets.filter_map(|pattern| {
            let id = self.machine.find(Input::new(pattern.as_slice()))?.pattern();
            match self.meanings.get(id.as_usize())? {
                Meaning::Secret(replacement) => Some((pattern.len(), replacement.as_ref())),
                Meaning::Shape { .. } => None,
            }
        });
        found.max_by_key(|(length, _)| *length)
    }

    /// The first place from which on the data may be the beginning of a pattern that has not come to its end.
    fn known(&self, data: &[u8], from: usize) -> usize {
        let first = from.max(data.len().saturating_sub(self.longest.saturating_sub(1)));
        let open = |place: &usize| {
            let tail = data.get(*place..).unwrap_or_default();
            tail.first().is_some_and(|b| self.begins[usize::from(*b)]) && {
                let index = self.sorted.partition_point(|pattern| pattern.as_slice() <= tail);
                self.sorted.get(index).is_some_and(|pattern| pattern.starts_with(tail))
            }
        };
        (first..data.len()).find(open).unwrap_or(data.len())
    }
}
