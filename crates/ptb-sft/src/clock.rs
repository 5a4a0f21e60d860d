//! The deadline: the command's own limit and the run's, whichever is nearer.

use std::time::{Duration, Instant};

use crate::door::Door;

/// How often the run's clock is read anew.
const ANEW: Duration = Duration::from_secs(30);

/// Tells the time left.
#[derive(Debug)]
pub(crate) struct Clock {
    began: Instant,
    /// Of the command: from its start on.
    limit: Option<Duration>,
    door: Option<Door>,
    /// Of the run, as read last.
    run_ends: Option<Instant>,
    read: Instant,
}

impl Clock {
    /// `spent` is what an interrupted training had used before.
    pub(crate) fn start(limit: Option<Duration>, spent: Duration, door: Option<&Door>) -> Self {
        let began = Instant::now();
        let limit = limit.map(|limit| limit.saturating_sub(spent));
        let mut clock = Self { began, limit, door: door.cloned(), run_ends: None, read: began };
        clock.read_door();
        clock
    }

    fn read_door(&mut self) {
        self.read = Instant::now();
        if let Some(left) = self.door.as_ref().and_then(Door::remaining) {
            self.run_ends = self.read.checked_add(left);
        }
    }

    /// When everything must be done.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        if self.door.is_some() && self.read.elapsed() > ANEW {
            self.read_door();
        }
        let own = self.limit.and_then(|limit| self.began.checked_add(limit));
        [own, self.run_ends].into_iter().flatten().min()
    }

    /// Time left, none without a deadline.
    pub(crate) fn left(&mut self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
