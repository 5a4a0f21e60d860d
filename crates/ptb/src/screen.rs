//! The lines at the bottom of a terminal that change in place. Whatever else is printed while they stand goes
//! above them (see [`crate::print`]).

use std::io::Result;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use ptb_report::text::columns;

/// Lines that are drawn over again.
pub(crate) struct Screen {
    /// One bar, whose message is all the lines: they are drawn in one go.
    bar: ProgressBar,
    terminal: Box<dyn TermLike>,
    drawn: Option<Drawn>,
}

/// What stands on the terminal.
struct Drawn {
    /// Columns of each line.
    lines: Vec<usize>,
    /// The terminal's width then.
    wide: u16,
}

impl Screen {
    pub(crate) fn new(terminal: impl TermLike + Clone + 'static) -> Self {
        let unpadded = Unpadded { terminal: terminal.clone(), owed: AtomicBool::new(false) };
        let target = ProgressDrawTarget::term_like(Box::new(unpadded));
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self { bar, terminal: Box::new(terminal), drawn: None }
    }

    /// Draws these lines over the last ones. Each must be narrower than `wide`, the terminal's width now.
    pub(crate) fn draw(&mut self, lines: &[String], wide: u16) {
        if lines.is_empty() {
            return;
        }
        if let Some(drawn) = self.drawn.as_ref().filter(|d| d.wide != wide) {
            let _ = drawn.straighten(&*self.terminal, wide);
        }
        let widths = lines.iter().map(|line| columns(line)).collect();
        self.drawn = Some(Drawn { lines: widths, wide });
        self.bar.set_message(lines.join("\n"));
    }

    /// Writes something above the lines.
    pub(crate) fn above(&mut self, write: impl FnOnce()) {
        match self.drawn {
            Some(_) => self.bar.suspend(write),
            None => write(),
        }
    }

    /// Takes the lines away.
    pub(crate) fn clear(&mut self) {
        if self.drawn.take().is_some() {
            self.bar.finish_and_clear();
        }
    }
}

impl Drawn {
    /// Takes the lines back where a terminal that has become narrower has wrapped them. Afterwards the cursor
    /// stands where the last of them would, which the next drawing takes for granted.
    fn straighten(&self, terminal: &dyn TermLike, wide: u16) -> Result<()> {
        let wide = usize::from(wide.max(1));
        let rows: usize = self.lines.iter().map(|columns| columns.div_ceil(wide).max(1)).sum();
        if rows == self.lines.len() {
            return Ok(());
        }
        terminal.move_cursor_up(rows - 1)?;
        terminal.write_str("\r\u{1b}[J")?;
        terminal.write_str(&"\n".repeat(self.lines.len() - 1))?;
        terminal.flush()
    }
}

/// A terminal on which lines end where their text does. A bar's lines are padded with blanks up to the border,
/// where the terminal wraps them: to it they are one long line, and come apart when its width changes. Here
/// the padding becomes an erasure, and a line end before whatever follows.
#[derive(Debug)]
struct Unpadded<T> {
    terminal: T,
    /// Whether a line end comes before the next text.
    owed: AtomicBool,
}

impl<T: TermLike> TermLike for Unpadded<T> {
    fn width(&self) -> u16 {
        self.terminal.width()
    }

    fn height(&self) -> u16 {
        self.terminal.height()
    }

    fn move_cursor_up(&self, n: usize) -> Result<()> {
        self.owed.store(false, Ordering::Relaxed);
        self.terminal.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> Result<()> {
        self.terminal.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> Result<()> {
        self.terminal.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> Result<()> {
        self.terminal.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> Result<()> {
        self.terminal.write_line(text)
    }

    fn write_str(&self, text: &str) -> Result<()> {
        if self.owed.swap(false, Ordering::Relaxed) {
            self.terminal.write_str("\r\n")?;
        }
        if text.is_empty() || text.bytes().any(|b| b != b' ') {
            return self.terminal.write_str(text);
        }
        self.owed.store(true, Ordering::Relaxed);
        self.terminal.write_str("\u{1b}[K")
    }

    fn clear_line(&self) -> Result<()> {
        self.owed.store(false, Ordering::Relaxed);
        self.terminal.clear_line()
    }

    fn flush(&self) -> Result<()> {
        self.terminal.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    fn drawn(screen: &mut Screen, lines: &[&str], wide: u16) {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        screen.draw(&lines, wide);
    }

    #[test]
    fn lines_grow_shrink_and_go_away_and_what_is_printed_stays_above() {
        let terminal = InMemoryTerm::new(8, 20);
        let mut screen = Screen::new(terminal.clone());
        let said = terminal.clone();
        screen.above(|| said.write_str("first\r\n").unwrap());
        drawn(&mut screen, &["one", "two is longer"], 20);
        assert_eq!(terminal.contents(), "first\none\ntwo is longer");
        screen.above(|| said.write_str("second\r\n").unwrap());
        drawn(&mut screen, &["1", "2", "3"], 20);
        assert_eq!(terminal.contents(), "first\nsecond\n1\n2\n3");
        drawn(&mut screen, &["last"], 20);
        assert_eq!(terminal.contents(), "first\nsecond\nlast");
        screen.clear();
        screen.above(|| said.write_str("third\r\n").unwrap());
        assert_eq!(terminal.contents(), "first\nsecond\nthird");
    }

    /// What a terminal gets never runs into its border, where it would wrap: no padding, and line ends.
    #[test]
    fn lines_end_where_their_text_does() {
        let terminal = InMemoryTerm::new(8, 20);
        let mut screen = Screen::new(terminal.clone());
        drawn(&mut screen, &["one", "two"], 20);
        let moves = terminal.moves_since_last_check();
        assert!(moves.contains("\\r\\n") && !moves.contains("   "), "{moves}");
    }

    /// As terminals do that wrap anew: two lines of 18 columns are four rows of 10.
    #[test]
    fn lines_that_a_narrower_terminal_has_wrapped_are_taken_back() {
        let terminal = InMemoryTerm::new(8, 10);
        terminal.write_str("above\r\n").unwrap();
        let mut screen = Screen::new(terminal.clone());
        drawn(&mut screen, &["old", "old"], 20);
        screen.drawn = Some(Drawn { lines: vec![18, 18], wide: 20 });
        terminal.move_cursor_up(1).unwrap();
        terminal.write_str("\ra234567890b2345678\r\nc234567890d2345678").unwrap();
        drawn(&mut screen, &["one", "two"], 10);
        assert_eq!(terminal.contents(), "above\none\ntwo");
    }
}
