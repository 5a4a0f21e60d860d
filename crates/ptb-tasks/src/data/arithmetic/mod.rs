//! The `arithmetic` generator: questions with two or three numbers below 100, in digits or words.
//!
//! What the test split asks is held out by a rule that the task description tells, so that whoever makes
//! training data can keep away from it: see [`held_out`].
//!
//! The records of a seed never change: results name the benchmark and not this program's version. So the
//! stream is ChaCha8's by its specification, and drawing from it is written out here rather than left to a
//! library whose next version may draw otherwise.

mod forms;

use std::collections::HashSet;

use ptb_core::registry::Generator;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Map, Value};

use forms::{FORMS, Form};

type Record = Map<String, Value>;

/// Operands are below this.
const BELOW: u64 = 100;

/// Whether a question with these operands belongs to the test split: their squares add up to a number that
/// leaves 3 when divided by 7. The order of operands makes no difference, and what is asked about them neither.
fn held_out(operands: &[u64]) -> bool {
    operands.iter().map(|n| n * n).sum::<u64>() % 7 == 3
}

/// The test and train records. Operands of the one are never operands of the other, in whichever order. Test
/// questions have operands of their own, and all forms of question equally often.
pub(super) fn generate(
    g: &Generator,
    question: &str,
    answer: &str,
) -> Result<(Vec<Record>, Vec<Record>), String> {
    let most = most_test_samples();
    if g.test == 0 || g.test > most {
        return Err(format!("{} test samples were asked for; there can be 1 to {most}", g.test));
    }
    let mut draw = Draw::new(g.seed);
    let (mut test, mut used) = (Vec::new(), HashSet::new());
    for form in (0..g.test).map(|i| &FORMS[i % FORMS.len()]) {
        loop {
            let operands = draw.operands(form, true);
            let mut sorted = operands.clone();
            sorted.sort_unstable();
            if used.insert(sorted) {
                test.push(record(&mut draw, form, &operands, question, answer));
                break;
            }
        }
    }
    draw.shuffle(&mut test);
    let train = (0..g.train).map(|_| {
        let form = &FORMS[draw.below(FORMS.len() as u64) as usize];
        let operands = draw.operands(form, false);
        record(&mut draw, form, &operands, question, answer)
    });
    let train = train.collect();
    Ok((test, train))
}

/// Pairs run out first. Nine tenths of them can be had before drawing takes long.
fn most_test_samples() -> usize {
    let pairs = (0..BELOW).flat_map(|a| (a..BELOW).map(move |b| [a, b]));
    let pairs = pairs.filter(|pair| held_out(pair)).count();
    let forms = FORMS.iter().filter(|f| f.operands() == 2).count();
    pairs * 9 / 10 / forms * FORMS.len()
}

