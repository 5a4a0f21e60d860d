//! The server at the listener: connections within their bounds, kept alive between requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ptb_llm::Key;
use ptb_llm::protocol::{Protocol, Refused};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admit;
use super::bytes_room::Room;
use super::forward;
use super::limits::Ledger;
use super::record::Recorder;
use super::service::Watch;
use super::setup::{ApiBounds, ModelApiSetup};
use super::tools::Reach;
use super::upstream::Upstream;
use crate::GatewayError;
use crate::slots::{Slot, Slots};

/// How long connections may take to end when the model API does.
const ENDING: Duration = Duration::from_secs(5);

/// Bodies that are unpacked at one time.
const UNPACKINGS: usize = 2;

/// What all connections share.
pub(super) struct Hall {
    pub(super) setup: ModelApiSetup,
    pub(super) bounds: ApiBounds,
    pub(super) upstream: Upstream,
    pub(super) client: reqwest::Client,
    pub(super) ledger: Arc<Ledger>,
    pub(super) service: Watch,
    pub(super) recorder: Recorder,
    pub(super) reach: Reach,
    pub(super) room: Arc<Room>,
    /// Turns to unpack a body.
    pub(super) unpackings: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    /// Bytes of bodies that came from both sides.
    pub(super) moved: Arc<AtomicU64>,
    slots: Arc<Slots>,
    numbers: AtomicU64,
    refusals: AtomicU64,
}

impl Hall {
    pub(super) fn new(setup: ModelApiSetup, stop: CancellationToken) -> Result<Self, GatewayError> {
        let bounds = setup.bounds;
        let upstream = Upstream::parse(&setup.upstream)?;
        let allowed = std::iter::once(&setup.models.main).chain(&setup.models.aux);
        if setup.limits.usd.is_some() {
            for model in allowed {
                if setup.prices.of(model).is_none() {
                    return Err(GatewayError::NoPrice { model: model.clone() });
                }
            }
        }
        let client = forward::client(&upstream, &bounds)?;
        let ledger = Ledger::new(setup.limits, setup.prices.clone());
        let recorder = Recorder::open(&setup, &ledger)?;
        let last_number = recorder.last_number;
        Ok(Self {
            bounds,
            upstream,
            client,
            ledger,
            service: Watch::new(),
            recorder,
            reach: Reach::new(setup.server_tools),
            room: Room::new(bounds.memory),
            unpackings: Arc::new(Semaphore::new(UNPACKINGS)),
            stop,
            moved: Arc::default(),
            slots: Slots::new(bounds.connections, bounds.patience),
            // A record that goes on has each number once.
            numbers: AtomicU64::new(last_number),
            refusals: AtomicU64::new(0),
            setup,
        })
    }

    /// The next request's number; the first of a record is 1.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a refusal; whether it is still recorded on its own.
    pub(super) fn counts_refusal(&self) -> bool {
        self.refusals.fetch_add(1, Ordering::Relaxed) < self.bounds.refusals
    }

    /// Whether refusals are still recorded on their own.
    pub(super) fn records_refusal(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) <= self.bounds.refusals
    }

    /// Counts bytes of a body.
    pub(super) fn moves(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The key that answers must not have.
    pub(super) fn covered(&self) -> Option<&Key> {
        self.setup.covers_key.then(|| self.setup.credential.key())
    }
}

/// Seconds since 1970.
pub(super) fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Receives connections until the end.
pub(super) async fn receive(listener: TcpListener, hall: Arc<Hall>) {
    let conversations = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = hall.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match hall.slots.take() {
                Some(slot) => drop(conversations.spawn(converse(stream, slot, Arc::clone(&hall)))),
                None => turn_away(&stream, &hall),
            },
            Err(e) => {
                // Out of file descriptors, most likely: others may give theirs back meanwhile.
                tracing::warn!("cannot accept a connection at the model API: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    conversations.close();
    if tokio::time::timeout(ENDING, conversations.wait()).await.is_err() {
        tracing::warn!("connections at the model API did not end in {} s", ENDING.as_secs());
    }
}

/// Says that the house is full, without waiting for anything.
fn turn_away(stream: &TcpStream, hall: &Hall) {
    let protocol = hall.setup.protocols.first().copied().unwrap_or(Protocol::Chat);
    let reply = Refused::Busy.reply(protocol, "there are too many connections; close some");
    let text = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{}",
        reply.body.len(),
        reply.body
    );
    // A fresh socket's buffer always holds this much; a client that is already gone needs no answer.
    let _ = stream.try_write(text.as_bytes());
}

/// One connection from its first byte to its last.
async fn converse(stream: TcpStream, slot: Slot, hall: Arc<Hall>) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!("a connection at the model API is slow: {e}");
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(hall.bounds.stall_time));
    let slot = Arc::new(slot);
    let service = service_fn(|request| async {
        Ok::<_, Infallible>(admit::answer(&hall, request, &slot).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(hall.bounds.head_time)
        .max_buf_size(hall.bounds.head_bytes)
        .max_headers(hall.bounds.head_lines)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        ended = connection => if let Err(e) = ended {
            tracing::debug!("a connection at the model API ended early: {e}");
        },
        () = slot.kick.cancelled() => {}
        () = hall.stop.cancelled() => {}
    }
}
