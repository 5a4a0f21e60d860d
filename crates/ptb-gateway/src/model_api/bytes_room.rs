//! The memory that bodies may take, over all requests, until they are on record.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// How many bytes there are, and how many are taken.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    taken: AtomicUsize,
}

/// Bytes taken; given back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    room: Arc<Room>,
    bytes: usize,
}

/// Bytes and the room that they take.
#[derive(Debug, Clone)]
pub(super) struct Held {
    /// The bytes.
    pub(super) bytes: Bytes,
    _lease: Arc<Lease>,
}

impl Room {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicUsize::new(0) })
    }

    /// A lease on nothing yet.
    pub(super) fn lease(self: &Arc<Self>) -> Lease {
        Lease { room: Arc::clone(self), bytes: 0 }
    }
}

impl Lease {
    /// Takes `more` bytes, if they are there.
    pub(super) fn grow(&mut self, more: usize) -> bool {
        let fits = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= self.room.limit);
        let got = self.room.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        self.bytes += if got { more } else { 0 };
        got
    }

    /// Takes `more` bytes, whether they are there or not: for the little that must be kept. New requests wait for it.
    pub(super) fn force(&mut self, more: usize) {
        self.room.taken.fetch_add(more, Ordering::Relaxed);
        self.bytes += more;
    }

    /// Takes `bytes` in all, whether they are there or not; gives back what is more.
    pub(super) fn resize(&mut self, bytes: usize) {
        let back = self.bytes.saturating_sub(bytes);
        self.room.taken.fetch_sub(back, Ordering::Relaxed);
        self.bytes -= back;
        self.force(bytes.saturating_sub(self.bytes));
    }

    /// Binds the lease to what it was taken for.
    pub(super) fn hold(self, bytes: Bytes) -> Held {
        Held { bytes, _lease: Arc::new(self) }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_given_back() {
        let room = Room::new(10);
        let mut first = room.lease();
        assert!(first.grow(6) && !first.grow(5) && first.grow(4));
        let mut second = room.lease();
        assert!(!second.grow(1));
        let held = first.hold(Bytes::from_static(b"x"));
        let again = held.clone();
        drop(held);
        assert!(!second.grow(1));
        drop(again);
        assert!(second.grow(10));
        second.force(5);
        second.resize(7);
        assert_eq!((second.bytes, room.taken.load(Ordering::Relaxed)), (7, 7));
        drop(second);
        assert_eq!(room.taken.load(Ordering::Relaxed), 0);
    }
}
