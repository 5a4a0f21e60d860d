//! Whether the provider gives service, and when it did not.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ptb_llm::protocol::ProviderFault;
use tokio::sync::watch;

/// The most outages, and requests of one outage, that are told apart.
const MOST: usize = 10_000;

/// The provider as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Service {
    /// Nothing was asked yet.
    Unused,
    /// It answers.
    Up,
    /// It does not.
    Down {
        /// Since when, by the monotonic clock.
        since: Instant,
        /// What is wrong.
        kind: ProviderFault,
        /// The provider's words, or why it cannot be reached.
        message: String,
    },
}

/// A time without service: from the first request that failed to the answer that came next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When the first request failed, by the monotonic clock.
    pub start: Instant,
    /// When service came back; `None` while it has not.
    pub end: Option<Instant>,
    /// What was wrong, the last time.
    pub kind: ProviderFault,
    /// The provider's words, the last time.
    pub message: String,
    /// The numbers of the requests that failed.
    pub requests: Vec<u64>,
}

/// Keeps both.
#[derive(Debug)]
pub(super) struct Watch {
    state: watch::Sender<Service>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    outages: Vec<Outage>,
    /// The request whose answer ended the last outage: if that answer breaks off, the outage had not ended.
    ended_by: Option<u64>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(Service::Unused), past: Mutex::default() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Service> {
        self.state.subscribe()
    }

    pub(super) fn outages(&self) -> Vec<Outage> {
        self.past().outages.clone()
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer to a request (or to a probe) has begun.
    pub(super) fn up(&self, request: Option<u64>) {
        let mut past = self.past();
        if let Some(open) = past.outages.last_mut().filter(|o| o.end.is_none()) {
            open.end = Some(Instant::now());
            past.ended_by = request;
        }
        self.state.send_if_modified(|state| {
            let changed = *state != Service::Up;
            *state = Service::Up;
            changed
        });
    }

    /// A request failed by the provider's fault.
    pub(super) fn down(&self, request: Option<u64>, kind: ProviderFault, message: &str) {
        let mut past = self.past();
        let reopened = request.is_some() && past.ended_by == request;
        past.ended_by = None;
        let full = past.outages.len() >= MOST;
        match past.outages.last_mut() {
            Some(last) if last.end.is_none() || reopened || full => {
                last.end = None;
                last.kind = kind;
                message.clone_into(&mut last.message);
            }
            _ => past.outages.push(Outage {
                start: Instant::now(),
                end: None,
                kind,
                message: message.to_owned(),
                requests: Vec::new(),
            }),
        }
        let Some(last) = past.outages.last_mut() else { return };
        if last.requests.len() < MOST {
            last.requests.extend(request);
        }
        let since = last.start;
        self.state.send_replace(Service::Down { since, kind, message: message.to_owned() });
    }

    /// What is wrong at present.
    pub(super) fn fault(&self) -> Option<ProviderFault> {
        match &*self.state.borrow() {
            Service::Down { kind, .. } => Some(*kind),
            Service::Unused | Service::Up => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_first_failure_to_the_next_answer() {
        let watch = Watch::new();
        let mut seen = watch.watch();
        assert_eq!(*seen.borrow_and_update(), Service::Unused);
        watch.up(Some(1));
        assert_eq!(*seen.borrow_and_update(), Service::Up);
        watch.up(Some(2));
        assert!(!seen.has_changed().unwrap(), "nothing new was told");
        watch.down(Some(3), ProviderFault::Outage, "overloaded");
        watch.down(Some(4), ProviderFault::Credit, "no money");
        let Service::Down { since, kind, message } = seen.borrow_and_update().clone() else {
            panic!("not down");
        };
        assert_eq!((kind, message.as_str()), (ProviderFault::Credit, "no money"));
        let open = watch.outages();
        assert_eq!((open.len(), open[0].start, open[0].end), (1, since, None));
        assert_eq!(open[0].requests, [3, 4]);
        watch.up(Some(5));
        assert!(watch.outages()[0].end.unwrap() >= since);
        watch.down(Some(6), ProviderFault::Outage, "again");
        assert_eq!(watch.outages().len(), 2);
    }

    #[test]
    fn an_answer_that_breaks_off_ended_no_outage() {
        let watch = Watch::new();
        watch.down(Some(1), ProviderFault::Outage, "cut");
        watch.up(Some(2));
        watch.down(Some(2), ProviderFault::Outage, "cut again");
        let outages = watch.outages();
        assert_eq!((outages.len(), outages[0].end), (1, None));
        assert_eq!(outages[0].requests, [1, 2]);
        // Another request's failure after a good answer is a new outage.
        watch.up(Some(3));
        watch.down(Some(4), ProviderFault::Outage, "x");
        assert_eq!(watch.outages().len(), 2);
    }
}
