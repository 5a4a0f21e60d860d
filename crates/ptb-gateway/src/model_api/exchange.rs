//! One request and its answer, from the moment it is let in until its books are closed, whatever happens between.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, SizeHint};
use hyper::{HeaderMap, StatusCode};
use ptb_llm::protocol::{ErrorReply, Meter, Operation, Protocol, ProviderFault, Refused, Said};

use super::bytes_room::Lease;
use super::guard::Guard;
use super::headers::on_record;
use super::limits::{End, Reservation};
use super::record::{Entry, ResponseEntry};
use super::server::{Hall, unix_now};
use crate::slots::Slot;

/// The status on record where a client went away before there was one ("client closed request", nginx's own).
const GONE: u16 = 499;

/// Of each answer so many bytes are kept, whether there is room or not.
const ALWAYS_KEPT: usize = 256 << 10;
/// Bytes that are kept in one piece.
const PIECE: usize = 64 << 10;

/// What is known of an exchange when it is let in.
pub(super) struct Asked {
    pub(super) number: u64,
    pub(super) started: Instant,
    pub(super) protocol: Protocol,
    pub(super) operation: Option<Operation>,
    pub(super) model: String,
    pub(super) reservation: Option<Reservation>,
}

/// An exchange under way. Dropping it is its end: the client has gone away.
pub(super) struct Exchange {
    hall: Arc<Hall>,
    number: u64,
    started: Instant,
    protocol: Protocol,
    operation: Option<Operation>,
    model: String,
    reservation: Option<Reservation>,
    status: Option<StatusCode>,
    headers: Vec<(String, String)>,
    first_byte: Option<Duration>,
    meter: Meter,
    kept: Vec<Bytes>,
    /// The last bytes that are kept, until they are a piece.
    tail: Vec<u8>,
    kept_bytes: usize,
    /// Bytes of the answer that came, whether they are kept or not.
    came: u64,
    lease: Option<Lease>,
    truncated: bool,
    /// Whether the provider has answered with what nobody looks at.
    unseen: bool,
    ended: bool,
}

impl Exchange {
    pub(super) fn new(hall: &Arc<Hall>, asked: Asked) -> Self {
        Self {
            hall: Arc::clone(hall),
            number: asked.number,
            started: asked.started,
            protocol: asked.protocol,
            operation: asked.operation,
            model: asked.model,
            reservation: asked.reservation,
            status: None,
            headers: Vec::new(),
            first_byte: None,
            meter: Meter::new(asked.protocol, false),
            kept: Vec::new(),
            tail: Vec::new(),
            kept_bytes: 0,
            came: 0,
            lease: Some(hall.room.lease()),
            truncated: false,
            unseen: false,
            ended: false,
        }
    }

    pub(super) fn hall(&self) -> &Arc<Hall> {
        &self.hall
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    fn generates(&self) -> bool {
        self.operation == Some(Operation::Generate)
    }

    /// The answer's head has come.
    pub(super) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        self.headers = on_record(headers);
        let kind = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default();
        self.meter = Meter::new(self.protocol, kind.trim_start().starts_with("text/event-stream"));
    }

    /// The next bytes of the answer have come.
    pub(super) fn chunk(&mut self, bytes: &Bytes) {
        if bytes.is_empty() {
            return;
        }
        self.came += bytes.len() as u64;
        self.hall.moves(bytes.len());
        if self.first_byte.is_none() {
            self.first_byte = Some(self.started.elapsed());
            if self.generates() && self.status.is_some_and(|s| s.is_success()) {
                self.hall.service.up(Some(self.number));
            }
        }
        if self.generates() {
            self.meter.push(bytes);
        }
        self.keep(bytes);
    }

