//! All runs at a glance: which are under way, how many are done, and what of it is shown where.

use std::time::{Duration, Instant};

use ptb_report::text::{clean, clock, columns};
use ptb_runner::Notice;
use tokio_util::sync::CancellationToken;

use super::going::{Going, NARROW};
use super::line::{Part, Tone, line, name};

/// Least time between two plain lines about one run; longer where many are under way.
const PAUSE: Duration = Duration::from_secs(10);
/// Runs under way up to which the pause stays as it is.
const FEW: usize = 4;
/// Most runs that have a line of their own on a terminal.
const MOST: usize = 10;
/// Least columns of a run's name.
const LEAST_NAME: usize = 7;
/// Most runs that are named when they end without having begun (done before, say).
const NAMED: usize = 20;

/// What is known of all runs.
pub(crate) struct Board {
    /// How many runs there are; none where it is one thing that is no run.
    total: Option<usize>,
    stop: CancellationToken,
    /// Whether it is for a log: the beginning of what takes long is then a line of its own.
    log: bool,
    began: Option<Instant>,
    /// Under way, in the order of their beginning.
    going: Vec<Going>,
    ended: usize,
    /// Runs that ended without having begun.
    idle: usize,
}

impl Board {
    pub(super) fn new(total: Option<usize>, stop: CancellationToken, log: bool) -> Self {
        Self { total, stop, log, began: None, going: Vec::new(), ended: 0, idle: 0 }
    }

    /// Takes a notice in; gives the lines that are to be printed at once.
    pub(super) fn hear(&mut self, run: &str, notice: Notice, now: Instant) -> Vec<String> {
        self.began.get_or_insert(now);
        let at = self.going.iter().position(|g| g.name == run);
        match notice {
            Notice::Line(text) => return vec![told(run, &text)],
            Notice::Ended(how) => {
                self.ended += 1;
                let begun = at.map(|at| self.going.remove(at)).is_some();
                return if begun { vec![told(run, &how)] } else { self.ended_idle(run, &how) };
            }
            _ => {}
        }
        let at = at.unwrap_or_else(|| {
            self.going.push(Going::new(run, now));
            self.going.len() - 1
        });
        let going = &mut self.going[at];
        let worked = going.agent_works();
        // Only what takes its time is told in a log: an agent's work, an evaluation. The rest when it does.
        let is_news = matches!(&notice, Notice::Stage(ptb_core::run::Stage::Evaluate))
            || (matches!(notice, Notice::TimeLeft(_)) && !worked);
        going.hear(notice, now);
        if is_news && self.log {
            going.told = now;
            return vec![told(run, &going.sentence(now))];
        }
        Vec::new()
    }

    /// A run needed nothing, could not be begun, or was not begun before all was stopped.
    fn ended_idle(&mut self, run: &str, how: &str) -> Vec<String> {
        if self.stop.is_cancelled() {
            return Vec::new();
        }
        self.idle += 1;
        match self.idle {
            n if n <= NAMED => vec![told(run, how)],
            n if n == NAMED + 1 => {
                vec!["further runs like these are counted, not named".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    /// Lines for a log that are due: of each run under way that has not been told of for a while. Together
    /// they are few, however many runs there are.
    pub(super) fn due(&mut self, now: Instant) -> Vec<String> {
        let many = u32::try_from(self.going.len().div_ceil(FEW)).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(many);
        let due = self.going.iter_mut().filter(|g| now.saturating_duration_since(g.told) >= pause);
        due.map(|going| {
            going.told = now;
            told(&going.name, &going.sentence(now))
        })
        .collect()
    }

    /// The lines of a terminal of this size: one a run (on a narrow one two), for as many as have room, and
    /// one over all.
    pub(super) fn lines(&self, now: Instant, wide: u16, high: u16, colour: bool) -> Vec<String> {
        let limit = usize::from(wide).saturating_sub(1);
        let each = if wide < NARROW { 2 } else { 1 };
        let room = (usize::from(high).saturating_sub(2) / each).clamp(1, MOST);
        let shown = &self.going[..room.min(self.going.len())];
        let longest = shown.iter().map(|g| columns(&g.name)).max().unwrap_or_default();
        let named = longest.min((limit / 3).max(LEAST_NAME));
        let of_run = |going: &Going| {
            let head = Part { text: name(&going.name, named), tone: Tone::Bold };
            let parts: Vec<Part> = std::iter::once(head).chain(going.parts(now, wide)).collect();
            let below = going.said().filter(|_| wide < NARROW);
            let below = below.map(|said| indented(said, limit, colour));
            std::iter::once(line(&parts, limit, colour)).chain(below)
        };
        let over_all = self.over_all(now, shown.len()).map(|parts| line(&parts, limit, colour));
        shown.iter().flat_map(of_run).chain(over_all).collect()
    }

    fn over_all(&self, now: Instant, shown: usize) -> Option<Vec<Part>> {
        let (total, began) = (self.total?, self.began?);
        let elapsed = clock(now.saturating_duration_since(began).as_secs_f64());
        let more = self.going.len() - shown;
        let words = [
            Some(format!("{}/{total} runs done", self.ended)),
            Some(elapsed),
            self.stop.is_cancelled().then(|| "stopping".to_owned()),
            (more > 0).then(|| format!("{more} more under way")),
        ];
        let plain = |text| Part { text, tone: Tone::Plain };
        Some(words.into_iter().flatten().map(plain).collect())
    }
}

fn indented(part: Part, limit: usize, colour: bool) -> String {
    let indent = 2.min(limit);
    " ".repeat(indent) + &line(&[part], limit - indent, colour)
}

/// A line about a run, harmless for a terminal.
fn told(run: &str, text: &str) -> String {
    clean(&format!("{run}: {text}"))
}
