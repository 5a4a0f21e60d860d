//! Finds the next secret, and says from where on too little is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind, StartKind};

use super::replacement;
use super::shapes::{SHAPES, Shape, Verdict};

/// So many bytes before a key decide whether it may begin there.
pub(super) const CONTEXT: usize = 6;
/// So many first bytes of a pattern are looked for; the rest is compared where they are found. So the machine stays
/// small, and quick, however long the secrets are.
const HEAD: usize = 8;
/// Up to so many of them the quicker and larger machine is built.
const MOST_HEADS: usize = 4096;

/// A part of a text.
pub(super) struct Window<'a> {
    /// What came before it, as far as [`CONTEXT`] goes.
    pub(super) before: &'a [u8],
    pub(super) data: &'a [u8],
    /// Nothing comes after it.
    pub(super) whole: bool,
}

impl Window<'_> {
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

/// What a secret's form, or the beginning of a key, stands for.
enum Meaning {
    Secret(Arc<[u8]>),
    Shape { shape: &'static Shape, replacement: Vec<u8> },
}

struct Pattern {
    bytes: Vec<u8>,
    meaning: Meaning,
}

/// Finds secrets and keys.
pub(super) struct Search {
    /// Finds where patterns begin, by their first bytes.
    machine: AhoCorasick,
    /// The patterns that begin with each byte: secrets first, longer ones first.
    beginning: Vec<Vec<Pattern>>,
    /// The patterns' bytes, sorted: for the end of a piece.
    sorted: Vec<Vec<u8>>,
    longest: usize,
}

impl Search {
    /// Of secrets' forms with what stands in their place.
    pub(super) fn new(literals: Vec<(Vec<u8>, Arc<[u8]>)>) -> Result<Self, BuildError> {
        let secret =
            |(bytes, replacement)| Pattern { bytes, meaning: Meaning::Secret(replacement) };
        let mut patterns: Vec<Pattern> = literals.into_iter().map(secret).collect();
        for shape in SHAPES {
            patterns.extend(shape.starts.iter().map(|start| {
                let meaning = Meaning::Shape { shape, replacement: replacement(shape.name) };
                Pattern { bytes: start.as_bytes().to_vec(), meaning }
            }));
        }
        let heads =
            patterns.iter().map(|pattern| pattern.bytes.get(..HEAD).unwrap_or(&pattern.bytes));
        let heads: BTreeSet<&[u8]> = heads.collect();
        let machine = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .start_kind(StartKind::Unanchored)
            .kind((heads.len() <= MOST_HEADS).then_some(AhoCorasickKind::DFA))
            .build(heads)?;
        let longest = patterns.iter().map(|pattern| pattern.bytes.len()).max().unwrap_or_default();
        let sorted: BTreeSet<Vec<u8>> = patterns.iter().map(|p| p.bytes.clone()).collect();
        patterns.sort_by_key(|pattern| {
            let shape = matches!(pattern.meaning, Meaning::Shape { .. });
            (shape, std::cmp::Reverse(pattern.bytes.len()))
        });
        let mut beginning: Vec<Vec<Pattern>> = (0..=u8::MAX).map(|_| Vec::new()).collect();
        for pattern in patterns {
            let first = pattern.bytes.first().map_or(0, |b| usize::from(*b));
            if let Some(list) = beginning.get_mut(first) {
                list.push(pattern);
            }
        }
        Ok(Self { machine, beginning, sorted: sorted.into_iter().collect(), longest })
    }

    /// The next secret from a place on, up to what is [`Self::known`].
    pub(super) fn next(&self, window: &Window<'_>, from: usize, known: usize) -> Found<'_> {
        let mut at = from;
        while at < known {
            let input = Input::new(window.data).span(at..window.data.len());
            let Some(start) = self.machine.find(input).map(|f| f.start()).filter(|s| *s < known)
            else {
                break;
            };
            match self.at(window, start) {
                Some(found) => return found,
                None => at = start + 1,
            }
        }
        Found::None { until: known.max(from) }
    }

    /// The secret or key that begins at a place, if any does; or that more must be known.
    fn at(&self, window: &Window<'_>, start: usize) -> Option<Found<'_>> {
        let text = window.data.get(start..)?;
        let list = self.beginning.get(usize::from(*text.first()?))?;
        let pattern = list.iter().find(|pattern| text.starts_with(&pattern.bytes))?;
        let end = start + pattern.bytes.len();
        match &pattern.meaning {
            Meaning::Secret(replacement) => Some(Found::Secret { start, end, replacement }),
            Meaning::Shape { shape, replacement } => {
                if !shape.may_follow(&window.context(start)) {
                    return None;
                }
                match shape.judge(window.data.get(end..).unwrap_or_default(), window.whole) {
                    Verdict::Key(length) => {
                        Some(Found::Secret { start, end: end + length, replacement })
                    }
                    Verdict::Open => Some(Found::None { until: start }),
                    Verdict::Other => None,
                }
            }
        }
    }

    /// The first place from which on the data may be the beginning of a pattern that has not come to its end; none
    /// before `from`. It stays the same until a secret ends behind it.
    pub(super) fn known(&self, window: &Window<'_>, from: usize) -> usize {
        let data = window.data;
        if window.whole {
            return data.len();
        }
        let first = from.max(data.len().saturating_sub(self.longest.saturating_sub(1)));
        let open = |place: &usize| {
            let tail = data.get(*place..).unwrap_or_default();
            tail.first().is_some_and(|b| self.begins(*b)) && {
                let index = self.sorted.partition_point(|pattern| pattern.as_slice() <= tail);
                self.sorted.get(index).is_some_and(|pattern| pattern.starts_with(tail))
            }
        };
        (first..data.len()).find(open).unwrap_or(data.len())
    }

    fn begins(&self, byte: u8) -> bool {
        self.beginning.get(usize::from(byte)).is_some_and(|list| !list.is_empty())
    }
}