fn record(draw: &mut Draw, form: &Form, operands: &[u64], question: &str, answer: &str) -> Record {
    let words = draw.below(2) == 0;
    let written = |n: &u64| if words { in_words(*n) } else { n.to_string() };
    let text = form.filled(&operands.iter().map(written).collect::<Vec<_>>());
    let worked = form.asked.worked(operands).map(|w| w.text).unwrap_or_default();
    Record::from_iter([
        (question.to_owned(), text.into()),
        (answer.to_owned(), worked.into()),
        ("kind".to_owned(), form.kind.into()),
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

    /// Operands that a form has an answer to, held out or not; what is not held out has no step on the way
    /// that is.
    fn operands(&mut self, form: &Form, wanted: bool) -> Vec<u64> {
        loop {
            let operands: Vec<u64> = (0..form.operands()).map(|_| self.below(BELOW)).collect();
            let Some(worked) = form.asked.worked(&operands) else { continue };
            let steps = wanted || !worked.steps.iter().any(|step| held_out(step));
            if held_out(&operands) == wanted && steps {
                return operands;
            }
        }
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::registry::Form as Kind;

    fn made(seed: u64, test: usize, train: usize) -> Result<(Vec<Record>, Vec<Record>), String> {
        generate(&Generator { kind: Kind::Arithmetic, seed, test, train }, "q", "a")
    }

    /// The numbers of a question in their order, read back from its text.
    fn operands(record: &Record) -> Vec<u64> {
        let text = record["q"].as_str().unwrap().replace(['?', '.', ',', ';'], " ");
        let value = |w: &str| w.parse().ok().or_else(|| (0..BELOW).find(|n| in_words(*n) == w));
        // "one" is a word of the language, too.
        let text = text.replace("younger one", "younger");
        text.split_whitespace().filter_map(value).collect()
    }

    fn sorted(mut operands: Vec<u64>) -> Vec<u64> {
        operands.sort_unstable();
        operands
    }

    #[test]
    fn test_and_train_keep_to_the_rule_and_test_operands_are_its_own() {
        for seed in [42, 0, 7] {
            let (test, train) = made(seed, 600, 6000).unwrap();
            assert_eq!((test.len(), train.len()), (600, 6000));
            let of = |records: &[Record]| {
                records.iter().map(|r| sorted(operands(r))).collect::<HashSet<_>>()
            };
            assert_eq!(of(&test).len(), 600);
            assert!(of(&test).is_disjoint(&of(&train)));
            assert!(test.iter().all(|r| held_out(&operands(r))));
            assert!(!train.iter().any(|r| held_out(&operands(r))));
        }
    }

    /// Worked out from the text alone, without the table of forms.
    fn worked_out(text: &str, x: &[u64]) -> u64 {
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        match x {
            _ if has(&["larg"]) => *x.iter().max().unwrap(),
            _ if has(&["smaller", "younger"]) => *x.iter().min().unwrap(),
            // "Subtract b from a", "Add b to a, then subtract c"
            [b, a] if text.starts_with("Subtract") => a - b,
            [b, a, c] if text.starts_with("Add") => a + b - c,
            [a, b, c] if has(&["books"]) => a - b + c,
            [a, b, c] if has(&[" - "]) => a + b - c,
            [a, b] if has(&[" - ", "minus", "get off"]) => a - b,
            _ => x.iter().sum(),
        }
    }

    #[test]
    fn answers_are_right_and_all_forms_are_asked_equally_often() {
        let (test, train) = made(42, 600, 4000).unwrap();
        let mut forms = std::collections::HashMap::<String, usize>::new();
        for (i, record) in test.iter().chain(&train).enumerate() {
            let (text, numbers) = (record["q"].as_str().unwrap(), operands(record));
            let result = record["a"].as_str().unwrap().rsplit("= ").next().unwrap();
            assert_eq!(result, worked_out(text, &numbers).to_string(), "{text}");
            if i < test.len() {
                let form = FORMS.iter().position(|f| {
                    let digits = numbers.iter().map(u64::to_string).collect::<Vec<_>>();
                    let words = numbers.iter().map(|n| in_words(*n)).collect::<Vec<_>>();
                    // The text may name b before a.
                    [digits, words].iter().any(|w| {
                        let swapped = [&[w[1].clone(), w[0].clone()], &w[2..]].concat();
                        f.filled(w) == text || f.filled(&swapped) == text
                    })
                });
                *forms.entry(form.unwrap().to_string()).or_default() += 1;
            }
        }
        assert!(forms.len() == 16 && forms.values().all(|n| (37..=38).contains(n)), "{forms:?}");
    }

    #[test]
    fn worked_solutions_go_one_step_at_a_time() {
        let text = |asked: forms::Asked, x: &[u64]| asked.worked(x).map(|w| w.text);
        use forms::Asked::{Signs, Smallest};
        assert_eq!(text(Signs("+"), &[12, 30]).unwrap(), "12+30 = 42");
        assert_eq!(text(Signs("+-"), &[12, 30, 5]).unwrap(), "12+30-5 = 42-5 = 37");
        assert_eq!(text(Smallest, &[12, 30]).unwrap(), "min(12,30) = 12");
        assert!(text(Signs("-+"), &[12, 30, 50]).is_none());
        assert_eq!(Signs("+-").worked(&[12, 30, 5]).unwrap().steps, [[12, 30], [42, 5]]);
    }

    #[test]
    fn other_seeds_give_other_records_and_bounds_hold() {
        assert_ne!(made(1, 50, 10).unwrap(), made(2, 50, 10).unwrap());
        assert_eq!(made(1, 50, 10).unwrap(), made(1, 50, 10).unwrap());
        let most = most_test_samples();
        assert!(most >= 1000 && made(1, most, 0).unwrap().0.len() == most);
        assert!(made(1, most + 1, 10).is_err() && made(1, 0, 10).is_err());
    }

    #[test]
    fn the_records_of_a_seed_never_change() {
        let (test, train) = made(42, 600, 4000).unwrap();
        let line =
            |r: &Record| format!("{} -> {}", r["q"].as_str().unwrap(), r["a"].as_str().unwrap());
        let firsts: Vec<String> = test[..16].iter().chain(&train[..24]).map(line).collect();
        insta::assert_snapshot!(firsts.join("\n"));
    }
}
