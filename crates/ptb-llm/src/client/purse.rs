//! What is spent, and what may still be. A request reserves the most that it can cost before it is sent, so that a
//! limit is never passed; near its end fewer requests are in flight, and none when the next might pass it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::LlmError;

/// What a client spends.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    limit: Option<f64>,
    /// What was spent before, of the same limit.
    before: f64,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spent: f64,
    /// For requests in flight.
    reserved: f64,
}

/// Money set aside for a request in flight.
#[derive(Debug)]
#[must_use = "money is set aside as long as this lives"]
pub(crate) struct Reserved<'a> {
    purse: &'a Purse,
    amount: f64,
}

impl Purse {
    pub(crate) fn new(limit: Option<f64>, before: f64) -> Self {
        Self { limit, before, ..Self::default() }
    }

    /// Sets aside what a request can cost at most; waits for others in flight where what they leave over may do.
    ///
    /// # Errors
    /// [`LlmError::Spent`] when it will not.
    pub(crate) async fn reserve(&self, most: f64) -> Result<Reserved<'_>, LlmError> {
        loop {
            // Registered before the state is looked at, so that no change is missed.
            let changed = self.changed.notified();
            {
                let mut state = self.state();
                let limit = self.limit.unwrap_or(f64::INFINITY);
                let spent = self.before + state.spent;
                if spent + most > limit {
                    return Err(LlmError::Spent { limit, spent, next: most });
                }
                if state.reserved <= 0.0 || spent + state.reserved + most <= limit {
                    state.reserved += most;
                    return Ok(Reserved { purse: self, amount: most });
                }
            }
            changed.await;
        }
    }

    /// What was spent out of it, in US dollars, what was spent before left out.
    pub(crate) fn spent(&self) -> f64 {
        self.state().spent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved<'_> {
    /// Pays; an amount that nobody knows is taken to be the most. What was paid.
    pub(crate) fn pay(self, amount: Option<f64>) -> f64 {
        let amount = amount.unwrap_or(self.amount);
        self.purse.state().spent += amount;
        amount
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = self.purse.state();
        // Sums of fractions leave dust.
        state.reserved = (state.reserved - self.amount).max(0.0);
        if state.reserved < 1e-12 {
            state.reserved = 0.0;
        }
        drop(state);
        self.purse.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn near_the_limit_requests_wait_for_each_other_and_then_end() {
        let purse = Purse::new(Some(1.5), 0.5);
        let first = purse.reserve(0.4).await.unwrap();
        let second = purse.reserve(0.4).await.unwrap();
        // The third does not fit beside them; it does when one of them was cheap.
        assert!(purse.reserve(0.4).now_or_never().is_none());
        let third = async {
            let third = purse.reserve(0.4).await.unwrap();
            third.pay(None)
        };
        let cheap = async {
            tokio::task::yield_now().await;
            first.pay(Some(0.1))
        };
        assert_eq!(tokio::join!(third, cheap), (0.4, 0.1));
        second.pay(Some(0.3));
        assert!((purse.spent() - 0.8).abs() < 1e-12);
        match purse.reserve(0.4).await {
            Err(LlmError::Spent { limit, spent, next }) => {
                assert_eq!((limit, next), (1.5, 0.4));
                assert!((spent - 1.3).abs() < 1e-12);
            }
            other => panic!("{other:?}"),
        }
        // A cheaper one still goes.
        drop(purse.reserve(0.1).await.unwrap());
        assert!(Purse::new(Some(0.1), 0.0).reserve(0.2).await.is_err());
        assert!(Purse::new(None, 0.0).reserve(1e9).await.is_ok());
    }
}
