//! Ctrl-C, termination, a closed terminal: the first asks for a clean end, the second ends at once.

use ptb_core::failure::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::print;

/// [`token_saying`] what holds for any command.
pub(crate) fn token() -> std::io::Result<CancellationToken> {
    token_saying("stopping; what is done is kept (Ctrl-C again ends at once)")
}

/// A token that is cancelled by SIGINT, SIGTERM or SIGHUP, which is said at once. A second signal ends the
/// process; sandboxes and engines end with it. Must be called inside a runtime.
pub(crate) fn token_saying(words: &'static str) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            if cancelled.is_cancelled() {
                print::take_down();
                std::process::exit(ExitCode::Interrupted as i32);
            }
            cancelled.cancel();
            print::note(words);
        }
    });
    Ok(token)
}

/// A runtime for commands that wait.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
