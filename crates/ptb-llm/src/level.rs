//! How many requests are in flight: as many as the server bears.
//!
//! Additive increase, multiplicative decrease (Chiu and Jain 1989): it starts at the top, an overload halves it,
//! and each full round of answers raises it by one. A burst of refusals that were under way together counts once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The number of requests in flight, which finds its level.
#[derive(Debug)]
pub struct Level {
    permits: Semaphore,
    top: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Requests that may be in flight.
    now: usize,
    /// Permits to be taken out of use as they come back.
    owed: usize,
    /// Halvings so far.
    round: u64,
    /// Answers since the level last changed.
    answered: usize,
    /// Whether there ever was one.
    ever: bool,
    /// The server asked to be left alone until then.
    not_before: Option<Instant>,
}

/// A request in flight. Dropped without a word, it gives its place back and changes nothing.
#[derive(Debug)]
#[must_use = "a place is given back as soon as it is dropped"]
pub struct Place<'a> {
    level: &'a Level,
    round: u64,
    permit: Option<SemaphorePermit<'a>>,
}

impl Level {
    /// At most, and to begin with, `top` requests; no fewer than one.
    pub fn new(top: usize) -> Self {
        let top = top.clamp(1, Semaphore::MAX_PERMITS);
        let state =
            State { now: top, owed: 0, round: 0, answered: 0, ever: false, not_before: None };
        Self { permits: Semaphore::new(top), top, state: Mutex::new(state) }
    }

    /// Waits for a place; give it back by what became of the request, or by dropping it.
    pub async fn enter(&self) -> Place<'_> {
        // The semaphore is never closed.
        let permit = self.permits.acquire().await.ok();
        loop {
            let (round, until) = {
                let state = self.state();
                (state.round, state.not_before.filter(|at| *at > Instant::now()))
            };
            match until {
                Some(at) => tokio::time::sleep_until(at).await,
                None => return Place { level: self, round, permit },
            }
        }
    }

    /// Whether the server has ever answered.
    pub fn has_answered(&self) -> bool {
        self.state().ever
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// The server answered.
    pub fn answered(self) {
        let mut state = self.level.state();
        state.answered += 1;
        state.ever = true;
        if state.answered >= state.now && state.now < self.level.top {
            state.now += 1;
            state.answered = 0;
            match state.owed {
                0 => self.level.permits.add_permits(1),
                _ => state.owed -= 1,
            }
        }
    }

    /// The server had too much to do, and perhaps said for how long nobody shall enter.
    pub fn overloaded(self, wait: Option<Duration>) {
        let mut state = self.level.state();
        let until = wait.map(|wait| Instant::now() + wait);
        state.not_before = state.not_before.max(until);
        if self.round == state.round {
            let now = (state.now / 2).max(1);
            state.owed += state.now - now;
            state.now = now;
            state.round += 1;
            state.answered = 0;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.level.state();
        if state.owed > 0 {
            state.owed -= 1;
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(level: &Level) -> Vec<Place<'_>> {
        let mut places = Vec::new();
        while level.permits.available_permits() > 0 {
            places.push(level.enter().await);
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_halves_once_and_answers_raise_step_by_step() {
        let level = Level::new(16);
        let places = all(&level).await;
        assert_eq!(places.len(), 16);
        places.into_iter().for_each(|place| place.overloaded(None));
        assert_eq!(all(&level).await.len(), 8);
        let mut rounds = 0;
        while level.state().now < 16 {
            rounds += 1;
            all(&level).await.into_iter().for_each(Place::answered);
        }
        assert_eq!((rounds, all(&level).await.len()), (8, 16));
        // A new burst in each of many rounds ends at one, never at none.
        for _ in 0..10 {
            all(&level).await.into_iter().for_each(|place| place.overloaded(None));
        }
        assert_eq!(all(&level).await.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_enters_before_the_server_wants_to_be_asked() {
        let level = Level::new(4);
        let start = Instant::now();
        level.enter().await.overloaded(Some(Duration::from_secs(7)));
        level.enter().await.overloaded(Some(Duration::from_secs(2)));
        drop(level.enter().await);
        assert_eq!(start.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test]
    async fn a_request_that_is_dropped_gives_its_place_back() {
        let level = Level::new(2);
        for _ in 0..5 {
            drop(all(&level).await);
        }
        assert_eq!(all(&level).await.len(), 2);
    }
}
