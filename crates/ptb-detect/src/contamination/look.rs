//! The first look: which passages may be in a document. One pass over its bytes, for nearly all of them the last.

use super::index::{Index, pair};
use super::token::{Escapes, words};

/// A place of a document where a passage may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) passage: u32,
    /// First and last byte of what pointed to it.
    pub(super) from: u32,
    pub(super) to: u32,
    /// How many different pairs did.
    pub(super) hits: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    passage: u32,
    /// Counted in content words.
    ordinal: u32,
    pair: u32,
    at: u32,
}

/// Room that is kept from one document to the next.
#[derive(Debug, Default)]
pub(super) struct Looker {
    hits: Vec<Hit>,
    candidates: Vec<Candidate>,
    seen: Vec<u32>,
}

/// What one document may point to before it is cut short: a hostile one consists of nothing else.
const MOST_HITS: usize = 1 << 20;

impl Looker {
    /// Candidates of a document, by passage and place. Also tells whether it has very long words, which may be texts in
    /// disguise.
    pub(super) fn look(
        &mut self,
        index: &Index,
        text: &[u8],
        escapes: Escapes,
    ) -> (&[Candidate], bool) {
        self.hits.clear();
        self.candidates.clear();
        let (mut before, mut ordinal, mut long) = (0u64, 0u32, false);
        let hits = &mut self.hits;
        words(text, escapes, |word| {
            long |= word.end - word.start >= super::hidden::LEAST as u32;
            if !index.vocabulary.has(word.hash) {
                return;
            }
            ordinal += 1;
            let both = pair(before, word.hash);
            before = word.hash;
            for passage in index.pairs.find(both) {
                if hits.len() < MOST_HITS {
                    hits.push(Hit {
                        passage: *passage,
                        ordinal,
                        pair: (both >> 32) as u32,
                        at: word.start,
                    });
                }
            }
        });
        if !self.hits.is_empty() {
            self.gather(index);
        }
        (&self.candidates, long)
    }

    /// Hits of one passage that lie close together make a candidate.
    fn gather(&mut self, index: &Index) {
        self.hits.sort_unstable();
        let mut rest = &self.hits[..];
        while let Some(first) = rest.first() {
            let passage = first.passage;
            let n = rest.iter().take_while(|h| h.passage == passage).count();
            let (own, others) = rest.split_at(n);
            rest = others;
            let Some(p) = index.passages.get(passage as usize) else { continue };
            if (n as u32) < p.needed {
                continue;
            }
            let reach = p.content * 3 + 12;
            let mut own = own;
            while let Some(first) = own.first() {
                // Hits go on as long as the next is not far, and end with a passage's length.
                let end = own.iter().take_while(|h| h.ordinal - first.ordinal <= reach).count();
                let (near, far) = own.split_at(end);
                self.seen.clear();
                self.seen.extend(near.iter().map(|h| h.pair));
                self.seen.sort_unstable();
                self.seen.dedup();
                let hits = self.seen.len() as u32;
                if hits >= p.needed {
                    let (from, to) = (first.at, near.last().map_or(first.at, |h| h.at));
                    self.candidates.push(Candidate { passage, from, to, hits });
                    own = far;
                } else {
                    own = &own[1..];
                }
            }
        }
    }
}
