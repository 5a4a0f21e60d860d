//! The `arithmetic` generator: sums and differences of two numbers below 100, in several forms.
//!
//! The records of a seed never change: results name the benchmark and not this program's version. So the
//! stream is ChaCha8's by its specification, and drawing from it is written out here rather than left to a
//! library whose next version may draw otherwise.

use ptb_core::registry::Generator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value};

type Record = Map<String, Value>;

/// Operands are below this.
const BELOW: u64 = 100;

/// Questions whose answer is the sum.
const SUMS: [&str; 6] = [
    "What is {a} + {b}?",
    "What is the sum of {a} and {b}?",
    "What do you get if you add {b} to {a}?",
    "What is {A} plus {B}?",
    "Ann has {a} marbles and is given {b} more. How many marbles does she have now?",
    "A bus carries {a} people and {b} get on. How many people does it carry then?",
];

/// Questions whose answer is the difference.
const DIFFERENCES: [&str; 6] = [
    "What is {a} - {b}?",
    "What is {a} minus {b}?",
    "What do you get if you subtract {b} from {a}?",
    "What is {A} minus {B}?",
    "It is {a} degrees and then gets {b} degrees colder. How many degrees is it then?",
    "A lift stands on floor {a} and goes down {b} floors. On which floor is it then?",
];

/// The test and train records. A pair of operands is in one of them alone, whichever stands first.
pub(super) fn generate(
    g: &Generator,
    question: &str,
    answer: &str,
) -> Result<(Vec<Record>, Vec<Record>), String> {
    let mut draw = Draw::new(g.seed);
    let mut pairs: Vec<(u64, u64)> =
        (0..BELOW).flat_map(|a| (a..BELOW).map(move |b| (a, b))).collect();
    for last in (1..pairs.len()).rev() {
        pairs.swap(last, draw.below(last as u64 + 1) as usize);
    }
    if g.test == 0 || g.test >= pairs.len() {
        return Err(format!(
            "{} test samples were asked for; there can be 1 to {}",
            g.test,
            pairs.len() - 1
        ));
    }
    let (test, train) = pairs.split_at(g.test);
    let mut record = |pair: &(u64, u64)| record(&mut draw, *pair, question, answer);
    let test = test.iter().map(&mut record).collect();
    let train = train.iter().cycle().take(g.train).map(&mut record).collect();
    Ok((test, train))
}

fn record(draw: &mut Draw, (small, large): (u64, u64), question: &str, answer: &str) -> Record {
    let (a, b) = if draw.below(2) == 0 { (small, large) } else { (large, small) };
    let sum = draw.below(2) == 0;
    let forms = if sum { SUMS } else { DIFFERENCES };
    let form = forms[draw.below(forms.len() as u64) as usize];
    let text = form
        .replace("{a}", &a.to_string())
        .replace("{b}", &b.to_string())
        .replace("{A}", &in_words(a))
        .replace("{B}", &in_words(b));
    let result = if sum { a as i64 + b as i64 } else { a as i64 - b as i64 };
    Record::from_iter([
        (question.to_owned(), text.into()),
        (answer.to_owned(), result.to_string().into()),
    ])
}

/// A number below 100 in English words.
fn in_words(n: u64) -> String {
    const SMALL: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] =
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
    match (n, n % 10) {
        (0..20, _) => SMALL[n as usize].to_owned(),
        (_, 0) => TENS[(n / 10 - 2) as usize].to_owned(),
        (_, ones) => format!("{}-{}", TENS[(n / 10 - 2) as usize], SMALL[ones as usize]),
    }
}

/// Numbers from a seed.
struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number below `n`, all alike: draws above the last whole multiple of `n` are thrown away.
    fn below(&mut self, n: u64) -> u64 {
        let whole = u64::MAX - u64::MAX % n;
        loop {
            let x = self.0.next_u64();
            if x < whole {
                return x % n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::registry::Form;
    use std::collections::HashSet;

    fn made(seed: u64, test: usize, train: usize) -> Result<(Vec<Record>, Vec<Record>), String> {
        generate(&Generator { kind: Form::Arithmetic, seed, test, train }, "q", "a")
    }

    /// The operands of a question, smaller first, read back from its text.
    fn operands(record: &Record) -> (u64, u64) {
        let text = record["q"].as_str().unwrap().replace(['?', '.', ','], " ");
        let value = |w: &str| w.parse().ok().or_else(|| (0..BELOW).find(|n| in_words(*n) == w));
        let found: Vec<u64> = text.split_whitespace().filter_map(value).collect();
        assert_eq!(found.len(), 2, "{text}");
        (found[0].min(found[1]), found[0].max(found[1]))
    }

    #[test]
    fn no_pair_is_in_both_splits_in_any_order() {
        for seed in [42, 0, 7] {
            let (test, train) = made(seed, 300, 6000).unwrap();
            assert_eq!((test.len(), train.len()), (300, 6000));
            let of = |records: &[Record]| records.iter().map(operands).collect::<HashSet<_>>();
            assert_eq!(of(&test).len(), 300);
            assert!(of(&test).is_disjoint(&of(&train)));
        }
    }

    #[test]
    fn answers_are_right_and_forms_are_many() {
        let (test, train) = made(42, 300, 4000).unwrap();
        let mut forms = HashSet::new();
        for record in test.iter().chain(&train) {
            let (text, (small, large)) = (record["q"].as_str().unwrap(), operands(record));
            let answer: i64 = record["a"].as_str().unwrap().parse().unwrap();
            let sum =
                ["+", "sum", "add", "plus", "more", "get on"].iter().any(|w| text.contains(w));
            let expected = if sum { small + large } else { large - small };
            assert_eq!(answer.unsigned_abs(), expected, "{text}");
            if !sum {
                let first_is_small = text.find(&small.to_string()).or(text.find(&in_words(small)));
                assert!(answer <= 0 || first_is_small.is_some(), "{text}");
            }
            forms.insert(
                text.split_whitespace()
                    .filter(|w| w.chars().all(char::is_alphabetic))
                    .collect::<String>(),
            );
        }
        assert!(forms.len() >= 12, "{forms:?}");
    }

    #[test]
    fn other_seeds_give_other_records_and_bounds_hold() {
        assert_ne!(made(1, 50, 10).unwrap(), made(2, 50, 10).unwrap());
        assert_eq!(made(1, 50, 10).unwrap(), made(1, 50, 10).unwrap());
        assert!(made(1, 5050, 10).is_err() && made(1, 0, 10).is_err());
    }

    #[test]
    fn the_records_of_a_seed_never_change() {
        let (test, train) = made(42, 300, 4000).unwrap();
        let line =
            |r: &Record| format!("{} -> {}", r["q"].as_str().unwrap(), r["a"].as_str().unwrap());
        let firsts: Vec<String> = test[..12].iter().chain(&train[..6]).map(line).collect();
        insta::assert_snapshot!(firsts.join("\n"));
    }
}
