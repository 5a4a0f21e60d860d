//! Outages: when nothing is answered at all, all requests pause together and one of them probes; the first answer
//! lets all go on. How long nothing was answered is counted from the last answer.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Whether a server answers, over all requests to it.
#[derive(Debug)]
pub(crate) struct Outage {
    first: Duration,
    longest: Duration,
    patience: Duration,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Answers so far.
    answers: u64,
    last_answer: Option<Instant>,
    /// Since when nothing is answered: when the first request that failed was sent.
    failing_since: Option<Instant>,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    /// Probes so far.
    probes: u32,
    /// The pause before the next probe but for jitter.
    pause: Duration,
    next: Instant,
    /// Whether a probe is under way.
    probing: bool,
}

/// Leave to send one request; say what became of it.
#[derive(Debug)]
#[must_use = "a request is to be sent and its end told"]
pub(crate) struct Pass<'a> {
    outage: &'a Outage,
    begun: Instant,
    probe: bool,
}

/// What a failure means for whoever made the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It may concern this request alone: pause and try again, and bring the number (answers so far) when that
    /// fails too.
    Alone(u64),
    /// Nobody is answered: the next [`Outage::enter`] waits it out.
    Out {
        /// When somebody asks again; `None` where that was told already.
        tell: Option<Duration>,
    },
    /// Nobody was answered for as long as an outage is waited out.
    Over(Duration),
}

impl Outage {
    pub(crate) fn new(first: Duration, longest: Duration, patience: Duration) -> Self {
        let first = first.min(longest);
        let (state, changed) = (Mutex::default(), Notify::new());
        Self { first, longest, patience, state, changed }
    }

