//! What of a benchmark is looked for: its passages, their words with weights, and the tables that find them quickly.

use rustc_hash::{FxHashMap, FxHashSet};

use super::lexer::without_prose;
use super::stop::stop_words;
use super::table::{PairTable, Vocabulary};
use super::token::{Escapes, Word, all_words};

/// Fewest words of a passage that can be told from chance.
const LEAST_WORDS: usize = 5;
/// Fewest words of a passage that say something.
const LEAST_CONTENT: usize = 3;
/// A passage that so many items share is the benchmark's boilerplate.
const MOST_OWNERS: usize = 4;
/// A pair of words in more passages than this points nowhere.
const MOST_POSTINGS: usize = 24;
/// A word in more than this share of passages counts as a stop word, where there are enough of them to count in.
const COMMON: f64 = 0.12;
const ENOUGH: usize = 50;
/// A word that is in one passage of a small benchmark is not as rare as that makes it look, nor as common.
const LEAST_COUNT: usize = 300;
/// Words in a row that count as text of an allowed source.
pub(super) const ALLOWED_RUN: usize = 13;

/// A test item, as plain texts.
#[derive(Debug, Clone, Default)]
pub struct Item {
    /// Its id, as scores name it.
    pub id: String,
    /// Texts any of which gives it away: question, worked answer, tests.
    pub texts: Vec<String>,
    /// The choices of a multiple-choice question.
    pub choices: Vec<String>,
    /// Whole Python programs (a function with its body), compared without names and comments too.
    pub code: Vec<String>,
}

/// A benchmark's items, ready to be looked for.
#[derive(Debug)]
pub struct Index {
    pub(super) ids: Vec<String>,
    pub(super) passages: Vec<Passage>,
    pub(super) vocabulary: Vocabulary,
    pub(super) pairs: PairTable,
    /// Words seen with a small first letter: the others, where capital, are names.
    pub(super) small: FxHashSet<u64>,
    pub(super) stop: FxHashSet<u64>,
    /// Hashes of runs of words of allowed texts.
    pub(super) allowed: FxHashSet<u64>,
    pub(super) code: super::code::CodeIndex,
}

/// What a passage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    Choices,
}

