//! The pretraining text: calculations and comparisons as one would note them down, a line each. No question,
//! no chat.

use crate::draw::{Draw, held_out, in_words};

/// Lines for ever, the same for the same seed.
pub fn plain_lines(seed: u64) -> impl Iterator<Item = String> {
    let mut draw = Draw::new(seed);
    std::iter::repeat_with(move || line(&mut draw))
}

/// Kinds of line and how many of a hundred lines they are.
const KINDS: [(u64, fn(&mut Draw) -> String); 6] =
    [(30, sum), (20, difference), (20, two_operations), (10, extreme), (10, name), (10, family)];

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

fn sum(draw: &mut Draw) -> String {
    let x = draw.operands(2, |_| true);
    format!("{}+{} = {}", x[0], x[1], x[0] + x[1])
}

fn difference(draw: &mut Draw) -> String {
    let x = draw.operands(2, |x| x[0] >= x[1]);
    format!("{}-{} = {}", x[0], x[1], x[0] - x[1])
}

fn two_operations(draw: &mut Draw) -> String {
    match draw.below(3) {
        0 => {
            let x = draw.operands(3, |_| true);
            format!("{}+{}+{} = {}", x[0], x[1], x[2], x[0] + x[1] + x[2])
        }
        1 => {
            let x = draw.operands(3, |x| x[0] + x[1] >= x[2]);
            format!("{}+{}-{} = {}", x[0], x[1], x[2], x[0] + x[1] - x[2])
        }
        _ => {
            let x = draw.operands(3, |x| x[0] >= x[1]);
            format!("{}-{}+{} = {}", x[0], x[1], x[2], x[0] - x[1] + x[2])
        }
    }
}

fn extreme(draw: &mut Draw) -> String {
    let count = 2 + draw.below(2) as usize;
    let x = draw.operands(count, |_| true);
    let list = x.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
    match draw.below(2) {
        0 => format!("max({list}) = {}", x.iter().max().unwrap_or(&0)),
        _ => format!("min({list}) = {}", x.iter().min().unwrap_or(&0)),
    }
}

fn name(draw: &mut Draw) -> String {
    let n = draw.below(crate::draw::BELOW);
    match draw.below(2) {
        0 => format!("{} = {n}", in_words(n)),
        _ => format!("{n} = {}", in_words(n)),
    }
}

/// What follows from one sum. Copying numbers from what stands before is what a question needs later.
fn family(draw: &mut Draw) -> String {
    let x = draw.operands(2, |x| {
        let sum = x[0] + x[1];
        !held_out(&[sum, x[0]]) && !held_out(&[sum, x[1]])
    });
    let (a, b, sum) = (x[0], x[1], x[0] + x[1]);
    format!("{a}+{b} = {sum}, {b}+{a} = {sum}, {sum}-{a} = {b}, {sum}-{b} = {a}")
}
