//! When two texts have so much in common that one was made from the other.
//!
//! The figures were set on labelled documents and on much text that has nothing to do with any benchmark; docs/detect.md
//! tells what they find and what they do not.

use serde::Serialize;

use super::compare::Common;
use super::index::{Part, Passage};

/// In what way an item is in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Its words, in its order, but for small edits; or a long stretch of them.
    Verbatim,
    /// Its words with other numbers or names in the places of its own.
    Normalised,
    /// Its choices, in whatever order.
    Choices,
    /// Its program, with other names, comments and layout.
    Code,
    /// A candidate for a judge: the same rare words and numbers close together, said in another way.
    Paraphrase,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verbatim => "verbatim",
            Self::Normalised => "normalised",
            Self::Choices => "choices",
            Self::Code => "code",
            Self::Paraphrase => "paraphrase",
        })
    }
}

/// Share of a function's body that makes a match.
pub(super) const CODE: f64 = 0.8;

/// A passage of so many words can be found by a part of them; a shorter one must be there nearly whole.
const SHORT: usize = 20;
const TINY: usize = 9;
/// Shares of a passage with slots, and of its words beside these, that make the same problem with other numbers.
const SAME_FORM: f64 = 0.88;
const SAME_WORDS: f64 = 0.95;
/// Weight of the content words without which a run of words is chance.
const LEAST_WEIGHT: f64 = 9.0;

/// The verdict on one passage: the kind and a score between 0 and 1.
pub(super) fn decide(passage: &Passage, common: &Common) -> Option<(Kind, f64)> {
    let (kind, score) = match passage.form_of_many {
        true => exact(passage, common),
        false => [verbatim, normalised, partial, paraphrase]
            .iter()
            .find_map(|rule| rule(passage, common)),
    }?;
    let kind = match passage.part {
        Part::Text => kind,
        Part::Choices => Kind::Choices,
    };
    Some((kind, (score.clamp(0.0, 1.0) * 1000.0).round() / 1000.0))
}

/// Of a form that many items share, only the item itself says anything: its words, and its numbers.
fn exact(_: &Passage, common: &Common) -> Option<(Kind, f64)> {
    let whole = common.verbatim >= 0.99 && common.numbers >= 1.0;
    whole.then_some((Kind::Verbatim, common.verbatim))
}

/// Nearly all of the passage, in runs of three words and more.
fn verbatim(passage: &Passage, common: &Common) -> Option<(Kind, f64)> {
    let least = match passage.words.len() {
        0..TINY => 0.97,
        TINY..SHORT => 0.85,
        _ => 0.8,
    };
    if common.verbatim < least || (passage.words.len() < SHORT && common.run_weight < LEAST_WEIGHT)
    {
        return None;
    }
    let others =
        common.numbers < 0.6 || (common.slotted - common.verbatim > 0.03 && common.slotted > 0.97);
    match others && common.words_of >= 4 {
        // Its form with other numbers has to be there whole.
        true => (common.slotted >= SAME_FORM && common.content >= SAME_WORDS)
            .then_some((Kind::Normalised, common.slotted)),
        false => Some((Kind::Verbatim, common.verbatim)),
    }
}

/// The passage with other numbers and names; its other words are all there. Without them it would be the form of many
/// problems.
fn normalised(_: &Passage, common: &Common) -> Option<(Kind, f64)> {
    let same_form = common.slotted >= SAME_FORM && common.pairs >= 0.6 && common.verbatim >= 0.5;
    let same_words = common.content >= SAME_WORDS && common.words_of >= 6;
    let dense = common.numbers >= 0.75 || common.foreign_within <= 0.3;
    (same_form && same_words && dense).then_some((Kind::Normalised, common.slotted))
}

/// A long stretch of the passage: by itself, or as a large part of the passage and most of what stands there.
fn partial(_: &Passage, common: &Common) -> Option<(Kind, f64)> {
    let long = common.run >= 20 && common.run_weight >= 70.0;
    let large = common.run >= 13
        && common.run_weight >= 27.0
        && common.verbatim >= 0.45
        && common.foreign <= 0.45;
    let large = large && common.foreign_within <= 0.25;
    (long || large).then_some((Kind::Verbatim, common.verbatim))
}

/// The rare words and the numbers of the passage, close together, in whatever order and with whatever between them.
fn paraphrase(passage: &Passage, common: &Common) -> Option<(Kind, f64)> {
    // Names of variables and functions are the same everywhere.
    let least_words = if passage.program { 8 } else { 4 };
    if passage.words.len() < 15 || passage.content < 10 || common.words_of < least_words {
        return None;
    }
    let least = match common.numbers_of {
        0 | 1 => 1.48,
        _ => 1.38,
    };
    let score = common.content + common.pairs - 0.5 * (common.foreign_within - 0.4).max(0.0);
    (common.numbers >= 0.75 && common.pairs >= 0.5 && score >= least)
        .then_some((Kind::Paraphrase, score / 2.0))
}