/// A text of one item, or of a few that share it.
#[derive(Debug)]
pub(super) struct Passage {
    pub(super) part: Part,
    pub(super) owners: Vec<u32>,
    pub(super) words: Vec<PassageWord>,
    /// Hashes of three words in a row with the place of the first; sorted.
    pub(super) grams: Vec<(u64, u32)>,
    /// The same with numbers and names as slots.
    pub(super) slotted: Vec<(u64, u32)>,
    /// Sum of the words' weights.
    pub(super) weight: f64,
    /// Hits of the first look that make it a candidate.
    pub(super) needed: u32,
    /// Content words: the length of a window of the first look.
    pub(super) content: u32,
    /// Length in bytes.
    pub(super) bytes: usize,
    /// Other items differ from it in numbers and names alone.
    pub(super) form_of_many: bool,
    /// It is a program, or has one in it.
    pub(super) program: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PassageWord {
    pub(super) hash: u64,
    pub(super) slot: u64,
    pub(super) weight: f32,
    pub(super) content: bool,
    pub(super) number: bool,
    /// A piece ends before it: nothing runs over this place.
    pub(super) parted: bool,
}

/// What stands for a number, and for a name, in the view without them.
const NUMBER: u64 = 0x6e75_6d62_6572;
const NAME: u64 = 0x6e61_6d65;

pub(super) fn gram(a: u64, b: u64, c: u64) -> u64 {
    let mixed = a.rotate_left(17) ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ c.rotate_left(43);
    mixed.wrapping_mul(0xd6e8_feb8_6659_fd93)
}

pub(super) fn pair(a: u64, b: u64) -> u64 {
    (a.rotate_left(29) ^ b).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

pub(super) fn runs(words: &[Word]) -> impl Iterator<Item = (usize, u64)> {
    words
        .windows(ALLOWED_RUN)
        .enumerate()
        .map(|(i, run)| (i, run.iter().fold(0, |h: u64, w| pair(h, w.hash))))
}

struct Draft {
    part: Part,
    owners: Vec<u32>,
    pieces: Vec<Vec<Word>>,
    bytes: usize,
    program: bool,
}

impl Index {
    /// Indexes items. Texts in `allowed` may be used: what a document has in common with them is not counted.
    pub fn new<'t>(items: &[Item], allowed: impl IntoIterator<Item = &'t str>) -> Self {
        let stop = stop_words();
        let mut small = FxHashSet::default();
        let drafts = drafts(items, &mut small);
        let frequency = frequencies(&drafts);
        let common = |df: usize| drafts.len() >= ENOUGH && df as f64 > COMMON * drafts.len() as f64;
        let is_content = |hash: u64| {
            !stop.contains(&hash) && !frequency.get(&hash).is_some_and(|df| common(*df))
        };
        let slot = |w: &Word| match () {
            () if w.is_number() => NUMBER,
            () if w.is_capital() && !small.contains(&w.hash) && !stop.contains(&w.hash) => NAME,
            () => w.hash,
        };
        let weigh = |hash: u64| match is_content(hash) {
            true => {
                let df = frequency.get(&hash).copied().unwrap_or(1);
                (1.0 + drafts.len().max(LEAST_COUNT) as f32 / df as f32).ln()
            }
            false => 0.35,
        };
        let mut passages: Vec<Passage> =
            drafts.iter().filter_map(|d| passage(d, &is_content, &slot, &weigh)).collect();
        mark_forms(&mut passages);
        let content = frequency.keys().copied().filter(|hash| is_content(*hash));
        let vocabulary = Vocabulary::new(content.collect());
        let (pairs, passages) = find_by_pairs(passages);
        let mut runs_allowed = FxHashSet::default();
        for text in allowed {
            let words = all_words(text.as_bytes(), Escapes::Plain);
            runs_allowed.extend(runs(&words).map(|(_, run)| run));
        }
        let ids = items.iter().map(|item| item.id.clone()).collect();
        let code = super::code::CodeIndex::new(items);
        Self { ids, passages, vocabulary, pairs, small, stop, allowed: runs_allowed, code }
    }

    /// Number of passages that are looked for; short ones are left out.
    pub fn passages(&self) -> usize {
        self.passages.len()
    }

    /// Items of which nothing can be looked for, because all of their texts are too short to be told from chance.
    pub fn unseen(&self) -> Vec<&str> {
        let mut seen = vec![false; self.ids.len()];
        let owners = self.passages.iter().flat_map(|p| &p.owners).chain(self.code.owners());
        for owner in owners {
            if let Some(seen) = seen.get_mut(*owner as usize) {
                *seen = true;
            }
        }
        self.ids.iter().zip(seen).filter(|(_, seen)| !seen).map(|(id, _)| id.as_str()).collect()
    }

    /// What a word of a document becomes in the view without numbers and names.
    pub(super) fn slot(&self, w: &Word) -> u64 {
        match () {
            () if w.is_number() => NUMBER,
            () if w.is_capital()
                && !self.small.contains(&w.hash)
                && !self.stop.contains(&w.hash) =>
            {
                NAME
            }
            () => w.hash,
        }
    }
}

fn drafts(items: &[Item], small: &mut FxHashSet<u64>) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut by_words: FxHashMap<u64, usize> = FxHashMap::default();
    for (owner, item) in items.iter().enumerate() {
        let programs: Vec<String> = item.code.iter().map(|code| without_prose(code)).collect();
        let texts =
            item.texts.iter().chain(&programs).map(|text| (Part::Text, vec![text.as_str()]));
        let choices: Vec<&str> = item.choices.iter().map(String::as_str).collect();
        for (part, pieces) in texts.chain([(Part::Choices, choices)]) {
            let bytes = pieces.iter().map(|p| p.len()).sum();
            let program = pieces.iter().any(|p| super::code::may_be_code(p.as_bytes()));
            let pieces: Vec<Vec<Word>> =
                pieces.iter().map(|p| all_words(p.as_bytes(), Escapes::Plain)).collect();
            let all = || pieces.iter().flatten();
            small.extend(all().filter(|w| !w.is_capital()).map(|w| w.hash));
            if all().count() < LEAST_WORDS {
                continue;
            }
            let key = all().fold(part as u64 + 1, |h, w| pair(h, w.hash));
            let known = *by_words.entry(key).or_insert(drafts.len());
            match drafts.get_mut(known) {
                Some(draft) if !draft.owners.contains(&(owner as u32)) => {
                    draft.owners.push(owner as u32);
                }
                Some(_) => {}
                None => {
                    drafts.push(Draft { part, owners: vec![owner as u32], pieces, bytes, program })
                }
            }
        }
    }
    drafts.retain(|d| d.owners.len() <= MOST_OWNERS);
    drafts
}

