//! The clock of a budget: how much of it is consumed, across restarts.
//!
//! Time is `CLOCK_BOOTTIME`: it never jumps, and a suspended machine's time counts, since a provider's
//! answers and a scheduler's limits go on without it. What is consumed is written down every five
//! seconds, so that after a crash at most that much is forgotten; the time in which nobody ran is not
//! counted, because each writing adds only what its own process saw.

mod journal;

pub use journal::ClockError;

use journal::Journal;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two lines of the journal.
const EVERY: Duration = Duration::from_secs(5);
/// Longest budget: ten years. Beyond it, seconds in a `f64` and the kernel's timers lose sense.
const MOST_HOURS: f64 = 87_600.0;

/// Where a [`Clock`] gets its time from.
pub trait TimeSource: Send + Sync {
    /// Time since an arbitrary moment; never goes backwards.
    fn now(&self) -> Duration;
    /// What names the running of this machine, for the journal.
    fn boot_id(&self) -> String;
}

/// The kernel's `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

impl TimeSource for BootClock {
    fn now(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    fn boot_id(&self) -> String {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        id.trim().to_owned()
    }
}

/// A budget in fractional hours as a duration.
///
/// # Errors
/// [`ClockError::Hours`] unless the hours are a number above zero and at most 87600 (ten years).
pub fn budget_from_hours(hours: f64) -> Result<Duration, ClockError> {
    if hours.is_finite() && hours > 0.0 && hours <= MOST_HOURS {
        Ok(Duration::from_secs_f64(hours * 3600.0))
    } else {
        Err(ClockError::Hours { hours })
    }
}

/// `H:MM`, whole minutes, rounded down: what is told is there.
#[must_use]
pub fn format_hours_minutes(left: Duration) -> String {
    let minutes = left.as_secs() / 60;
    format!("{}:{:02}", minutes / 60, minutes % 60)
}

/// How much of a budget is consumed. Shared by reference between the keeper and the doors.
#[derive(Debug)]
pub struct Clock<T = BootClock> {
    budget: Duration,
    source: T,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    /// Consumed up to `since`, or in all while stopped.
    consumed: Duration,
    /// When counting began or was last settled.
    since: Option<Duration>,
    /// When the journal last got a line.
    written: Duration,
}

impl Clock<BootClock> {
    /// A stopped clock that goes on from what the journal at `path` says, or starts one there.
    ///
    /// # Errors
    /// When the journal cannot be read or written, is damaged before its last line, or is of a newer
    /// version.
    pub fn open(path: &Path, budget: Duration) -> Result<Self, ClockError> {
        Self::open_with(path, budget, BootClock)
    }
}

impl<T: TimeSource> Clock<T> {
    /// As [`Clock::open`], with another source of time.
    ///
    /// # Errors
    /// As [`Clock::open`].
    pub fn open_with(path: &Path, budget: Duration, source: T) -> Result<Self, ClockError> {
        let (journal, consumed) = Journal::open(path)?;
        let written = source.now();
        let state = Mutex::new(State { journal, consumed, since: None, written });
        Ok(Self { budget, source, state })
    }

    /// The whole budget.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Starts counting. Nothing happens when it counts already.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn start(&self) -> Result<(), ClockError> {
        let mut state = self.lock();
        if state.since.is_none() {
            state.since = Some(self.source.now());
            self.write(&mut state)?;
        }
        Ok(())
    }

    /// Stops counting and writes down what is consumed.
    ///
    /// # Errors
    /// When the journal cannot be written; the clock is stopped nevertheless.
    pub fn stop(&self) -> Result<(), ClockError> {
        let mut state = self.lock();
        self.settle(&mut state);
        if state.since.take().is_some() { self.write(&mut state) } else { Ok(()) }
    }

    /// Takes time back that was counted and shall not be, at most what is consumed.
    ///
    /// # Errors
    /// When the journal cannot be written; the time is given back nevertheless.
    pub fn give_back(&self, time: Duration) -> Result<(), ClockError> {
        let mut state = self.lock();
        self.settle(&mut state);
        state.consumed = state.consumed.saturating_sub(time);
        self.write(&mut state)
    }

