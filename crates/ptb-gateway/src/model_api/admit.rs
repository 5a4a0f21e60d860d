//! Whether a request is let in: its path, its body, its model, its reach, what it may use.

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method};
use ptb_llm::protocol::{Body, Operation, Protocol, Refused, Route, elements, text};

use super::bytes_room::{Held, Lease};
use super::estimate::Wants;
use super::exchange::{Asked, Exchange};
use super::forward::{self, Outgoing};
use super::headers::{on_record, to_upstream};
use super::limits::{Denied, Reservation};
use super::record::{Entry, RequestEntry};
use super::reply::{self, ApiResponse};
use super::server::{Hall, unix_now};
use super::tools::Passed;
use crate::slots::Slot;

/// A refusal: its kind and the words for the client.
type No = (Refused, String);

/// The most memory that unpacking a body's history may take, as a power of two of bytes.
const WINDOW: u32 = 25;

/// Of an announced body, so many bytes are reserved at once; who announces more must send it.
const FIRST: usize = 1 << 20;

/// Bodies are unpacked in steps of so many bytes.
const PIECE: usize = 64 << 10;

/// A request as it is being let in: what the record needs to know, whatever comes of it.
struct Guest {
    number: u64,
    started: Instant,
    at: f64,
    head: Parts,
    protocol: Protocol,
    route: Option<Route>,
    body: Option<Held>,
    model: String,
    stripped: Vec<String>,
}

/// What a request is allowed to do.
struct Ticket {
    body: Option<Bytes>,
    reservation: Option<Reservation>,
}

/// Answers one request.
pub(super) async fn answer(
    hall: &Arc<Hall>,
    request: hyper::Request<Incoming>,
    slot: &Arc<Slot>,
) -> ApiResponse {
    let (head, body) = request.into_parts();
    hall.ledger.asked();
    let path = head.uri.path();
    let protocols = &hall.setup.protocols;
    let mut guest = Guest {
        number: hall.number(),
        started: Instant::now(),
        at: unix_now(),
        protocol: Route::nearest(path, protocols),
        route: Route::of(head.method.as_str(), path, protocols),
        head,
        body: None,
        model: String::new(),
        stripped: Vec::new(),
    };
    let admitted = admit(hall, &mut guest, body, slot).await;
    slot.asked();
    match admitted {
        Ok(ticket) => {
            guest.record(hall);
            let out = guest.outgoing(hall, ticket.body);
            let exchange = Exchange::new(hall, guest.asked(ticket.reservation));
            forward::send(exchange, slot, out).await
        }
        Err((refused, message)) => {
            if hall.counts_refusal() {
                guest.record(hall);
            }
            let reply = refused.reply(guest.protocol, &message);
            let mut exchange = Exchange::new(hall, guest.asked(None));
            exchange.refused(refused, &reply, &reply::error_headers(&reply));
            slot.idle();
            reply::error(&reply)
        }
    }
}

async fn admit(
    hall: &Arc<Hall>,
    guest: &mut Guest,
    body: Incoming,
    slot: &Slot,
) -> Result<Ticket, No> {
    plain(&guest.head)?;
    let Some(route) = guest.route.clone() else {
        return Err((Refused::NotFound, no_path(guest)));
    };
    guest.protocol = route.protocol;
    if let Some((refused, why)) = hall.recorder.refuses() {
        return Err((refused, why.to_owned()));
    }
    if guest.head.method != Method::POST {
        return Ok(Ticket { body: None, reservation: None });
    }
    let held = read(hall, body).await?;
    let held = unpack(hall, &guest.head.headers, held).await?;
    guest.body = Some(held.clone());
    let fields = Body::parse(&held.bytes).map_err(|e| (Refused::Malformed, e.to_string()))?;
    guest.model = model(&route, &fields)?;
    allowed(hall, &guest.model, &fields)?;
    lists(route.protocol, &fields)?;
    let Passed { body, stripped } = hall
        .reach
        .apply(route.protocol, &fields)
        .map_err(|message| (Refused::NotAllowed, message))?;
    guest.stripped = stripped;
    let reservation = match route.operation {
        Operation::Generate => {
            let wants = Wants::of(route.protocol, &fields, held.bytes.len());
            // It has arrived whole: waiting for its turn, it keeps its place.
            slot.asked();
            Some(reserve(hall, &guest.model, &wants).await?)
        }
        Operation::Count | Operation::Models => None,
    };
    Ok(Ticket { body: Some(body.unwrap_or_else(|| held.bytes.clone())), reservation })
}

