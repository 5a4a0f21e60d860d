//! Signals: once training is under way the first asks for an orderly end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::signal::{SIGINT, SIGTERM, SIGXFSZ};

use crate::error::SftError;

/// Whether somebody has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicUsize>,
    /// Whether a signal ends the process.
    at_once: Arc<AtomicBool>,
}

impl Stop {
    /// One that only [`Stop::ask`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGINT and SIGTERM set. A second signal ends the process at once with 128 and its number, and so
    /// does the first while there is nothing to save: until training begins.
    ///
    /// From then on, too, a file that grows over the limit (`ulimit -f`) is an error of the writing instead of a
    /// signal that ends the process.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn on_signals() -> Result<Self, SftError> {
        let stop = Self::default();
        let failed = |e: std::io::Error| {
            SftError::failure(format!("failed to listen for signals: {e}"), "try again")
        };
        stop.at_once.store(true, Ordering::SeqCst);
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map_err(failed)?;
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the handler that ends the process runs before the one that arms it.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&stop.at_once),
            )
            .map_err(failed)?;
            signal_hook::flag::register(signal, Arc::clone(&stop.at_once)).map_err(failed)?;
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.asked), number)
                .map_err(failed)?;
        }
        Ok(stop)
    }

    /// Asks for the end, as a signal of this number would.
    pub fn ask(&self, signal: u8) {
        self.asked.store(usize::from(signal), Ordering::Relaxed);
    }

    /// From now on the first signal asks.
    pub(crate) fn orderly(&self) {
        self.at_once.store(false, Ordering::SeqCst);
    }

    /// The signal that has asked, if any.
    pub fn asked(&self) -> Option<u8> {
        u8::try_from(self.asked.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}
