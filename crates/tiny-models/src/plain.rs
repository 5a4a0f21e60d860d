//! The pretraining text: calculations and comparisons as one would note them down, a line each. No question,
//! no chat. What follows ` = ` always stands by itself.

use ptb_sft::arithmetic::{BELOW, held_out, in_words};

use crate::draw::Draw;

/// Lines for ever, the same for the same seed.
pub fn plain_lines(seed: u64) -> impl Iterator<Item = String> {
    let mut draw = Draw::new(seed);
    std::iter::repeat_with(move || line(&mut draw))
}

/// Writes one line.
type Write = fn(&mut Draw) -> String;

/// Kinds of line and how many of a hundred lines they are.
const KINDS: [(u64, Write); 7] =
    [(18, sum), (14, difference), (14, steps), (6, extreme), (4, name), (6, family), (38, note)];

/// The words of notes: they stand between the numbers, as words of questions will.
const THINGS: [&str; 16] = [
    "apples", "pears", "plums", "coins", "beans", "books", "cups", "pens", "eggs", "nuts", "cards",
    "stamps", "shells", "pins", "rocks", "balls",
];

fn line(draw: &mut Draw) -> String {
    let mut at = draw.below(100);
    for (share, kind) in KINDS {
        if at < share {
            return kind(draw);
        }
        at -= share;
    }
    sum(draw)
}

/// `12+30 = 42`.
pub(crate) fn written_sum(x: &[u64]) -> String {
    format!("{}+{} = {}", x[0], x[1], x[0] + x[1])
}

/// `30-12 = 18`.
pub(crate) fn written_difference(x: &[u64]) -> String {
    format!("{}-{} = {}", x[0], x[1], x[0] - x[1])
}

/// `12+30-5 = 42-5 = 37`: two operations are worked out one after the other. None where a result is below zero
/// or a step has operands that are held out.
pub(crate) fn written_steps(x: &[u64], signs: [char; 2]) -> Option<String> {
    let apply =
        |a: u64, sign: char, b: u64| if sign == '+' { Some(a + b) } else { a.checked_sub(b) };
    let between = apply(x[0], signs[0], x[1])?;
    let result = apply(between, signs[1], x[2])?;
    if held_out(x) || held_out(&x[..2]) || held_out(&[between, x[2]]) {
        return None;
    }
    let [first, second] = signs;
    Some(format!("{}{first}{}{second}{} = {between}{second}{} = {result}", x[0], x[1], x[2], x[2]))
}

/// `max(12,30) = 30`.
pub(crate) fn written_extreme(x: &[u64], largest: bool) -> String {
    let list = x.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    let (word, result) = match largest {
        true => ("max", x.iter().max()),
        false => ("min", x.iter().min()),
    };
    format!("{word}({list}) = {}", result.unwrap_or(&0))
}

fn sum(draw: &mut Draw) -> String {
    written_sum(&draw.operands(2, |_| true))
}

fn difference(draw: &mut Draw) -> String {
    written_difference(&draw.operands(2, |x| x[0] >= x[1]))
}

/// Three operands, the signs between them, and the line.
fn drawn_steps(draw: &mut Draw) -> (Vec<u64>, [char; 2], String) {
    let signs = *draw.one_of(&[['+', '+'], ['+', '-'], ['-', '+']]);
    let x = draw.operands(3, |x| written_steps(x, signs).is_some());
    let line = written_steps(&x, signs).unwrap_or_default();
    (x, signs, line)
}

fn steps(draw: &mut Draw) -> String {
    drawn_steps(draw).2
}

fn extreme(draw: &mut Draw) -> String {
    let count = 2 + draw.below(2) as usize;
    let x = draw.operands(count, |_| true);
    written_extreme(&x, draw.below(2) == 0)
}

fn name(draw: &mut Draw) -> String {
    let n = draw.below(BELOW);
    match draw.below(2) {
        0 => format!("{} = {n}", in_words(n)),
        _ => format!("{n} = {}", in_words(n)),
    }
}

/// What follows from one sum.
fn family(draw: &mut Draw) -> String {
    let x = draw.operands(2, |x| {
        let sum = x[0] + x[1];
        !held_out(&[sum, x[0]]) && !held_out(&[sum, x[1]])
    });
    let (a, b, sum) = (x[0], x[1], x[0] + x[1]);
    format!("{a}+{b} = {sum}, {b}+{a} = {sum}, {sum}-{a} = {b}, {sum}-{b} = {a}")
}

/// Numbers among words, and what was worked out from them: copying operands from what stands before is what
/// answering a question needs later.
fn note(draw: &mut Draw) -> String {
    let words = draw.below(2) == 0;
    let written = |n: &u64| if words { in_words(*n) } else { n.to_string() };
    let thing = *draw.one_of(&THINGS);
    match draw.below(6) {
        0 => {
            let x = draw.operands(2, |_| true);
            let other = draw.one_of(&THINGS);
            format!("{} {thing} {} {other}: {}", written(&x[0]), written(&x[1]), written_sum(&x))
        }
        1 => {
            let x = draw.operands(2, |x| x[0] >= x[1]);
            format!(
                "{} {thing} {} gone: {}",
                written(&x[0]),
                written(&x[1]),
                written_difference(&x)
            )
        }
        2 => {
            let x = draw.operands(2, |x| x[0] >= x[1]);
            format!("{} off {}: {}", written(&x[1]), written(&x[0]), written_difference(&x))
        }
        3 => {
            let count = 2 + draw.below(2) as usize;
            let x = draw.operands(count, |_| true);
            let list = x.iter().map(written).collect::<Vec<_>>().join(" ");
            let line = written_extreme(&x, draw.below(2) == 0);
            format!("{} {thing} {list}: {line}", &line[..3])
        }
        kind => {
            let (x, [first, second], line) = drawn_steps(draw);
            let [a, b, c] = [written(&x[0]), written(&x[1]), written(&x[2])];
            let way = |sign| if sign == '+' { "in" } else { "out" };
            match kind {
                4 => format!("{a} {first} {b} {second} {c}: {line}"),
                _ => format!("{a} {thing} {b} {} {c} {}: {line}", way(first), way(second)),
            }
        }
    }
}
