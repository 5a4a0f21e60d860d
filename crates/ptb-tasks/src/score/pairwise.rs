//! Pairwise: a reply beside a baseline's, in two games with sides changed (Arena-Hard, arXiv 2406.11939, section 4).

use std::sync::LazyLock;

use regex::Regex;

use super::Graded;
use super::grade::{Grade, Verdict};

/// Verdicts in brackets: double ones first, single ones where there are none.
static BRACKETS: LazyLock<[Option<Regex>; 2]> = LazyLock::new(|| {
    [r"\[\[([AB<>=]+)\]\]", r"\[([AB<>=]+)\]"].map(|pattern| Regex::new(pattern).ok())
});

/// How much A is better than B: what A gets of a comparison, and as how many comparisons a verdict counts.
const LABELS: [(&str, f64, usize); 10] = [
    ("A>>B", 1.0, STRONG),
    ("A>B", 1.0, 1),
    ("A=B", 0.5, 1),
    ("A<B", 0.0, 1),
    ("A<<B", 0.0, STRONG),
    ("B>>A", 0.0, STRONG),
    ("B>A", 0.0, 1),
    ("B=A", 0.5, 1),
    ("B<A", 1.0, 1),
    ("B<<A", 1.0, STRONG),
];
/// The weight of a strong win.
const STRONG: usize = 3;
/// Games of a comparison.
pub const GAMES: u64 = 2;

/// The last verdict in brackets of a grader's reply, in capitals; it may be none that counts ([`is_label`]).
pub fn bracketed(reply: &str) -> Option<String> {
    let reply = reply.to_uppercase();
    let last = |pattern: &Regex| {
        pattern.captures_iter(&reply).last().and_then(|c| Some(c.get(1)?.as_str().to_owned()))
    };
    BRACKETS.iter().flatten().find_map(last)
}

/// Whether this is a verdict that counts.
pub fn is_label(text: &str) -> bool {
    LABELS.iter().any(|(label, ..)| *label == text)
}

/// What a grader's reply says.
///
/// # Errors
/// What is wrong with it.
pub fn verdict(reply: &str) -> Result<String, String> {
    match bracketed(reply) {
        Some(label) if is_label(&label) => Ok(label),
        Some(other) => Err(format!("the grader's verdict [[{other}]] is none of those asked for")),
        None => Err("the grader's reply has no verdict like [[A>B]]".to_owned()),
    }
}

/// The verdicts of both games, none for one without a verdict.
///
/// # Errors
/// Grades that are not those of two games, each once.
fn games(grades: &[Grade]) -> Result<[Option<String>; 2], String> {
    let numbers: Vec<u64> = grades.iter().filter_map(|g| g.game).collect();
    let first = u64::from(!numbers.contains(&0));
    let mut games: [Option<Option<String>>; 2] = [None, None];
    for grade in grades {
        let number = grade.game.ok_or("a grade names no `game`")?;
        let slot = number.checked_sub(first).and_then(|n| games.get_mut(usize::try_from(n).ok()?));
        let slot = slot.ok_or_else(|| format!("there is no game {number}, only 1 and 2"))?;
        let label = match &grade.verdict {
            Verdict::None => None,
            Verdict::Met(met) => {
                return Err(format!("the verdict on a game is {met}, not like A>B"));
            }
            Verdict::Better(text) => {
                let label = text.trim().to_uppercase();
                let label = if is_label(&label) { Ok(label) } else { verdict(text) };
                Some(label.map_err(|_| {
                    let text = crate::error::shorten(text);
                    format!("the verdict `{text}` is none of A>>B, A>B, A=B, B>A, B>>A")
                })?)
            }
        };
        if slot.replace(label).is_some() {
            return Err(format!("two grades are of game {number}"));
        }
    }
    match games {
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err("a comparison has two games, and one has no grade".to_owned()),
    }
}

/// Checks grades from outside.
pub(super) fn check(grades: &[Grade]) -> Result<(), String> {
    games(grades).map(drop)
}

pub(super) fn grade(grades: &[Grade]) -> Result<Graded, String> {
    let [Some(first), Some(second)] = games(grades)? else {
        return Err("a game has no verdict".to_owned());
    };
    let rows = |label: &str, turned: bool| {
        let (_, a, weight) =
            LABELS.iter().find(|(l, ..)| *l == label).copied().unwrap_or(LABELS[2]);
        vec![if turned { 1.0 - a } else { a }; weight]
    };
    let rows = [rows(&first, true), rows(&second, false)].concat();
    let score = rows.iter().sum::<f64>() / rows.len() as f64;
    Ok(Graded { score, answer: Some(format!("{first} {second}")), rows })
}