    /// Waits until a request may be sent.
    pub(crate) async fn enter(&self) -> Pass<'_> {
        loop {
            // Registered before the state is looked at, so that no change is missed.
            let changed = self.changed.notified();
            let until = {
                let mut state = self.state();
                let now = Instant::now();
                match &mut state.down {
                    None => return Pass { outage: self, begun: now, probe: false },
                    Some(down) if down.probing => None,
                    Some(down) if down.next > now => Some(down.next),
                    Some(down) => {
                        down.probing = true;
                        return Pass { outage: self, begun: now, probe: true };
                    }
                }
            };
            match until {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// A pause of about that length. Many clients that began together shall not ask together.
    pub(crate) fn jittered(&self, pause: Duration) -> Duration {
        pause.min(self.longest).mul_f64(rand::random_range(0.5..1.0))
    }

    /// A pause that the server asked for, within bounds.
    pub(crate) fn wished(&self, wait: Duration) -> Duration {
        wait.clamp(self.first, self.longest)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The server answered, whatever it said. Where that ended an outage: how long it was.
    pub(crate) fn answered(self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.outage.state();
        state.answers += 1;
        state.last_answer = Some(now);
        let since = state.failing_since.take();
        let was_down = state.down.take().is_some();
        drop(state);
        self.outage.changed.notify_waiters();
        since.filter(|_| was_down).map(|since| now - since)
    }

    /// Nobody answered; perhaps the server had asked to be left alone for a while. `last` is what the same
    /// request's failure before gave ([`Then::Alone`]).
    pub(crate) fn failed(mut self, wait: Option<Duration>, last: Option<u64>) -> Then {
        let now = Instant::now();
        let outage = self.outage;
        let probe = std::mem::take(&mut self.probe);
        let mut state = outage.state();
        let begun = self.begun.max(state.last_answer.unwrap_or(self.begun));
        let since = *state.failing_since.get_or_insert(begun);
        let answers = state.answers;
        let (probes, pause) = match &state.down {
            // The probe is another's.
            Some(_) if !probe => return Then::Out { tell: None },
            Some(down) => (down.probes + 1, (down.pause * 2).min(outage.longest)),
            // Twice without any answer in between, not once: others may fare better.
            None if last != Some(answers) => return Then::Alone(answers),
            None => (0, outage.first),
        };
        if now - since >= outage.patience {
            return Then::Over(now - since);
        }
        let rest = wait.map_or_else(|| outage.jittered(pause), |wait| outage.wished(wait));
        // The last probe is made when patience ends.
        let next = (now + rest).min(since + outage.patience);
        state.down = Some(Down { probes, pause, next, probing: false });
        drop(state);
        outage.changed.notify_waiters();
        let tell = (probes == 0 || probes.is_power_of_two()).then(|| next - now);
        Then::Out { tell }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // A probe that nobody waits for any more: another takes its place.
        if self.probe
            && let Some(down) = &mut self.outage.state().down
        {
            down.probing = false;
        }
        if self.probe {
            self.outage.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn outage() -> Outage {
        Outage::new(SECOND, 60 * SECOND, 600 * SECOND)
    }

    async fn down(outage: &Outage) {
        let Then::Alone(last) = outage.enter().await.failed(None, None) else { panic!() };
        let then = outage.enter().await.failed(None, Some(last));
        assert!(matches!(then, Then::Out { tell: Some(_) }), "{then:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_among_answers_are_no_outage() {
        let outage = outage();
        let mut last = None;
        for _ in 0..100 {
            match outage.enter().await.failed(None, last) {
                Then::Alone(answers) => last = Some(answers),
                other => panic!("{other:?}"),
            }
            tokio::time::sleep(60 * SECOND).await;
            assert_eq!(outage.enter().await.answered(), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probes_and_all_go_on_when_it_is_answered() {
        let outage = outage();
        down(&outage).await;
        let (sent, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let up = Instant::now() + 300 * SECOND;
        let calls = (0..50).map(|_| call(&outage, &sent, &answered, up));
        futures::future::join_all(calls).await;
        assert_eq!(answered.load(Ordering::SeqCst), 50);
        // Pauses of 1 to 60 seconds in 300 seconds: some twenty probes, and each call's own.
        let probes = sent.load(Ordering::SeqCst) - 50;
        assert!((5..=30).contains(&probes), "{probes}");
    }

    /// Asks until it is answered, which nobody is before `up`; the first that is hears of the outage.
    async fn call(outage: &Outage, sent: &AtomicUsize, answered: &AtomicUsize, up: Instant) {
        loop {
            let pass = outage.enter().await;
            sent.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            if Instant::now() >= up {
                let over = pass.answered();
                let first = answered.fetch_add(1, Ordering::SeqCst) == 0;
                assert_eq!(over.is_some_and(|over| over >= 300 * SECOND), first);
                return;
            }
            assert!(matches!(pass.failed(None, None), Then::Out { .. }));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_counts_from_the_last_answer() {
        let outage = outage();
        down(&outage).await;
        tokio::time::sleep(500 * SECOND).await;
        assert!(outage.enter().await.answered().is_some());
        // From here on.
        let begin = Instant::now();
        down(&outage).await;
        let waited = loop {
            match outage.enter().await.failed(None, None) {
                Then::Over(waited) => break waited,
                then => assert!(matches!(then, Then::Out { .. }), "{then:?}"),
            }
        };
        assert_eq!(waited, begin.elapsed());
        assert_eq!(waited, 600 * SECOND);
    }

    /// A request that was sent long before and fails now says nothing of the time before the last answer.
    #[tokio::test(start_paused = true)]
    async fn an_old_request_does_not_make_an_outage_older() {
        let outage = outage();
        let old = outage.enter().await;
        tokio::time::sleep(599 * SECOND).await;
        assert_eq!(outage.enter().await.answered(), None);
        tokio::time::sleep(SECOND).await;
        let Then::Alone(last) = old.failed(None, None) else { panic!() };
        let then = outage.enter().await.failed(None, Some(last));
        assert!(matches!(then, Then::Out { tell: Some(_) }), "{then:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_may_wish_for_a_pause_within_bounds() {
        for (wish, want) in [(0, 1), (7, 7), (60, 60), (86_400, 60)] {
            let outage = outage();
            down(&outage).await;
            let then = outage.enter().await.failed(Some(wish * SECOND), None);
            let begin = Instant::now();
            assert_eq!(then, Then::Out { tell: Some(want * SECOND) });
            drop(outage.enter().await);
            assert_eq!(begin.elapsed(), want * SECOND);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_leaves_its_place_to_another() {
        let outage = outage();
        down(&outage).await;
        let probe = outage.enter().await;
        assert!(probe.probe);
        let waits = tokio::time::timeout(1000 * SECOND, outage.enter()).await;
        assert!(waits.is_err());
        drop(probe);
        assert!(outage.enter().await.probe);
    }
}
