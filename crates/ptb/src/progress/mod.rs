//! Live progress on stderr: lines that change in place on a terminal, plain lines elsewhere.
//!
//! Notices only change the [`Board`]; a ticker draws it, so that a flood of notices costs no drawing. Text in
//! notices may come from an agent, and is made harmless as it comes in.

mod board;
mod going;
mod line;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use console::Term;
use ptb_runner::Progress;
use tokio_util::sync::CancellationToken;

use crate::print;
use crate::screen::Screen;
use board::Board;

/// Between two drawings on a terminal.
const DRAW: Duration = Duration::from_millis(500);
/// Between two looks whether a plain line is due.
const LOOK: Duration = Duration::from_secs(1);

/// Progress of one thing (`quiet` for scripts).
pub(crate) fn progress(quiet: bool) -> Progress {
    live(quiet, None, CancellationToken::new())
}

/// Progress of so many runs, which `stop` stops.
pub(crate) fn of_runs(quiet: bool, runs: usize, stop: CancellationToken) -> Progress {
    live(quiet, Some(runs), stop)
}

fn live(quiet: bool, runs: Option<usize>, stop: CancellationToken) -> Progress {
    if quiet {
        return Arc::new(|_, _| {});
    }
    let moving = print::terminal_moves();
    if moving {
        print::put_up(Screen::new(Term::buffered_stderr()));
    }
    let board = Mutex::new(Board::new(runs, stop, !moving));
    let live = Arc::new(Live { board, moving });
    let weak = Arc::downgrade(&live);
    std::thread::spawn(move || tick(&weak, if moving { DRAW } else { LOOK }));
    Arc::new(move |run, notice| {
        let told = live.board().hear(run, notice, Instant::now());
        if moving && !told.is_empty() {
            // What is printed stands above the lines, which no longer show what it ends.
            live.show();
        }
        told.iter().for_each(|line| print::note(line));
    })
}

struct Live {
    board: Mutex<Board>,
    /// Whether lines can change in place.
    moving: bool,
}

impl Live {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self) {
        let now = Instant::now();
        if !self.moving {
            let due = self.board().due(now);
            return due.iter().for_each(|line| print::err(line));
        }
        let (columns, rows) = print::terminal_size();
        let lines = self.board().lines(now, columns, rows, print::colour());
        print::draw(&lines, columns);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.moving {
            print::take_down();
        }
    }
}

/// Shows the board until it is gone.
fn tick(live: &Weak<Live>, pause: Duration) {
    while let Some(live) = live.upgrade() {
        live.show();
        drop(live);
        std::thread::sleep(pause);
    }
}
