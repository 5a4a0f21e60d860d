//! The record: every exchange, whole, written by a thread of its own.
//!
//! Entries wait in a queue that is bounded by the room that their bodies take: when it is used up, new requests wait
//! outside. When the disk is full, the thread tries again and again, and until it succeeds new requests are refused:
//! what is not on record is not passed on.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ptb_llm::protocol::{Body, Event, Operation, Protocol, Refused, Tokens, uses};
use serde_json::Value;

use super::bytes_room::{Held, Lease};
use super::fingerprint::{Fingerprint, Judge, generates, system_in_conversation};
use super::limits::{End, Ledger};
use super::lines::{Events, Headers, Parts, RequestLine, ResponseLine, Taken, plain_body, raw};
use super::setup::ModelApiSetup;
use super::store::{Log, Store};
use super::tools::{self, NetworkEvent};
use crate::GatewayError;

/// Takes secrets out of a line's bytes; what comes back must still be one line.
pub type Mask = Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;

/// How long a write that fails is tried again when everything ends.
const LAST_TRIES: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(500);
/// Declarations of tools and addresses that are remembered, so as to be told once.
const MOST_TOLD: usize = 10_000;

/// A request for the record.
pub(super) struct RequestEntry {
    pub(super) number: u64,
    pub(super) at: f64,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) protocol: Protocol,
    pub(super) operation: Option<Operation>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Held>,
    pub(super) main: bool,
    pub(super) stripped: Vec<String>,
}

/// An answer for the record.
pub(super) struct ResponseEntry {
    pub(super) number: u64,
    pub(super) at: f64,
    pub(super) protocol: Protocol,
    pub(super) status: u16,
    pub(super) first_byte: Option<Duration>,
    pub(super) duration: Duration,
    pub(super) headers: Vec<(String, String)>,
    pub(super) model: Option<String>,
    pub(super) tokens: Option<Tokens>,
    pub(super) tier: Option<String>,
    pub(super) cost: Option<f64>,
    pub(super) end: End,
    pub(super) cut_by: Option<&'static str>,
    pub(super) refused: Option<Refused>,
    pub(super) truncated: bool,
    pub(super) streams: bool,
    pub(super) body: Vec<Bytes>,
    /// The room that the body takes.
    pub(super) _lease: Option<Lease>,
}

/// What is to be written.
pub(super) enum Entry {
    Request(Box<RequestEntry>),
    Response(Box<ResponseEntry>),
}

/// The way to the thread.
pub(super) struct Recorder {
    /// The highest number that the record had when it was opened.
    pub(super) last_number: u64,
    sender: Mutex<Option<mpsc::Sender<Entry>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    closing: AtomicBool,
    failing: AtomicBool,
    full: AtomicBool,
}

impl Recorder {
    pub(super) fn open(setup: &ModelApiSetup, ledger: &Arc<Ledger>) -> Result<Self, GatewayError> {
        let state = Arc::new(State::default());
        let (store, last_number) = Store::open(&setup.record)?;
        let writer = Writer {
            store,
            network: Log::open(&setup.network)?,
            mask: Arc::clone(&setup.mask),
            most: setup.bounds.record_bytes,
            ledger: Arc::clone(ledger),
            state: Arc::clone(&state),
            parts: Parts::default(),
            judge: Judge::default(),
            told: HashSet::new(),
            give_up: None,
            last_tries: LAST_TRIES,
        };
        let (sender, entries) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("model-api-record".to_owned())
            .spawn(move || writer.run(&entries))
            .map_err(|source| GatewayError::Record {
                action: "start the thread that writes",
                path: setup.record.clone(),
                source,
            })?;
        let (sender, thread) = (Mutex::new(Some(sender)), Mutex::new(Some(thread)));
        Ok(Self { last_number, sender, thread, state })
    }

    /// Why nothing more may be sent to the provider, if so: for now, or for good.
    pub(super) fn refuses(&self) -> Option<(Refused, &'static str)> {
        if self.state.full.load(Ordering::Relaxed) {
            Some((Refused::Limit, "the record of this run is full"))
        } else if self.state.failing.load(Ordering::Relaxed) {
            Some((Refused::Busy, "the record of this run cannot be written at present"))
        } else {
            None
        }
    }

    pub(super) fn send(&self, entry: Entry) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        // The thread ends after everything else has.
        if sender.as_ref().is_none_or(|sender| sender.send(entry).is_err()) {
            tracing::error!("an exchange with the model API came after its record was closed");
        }
    }

    /// Waits until everything is written.
    pub(super) fn close(&self) {
        self.state.closing.store(true, Ordering::Relaxed);
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that writes the model API's record has panicked");
        }
    }
}

