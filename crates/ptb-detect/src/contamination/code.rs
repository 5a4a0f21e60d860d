//! Programs compared without their names: runs of symbols in which each name is the n-th different one of its run.

use rustc_hash::{FxHashMap, FxHashSet};

use super::index::{Item, pair};
use super::lexer::{Body, Symbol, bodies};

/// Symbols in a run.
const RUN: usize = 8;
/// Shortest body, in symbols, that can be told from chance.
const LEAST: usize = 20;
/// The same of one with its own names.
const LEAST_WHOLE: usize = 6;
/// A run that more items share is an idiom.
const MOST_OWNERS: usize = 2;
/// Share of a body's runs that are not idioms, below which it is left out.
const LEAST_OWN: f64 = 0.3;

/// The bodies of a benchmark's functions.
#[derive(Debug, Default)]
pub(super) struct CodeIndex {
    /// Length of each body in symbols, and its owner.
    bodies: Vec<(usize, u32)>,
    /// Where runs are: body and place.
    runs: FxHashMap<u64, Vec<(u32, u32)>>,
    idioms: FxHashSet<u64>,
    /// Whole functions by their own names, for those too short for runs.
    whole: FxHashMap<u64, u32>,
}

/// A body found in a document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CodeMatch {
    pub(super) owner: u32,
    /// Share of the item's body.
    pub(super) score: f64,
    pub(super) from: u32,
    pub(super) to: u32,
}

impl CodeIndex {
    pub(super) fn new(items: &[Item]) -> Self {
        let mut index = Self::default();
        let mut owners: FxHashMap<u64, FxHashSet<u32>> = FxHashMap::default();
        for (owner, item) in items.iter().enumerate() {
            let all = item.code.iter().flat_map(|code| bodies(code));
            for body in all.filter(|b| b.of_function && b.symbols.len() >= LEAST_WHOLE) {
                index.whole.entry(body.whole()).or_insert(owner as u32);
                if body.symbols.len() < LEAST {
                    continue;
                }
                let id = index.bodies.len() as u32;
                index.bodies.push((body.symbols.len(), owner as u32));
                for (at, run) in runs(&body.symbols) {
                    index.runs.entry(run).or_default().push((id, at as u32));
                    owners.entry(run).or_default().insert(owner as u32);
                }
            }
        }
        index.idioms = owners
            .into_iter()
            .filter(|(_, owners)| owners.len() > MOST_OWNERS)
            .map(|(run, _)| run)
            .collect();
        index
    }

    pub(super) fn owners(&self) -> impl Iterator<Item = &u32> {
        self.bodies.iter().map(|(_, owner)| owner).chain(self.whole.values())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// Items whose functions a source holds.
    pub(super) fn find(&self, source: &str) -> Vec<CodeMatch> {
        let mut found = Vec::new();
        for body in &bodies(source) {
            if body.symbols.len() >= LEAST * 3 / 4 {
                self.compare(body, &mut found);
            }
            let whole = self.whole.get(&body.whole()).filter(|_| body.of_function);
            if let (Some(owner), Some(first)) = (whole, body.symbols.first()) {
                found.push(CodeMatch { owner: *owner, score: 1.0, from: first.at, to: first.at });
            }
        }
        found
    }

    fn compare(&self, theirs: &Body, found: &mut Vec<CodeMatch>) {
        let mut hits: FxHashMap<u32, Vec<(u32, u32, bool)>> = FxHashMap::default();
        for (at, run) in runs(&theirs.symbols) {
            let idiom = self.idioms.contains(&run);
            for (body, place) in self.runs.get(&run).into_iter().flatten() {
                hits.entry(*body).or_default().push((at as u32, *place, idiom));
            }
        }
        for (body, hits) in hits {
            let Some((length, owner)) = self.bodies.get(body as usize) else { continue };
            let mut covered = vec![false; *length];
            let mut own = FxHashSet::default();
            for (_, place, idiom) in &hits {
                covered[*place as usize..*place as usize + RUN].fill(true);
                if !idiom {
                    own.insert(*place);
                }
            }
            let score = covered.iter().filter(|c| **c).count() as f64 / *length as f64;
            let runs_of = (*length - RUN + 1) as f64;
            if score >= super::decide::CODE && own.len() as f64 >= LEAST_OWN * runs_of {
                let at = |i: u32| theirs.symbols.get(i as usize).map_or(0, |s| s.at);
                let from = hits.iter().map(|h| h.0).min().unwrap_or(0);
                let to = hits.iter().map(|h| h.0).max().unwrap_or(0);
                found.push(CodeMatch { owner: *owner, score, from: at(from), to: at(to) });
            }
        }
    }
}

/// Hashes of runs, with names numbered in the order in which a run meets them.
fn runs(symbols: &[Symbol]) -> impl Iterator<Item = (usize, u64)> {
    symbols.windows(RUN).enumerate().map(|(at, run)| {
        let hash = run.iter().enumerate().fold(7, |h, (i, symbol)| {
            let met = || run[..i].iter().filter(|s| s.name);
            let mut different: Vec<u64> = Vec::new();
            match symbol.name {
                false => pair(h, symbol.hash),
                true => {
                    for s in met() {
                        if !different.contains(&s.hash) {
                            different.push(s.hash);
                        }
                    }
                    let number = different.iter().position(|d| *d == symbol.hash);
                    pair(h, number.unwrap_or(different.len()) as u64 + 1)
                }
            }
        });
        (at, hash)
    })
}

/// Whether a document may hold Python: a look that costs next to nothing.
pub(super) fn may_be_code(text: &[u8]) -> bool {
    let has = |word: &[u8]| memchr::memmem::find(text, word).is_some();
    if !has(b"return ") && !has(b"assert ") && !has(b"lambda ") {
        return false;
    }
    let defines = memchr::memmem::find_iter(text, b"def ").any(|at| {
        let name = text[at + 4..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_');
        let end = at + 4 + name.count();
        end > at + 4 && text.get(end) == Some(&b'(')
    });
    defines || has(b"\\n  ") || has(b"\n  ")
}
