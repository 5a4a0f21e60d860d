//! One line of a terminal out of parts: cut to the width, coloured or not.

use ptb_report::text::{columns, cut};

/// A piece of a line.
pub(super) struct Part {
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// How a piece looks where there is colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Bold,
    Faint,
}

/// Least columns of a piece that is worth showing cut.
const LEAST: usize = 4;
/// Columns from which there are two blanks between parts.
const AIRY: usize = 60;

/// The parts in a line of at most `limit` columns; what has no room is cut or left out, and everything
/// behind it.
pub(super) fn line(parts: &[Part], limit: usize, colour: bool) -> String {
    let between = if limit < AIRY { 1 } else { 2 };
    let (mut out, mut used) = (String::new(), 0);
    for part in parts {
        let gap = if used == 0 { 0 } else { between.min(limit - used) };
        let room = limit - used - gap;
        let wanted = columns(&part.text);
        if wanted > room && used > 0 && room < LEAST {
            break;
        }
        let text = cut(&part.text, room);
        out.push_str(&" ".repeat(gap));
        used += gap + columns(&text);
        out.push_str(&painted(&text, part.tone, colour));
        if wanted > room {
            break;
        }
    }
    out
}

fn painted(text: &str, tone: Tone, colour: bool) -> String {
    match tone {
        Tone::Bold if colour => format!("\u{1b}[1m{text}\u{1b}[0m"),
        Tone::Faint if colour => format!("\u{1b}[2m{text}\u{1b}[0m"),
        _ => text.to_owned(),
    }
}

/// A run's name in exactly so many columns. A long one loses its middle: the agent is at its beginning, hours
/// and repeat at its end.
pub(super) fn name(name: &str, limit: usize) -> String {
    let short = match columns(name) <= limit {
        true => name.to_owned(),
        false => {
            let end = limit.saturating_sub(1) / 3;
            // Names are made of ASCII; one that is not is only cut.
            let tail = name.get(name.len().saturating_sub(end)..).unwrap_or_default();
            let head = cut(name, limit.saturating_sub(columns(tail)));
            format!("{head}{tail}")
        }
    };
    let pad = limit.saturating_sub(columns(&short));
    format!("{short}{}", " ".repeat(pad))
}
