//! From events to numbered steps, to the trajectory and to what people read.
//!
//! What people read is written as the events come. The trajectory has a step's calls and results together, so steps
//! wait until they are whole, in order, while they hold at most [`HELD`] bytes beside the newest line; then the oldest
//! is written as it is, and a result that comes later is a step of its own that names its call. Thus memory is bounded
//! by the longest line, however long the trace.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;

use jiff::{SignedDuration, Timestamp};

use crate::about::About;
use crate::atif::Atif;
use crate::event::{Event, Outcome, Part, Turn};
use crate::render::{Heading, Page};
use crate::step::{Answer, Call, Lane, Source, Step};
use crate::summary::{ApiTrouble, Ended, Summary, TroubleKind};
use crate::text::{JsonText, Text, is_tame_object};
use crate::usage::Usage;

/// Bytes that waiting steps may hold together.
const HELD: usize = 8 << 20;
/// Steps that may wait, and calls that may wait for their results in them.
const WAITING: usize = 256;
const WAITING_CALLS: usize = 1024;
/// Open calls of written steps that are remembered.
const REMEMBERED: usize = 4096;
/// Messages whose usage is remembered as counted.
const COUNTED: usize = 256;
/// Most of a stray line that is kept, and of all of them together, in bytes.
const STRAY: usize = 64 << 10;
const STRAYS: usize = 16 << 20;
/// Bytes after which a step of stray lines ends.
const STRAY_STEP: usize = 256 << 10;

/// Kinds of stray lines, by their place in [`Step::strays`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stray {
    Unknown,
    Broken,
    Stderr,
}

/// The composer of one trace.
pub(crate) struct Composer<T: Write> {
    about: About,
    atif: Atif<T>,
    pub(crate) page: Page,
    pub(crate) summary: Summary,
    waiting: VecDeque<Step>,
    /// Bytes that the waiting steps hold, and their open calls.
    held: usize,
    unanswered: usize,
    last_id: u64,
    /// Calls without result whose step is written: step and tool.
    open: HashMap<String, (u64, String)>,
    counted: VecDeque<u64>,
    hasher: RandomState,
    /// Of written steps: all tokens and dollars, and those since the scaffold's last totals.
    spent: (Usage, f64),
    since: (Usage, f64),
    has_cost: bool,
    totals: Option<(Usage, Option<f64>)>,
    strayed: usize,
    /// Time of the line, told by the harness or by the line; and the first one.
    seconds: Option<f64>,
    own_time: Option<Timestamp>,
    first_time: Option<Timestamp>,
    failed: Option<std::io::Error>,
}

impl<T: Write> Composer<T> {
    pub(crate) fn new(about: About, atif: Atif<T>, page: Page) -> Self {
        Self {
            about,
            atif,
            page,
            summary: Summary::default(),
            waiting: VecDeque::new(),
            held: 0,
            unanswered: 0,
            last_id: 0,
            open: HashMap::new(),
            counted: VecDeque::new(),
            hasher: RandomState::new(),
            spent: Default::default(),
            since: Default::default(),
            has_cost: false,
            totals: None,
            strayed: 0,
            seconds: None,
            own_time: None,
            first_time: None,
            failed: None,
        }
    }

    /// A new line begins.
    pub(crate) fn line(&mut self, seconds: Option<f64>) {
        self.summary.lines.total += 1;
        self.seconds = seconds.or(self.seconds);
        self.own_time = None;
    }

