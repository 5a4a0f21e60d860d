//! Training data for the `arithmetic` benchmark, from its task description alone: the forms of question that it
//! lists, drawn operands, and replies in the base model's own plain notation.
//!
//! The description holds test questions out by a rule over their numbers; nothing that is made here meets it.

mod forms;
mod words;

use crate::data::Record;
use crate::draw::{Draw, Stream};

use forms::{FORMS, Form};
pub use words::in_words;

/// Numbers are below this.
pub const BELOW: u64 = 100;

/// The rule: the squares of a question's numbers add up to a number that leaves 3 when divided by 7. The order of
/// the numbers makes no difference.
pub fn held_out(numbers: &[u64]) -> bool {
    numbers.iter().map(|n| n * n).sum::<u64>() % 7 == 3
}

/// Questions with their replies, as chats; all forms equally often, half of them in words. The same for the same
/// seed.
pub fn records(seed: u64, count: usize) -> Vec<Record> {
    let mut draw = Draw::new(seed, Stream::Questions);
    (0..count).map(|i| record(&mut draw, &FORMS[i % FORMS.len()])).collect()
}

fn record(draw: &mut Draw, form: &Form) -> Record {
    loop {
        let numbers: Vec<u64> = (0..form.operands()).map(|_| draw.below(BELOW)).collect();
        let digits: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let Some(reply) = worked(&fill(form.calculation, &digits)) else { continue };
        if !held_out(&numbers) {
            let words = draw.below(2) == 0;
            let asked = if words { numbers.iter().map(|n| in_words(*n)).collect() } else { digits };
            return Record::question(fill(form.question, &asked), reply);
        }
    }
}

/// A calculation with its result, one step after the other: `12+30-5 = 42-5 = 37`. None where a result is below
/// zero, or a step has numbers that are held out.
fn worked(calculation: &str) -> Option<String> {
    let numbers: Vec<u64> =
        calculation.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let result = match &calculation[..3] {
        "max" => numbers.iter().max()?,
        "min" => numbers.iter().min()?,
        _ => return steps(calculation, &numbers),
    };
    Some(format!("{calculation} = {result}"))
}

fn steps(calculation: &str, numbers: &[u64]) -> Option<String> {
    let signs: Vec<char> = calculation.chars().filter(|c| !c.is_ascii_digit()).collect();
    let mut text = calculation.to_owned();
    let mut value = *numbers.first()?;
    for (i, (sign, n)) in signs.iter().zip(&numbers[1..]).enumerate() {
        if held_out(&[value, *n]) {
            return None;
        }
        value = if *sign == '+' { value + n } else { value.checked_sub(*n)? };
        let rest = signs.iter().zip(&numbers[1..]).skip(i + 1);
        let rest: String = rest.map(|(sign, n)| format!("{sign}{n}")).collect();
        text.push_str(&format!(" = {value}{rest}"));
    }
    Some(text)
}

