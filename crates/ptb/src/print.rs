//! Everything that is printed: stdout is for results, stderr for progress and messages.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ptb_core::failure::ExitCode;
use ptb_report::text::wrap;
use tracing_subscriber::EnvFilter;

use crate::fault::{Fault, Outcome};
use crate::screen::Screen;

/// The lines at the bottom of the terminal, where there are any: what is printed goes above them.
static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);

/// The size of a terminal that does not tell it, in columns and rows.
const USUAL: (u16, u16) = (80, 24);

/// Logs and error reports go to stderr; `PTB_LOG` filters logs.
pub(crate) fn set_up(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("PTB_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Log)
        .with_ansi(colour())
        .without_time()
        .with_target(false)
        .init();
    let _ = miette::set_hook(Box::new(|_| {
        Box::new(
            miette::MietteHandlerOpts::new()
                .terminal_links(false)
                // Commands and paths in messages are copied, and searched for in logs.
                .wrap_lines(std::io::stderr().is_terminal())
                .break_words(false)
                .color(colour())
                .unicode(colour())
                .build(),
        )
    }));
}

/// Whether stderr is a terminal that wants colour.
pub(crate) fn colour() -> bool {
    wants_colour(&std::io::stderr())
}

/// The same of stdout.
pub(crate) fn colour_out() -> bool {
    wants_colour(&std::io::stdout())
}

fn wants_colour(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Whether stderr is a terminal on which lines can change in place.
pub(crate) fn terminal_moves() -> bool {
    let able = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    able && std::io::stderr().is_terminal()
}

/// Prints a result. A reader that has gone (`ptb list | head -1`) is no error.
pub(crate) fn out(text: &str) -> Outcome {
    take_down();
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::harness(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(ExitCode::Done),
    }
}

/// Prints a line on stderr; nothing can be done when that fails.
pub(crate) fn err(text: &str) {
    above(&mut screen(), || drop(writeln!(std::io::stderr().lock(), "{text}")));
}

/// Prints a line on stderr, wrapped at word borders where that is a terminal.
pub(crate) fn note(text: &str) {
    err(&wrap(text, columns(&std::io::stderr())));
}

/// Columns of the terminal behind stdout, or none.
pub(crate) fn width() -> Option<u16> {
    columns(&std::io::stdout())
}

/// Columns and rows of the terminal behind stderr.
pub(crate) fn terminal_size() -> (u16, u16) {
    size(&std::io::stderr()).unwrap_or(USUAL)
}

fn columns(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<u16> {
    size(stream).map(|(columns, _)| columns)
}

fn size(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<(u16, u16)> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Puts lines at the bottom of the terminal.
pub(crate) fn put_up(lines: Screen) {
    *screen() = Some(lines);
}

/// Draws these lines at the bottom of the terminal, which is so wide, if lines have been put up there.
pub(crate) fn draw(lines: &[String], columns: u16) {
    if let Some(screen) = screen().as_mut() {
        screen.draw(lines, columns);
    }
}

/// Takes the lines at the bottom of the terminal away, for good.
pub(crate) fn take_down() {
    if let Some(mut lines) = screen().take() {
        lines.clear();
    }
}

fn screen() -> MutexGuard<'static, Option<Screen>> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn above(screen: &mut Option<Screen>, write: impl FnOnce()) {
    match screen {
        Some(screen) => screen.above(write),
        None => write(),
    }
}

/// Where log lines go: each comes whole, in one write.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        above(&mut screen(), || drop(std::io::stderr().lock().write_all(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
