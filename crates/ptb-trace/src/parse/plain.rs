//! Any other program: what it prints is what it says.
//!
//! Lines that come together are one step; a pause, or a page of text, begins the next.

use crate::event::{Event, Part, Turn};
use crate::format::{Parser, Verdict};
use crate::text::Text;

/// Seconds of silence after which a new step begins.
const PAUSE: f64 = 5.0;
/// Bytes after which a new step begins.
const PAGE: usize = 16 << 10;

/// Reader of plain text.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    step: u64,
    held: usize,
    last: Option<f64>,
}

impl Parser for Plain {
    fn line(
        &mut self,
        line: &str,
        seconds: Option<f64>,
        out: &mut dyn FnMut(Event<'_>),
    ) -> Verdict {
        let paused = matches!((self.last, seconds), (Some(a), Some(b)) if b - a > PAUSE);
        if paused || self.held > PAGE || self.step == 0 {
            self.step += 1;
            self.held = 0;
        }
        self.held += line.len();
        self.last = seconds.or(self.last);
        let step = format!("step {}", self.step);
        let turn = Turn { message: &step, ..Turn::default() };
        out(Event::Agent(turn, Part::Text { text: Text::Plain(line), joined: false }));
        Verdict::Used
    }

    fn takes_stderr(&self) -> bool {
        true
    }
}
