//! What a grader is shown of a reply: without thought, and without text that goes on repeating itself.

use std::borrow::Cow;

use super::thought::said;

/// A unit that comes more often than this in a row is cut down to so many.
const REPEATS: usize = 5;
/// Shortest unit within a line, in characters: shorter ones are ornament (`-----`).
const SHORTEST: usize = 3;
/// Longest unit that is looked for, in characters or lines. It bounds the time that a reply made for the purpose takes.
const LONGEST: usize = 2000;

/// Most characters of a reply that are looked at, and most that are shown. No answer asked for is as long; a reply
/// that is longer than a grader can read would have no verdict.
const READ: usize = 400_000;
const SHOWN: usize = 60_000;
/// Stands where a reply is cut.
const CUT: &str = "\n[The reply is longer than what is shown.]";

/// The part of a reply that a grader is shown.
pub fn shown(reply: &str) -> String {
    let said = said(reply);
    let (head, cut) = cut(&said, READ);
    let limited = limit_repetitions(head);
    let (text, short) = self::cut(&limited, SHOWN);
    if cut || short { format!("{text}{CUT}") } else { text.to_owned() }
}

/// At most so many characters from the beginning, and whether there were more.
fn cut(text: &str, most: usize) -> (&str, bool) {
    match text.char_indices().nth(most) {
        Some((end, _)) => (&text[..end], true),
        None => (text, false),
    }
}

/// A text in which no group of lines, and then no group of at least three characters, comes more than five times in
/// a row. What is left of such a group of lines at the text's end, where the model was cut, goes with it.
pub fn limit_repetitions(text: &str) -> Cow<'_, str> {
    let lines: Vec<&str> = text.split('\n').collect();
    let lines = squeezed(&lines, 1, |rest, unit| {
        let (rest, unit) = (rest.join("\n"), unit.join("\n"));
        !rest.is_empty() && rest.len() < unit.len() && unit.starts_with(&rest)
    });
    let joined: Cow<'_, str> = match &lines {
        Some(lines) => Cow::Owned(lines.join("\n")),
        None => Cow::Borrowed(text),
    };
    let chars: Vec<char> = joined.chars().collect();
    match squeezed(&chars, SHORTEST, |_, _| false) {
        Some(chars) => Cow::Owned(chars.into_iter().collect()),
        None => joined,
    }
}

/// The items with each run of more than [`REPEATS`] equal units cut down to so many; none where there is no run. Runs
/// are found from left to right, the shortest unit first. `cut` says whether what follows the last run is a piece of
/// its unit.
fn squeezed<T: Copy + Eq>(
    items: &[T],
    shortest: usize,
    cut: impl Fn(&[T], &[T]) -> bool,
) -> Option<Vec<T>> {
    let (mut kept, mut at, mut any) = (Vec::new(), 0, false);
    while let Some(&item) = items.get(at) {
        let Some(unit) = unit_at(items, at, shortest) else {
            kept.push(item);
            at += 1;
            continue;
        };
        any = true;
        let repeated = equal(&items[at..], &items[at + unit..]);
        let end = at + (repeated / unit + 1) * unit;
        kept.extend_from_slice(&items[at..at + REPEATS * unit]);
        if cut(&items[end..], &items[at..at + unit]) {
            break;
        }
        at = end;
    }
    any.then_some(kept)
}

/// The length of the shortest unit that begins at `at` and comes more than [`REPEATS`] times.
fn unit_at<T: Eq>(items: &[T], at: usize, shortest: usize) -> Option<usize> {
    let here = &items[at..];
    let most = (here.len() / (REPEATS + 1)).min(LONGEST);
    (shortest..=most).find(|&unit| {
        let span = REPEATS * unit;
        here[0] == here[unit] && here[..span] == here[unit..unit + span]
    })
}

/// How many items at the heads of two slices are equal.
fn equal<T: Eq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
