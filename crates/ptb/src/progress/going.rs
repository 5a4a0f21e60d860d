//! One run under way: what is known of it, in words.

use std::time::{Duration, Instant};

use ptb_core::run::Stage;
use ptb_report::text::{clock, columns, percent, shown};
use ptb_runner::Notice;

use super::line::{Part, Tone};

/// Most characters kept of what an agent printed, longer than any terminal is wide.
const KEPT: usize = 400;
/// Characters of a drawn bar.
const BAR: u64 = 16;
/// Columns below which words are saved, and what an agent printed has a line of its own.
pub(super) const NARROW: u16 = 60;
/// Columns from which nothing is saved.
const ROOMY: u16 = 100;

/// What is known of a run.
pub(super) struct Going {
    pub(super) name: String,
    pub(super) stage: Option<Stage>,
    /// When a plain line about it was printed last, or it began.
    pub(super) told: Instant,
    /// The agent's time left, and when that was so.
    left: Option<(Duration, Instant)>,
    count: Option<Count>,
    door: Option<Count>,
    /// Score of the last evaluation through the door.
    score: Option<f64>,
    said: Option<String>,
}

/// How far something is that is counted.
struct Count {
    what: String,
    done: u64,
    total: u64,
    /// When it was first told, and how much was done then: what was there before says nothing of the speed.
    since: Instant,
    before: u64,
}

impl Going {
    pub(super) fn new(name: &str, now: Instant) -> Self {
        Self {
            name: name.to_owned(),
            stage: None,
            told: now,
            left: None,
            count: None,
            door: None,
            score: None,
            said: None,
        }
    }

    /// Whether an agent is at work.
    pub(super) fn agent_works(&self) -> bool {
        self.left.is_some()
    }

    pub(super) fn hear(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Stage(stage) => {
                let (name, told) = (std::mem::take(&mut self.name), self.told);
                *self = Self { name, told, stage: Some(stage), ..Self::new("", now) };
            }
            Notice::TimeLeft(left) => self.left = Some((left, now)),
            Notice::Count { what, done, total } => {
                Count::go_on(&mut self.count, &what, done, total, now);
            }
            Notice::Evaluating { what, done, total } => {
                Count::go_on(&mut self.door, what, done, total, now);
            }
            Notice::Evaluated(score) => {
                self.door = None;
                self.score = score.or(self.score);
            }
            Notice::Output(line) => {
                let line: String = shown(&line, KEPT).chars().map(tame).collect();
                if !line.is_empty() {
                    self.said = Some(line);
                }
            }
            Notice::Line(_) | Notice::Ended(_) => {}
        }
    }

    /// What its agent printed last.
    pub(super) fn said(&self) -> Option<Part> {
        self.said.clone().map(|text| Part { text, tone: Tone::Faint })
    }

    /// What it does, for a terminal so wide; the most important first.
    pub(super) fn parts(&self, now: Instant, columns: u16) -> Vec<Part> {
        let plain = |text: String| Part { text, tone: Tone::Plain };
        let said = self.said().filter(|_| columns >= NARROW);
        let mut parts: Vec<Part> =
            self.doing(now, columns < NARROW).into_iter().map(plain).collect();
        if columns < ROOMY {
            parts.extend(self.count.as_ref().and_then(|c| c.eta(now)).map(plain));
            parts.extend(said.into_iter().chain(self.scored().map(plain)));
        } else {
            parts.extend(self.count.as_ref().and_then(Count::bar).map(plain));
            parts.extend(self.eta(now).into_iter().chain(self.scored()).map(plain));
            parts.extend(said);
        }
        parts
    }

    /// The same in a line for a log.
    pub(super) fn sentence(&self, now: Instant) -> String {
        let facts = self.doing(now, false).into_iter().chain(self.eta(now)).chain(self.scored());
        let facts: Vec<String> = facts.collect();
        match &self.said {
            Some(said) => format!("{}: {said}", facts.join(", ")),
            None => facts.join(", "),
        }
    }

    /// Stage, time left, counts; in few words where there is little room.
    fn doing(&self, now: Instant, brief: bool) -> Vec<String> {
        let mut doing = Vec::new();
        match (self.stage.map(Stage::word), self.left) {
            (Some(stage), Some((left, at))) => {
                let left = left.saturating_sub(now.saturating_duration_since(at));
                let unit = if brief { "" } else { " left" };
                doing.push(format!("{stage} {}{unit}", clock(left.as_secs_f64())));
            }
            (Some(stage), None) => doing.push(stage.to_owned()),
            (None, _) => {}
        }
        doing.extend(self.count.as_ref().map(|c| match brief {
            true => c.how_far(),
            false => format!("{} {}", c.how_far(), c.what),
        }));
        doing.extend(self.door.as_ref().map(|door| match (door.total, brief) {
            (0, true) => door.what.clone(),
            (0, false) => format!("evaluating ({})", door.what),
            (_, true) => door.how_far(),
            (_, false) => format!("evaluating {}", door.how_far()),
        }));
        doing
    }

    fn eta(&self, now: Instant) -> Option<String> {
        self.count.as_ref().or(self.door.as_ref())?.eta(now)
    }

    fn scored(&self) -> Option<String> {
        self.score.map(|score| format!("scored {} %", percent(score)))
    }
}

/// A character whose width terminals agree on, as a line that changes in place needs; others are a dot. Bars
/// of other programs are made of boxes and blocks.
fn tame(c: char) -> char {
    let letter = c.is_alphanumeric() && c < '\u{10000}' && columns(c.encode_utf8(&mut [0; 4])) > 0;
    let drawn = matches!(c, '\u{2500}'..='\u{259f}' | '–' | '—' | '…' | '±' | '×' | '°');
    if c.is_ascii() || letter || drawn { c } else { '·' }
}

impl Count {
    /// Another number of the same count, or a new one.
    fn go_on(count: &mut Option<Self>, what: &str, done: u64, total: u64, now: Instant) {
        match count {
            Some(c) if c.what == what && c.total == total && c.done <= done => c.done = done,
            _ => {
                *count =
                    Some(Self { what: shown(what, 40), done, total, since: now, before: done });
            }
        }
    }

    fn how_far(&self) -> String {
        if self.total == 0 {
            self.done.to_string()
        } else {
            format!("{}/{}", self.done, self.total)
        }
    }

    fn bar(&self) -> Option<String> {
        let full = (self.done.min(self.total) * BAR).checked_div(self.total)?;
        Some((0..BAR).map(|i| if i < full { '█' } else { '░' }).collect())
    }

    /// How long the rest takes, at the speed so far; unknown before the first, and none after the last.
    fn eta(&self, now: Instant) -> Option<String> {
        let (made, rest) = (self.done - self.before, self.total.checked_sub(self.done)?);
        if made == 0 || rest == 0 {
            return None;
        }
        let took = now.saturating_duration_since(self.since).as_secs_f64();
        Some(format!("eta {}", clock(took / made as f64 * rest as f64)))
    }
}