    /// Keeps bytes for the record, as far as there is room; the stream itself never waits for any. Of an answer that is
    /// too long the record has the beginning, without a gap.
    fn keep(&mut self, bytes: &Bytes) {
        let Some(lease) = self.lease.as_mut().filter(|_| !self.truncated) else { return };
        let most = self.hall.bounds.answer_bytes;
        let always = ALWAYS_KEPT.min(most).saturating_sub(self.kept_bytes);
        let mut kept = &bytes[..];
        if bytes.len() <= always {
            lease.force(bytes.len());
        } else if self.kept_bytes + bytes.len() > most || !lease.grow(bytes.len()) {
            kept = bytes.get(..always).unwrap_or_default();
            lease.force(kept.len());
            self.truncated = true;
        }
        self.kept_bytes += kept.len();
        // Small pieces would take more room than their bytes.
        self.tail.extend_from_slice(kept);
        if self.tail.len() >= PIECE {
            self.kept.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// What is kept, in pieces.
    fn kept(&mut self) -> Vec<Bytes> {
        let mut kept = std::mem::take(&mut self.kept);
        if !self.tail.is_empty() {
            kept.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
        kept
    }

    /// The answer has come to its end, as far as HTTP knows.
    pub(super) fn whole(&mut self) {
        if self.ended {
            return;
        }
        if self.generates() && !self.meter.streams() {
            self.kept = self.kept();
            self.meter.whole(&self.kept.concat());
        }
        let answered = self.meter.answered();
        let broke = self.generates() && self.meter.streams() && !answered.finished;
        match &answered.error {
            Some(said) => {
                let said = said.clone();
                self.said_fault(&said);
                self.end(End::Failed, None, None);
            }
            None if broke => self.cut("the answer ended before the model did"),
            None => self.end(End::Complete, None, None),
        }
    }

    /// The provider broke off.
    pub(super) fn cut(&mut self, why: &str) {
        if !self.ended {
            self.hall.service.down(Some(self.number), ProviderFault::Outage, why);
            self.end(End::Cut, Some("provider"), None);
        }
    }

    /// The provider answered with an error, which has been read whole.
    pub(super) fn error(&mut self, status: StatusCode, body: &Bytes) {
        self.chunk(body);
        if self.operation != Some(Operation::Models) {
            self.said_fault(&Said::of(status.as_u16(), body));
        }
        self.end(End::Failed, None, None);
    }

    fn said_fault(&self, said: &Said) {
        if let Some(fault) = said.fault() {
            let words = match (said.status, said.message.is_empty()) {
                (Some(status), true) => format!("status {status}"),
                (Some(status), false) => format!("status {status}: {}", said.message),
                (None, _) => said.message.clone(),
            };
            self.hall.service.down(Some(self.number), fault, &words);
        }
    }

    /// The model has answered, in a form that cannot be looked at.
    pub(super) fn unseen(&mut self) {
        self.unseen = true;
    }

    /// The provider cannot be reached.
    pub(super) fn unreachable(&mut self, reply: &ErrorReply, headers: &HeaderMap, why: &str) {
        self.hall.service.down(Some(self.number), ProviderFault::Outage, why);
        self.own(reply, headers);
        self.end(End::Failed, None, Some(Refused::Unreachable));
    }

    /// The request is refused here.
    pub(super) fn refused(&mut self, refused: Refused, reply: &ErrorReply, headers: &HeaderMap) {
        self.own(reply, headers);
        self.end(End::Refused, None, Some(refused));
    }

    fn own(&mut self, reply: &ErrorReply, headers: &HeaderMap) {
        self.status = StatusCode::from_u16(reply.status).ok();
        self.headers = on_record(headers);
        self.kept = vec![Bytes::from(reply.body.clone())];
    }

    /// Closes the books.
    fn end(&mut self, end: End, cut_by: Option<&'static str>, refused: Option<Refused>) {
        self.ended = true;
        let answered = self.meter.answered();
        // An error costs nothing; what was cut before its head came may have cost something.
        let served = refused.is_none() && self.status.is_none_or(|status| status.is_success());
        let charged = end != End::Refused && (served || self.unseen);
        let cost = match self.reservation.take() {
            Some(reservation) => reservation.settle(&self.model, answered, charged, self.came),
            None => None,
        };
        self.hall.ledger.ended(end);
        if refused.is_some_and(|r| r != Refused::Unreachable) && !self.hall.records_refusal() {
            return;
        }
        let body = self.kept();
        let answered = self.meter.answered();
        self.hall.recorder.send(Entry::Response(Box::new(ResponseEntry {
            number: self.number,
            at: unix_now(),
            protocol: self.protocol,
            status: self.status.map_or(GONE, |status| status.as_u16()),
            first_byte: self.first_byte,
            duration: self.started.elapsed(),
            headers: std::mem::take(&mut self.headers),
            model: answered.model.clone(),
            tokens: answered.tokens,
            tier: answered.tier.clone(),
            cost,
            end,
            cut_by,
            refused,
            truncated: self.truncated,
            streams: self.meter.streams(),
            body,
            _lease: self.lease.take(),
        })));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Clients may close a stream when the model has come to its end, before the connection does.
        if self.meter.answered().finished {
            return self.whole();
        }
        let by = if self.hall.stop.is_cancelled() { "harness" } else { "client" };
        self.end(End::Cut, Some(by), None);
    }
}

/// An answer on its way from the provider to the client.
pub(super) struct Passing {
    body: reqwest::Body,
    left: Option<u64>,
    exchange: Exchange,
    slot: Arc<Slot>,
    guard: Guard,
    /// The room that the guard takes.
    guarded: Lease,
    /// Set when the provider has come to its end, or why it broke off: that comes after what the guard held.
    ended: Option<Result<(), io::Error>>,
}

impl Passing {
    pub(super) fn new(body: reqwest::Body, exchange: Exchange, slot: Arc<Slot>) -> Self {
        let left = body.size_hint().exact();
        let guard = Guard::new(exchange.hall().covered(), exchange.meter.streams());
        let guarded = exchange.hall().room.lease();
        Self { body, left, exchange, slot, guard, guarded, ended: None }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        loop {
            if let Some(ended) = self.ended.take() {
                return Poll::Ready(ended.err().map(Err));
            }
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            match next {
                Some(Ok(frame)) => {
                    // Trailers belong to the connection to the provider.
                    let Ok(bytes) = frame.into_data() else { continue };
                    let bytes = self.taken(bytes);
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Some(Err(e)) => {
                    // Without the end of its form the client sees that the answer broke off.
                    let why = "the provider broke off its answer";
                    let broken = io::Error::new(io::ErrorKind::ConnectionReset, why);
                    self.ended = Some(Err(broken));
                    let rest = self.rest();
                    self.exchange.cut(&super::forward::chain(&e));
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
                None => {
                    self.ended = Some(Ok(()));
                    let rest = self.rest();
                    self.exchange.whole();
                    if !rest.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(rest))));
                    }
                }
            }
        }
    }

    /// What the guard held, when nothing more comes.
    fn rest(&mut self) -> Bytes {
        let rest = self.guard.finish();
        if !rest.is_empty() {
            self.exchange.chunk(&rest);
        }
        rest
    }

    fn taken(&mut self, bytes: Bytes) -> Bytes {
        let came = bytes.len() as u64;
        let mut bytes = self.guard.push(bytes);
        self.guarded.resize(self.guard.holds());
        let all = self.left.as_mut().is_some_and(|left| {
            *left = left.saturating_sub(came);
            *left == 0
        });
        if all {
            let rest = self.guard.finish();
            bytes = if rest.is_empty() { bytes } else { [bytes, rest].concat().into() };
        }
        self.exchange.chunk(&bytes);
        // Nobody asks for more when the announced length has come.
        if all {
            self.exchange.whole();
        }
        bytes
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        self.slot.idle();
    }
}