    /// Takes what one line said.
    pub(crate) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::At(time) => self.at(time),
            Event::Session { id, model, version } => self.session(id, model, version),
            Event::Agent(turn, part) => self.part(turn, part),
            Event::Cost(turn, usage, cost) => self.cost(turn, usage, cost),
            Event::Outcome(outcome) => self.outcome(&outcome),
            Event::User { thread, text } => self.user(thread, text),
            Event::Notice(text) => self.notice(text),
            Event::Trouble(trouble) => self.trouble(trouble),
            Event::Totals(usage, cost) => {
                // What waits belongs to the totals too, and must not be added to them later.
                self.write_all();
                self.totals = Some((usage, cost));
                self.since = Default::default();
            }
            Event::End(ended) => self.end(ended),
        }
    }

    /// A step for the system prompt or the first prompt.
    pub(crate) fn opening(&mut self, source: Source, text: &str) {
        let lane = Lane::Thread(None);
        let at = self.begin(lane, source);
        self.waiting[at].text = JsonText::from(text);
        self.waiting[at].done = true;
        match source {
            Source::User => self.page.user(Text::Plain(text)),
            _ => self.page.output("system prompt", Text::Plain(text)),
        }
        self.settle();
    }

    fn at(&mut self, time: Timestamp) {
        // Python's dates end with year 9999; those before 1970 are nobody's clock.
        if time >= Timestamp::UNIX_EPOCH && time.as_second() < 253_402_300_799 {
            self.own_time = Some(time);
            self.first_time.get_or_insert(time);
        }
    }

    /// The harness's clock is believed before the line's own.
    fn now(&self) -> Option<Timestamp> {
        let ms = |s: f64| SignedDuration::from_millis((s * 1000.0).round() as i64);
        let told = self.seconds.filter(|s| *s < 1e9).zip(self.about.began);
        told.and_then(|(s, began)| began.checked_add(ms(s)).ok()).or(self.own_time)
    }

    /// Seconds since the attempt began.
    fn wall(&self) -> Option<f64> {
        let own = || {
            let began = self.about.began.or(self.first_time)?;
            Some(self.own_time?.duration_since(began).as_secs_f64().max(0.0))
        };
        self.seconds.or_else(own)
    }

    /// Begins a step and shows its head. Gives its place among the waiting.
    fn begin(&mut self, lane: Lane, source: Source) -> usize {
        for step in &mut self.waiting {
            step.done |= step.lane == lane || step.lane == Lane::Stray;
        }
        self.last_id += 1;
        self.summary.steps += 1;
        let step = Step::new(self.last_id, lane, source, self.now());
        self.held += step.held;
        self.waiting.push_back(step);
        let at = self.waiting.len() - 1;
        self.head(at);
        at
    }

    /// Makes a step the one that is being shown.
    fn head(&mut self, at: usize) {
        if self.page.shows(self.waiting[at].id) {
            return;
        }
        let wall = self.wall();
        let left = self.about.budget.as_ref().zip(wall).map(|(budget, wall)| budget.left(wall));
        let step = &self.waiting[at];
        let thread = match &step.lane {
            Lane::Thread(Some(call)) => Some(call.as_str()),
            _ => None,
        };
        let who = match (&step.lane, step.source) {
            (Lane::Late, _) => "result",
            (Lane::Stray, _) => "output",
            (_, Source::Agent) => "agent",
            (_, Source::User) => "user",
            (_, Source::System) => "scaffold",
        };
        self.page.heading(&Heading { id: step.id, who, thread, time: self.now(), wall, left });
    }

    /// The growing step of a lane.
    fn growing(&self, lane: &Lane) -> Option<usize> {
        self.waiting.iter().rposition(|step| !step.done && step.lane == *lane)
    }

    fn turn(&mut self, turn: Turn<'_>) -> usize {
        let lane = Lane::Thread(turn.thread.map(str::to_owned));
        let same = self.growing(&lane).filter(|at| {
            let step = &self.waiting[*at];
            step.source == Source::Agent && step.message_id == turn.message
        });
        let at = same.unwrap_or_else(|| {
            let at = self.begin(lane, Source::Agent);
            turn.message.clone_into(&mut self.waiting[at].message_id);
            at
        });
        let step = &mut self.waiting[at];
        if step.model.is_none() {
            step.model = turn.model.map(str::to_owned);
        }
        self.head(at);
        at
    }

    fn part(&mut self, turn: Turn<'_>, part: Part<'_>) {
        let at = self.turn(turn);
        let step = &mut self.waiting[at];
        let size = match part {
            Part::Text { text, .. } | Part::Reasoning(text) => text.size(),
            Part::Call { id, arguments, .. } => id.len() + arguments.len() + 128,
        };
        match part {
            Part::Text { text, joined } => {
                match joined {
                    true => step.text.push(text),
                    false => step.text.push_line(text),
                }
                self.page.words(text, joined);
            }
            Part::Reasoning(text) => {
                step.reasoning.push_line(text);
                self.page.reasoning(text);
            }
            Part::Call { id, name, arguments } => {
                self.summary.tool_calls += 1;
                self.page.call(id, name, arguments);
                let arguments = match is_tame_object(arguments) {
                    true => arguments.to_owned(),
                    false => wrapped(arguments),
                };
                let (id, name) = (id.to_owned(), name.to_owned());
                step.calls.push(Call { id, name, arguments, answered: false });
                step.unanswered += 1;
                self.unanswered += 1;
            }
        }
        self.grow(at, size);
        // An answer of the model: whatever failed before is overcome.
        if !turn.made_up {
            self.summary.api_error = None;
            self.summary.ended = Ended::Unsaid;
        }
        self.settle();
    }

    fn cost(&mut self, turn: Turn<'_>, usage: Usage, cost: Option<f64>) {
        let key = self.hasher.hash_one((turn.thread, turn.message));
        if self.counted.contains(&key) {
            return;
        }
        let at = self.turn(turn);
        let step = &mut self.waiting[at];
        step.usage = Some(usage);
        step.cost = cost;
    }

    fn outcome(&mut self, outcome: &Outcome<'_>) {
        let asked = self.waiting.iter().enumerate().rev().find_map(|(at, step)| {
            let call = step.calls.iter().position(|c| !c.answered && c.id == outcome.call)?;
            Some((at, call))
        });
        let (at, of_step, name) = match asked {
            Some((at, call)) => {
                self.head(at);
                let step = &mut self.waiting[at];
                step.unanswered -= 1;
                self.unanswered -= 1;
                step.calls[call].answered = true;
                (at, None, step.calls[call].name.clone())
            }
            None => {
                let (step, name) = self.open.remove(outcome.call).unzip();
                if step.is_none() {
                    self.summary.unmatched_results += 1;
                }
                let at = match self.growing(&Lane::Late) {
                    Some(at) if at + 1 == self.waiting.len() => at,
                    _ => self.begin(Lane::Late, Source::Agent),
                };
                (at, step, name.unwrap_or_default())
            }
        };
        let mut content = JsonText::default();
        outcome.content.iter().for_each(|text| content.push_line(*text));
        self.page.outcome(&name, of_step, outcome);
        let &Outcome { exit_code, failed, .. } = outcome;
        let call = outcome.call.to_owned();
        self.grow(at, content.len() + call.len() + 128);
        self.waiting[at].results.push(Answer { call, content, exit_code, failed, of_step });
        self.settle();
    }

    fn user(&mut self, thread: Option<&str>, text: Text<'_>) {
        let at = self.begin(Lane::Thread(thread.map(str::to_owned)), Source::User);
        self.grow(at, text.size());
        self.waiting[at].text.push(text);
        self.waiting[at].done = true;
        self.page.user(text);
        self.settle();
    }

    fn notice(&mut self, text: Text<'_>) {
        let at = self.begin(Lane::Note, Source::System);
        self.grow(at, text.size());
        self.waiting[at].text.push(text);
        self.waiting[at].done = true;
        self.page.note(text);
        self.settle();
    }

    fn session(&mut self, id: Option<&str>, model: Option<&str>, version: Option<&str>) {
        let set = |to: &mut Option<String>, from: Option<&str>| {
            if let Some(from) = from {
                *to = Some(from.to_owned());
            }
        };
        set(&mut self.summary.session_id, id);
        set(&mut self.summary.model, model);
        set(&mut self.summary.scaffold_version, version);
        self.summary.sessions += 1;
        if self.summary.sessions > 1 {
            let id = id.unwrap_or("without an id");
            self.notice(Text::Plain(&format!("the scaffold was started again: session {id}")));
        }
        // What an earlier session ended with says nothing about this one.
        self.summary.ended = Ended::Unsaid;
        self.summary.api_error = None;
    }

    fn trouble(&mut self, trouble: ApiTrouble) {
        // The last words of a turn or a session repeat the failure that ended it, sometimes with its status.
        if let Some(told) = &mut self.summary.api_error
            && told.message == trouble.message
            && !(told.retried && trouble.retried)
        {
            told.retried = trouble.retried;
            told.status = trouble.status.or(told.status);
            if told.kind == TroubleKind::Unknown {
                told.kind = trouble.kind;
            }
            return;
        }
        self.summary.api_errors += 1;
        let status = trouble.status.map(|s| format!(" (status {s})")).unwrap_or_default();
        self.notice(Text::Plain(&format!("API error{status}: {}", trouble.message)));
        self.summary.api_error = Some(trouble);
    }

    fn end(&mut self, ended: Ended) {
        match &ended {
            Ended::Unsaid => {}
            Ended::Finished => self.summary.api_error = None,
            Ended::Limit(reason) | Ended::Failed(reason) => {
                self.notice(Text::Plain(&format!("the scaffold ended: {reason}")));
            }
        }
        self.summary.ended = ended;
    }

    /// Keeps a line that says nothing in this format.
    pub(crate) fn stray(&mut self, kind: Stray, line: &str) {
        let text = &line[..line.floor_char_boundary(STRAY)];
        let keep = self.strayed + text.len() <= STRAYS;
        let growing = self.growing(&Lane::Stray).filter(|at| {
            *at + 1 == self.waiting.len() && self.waiting[*at].text.len() < STRAY_STEP
        });
        let at = match growing {
            Some(at) => at,
            // Nothing more is kept: no steps without content.
            None if !keep => return,
            None => self.begin(Lane::Stray, Source::System),
        };
        self.head(at);
        let step = &mut self.waiting[at];
        step.strays[kind as usize] += 1;
        if keep {
            self.strayed += text.len();
            step.text.push_line(Text::Plain(text));
            self.page.printed(text);
            if text.len() < line.len() {
                let cut = format!("({} bytes more)", line.len() - text.len());
                step.text.push_line(Text::Plain(&cut));
                self.page.printed(&cut);
            }
        }
        self.settle();
    }

    /// Writes the steps at the front that are whole, or too many.
    fn settle(&mut self) {
        while self.waiting.front().is_some_and(Step::is_whole) {
            self.write_front();
        }
        while !self.waiting.is_empty()
            && (self.held > HELD || self.waiting.len() > WAITING || self.unanswered > WAITING_CALLS)
        {
            self.write_front();
        }
    }

    /// Counts bytes that a step holds from now on.
    fn grow(&mut self, at: usize, bytes: usize) {
        self.waiting[at].held += bytes;
        self.held += bytes;
    }

    fn write_all(&mut self) {
        while !self.waiting.is_empty() {
            self.write_front();
        }
    }

    fn write_front(&mut self) {
        let Some(step) = self.waiting.pop_front() else { return };
        self.held = self.held.saturating_sub(step.held);
        self.unanswered = self.unanswered.saturating_sub(step.unanswered);
        if let Some(usage) = step.usage {
            self.spent.0 += usage;
            self.since.0 += usage;
            let thread = match &step.lane {
                Lane::Thread(thread) => thread.as_deref(),
                _ => None,
            };
            let key = self.hasher.hash_one((thread, step.message_id.as_str()));
            self.counted.push_back(key);
            if self.counted.len() > COUNTED {
                self.counted.pop_front();
            }
        }
        if let Some(cost) = step.cost {
            self.has_cost = true;
            self.spent.1 += cost;
            self.since.1 += cost;
        }
        for call in step.calls.iter().filter(|call| !call.answered) {
            self.summary.unanswered_calls += 1;
            if self.open.len() < REMEMBERED {
                self.open.insert(call.id.clone(), (step.id, call.name.clone()));
            }
        }
        // A late result answers a call that was counted as unanswered when its step was written.
        let late = step.results.iter().filter(|answer| answer.of_step.is_some()).count() as u64;
        self.summary.unanswered_calls = self.summary.unanswered_calls.saturating_sub(late);
        if let Err(e) = self.atif.step(&step) {
            self.failed.get_or_insert(e);
        }
    }

    /// The first failure to write the trajectory.
    pub(crate) fn failure(&mut self) -> Option<std::io::Error> {
        self.failed.take()
    }

    /// Ends the trajectory and tells the sums.
    pub(crate) fn finish(mut self, api: Option<crate::api::Gathered>) -> Finished {
        self.write_all();
        let summary = &mut self.summary;
        let (usage, cost) = self.totals.unwrap_or_default();
        summary.reported_usage = usage + self.since.0;
        summary.reported_cost = match (cost, self.has_cost) {
            (None, false) => None,
            (cost, _) => Some(cost.unwrap_or(0.0) + self.since.1),
        };
        summary.api = api.as_ref().map(|api| api.summary.clone());
        summary.usage = match &summary.api {
            Some(api) if api.exchanges > 0 => api.usage,
            _ => summary.reported_usage,
        };
        self.page.end(summary);
        let ended = self.atif.end(&self.about, &self.summary, api.as_ref());
        let failed = self.failed.or(ended.err());
        Finished { summary: self.summary, page: self.page, failed }
    }
}

/// What is left when a trace has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) summary: Summary,
    pub(crate) page: Page,
    pub(crate) failed: Option<std::io::Error>,
}

/// Arguments that are no object, or one that readers refuse, as a text within an object.
fn wrapped(arguments: &str) -> String {
    format!("{{\"_raw\":{}}}", serde_json::to_string(arguments).unwrap_or_default())
}
