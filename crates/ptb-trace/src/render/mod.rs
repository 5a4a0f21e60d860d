//! What people read of a trace: Markdown for a file, or lines for a terminal, written as the events come.
//!
//! All text is an agent's and hostile: it never leaves the place it was given. Control characters and terminal
//! escapes become visible, Markdown and HTML in words are escaped, fences are longer than any within.

mod safe;
mod tools;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::api::Conversation;
use crate::event::Outcome;
use crate::summary::{Ended, Summary};
use crate::text::Text;
use crate::usage::Usage;
use safe::{Limits, Short, fence, inline, quoted, shorten};
use tools::{Piece, shown};

/// Most that is shown of a tool's output, of words, and of arguments.
const OUTPUT: Limits = Limits { bytes: 3000, lines: 30 };
const WORDS: Limits = Limits { bytes: 16 << 10, lines: 400 };
/// Calls whose numbers are remembered.
const NAMED: usize = 1024;
const PRINTED: Limits = Limits { bytes: 400, lines: 4 };

/// For whom a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Markdown: `transcript.md`.
    Markdown,
    /// A terminal; `color` for one that takes escapes.
    Terminal {
        /// Whether escapes for bold and dim may be used.
        color: bool,
    },
}

/// The head of a step.
#[derive(Debug)]
pub(crate) struct Heading<'a> {
    pub(crate) id: u64,
    pub(crate) who: &'a str,
    /// The call that started the sub-agent.
    pub(crate) thread: Option<&'a str>,
    pub(crate) time: Option<Timestamp>,
    /// Seconds since the attempt began, and seconds left.
    pub(crate) wall: Option<f64>,
    pub(crate) left: Option<f64>,
}

/// What was written last, to know whether words go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Block,
    Words,
    Thought,
    Printed,
}

/// A page under construction. Whoever prints it takes away what is new.
#[derive(Debug)]
pub(crate) struct Page {
    look: Look,
    text: String,
    last: Last,
    shown: u64,
    highest: u64,
    line_start: bool,
    /// Lines of the current stray block that were shown.
    printed: usize,
    /// Calls so far, and the numbers of the latest by their ids, oldest first.
    calls: u64,
    numbers: HashMap<String, u64>,
    named: VecDeque<String>,
    /// The call that was shown last.
    last_call: u64,
}

impl Page {
    pub(crate) fn new(look: Look) -> Self {
        Self {
            look,
            text: String::new(),
            last: Last::Block,
            shown: 0,
            highest: 0,
            line_start: true,
            printed: 0,
            calls: 0,
            numbers: HashMap::new(),
            named: VecDeque::new(),
            last_call: 0,
        }
    }