struct Writer {
    store: Store,
    network: Log,
    mask: Mask,
    most: u64,
    ledger: Arc<Ledger>,
    state: Arc<State>,
    parts: Parts,
    judge: Judge,
    told: HashSet<String>,
    /// When nothing is tried again any more, once everything ends.
    give_up: Option<Instant>,
    last_tries: Duration,
}

impl Writer {
    fn run(mut self, entries: &mpsc::Receiver<Entry>) {
        for entry in entries {
            match entry {
                Entry::Request(entry) => self.request(&entry),
                Entry::Response(entry) => self.response(&entry),
            }
        }
        for foreign in self.judge.end() {
            self.ledger.found_foreign(foreign);
        }
        if let Err(e) = self.store.finish() {
            self.failed(&e);
        }
    }

    fn request(&mut self, entry: &RequestEntry) {
        let bytes = entry.body.as_ref().map(|held| &held.bytes[..]).unwrap_or_default();
        let body = Body::parse(bytes).ok().filter(|_| entry.operation.is_some());
        let mut line = RequestLine {
            schema: 1,
            kind: "request",
            number: entry.number,
            at: entry.at,
            method: &entry.method,
            path: &entry.path,
            protocol: entry.protocol,
            headers: Headers(&entry.headers),
            body: None,
            stripped: &entry.stripped,
        };
        let Some(body) = body else {
            line.body = plain_body(bytes);
            self.line(&line);
            self.compare(entry, None, &Taken::default());
            return;
        };
        let mut taken = self.parts.take(entry.protocol, &body);
        let whole = taken.lines.iter().all(|part| self.write(part.clone()));
        line.body = raw(std::mem::take(&mut taken.form));
        if !(whole && self.line(&line)) {
            self.parts.forget();
        }
        self.tell_reach(entry, &body, &taken);
        self.compare(entry, Some(&body), &taken);
    }

    fn response(&mut self, entry: &ResponseEntry) {
        let whole;
        let events;
        let body = if entry.streams {
            events = Events::read(&entry.body);
            self.tell_uses(entry, uses(entry.protocol, events.iter()));
            events.form()
        } else {
            whole = entry.body.concat();
            if let Ok(data) = std::str::from_utf8(&whole) {
                let one = std::iter::once(Event { name: None, data });
                self.tell_uses(entry, uses(entry.protocol, one));
            }
            plain_body(&whole)
        };
        self.line(&ResponseLine {
            schema: 1,
            kind: "response",
            number: entry.number,
            at: entry.at,
            status: entry.status,
            first_byte_s: entry.first_byte.map(|d| d.as_secs_f64()),
            duration_s: entry.duration.as_secs_f64(),
            headers: Headers(&entry.headers),
            model: entry.model.as_deref(),
            usage: entry.tokens,
            service_tier: entry.tier.as_deref(),
            cost_usd: entry.cost,
            end: entry.end.as_str(),
            cut_by: entry.cut_by,
            refused: entry.refused.map(Refused::as_str),
            truncated: entry.truncated,
            body,
        });
    }

    /// The provider's tools and addresses that a request declares: each is told once.
    fn tell_reach(&mut self, entry: &RequestEntry, body: &Body<'_>, taken: &Taken<'_>) {
        let mut events = tools::declared_fields(body);
        for (field, _, value, new) in &taken.parts {
            if *new {
                events.extend(tools::declared(entry.protocol, field, value));
            }
        }
        for mut event in events {
            let key = format!("{} {}", event.tool, event.url.as_deref().unwrap_or_default());
            if self.told.len() < MOST_TOLD && self.told.insert(key) {
                (event.at, event.number) = (entry.at, entry.number);
                self.network(&event);
            }
        }
    }

    fn tell_uses(&mut self, entry: &ResponseEntry, uses: Vec<ptb_llm::protocol::ToolUse>) {
        for used in uses {
            self.ledger.used_tool(&used.tool);
            let event = NetworkEvent::used(entry.at, entry.number, used);
            self.network(&event);
        }
    }

    fn compare(&mut self, entry: &RequestEntry, body: Option<&Body<'_>>, taken: &Taken<'_>) {
        let header = |name: &str| entry.headers.iter().find(|(n, _)| n == name);
        let print = Fingerprint {
            number: entry.number,
            user_agent: header("user-agent").map(|(_, v)| v.clone()).unwrap_or_default(),
            headers: entry.headers.iter().map(|(name, _)| name.clone()).collect(),
            fields: body.into_iter().flat_map(Body::fields).map(|(n, _)| n.to_owned()).collect(),
            system: system_of(entry.protocol, taken),
            tools: taken.parts.iter().filter(|(f, ..)| f == "tools").map(tool_name).collect(),
            main: entry.main,
            generates: entry.operation.is_some_and(generates),
        };
        for foreign in self.judge.take(print) {
            self.ledger.found_foreign(foreign);
        }
    }