fn fill(text: &str, numbers: &[String]) -> String {
    let names = ["{a}", "{b}", "{c}"].iter().zip(numbers);
    names.fold(text.to_owned(), |text, (name, number)| text.replace(name, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question_and_reply(record: &Record) -> (String, String) {
        let Record::Chat { messages } = record else { panic!("{record:?}") };
        (messages[0].content.clone(), messages[1].content.clone())
    }

    /// The numbers of a text in their order, whether in digits or in words.
    fn numbers(text: &str) -> Vec<u64> {
        let text = text.replace("younger one", "younger");
        let text: String =
            text.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { ' ' }).collect();
        let word = |w: &str| w.parse().ok().or_else(|| (0..BELOW).find(|n| in_words(*n) == w));
        // A minus sign between digits is none of a word's.
        let apart = |w: &str| match word(w) {
            Some(n) => vec![n],
            None => w.split('-').filter_map(|part| part.parse().ok()).collect(),
        };
        text.split_whitespace().flat_map(apart).collect()
    }

    /// The value of a plain calculation such as `12+30-5` or `max(3,4)`.
    fn value(text: &str) -> i64 {
        let list = |inner: &str| -> Vec<i64> {
            inner.trim_end_matches(')').split(',').map(|n| n.parse().unwrap()).collect()
        };
        if let Some(inner) = text.strip_prefix("max(") {
            return list(inner).into_iter().max().unwrap();
        }
        if let Some(inner) = text.strip_prefix("min(") {
            return list(inner).into_iter().min().unwrap();
        }
        let signed = text.replace('-', "+-");
        signed.split('+').map(|n| n.parse::<i64>().unwrap()).sum()
    }

    /// The answer worked out from the question's words alone.
    fn worked_out(text: &str, x: &[u64]) -> u64 {
        let has = |words: &[&str]| words.iter().any(|w| text.contains(w));
        match x {
            _ if has(&["larg"]) => *x.iter().max().unwrap(),
            _ if has(&["smaller", "younger"]) => *x.iter().min().unwrap(),
            [b, a] if text.starts_with("Subtract") => a - b,
            [b, a, c] if text.starts_with("Add") => a + b - c,
            [a, b, c] if has(&["books"]) => a - b + c,
            [a, b, c] if has(&[" - "]) => a + b - c,
            [a, b] if has(&[" - ", "minus", "get off"]) => a - b,
            _ => x.iter().sum(),
        }
    }

    /// Everything that is ever emitted keeps to the rule, is right, and says with which numbers.
    #[test]
    fn nothing_emitted_is_held_out_and_all_of_it_is_right() {
        let mut texts = std::collections::HashSet::new();
        for seed in 0..5 {
            for record in records(seed, 8000) {
                let (question, reply) = question_and_reply(&record);
                let asked = numbers(&question);
                assert!(!held_out(&asked) && (2..=3).contains(&asked.len()), "{question}");
                let sides: Vec<&str> = reply.split(" = ").collect();
                let (calculation, result) = (sides[0], sides[sides.len() - 1]);
                for side in &sides[1..sides.len() - 1] {
                    assert!(!held_out(&numbers(&side.replace('-', " "))), "{reply}");
                    assert_eq!(value(side), result.parse::<i64>().unwrap(), "{reply}");
                }
                let mut told = numbers(&calculation.replace('-', " "));
                assert!(!held_out(&told), "{reply}");
                assert_eq!(value(calculation), result.parse::<i64>().unwrap(), "{reply}");
                assert_eq!(worked_out(&question, &asked).to_string(), result, "{question} {reply}");
                let mut asked = asked;
                asked.sort_unstable();
                told.sort_unstable();
                assert_eq!(asked, told, "{question} {reply}");
                texts.insert(question);
            }
        }
        assert!(texts.len() > 20_000, "{}", texts.len());
    }

    #[test]
    fn a_seed_repeats_and_every_form_is_asked_in_words_and_digits() {
        assert_eq!(records(3, 500), records(3, 500));
        assert_ne!(records(3, 500), records(4, 500));
        let all = records(0, 1600);
        let in_digits =
            all.iter().filter(|r| question_and_reply(r).0.contains(|c: char| c.is_ascii_digit()));
        assert!((700..900).contains(&in_digits.count()));
        let starts: std::collections::HashSet<String> = all
            .iter()
            .map(|r| question_and_reply(r).0.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect();
        for start in ["Ann has", "A bus carries", "Add", "Tom is", "What is the"] {
            assert!(starts.iter().any(|s| s.starts_with(start)), "{start} in {starts:?}");
        }
    }

    #[test]
    fn the_rule_is_the_descriptions() {
        // Its own example, and one that is held out.
        assert!(!held_out(&[12, 30]) && !held_out(&[30, 12]));
        assert!(held_out(&[1, 3]) == ((1 + 9) % 7 == 3) && held_out(&[3, 1]));
    }
}