async fn reserve(hall: &Hall, model: &str, wants: &Wants) -> Result<Reservation, No> {
    hall.ledger.reserve(model, wants, hall.bounds.turn_time).await.map_err(|denied| match denied {
        Denied::Limit(message) => (Refused::Limit, message),
        Denied::NoTurn => {
            let why = "this run is near its limit, and requests that may use up the rest are under way; try again";
            (Refused::Busy, why.to_owned())
        }
    })
}

fn no_path(guest: &Guest) -> String {
    let path: String = guest.head.uri.path().chars().take(100).collect();
    format!("there is no {} {path} here", guest.head.method)
}

/// A request is one to this server, and stays HTTP.
fn plain(head: &Parts) -> Result<(), No> {
    if head.uri.authority().is_some() || head.uri.scheme().is_some() {
        let why = "this is no proxy: ask for a path, not for an address";
        return Err((Refused::Malformed, why.to_owned()));
    }
    if head.headers.contains_key("upgrade") {
        let why =
            "this server speaks HTTP alone, no WebSocket; answers stream as server-sent events";
        return Err((Refused::NoUpgrade, why.to_owned()));
    }
    Ok(())
}

/// Reads the body within its bounds, as far as there is room.
async fn read(hall: &Hall, mut body: Incoming) -> Result<Held, No> {
    let most = hall.bounds.body_bytes;
    let too_large =
        || (Refused::TooLarge, format!("the request's body has more than {most} bytes"));
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    let mut lease = hall.room.lease();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut bytes = BytesMut::with_capacity(announced.min(FIRST));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| {
                (Refused::Malformed, format!("the request's body cannot be read: {e}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            hall.moves(data.len());
            if bytes.len() + data.len() > most {
                return Err(too_large());
            }
            if !lease.grow(data.len()) {
                let why = "too many large requests are under way; try again";
                return Err((Refused::Busy, why.to_owned()));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(())
    };
    match tokio::time::timeout(hall.bounds.body_time, reading).await {
        Ok(read) => read?,
        Err(_) => {
            let why = "the request's body did not arrive in time";
            return Err((Refused::Slow, why.to_owned()));
        }
    }
    Ok(lease.hold(bytes.freeze()))
}

/// A body in plain form: what cannot be looked at is not passed on.
async fn unpack(hall: &Hall, headers: &HeaderMap, held: Held) -> Result<Held, No> {
    let Some(encoding) = headers.get("content-encoding") else { return Ok(held) };
    match encoding.as_bytes() {
        b"identity" => return Ok(held),
        b"zstd" => {}
        other => {
            let name: String = String::from_utf8_lossy(other).chars().take(40).collect();
            let why =
                format!("bodies in the form `{name}` are not read; send them plain, or as zstd");
            return Err((Refused::Unsupported, why));
        }
    }
    // Each takes memory and a core: the others wait for their turn, with what they have sent alone.
    let turn = Arc::clone(&hall.unpackings).acquire_owned().await;
    let turn =
        turn.map_err(|e| (Refused::Busy, format!("the request's body is not unpacked: {e}")))?;
    let (most, lease) = (hall.bounds.body_bytes, hall.room.lease());
    // What is begun goes on where the client goes away: so the turn is the thread's.
    let unpacking = tokio::task::spawn_blocking(move || {
        let unpacked = unpacked(&held.bytes, most, lease);
        drop(turn);
        unpacked
    });
    match unpacking.await {
        Ok(unpacked) => unpacked,
        Err(e) => Err((Refused::Busy, format!("the request's body was not unpacked: {e}"))),
    }
}

/// Unpacks a body into room that is taken before it is filled.
fn unpacked(packed: &[u8], most: usize, mut lease: Lease) -> Result<Held, No> {
    let broken = |e| (Refused::Malformed, format!("the request's body is no zstd: {e}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
    decoder.window_log_max(WINDOW).map_err(broken)?;
    let mut plain = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = decoder.read(&mut piece).map_err(broken)?;
        if read == 0 {
            break;
        }
        if plain.len() + read > most {
            let why = format!("the request's body has more than {most} bytes");
            return Err((Refused::TooLarge, why));
        }
        if plain.capacity() - plain.len() < read {
            let more = plain.capacity().clamp(PIECE, most.max(PIECE));
            if !lease.grow(more) {
                let why = "too many large requests are under way; try again";
                return Err((Refused::Busy, why.to_owned()));
            }
            plain.reserve_exact(plain.capacity() - plain.len() + more);
        }
        plain.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    plain.shrink_to_fit();
    lease.resize(plain.len());
    Ok(lease.hold(Bytes::from(plain)))
}

/// The model that a request asks for.
fn model(route: &Route, fields: &Body<'_>) -> Result<String, No> {
    let said = fields.text("model");
    match (&route.model, said) {
        (None, Some(said)) => Ok(said.chars().take(200).collect()),
        (None, None) => Err((Refused::Malformed, "the request names no model".to_owned())),
        // Google's bodies may name the model of the path again.
        (Some(path), Some(said))
            if said.strip_prefix("models/").unwrap_or(&said) != path.as_str() =>
        {
            Err((Refused::Malformed, "the request names two models".to_owned()))
        }
        (Some(path), _) => Ok(path.clone()),
    }
}

/// Whether everything that a request asks for is allowed.
fn allowed(hall: &Hall, model: &str, fields: &Body<'_>) -> Result<(), No> {
    let models = &hall.setup.models;
    let no = |model: &str| {
        let model: String = model.chars().take(100).collect();
        let mut all = vec![models.main.as_str()];
        all.extend(models.aux.iter().map(String::as_str));
        let why =
            format!("the model `{model}` is not allowed in this run; allowed: {}", all.join(", "));
        (Refused::NotAllowed, why)
    };
    if !models.allow(model) {
        return Err(no(model));
    }
    // Some providers take further models to fall back to.
    let further = fields.field("models").map(|list| elements(list).unwrap_or_default());
    for other in further.into_iter().flatten() {
        let other = text(other).unwrap_or_default();
        if !models.allow(&other) {
            return Err(no(&other));
        }
    }
    if fields.is_true("background") {
        let why =
            "answers in the background are not allowed in this run: what they use is not told";
        return Err((Refused::NotAllowed, why.to_owned()));
    }
    Ok(())
}

/// A list that is too long to be looked at is not passed on.
fn lists(protocol: Protocol, fields: &Body<'_>) -> Result<(), No> {
    let names = protocol.conversation_fields().iter().copied().chain(["tools"]);
    for name in names {
        let unread = fields
            .field(name)
            .is_some_and(|list| list.get().starts_with('[') && elements(list).is_none());
        if unread {
            return Err((Refused::Malformed, format!("`{name}` has too many elements")));
        }
    }
    Ok(())
}

impl Guest {
    fn record(&self, hall: &Hall) {
        let main = hall.setup.models.is_main(&self.model);
        // The query is left out: it may hold a key, and says nothing that answer and path do not.
        hall.recorder.send(Entry::Request(Box::new(RequestEntry {
            number: self.number,
            at: self.at,
            method: self.head.method.as_str().to_owned(),
            path: self.head.uri.path().chars().take(2000).collect(),
            protocol: self.protocol,
            operation: self.route.as_ref().map(|route| route.operation),
            headers: on_record(&self.head.headers),
            body: self.body.clone(),
            main,
            stripped: self.stripped.clone(),
        })));
    }

    fn outgoing(&self, hall: &Hall, body: Option<Bytes>) -> Outgoing {
        Outgoing {
            method: self.head.method.clone(),
            url: hall.upstream.url(self.head.uri.path(), self.head.uri.query()),
            headers: to_upstream(&self.head.headers, &hall.setup.credential),
            body,
        }
    }

    fn asked(self, reservation: Option<Reservation>) -> Asked {
        Asked {
            number: self.number,
            started: self.started,
            protocol: self.protocol,
            operation: self.route.map(|route| route.operation),
            model: self.model,
            reservation,
        }
    }
}
