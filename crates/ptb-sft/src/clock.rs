//! The deadline: the command's own limit and the run's, whichever is nearer.

use std::time::{Duration, Instant};

use crate::door::Door;
use crate::settings::Settings;

/// How often the run's clock is read anew.
const ANEW: Duration = Duration::from_secs(30);

/// Tells the time left.
#[derive(Debug)]
pub(crate) struct Clock {
    /// When training began.
    began: Instant,
    /// Of the command.
    own_ends: Option<Instant>,
    door: Option<Door>,
    /// Of the run, as read last.
    run_ends: Option<Instant>,
    read: Instant,
}

impl Clock {
    /// The command's limit counts from its start, and `spent` is what an interrupted training had used before;
    /// training itself begins now.
    pub(crate) fn start(settings: &Settings, spent: Duration, door: Option<&Door>) -> Self {
        let began = Instant::now();
        let limit = settings.limit.map(|limit| limit.saturating_sub(spent));
        let own_ends = limit.and_then(|limit| settings.began.checked_add(limit));
        let mut clock = Self { began, own_ends, door: door.cloned(), run_ends: None, read: began };
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
        [self.own_ends, self.run_ends].into_iter().flatten().min()
    }

    /// Time left, none without a deadline.
    pub(crate) fn left(&mut self) -> Option<Duration> {
        self.deadline().map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Time of training.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