/// In how many passages a word is.
fn frequencies(drafts: &[Draft]) -> FxHashMap<u64, usize> {
    let mut frequency: FxHashMap<u64, usize> = FxHashMap::default();
    for draft in drafts {
        let words: FxHashSet<u64> = draft.pieces.iter().flatten().map(|w| w.hash).collect();
        for word in words {
            *frequency.entry(word).or_default() += 1;
        }
    }
    frequency
}

fn passage(
    draft: &Draft,
    is_content: &impl Fn(u64) -> bool,
    slot: &impl Fn(&Word) -> u64,
    weigh: &impl Fn(u64) -> f32,
) -> Option<Passage> {
    let mut words = Vec::new();
    for piece in &draft.pieces {
        for (i, w) in piece.iter().enumerate() {
            let (hash, content) = (w.hash, is_content(w.hash));
            let (number, parted) = (w.is_number(), i == 0);
            words.push(PassageWord {
                hash,
                slot: slot(w),
                weight: weigh(hash),
                content,
                number,
                parted,
            });
        }
    }
    let content = words.iter().filter(|w| w.content).count();
    if content < LEAST_CONTENT {
        return None;
    }
    let of = |by: fn(&PassageWord) -> u64| {
        let mut grams: Vec<(u64, u32)> = words
            .windows(3)
            .enumerate()
            .filter(|(_, w)| !w[1].parted && !w[2].parted)
            .map(|(i, w)| (gram(by(&w[0]), by(&w[1]), by(&w[2])), i as u32))
            .collect();
        grams.sort_unstable();
        grams
    };
    Some(Passage {
        part: draft.part,
        owners: draft.owners.clone(),
        grams: of(|w| w.hash),
        slotted: of(|w| w.slot),
        weight: words.iter().map(|w| w.weight as f64).sum(),
        needed: 0,
        content: content as u32,
        bytes: draft.bytes,
        form_of_many: false,
        program: draft.program,
        words,
    })
}

/// Marks passages whose form, numbers and names left out, is that of several.
fn mark_forms(passages: &mut [Passage]) {
    let form = |p: &Passage| p.words.iter().fold(0, |h, w| pair(h, w.slot));
    let mut count: FxHashMap<u64, usize> = FxHashMap::default();
    for p in passages.iter() {
        *count.entry(form(p)).or_default() += 1;
    }
    for p in passages {
        p.form_of_many = count.get(&form(p)).is_some_and(|n| *n > 2);
    }
}

/// Content words that follow each other, or nearly so, lead to passages. A passage that has no rare pairs cannot be
/// found; such ones are left out.
fn find_by_pairs(passages: Vec<Passage>) -> (PairTable, Vec<Passage>) {
    let mut postings: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
    let each_pair = |p: &Passage| {
        let content: Vec<&PassageWord> = p.words.iter().filter(|w| w.content).collect();
        let mut pairs = Vec::new();
        for step in [1, 2] {
            let ends = content.iter().skip(step);
            pairs.extend(content.iter().zip(ends).map(|(a, b)| (pair(a.hash, b.hash), step)));
        }
        pairs
    };
    for (i, p) in passages.iter().enumerate() {
        for (pair, _) in each_pair(p) {
            let list = postings.entry(pair).or_default();
            if list.last() != Some(&(i as u32)) {
                list.push(i as u32);
            }
        }
    }
    postings.retain(|_, list| list.len() <= MOST_POSTINGS);
    let mut passages = passages;
    for p in &mut passages {
        let rare: FxHashSet<u64> = each_pair(p)
            .into_iter()
            .filter(|(pair, step)| *step == 1 && postings.contains_key(pair))
            .map(|(pair, _)| pair)
            .collect();
        p.needed = (rare.len() as u32 / 7).clamp(2, 6).min(rare.len() as u32);
    }
    (PairTable::new(postings), passages)
}
