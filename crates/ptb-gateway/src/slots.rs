//! The places at the door: a bound on connections, and who gives way when all are taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// All places, and who has them. The lowest number came first.
pub(crate) struct Slots {
    limit: usize,
    patience: Duration,
    taken: Mutex<(u64, BTreeMap<u64, Taken>)>,
}

struct Taken {
    since: Instant,
    waiting: bool,
    kick: CancellationToken,
}

/// One connection's place; given back when dropped.
pub(crate) struct Slot {
    id: u64,
    slots: Arc<Slots>,
    /// Cancelled when the connection must give way.
    pub(crate) kick: CancellationToken,
}

impl Slots {
    /// `limit` places; who has not finished asking after `patience` gives way when all are taken.
    pub(crate) fn new(limit: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { limit, patience, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Taken>)> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, or none: all are taken by clients that are served or have just come.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Slot> {
        let mut guard = self.taken();
        let (next, taken) = &mut *guard;
        if taken.len() >= self.limit {
            let slow = |t: &Taken| t.waiting && t.since.elapsed() >= self.patience;
            let oldest = taken.iter().find(|(_, t)| slow(t)).map(|(id, _)| *id)?;
            if let Some(gone) = taken.remove(&oldest) {
                gone.kick.cancel();
            }
        }
        *next += 1;
        let kick = CancellationToken::new();
        let entry = Taken { since: Instant::now(), waiting: true, kick: kick.clone() };
        taken.insert(*next, entry);
        Some(Slot { id: *next, slots: Arc::clone(self), kick })
    }
}

impl Slot {
    /// The request has arrived whole: this connection keeps its place from now on.
    pub(crate) fn asked(&self) {
        if let Some(taken) = self.slots.taken().1.get_mut(&self.id) {
            taken.waiting = false;
        }
    }

    /// It is served and kept for a next request: it gives way again when all places are taken.
    pub(crate) fn idle(&self) {
        if let Some(taken) = self.slots.taken().1.get_mut(&self.id) {
            taken.waiting = true;
            taken.since = Instant::now();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.taken().1.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_askers_give_way_and_served_ones_do_not() {
        let slots = Slots::new(2, Duration::ZERO);
        let served = slots.take().unwrap();
        served.asked();
        let slow = slots.take().unwrap();
        let third = slots.take().unwrap();
        assert!(slow.kick.is_cancelled() && !served.kick.is_cancelled());
        third.asked();
        assert!(slots.take().is_none());
        drop(served);
        assert!(slots.take().is_some());
    }

    #[test]
    fn who_is_served_and_stays_gives_way_again() {
        let slots = Slots::new(1, Duration::ZERO);
        let stays = slots.take().unwrap();
        stays.asked();
        assert!(slots.take().is_none());
        stays.idle();
        assert!(slots.take().is_some() && stays.kick.is_cancelled());
    }

    #[test]
    fn who_has_just_come_is_not_sent_away() {
        let slots = Slots::new(1, Duration::from_secs(3600));
        let _first = slots.take().unwrap();
        assert!(slots.take().is_none());
    }
}