    /// Takes what was written since the last call.
    pub(crate) fn take(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// A short text on one line.
    fn inline(&self, text: &str) -> String {
        inline(text, self.is_markdown())
    }

    fn is_markdown(&self) -> bool {
        self.look == Look::Markdown
    }

    /// Text in bold (`1`) or dim (`2`).
    fn styled(&self, code: u8, text: &str) -> String {
        match self.look {
            Look::Terminal { color: true } => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// Ends whatever block is open.
    fn close(&mut self) {
        if self.last != Last::Block {
            self.text.push_str(if self.is_markdown() { "\n\n" } else { "\n" });
            self.last = Last::Block;
        }
        self.line_start = true;
    }

    /// The title of a transcript.
    pub(crate) fn title(&mut self, name: &str, version: &str, model: Option<&str>) {
        let model = model.map(|m| format!(", {m}")).unwrap_or_default();
        let title = self.inline(&format!("{name} {version}{model}"));
        let _ = match self.is_markdown() {
            true => writeln!(self.text, "# {title}\n"),
            false => writeln!(self.text, "{}", self.styled(1, &title)),
        };
    }

    /// Whether what follows is known to belong to this step.
    pub(crate) fn shows(&self, step: u64) -> bool {
        self.shown == step
    }

    /// Shows whose step the following belongs to.
    pub(crate) fn heading(&mut self, step: &Heading<'_>) {
        self.close();
        let again = step.id <= self.highest;
        (self.shown, self.highest, self.printed) = (step.id, self.highest.max(step.id), 0);
        let mut head = format!("{} · {}", step.id, step.who);
        if let Some(call) = step.thread {
            let _ = match self.numbers.get(call) {
                Some(n) => write!(head, " (sub-agent of call {n})"),
                None => write!(head, " (sub-agent {})", self.inline(call)),
            };
        }
        if again {
            head.push_str(" (continued)");
        }
        match (step.wall, step.time) {
            (Some(wall), _) => head.push_str(&format!(" · {}", clock(wall))),
            (None, Some(time)) => head.push_str(&format!(" · {time}")),
            (None, None) => {}
        }
        if let Some(left) = step.left {
            let _ = write!(head, " · {} left", clock(left));
        }
        let _ = match self.is_markdown() {
            true => writeln!(self.text, "## {head}\n"),
            false => writeln!(self.text, "\n{}", self.styled(1, &head)),
        };
    }

    /// Words of the agent.
    pub(crate) fn words(&mut self, text: Text<'_>, joined: bool) {
        self.prose(Last::Words, text, joined);
    }

    /// Its reasoning.
    pub(crate) fn reasoning(&mut self, text: Text<'_>) {
        if self.last != Last::Thought && !text.is_empty() {
            self.close();
            let _ = match self.is_markdown() {
                true => write!(self.text, "*reasoning:*\n\n"),
                false => writeln!(self.text, "{}", self.styled(2, "reasoning:")),
            };
        }
        self.prose(Last::Thought, text, false);
    }

    /// Somebody's words to the agent.
    pub(crate) fn user(&mut self, text: Text<'_>) {
        self.prose(Last::Words, text, false);
    }

    fn prose(&mut self, kind: Last, text: Text<'_>, joined: bool) {
        if text.is_empty() {
            return;
        }
        match self.last == kind {
            true if joined => {}
            true => self.quoted("\n"),
            false => self.close(),
        }
        self.last = kind;
        let short = shorten(&text, WORDS);
        let words = match short.left_out {
            0 => short.head,
            n => format!("{}\n(… {n} bytes left out …)\n{}", short.head, short.tail),
        };
        self.quoted(&words);
    }

    fn quoted(&mut self, words: &str) {
        let (markdown, start) = (self.is_markdown(), &mut self.line_start);
        quoted(&mut self.text, words, markdown, start);
    }

    /// Something the scaffold said about itself.
    pub(crate) fn note(&mut self, text: Text<'_>) {
        self.prose(Last::Words, text, false);
        self.close();
    }

    /// A line that was none of the format's.
    pub(crate) fn printed(&mut self, text: &str) {
        const MOST: usize = 40;
        if self.last != Last::Printed {
            self.close();
        }
        self.printed += 1;
        match self.printed {
            n if n <= MOST => {
                let Short { head, left_out, tail } = shorten(&Text::Plain(text), PRINTED);
                let line = match left_out {
                    0 => head,
                    n => format!("{head} (… {n} bytes left out …) {tail}"),
                };
                if self.last == Last::Printed {
                    self.quoted("\n");
                }
                self.last = Last::Printed;
                self.quoted(&line);
            }
            n if n == MOST + 1 => self.note(Text::Plain("(more lines like these)")),
            _ => {}
        }
    }

    fn remember(&mut self, id: &str) {
        if self.named.len() == NAMED
            && let Some(oldest) = self.named.pop_front()
        {
            self.numbers.remove(&oldest);
        }
        self.named.push_back(id.to_owned());
        self.numbers.insert(id.to_owned(), self.calls);
    }

    /// A tool call.
    pub(crate) fn call(&mut self, id: &str, name: &str, arguments: &str) {
        self.close();
        self.calls += 1;
        self.last_call = self.calls;
        self.remember(id);
        let (name_shown, n) = (self.inline(name), self.calls);
        let _ = match self.is_markdown() {
            true => writeln!(self.text, "**{name_shown}** (call {n})\n"),
            false => writeln!(self.text, "{} (call {n})", self.styled(1, &name_shown)),
        };
        for piece in shown(name, arguments) {
            match piece {
                Piece::Line(text) => {
                    let text = self.inline(&text);
                    let _ = match self.is_markdown() {
                        true => writeln!(self.text, "{text}\n"),
                        false => writeln!(self.text, "  {text}"),
                    };
                }
                Piece::Code(language, code) => self.block(language, &code),
            }
        }
    }

    /// What came of a call.
    pub(crate) fn outcome(&mut self, name: &str, of_step: Option<u64>, outcome: &Outcome<'_>) {
        self.close();
        let mut head = "result".to_owned();
        match self.numbers.get(outcome.call).copied() {
            // It stands right below its call.
            Some(call) if call == self.last_call => {}
            Some(call) => {
                let _ = write!(head, " of call {call}, {}", self.inline(name));
            }
            None => {
                let _ = write!(head, " of {} {}", self.inline(name), self.inline(outcome.call));
            }
        }
        if let Some(step) = of_step {
            let _ = write!(head, " (step {step})");
        }
        match (outcome.exit_code, outcome.failed) {
            (Some(code), _) if code != 0 => {
                let _ = write!(head, ": exit code {code}");
            }
            (_, true) => head.push_str(": failed"),
            _ => {}
        }
        let _ = match self.is_markdown() {
            true => writeln!(self.text, "*{head}*\n"),
            false => writeln!(self.text, "{}", self.styled(2, &head)),
        };
        for text in &outcome.content {
            self.shortened(text);
        }
    }

    /// A named text in a block of its own.
    pub(crate) fn output(&mut self, name: &str, text: Text<'_>) {
        self.close();
        let _ = match self.is_markdown() {
            true => writeln!(self.text, "*{name}*\n"),
            false => writeln!(self.text, "{}", self.styled(2, name)),
        };
        self.shortened(&text);
    }

    fn shortened(&mut self, text: &Text<'_>) {
        if text.is_empty() {
            return;
        }
        let Short { head, left_out, tail } = shorten(text, OUTPUT);
        self.block("", &head);
        if left_out > 0 {
            let left_out = format!("… {left_out} bytes left out …");
            let _ = match self.is_markdown() {
                true => writeln!(self.text, "{left_out}\n"),
                false => writeln!(self.text, "  {}", self.styled(2, &left_out)),
            };
            self.block("", &tail);
        }
    }

    fn block(&mut self, language: &str, code: &str) {
        let code = safe::visible(code);
        match self.is_markdown() {
            true => {
                let fence = fence(&code);
                let end = if code.ends_with('\n') { "" } else { "\n" };
                let _ = writeln!(self.text, "{fence}{language}\n{code}{end}{fence}\n");
            }
            false => {
                for line in code.lines() {
                    let _ = writeln!(self.text, "  │ {line}");
                }
            }
        }
    }

    fn conversation(&self, c: &Conversation) -> String {
        let model = self.inline(c.model.as_deref().unwrap_or("unknown model"));
        let differs = c.differs.as_deref().unwrap_or_default();
        let Usage { input, output, .. } = c.usage;
        format!(
            "{model}, from request {}: {} requests, {input} prompt and {output} generated tokens (other {differs})",
            c.first_request, c.requests
        )
    }

    /// Sums and the end.
    pub(crate) fn end(&mut self, summary: &Summary) {
        self.close();
        let mut rows: Vec<(&str, String)> = vec![
            ("steps", summary.steps.to_string()),
            ("tool calls", summary.tool_calls.to_string()),
            ("prompt tokens", summary.usage.input.to_string()),
            ("of them cached", summary.usage.cached_input.to_string()),
            ("generated tokens", summary.usage.output.to_string()),
        ];
        let cost = match &summary.api {
            Some(api) if api.exchanges > 0 => api.cost,
            _ => summary.reported_cost,
        };
        if let Some(cost) = cost {
            rows.push(("cost", format!("${cost:.4}")));
        }
        if let Some(api) = &summary.api {
            rows.push(("API requests", api.exchanges.to_string()));
            let sides = api.conversations.iter().filter(|c| c.differs.is_some());
            rows.extend(sides.take(20).map(|c| ("other conversation", self.conversation(c))));
        }
        let lines = &summary.lines;
        let told = [
            ("calls without result", summary.unanswered_calls),
            ("API errors", summary.api_errors),
            ("unknown lines", lines.unknown),
            ("broken lines", lines.broken),
        ];
        rows.extend(told.iter().filter(|r| r.1 > 0).map(|(name, n)| (*name, n.to_string())));
        let ended = match &summary.ended {
            Ended::Unsaid => "the scaffold did not say".to_owned(),
            Ended::Finished => "finished".to_owned(),
            Ended::Limit(reason) => format!("limit: {reason}"),
            Ended::Failed(reason) => format!("failed: {reason}"),
        };
        rows.push(("end", self.inline(&ended)));
        if self.is_markdown() {
            self.text.push_str("## End\n\n");
            rows.iter().for_each(|(name, value)| {
                let _ = writeln!(self.text, "- {name}: {value}");
            });
        } else {
            self.text.push('\n');
            rows.iter().for_each(|(name, value)| {
                let _ = writeln!(self.text, "{name:>22}  {value}");
            });
        }
    }
}

/// Seconds as hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let s = seconds.clamp(0.0, 3.6e8) as u64;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}
