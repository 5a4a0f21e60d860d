//! Signals: the first asks for an orderly end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::SftError;

/// Whether somebody has asked for the end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// One that only [`Stop::ask`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGINT and SIGTERM set. A second signal ends the process at once with 128 and its number.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn on_signals() -> Result<Self, SftError> {
        let stop = Self::default();
        let failed = |e: std::io::Error| {
            SftError::failure(format!("failed to listen for signals: {e}"), "try again")
        };
        let asked = Arc::new(std::sync::atomic::AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the handler that ends the process runs before the one that arms it.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&asked),
            )
            .map_err(failed)?;
            signal_hook::flag::register(signal, Arc::clone(&asked)).map_err(failed)?;
            let number = usize::try_from(signal).unwrap_or(0);
            signal_hook::flag::register_usize(signal, Arc::clone(&stop.0), number)
                .map_err(failed)?;
        }
        Ok(stop)
    }

    /// Asks for the end, as a signal of this number would.
    pub fn ask(&self, signal: u8) {
        self.0.store(usize::from(signal), Ordering::Relaxed);
    }

    /// The signal that has asked, if any.
    pub fn asked(&self) -> Option<u8> {
        u8::try_from(self.0.load(Ordering::Relaxed)).ok().filter(|signal| *signal != 0)
    }
}
