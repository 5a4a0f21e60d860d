//! Everything that is printed: stdout is for results, stderr for progress and messages.

use std::io::{ErrorKind, IsTerminal, Write};

use ptb_core::failure::ExitCode;
use tracing_subscriber::EnvFilter;

use crate::fault::{Fault, Outcome};

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
        .with_writer(std::io::stderr)
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
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|t| t != "dumb")
}

/// Prints a result. A reader that has gone (`ptb list | head -1`) is no error.
pub(crate) fn out(text: &str) -> Outcome {
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
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Columns of the terminal behind stdout, or none.
pub(crate) fn width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(&stdout)
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 0)
}
