//! Telling slow from hung. A completion comes whole, so that a request says nothing for as long as it takes; but a
//! server that works answers some request now and then, and one that is merely slow still answers to `/health`.
//! Silence is told to the user; silence of both, for long, ends the pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ptb_infer::{Client, InferError};
use tokio::time::Instant;

use crate::serve::Told;

/// Without any answer for so long the server is asked for its health, and the user is told; then after twice that
/// time, and so on.
const QUIET: Duration = Duration::from_secs(60);
/// Without any answer, and any sign of health, for so long it is hung.
const HUNG: Duration = Duration::from_secs(300);
/// Time to answer for its health. Servers that compute in the thread that answers are slow in this.
const HEALTH_TIME: Duration = Duration::from_secs(30);

/// How long an engine has said nothing, over all its requests.
pub(crate) struct Silence<'a> {
    tell: &'a (dyn Fn(Told) + Send + Sync),
    quiet: Duration,
    hung: Duration,
    state: Mutex<State>,
    /// Of all requests that wait, one asks.
    asking: tokio::sync::Mutex<()>,
    /// Whether a failure was told.
    failed: AtomicBool,
}

struct State {
    /// The last answer, or the beginning.
    heard: Instant,
    /// The last sign of life: an answer, or health.
    alive: Instant,
    /// When the server is asked for its health next.
    next: Instant,
}

impl<'a> Silence<'a> {
    /// From now on; `most` is the time that one request may take.
    pub(crate) fn new(most: Duration, tell: &'a (dyn Fn(Told) + Send + Sync)) -> Self {
        let (now, quiet) = (Instant::now(), QUIET.min(most / 4));
        let state = State { heard: now, alive: now, next: now + quiet };
        Self {
            tell,
            quiet,
            hung: HUNG.min(most),
            state: Mutex::new(state),
            asking: tokio::sync::Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// A request failed and is made again. The first one is told, so that waiting has a reason.
    pub(crate) fn failed(&self, failure: &InferError) {
        tracing::debug!("{failure}; trying again");
        if !self.failed.swap(true, Ordering::Relaxed) {
            let failure = failure.to_string();
            let failure = failure.lines().next().unwrap_or_default();
            (self.tell)(Told::Said(format!("{failure}; trying again, and so for others")));
        }
    }

    /// An answer came, of whatever kind.
    pub(crate) fn heard(&self) {
        let now = Instant::now();
        self.with(|s| *s = State { heard: now, alive: now, next: now + self.quiet });
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns when the server is hung; until then it tells how long nothing has been heard.
    pub(crate) async fn hung(&self, client: &Client) -> InferError {
        loop {
            tokio::time::sleep_until(self.with(|s| s.next)).await;
            let _one = self.asking.lock().await;
            if self.with(|s| s.next > Instant::now()) {
                continue;
            }
            let time = HEALTH_TIME.min(self.quiet);
            let healthy = matches!(tokio::time::timeout(time, client.health()).await, Ok(Ok(())));
            let (silent, lifeless) = self.with(|s| {
                let now = Instant::now();
                if healthy {
                    s.alive = now;
                }
                let (silent, lifeless) = (now - s.heard, now - s.alive);
                s.next = now + if healthy { silent } else { self.quiet };
                (silent, lifeless)
            });
            let endpoint = client.endpoint().to_string();
            if lifeless >= self.hung {
                let seconds = lifeless.as_secs();
                let why = format!("it has answered nothing for {seconds} s, not even to /health");
                return InferError::Unavailable { endpoint, why, status: None, retry_after: None };
            }
            (self.tell)(Told::Said(silence(&endpoint, silent, healthy)));
        }
    }
}

impl std::fmt::Debug for Silence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Silence").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

fn silence(endpoint: &str, silent: Duration, healthy: bool) -> String {
    let health = match healthy {
        true => "it answers to /health, so it may be slow",
        false => "it does not answer to /health either",
    };
    format!("{endpoint} has not answered for {} s; {health}", silent.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_infer::Endpoint;

    /// A socket that takes connections and says nothing. No clock but the test's runs meanwhile.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_at_all_is_told_and_then_given_up() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::Http(format!("http://{}/v1", socket.local_addr().unwrap()));
        let client = Client::new(endpoint, Duration::from_secs(3600)).unwrap();
        let told = Mutex::new(Vec::new());
        let tell = |line| told.lock().unwrap().push(line);
        let silence = Silence::new(Duration::from_secs(3600), &tell);
        let begin = Instant::now();
        // All requests that wait hear of it, and one of them asks.
        let (a, b) = tokio::join!(silence.hung(&client), silence.hung(&client));
        let took = begin.elapsed().as_secs();
        assert!((300..480).contains(&took), "{took} s");
        for e in [a, b] {
            assert!(e.to_string().contains("not even to /health"), "{e}");
        }
        let told = told.into_inner().unwrap();
        assert!((2..=4).contains(&told.len()), "{told:?}");
        let Told::Said(first) = &told[0] else { panic!("{told:?}") };
        assert!(first.contains("does not answer to /health either"), "{first}");
    }

    /// What is heard puts everything off.
    #[tokio::test(start_paused = true)]
    async fn answers_now_and_then_are_no_silence() {
        let client = Client::new(Endpoint::Http("http://127.0.0.1:1/v1".into()), QUIET).unwrap();
        let tell = |told| panic!("{told:?}");
        let silence = Silence::new(Duration::from_secs(3600), &tell);
        let answers = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(59)).await;
                silence.heard();
            }
        };
        tokio::select! {
            e = silence.hung(&client) => panic!("{e}"),
            () = answers => {}
        }
    }
}