    /// Writes a line when the last is five seconds old. To be called about every second; blocks for
    /// an `fsync`.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn tick(&self) -> Result<(), ClockError> {
        let mut state = self.lock();
        let due = self.source.now().saturating_sub(state.written) >= EVERY;
        if state.since.is_some() && due { self.write(&mut state) } else { Ok(()) }
    }

    /// Time consumed so far.
    #[must_use]
    pub fn consumed(&self) -> Duration {
        let mut state = self.lock();
        self.settle(&mut state);
        state.consumed
    }

    /// Time left; zero when the budget is used up.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.budget.saturating_sub(self.consumed())
    }

    fn settle(&self, state: &mut State) {
        if let Some(since) = &mut state.since {
            let now = self.source.now();
            state.consumed += now.saturating_sub(*since);
            *since = now;
        }
    }

    fn write(&self, state: &mut State) -> Result<(), ClockError> {
        self.settle(state);
        state.written = self.source.now();
        state.journal.write(&self.source.boot_id(), state.written, state.consumed)
    }

    /// A panic elsewhere leaves sums of durations, which are never half-changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Debug, Clone, Default)]
    struct Hand(Arc<AtomicU64>);

    impl Hand {
        fn turn(&self, seconds: u64) {
            self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
        }
    }

    impl TimeSource for Hand {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
        fn boot_id(&self) -> String {
            "boot-1".to_owned()
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn only_the_time_between_start_and_stop_counts() {
        let dir = tempfile::tempdir().unwrap();
        let hand = Hand::default();
        let clock =
            Clock::open_with(&dir.path().join("clock.jsonl"), seconds(100), hand.clone()).unwrap();
        hand.turn(50);
        assert_eq!(clock.remaining(), seconds(100));
        clock.start().unwrap();
        hand.turn(30);
        clock.start().unwrap();
        assert_eq!(clock.consumed(), seconds(30));
        clock.stop().unwrap();
        hand.turn(500);
        assert_eq!(clock.remaining(), seconds(70));
        clock.give_back(seconds(10)).unwrap();
        assert_eq!(clock.remaining(), seconds(80));
        clock.give_back(seconds(10)).unwrap();
        clock.start().unwrap();
        hand.turn(110);
        assert_eq!((clock.consumed(), clock.remaining()), (seconds(120), Duration::ZERO));
    }

    #[test]
    fn a_crash_forgets_at_most_what_came_after_the_last_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clock.jsonl");
        let hand = Hand::default();
        let clock = Clock::open_with(&path, seconds(100), hand.clone()).unwrap();
        clock.start().unwrap();
        for _ in 0..13 {
            hand.turn(1);
            clock.tick().unwrap();
        }
        std::mem::forget(clock);
        hand.turn(1000);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert_eq!(lines, 3, "one at the start, one at 5 s, one at 10 s");
        let again = Clock::open_with(&path, seconds(100), hand.clone()).unwrap();
        assert_eq!(again.consumed(), seconds(10));
        again.start().unwrap();
        hand.turn(7);
        again.stop().unwrap();
        let third = Clock::open_with(&path, seconds(100), hand).unwrap();
        assert_eq!(third.consumed(), seconds(17));
    }

    #[test]
    fn hours_are_checked() {
        assert_eq!(budget_from_hours(0.5).unwrap(), seconds(1800));
        assert_eq!(budget_from_hours(10.0).unwrap(), seconds(36_000));
        for hours in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(budget_from_hours(hours).is_err(), "{hours}");
        }
    }

    #[test]
    fn time_left_is_told_in_whole_minutes() {
        for (left, text) in
            [(0, "0:00"), (59, "0:00"), (60, "0:01"), (3599, "0:59"), (36_000, "10:00")]
        {
            assert_eq!(format_hours_minutes(seconds(left)), text);
        }
    }

    #[test]
    fn the_boot_clock_runs_and_names_its_boot() {
        let before = BootClock.now();
        assert!(BootClock.now() >= before && before > Duration::ZERO);
        assert!(BootClock.boot_id().len() >= 32);
    }
}