    fn line(&mut self, line: &impl serde::Serialize) -> bool {
        match serde_json::to_vec(line) {
            Ok(bytes) => self.write(bytes),
            Err(e) => {
                tracing::error!("a line of the model API's record cannot be written as JSON: {e}");
                false
            }
        }
    }

    /// Writes a line, however long that takes; whether it is there in the end.
    fn write(&mut self, line: Vec<u8>) -> bool {
        let line = (self.mask)(line);
        self.insist(|writer| writer.store.write(&line))
    }

    fn network(&mut self, event: &NetworkEvent) {
        if let Ok(line) = serde_json::to_vec(event) {
            let line = (self.mask)(line);
            self.insist(|writer| writer.network.write(&line));
        }
    }

    fn insist(&mut self, mut write: impl FnMut(&mut Self) -> io::Result<()>) -> bool {
        while let Err(e) = write(self) {
            self.state.failing.store(true, Ordering::Relaxed);
            self.failed(&e);
            if self.state.closing.load(Ordering::Relaxed) {
                let last = self.last_tries;
                // One time for all that is left: the end must come.
                if Instant::now() >= *self.give_up.get_or_insert_with(|| Instant::now() + last) {
                    return false;
                }
            }
            std::thread::sleep(BETWEEN_TRIES);
        }
        self.state.failing.store(false, Ordering::Relaxed);
        if self.store.size() > self.most {
            self.state.full.store(true, Ordering::Relaxed);
        }
        true
    }

    fn failed(&self, e: &io::Error) {
        tracing::warn!("cannot write the model API's record: {e}");
        self.ledger.record_fault(e.to_string());
    }
}

/// The id of the longest block of the system prompt.
fn system_of(protocol: Protocol, taken: &Taken<'_>) -> Option<String> {
    if system_in_conversation(protocol) {
        let first = taken.parts.iter().filter(|(field, ..)| field == "messages").take(4);
        return first
            .filter(|(_, _, value, _)| {
                serde_json::from_str::<Value>(value.get())
                    .is_ok_and(|m| m["role"] == "system" || m["role"] == "developer")
            })
            .max_by_key(|(_, _, value, _)| value.get().len())
            .map(|(_, id, ..)| id.clone());
    }
    let (_, id, value, _) =
        taken.parts.iter().find(|(f, ..)| protocol.system_fields().contains(&f.as_str()))?;
    let blocks = ptb_llm::protocol::elements(value).unwrap_or_default();
    match blocks.iter().max_by_key(|block| block.get().len()) {
        Some(longest) => {
            let hash = ptb_core::files::sha256_hex(longest.get().as_bytes());
            Some(hash.get(..32).unwrap_or_default().to_owned())
        }
        None => Some(id.clone()),
    }
}

/// A tool's name with the beginning of its id: the same name with other words is another tool.
fn tool_name((_, id, value, _): &(String, String, &serde_json::value::RawValue, bool)) -> String {
    let json: Value = serde_json::from_str(value.get()).unwrap_or(Value::Null);
    let first = || json.as_object().and_then(|o| o.keys().next()).map(String::as_str);
    let named = json["name"].as_str().or(json["function"]["name"].as_str());
    let name = named.or(json["type"].as_str()).or_else(first).unwrap_or("unnamed");
    format!("{}#{}", name.chars().take(60).collect::<String>(), id.get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_api::setup::Limits;

    fn writer(folder: &std::path::Path) -> Writer {
        Writer {
            store: Store::open(&folder.join("api.jsonl.zst")).unwrap().0,
            network: Log::open(&folder.join("network.jsonl")).unwrap(),
            mask: Arc::new(|line| line),
            most: 1 << 20,
            ledger: Ledger::new(Limits::default(), ptb_llm::Prices::default()),
            state: Arc::default(),
            parts: Parts::default(),
            judge: Judge::default(),
            told: HashSet::new(),
            give_up: None,
            last_tries: Duration::ZERO,
        }
    }

    #[test]
    fn a_full_disk_is_waited_out_while_requests_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        let state = Arc::clone(&writer.state);
        let mut tries = 0;
        let done = writer.insist(|_| {
            assert_eq!(state.failing.load(Ordering::Relaxed), tries > 0);
            tries += 1;
            if tries < 3 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        assert!(done && tries == 3 && !state.failing.load(Ordering::Relaxed));
        let fault = writer.ledger.totals().record_fault.unwrap();
        assert!(fault.contains("no storage space"), "{fault}");
    }

    #[test]
    fn a_disk_that_stays_full_does_not_keep_the_end_from_coming() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(folder.path());
        writer.state.closing.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert!(!writer.insist(|_| Err(io::ErrorKind::StorageFull.into())));
        }
        assert!(writer.write(b"{}".to_vec()), "what can be written still is");
    }
}
