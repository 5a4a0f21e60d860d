//! The server behind the socket: bounds, dispatch, one request a connection.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::door::{Door, Refusal, Request, Response};
use crate::slots::{Slot, Slots};

/// How long connections may take to end when the gateway does.
const ENDING: Duration = Duration::from_secs(5);

/// What one client may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at one time; more are refused at once with 503.
    pub connections: usize,
    /// Size of a request's head, in bytes (at least 8192).
    pub head_bytes: usize,
    /// Lines in a request's head.
    pub head_lines: usize,
    /// Time from connecting to the end of the request's head.
    pub head_time: Duration,
    /// Time for the request's body.
    pub body_time: Duration,
    /// Time that a client may let a reply stand before it counts as gone.
    pub stall_time: Duration,
    /// When all places are taken, a client that has not finished asking after this long gives way.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 64,
            head_bytes: 16 << 10,
            head_lines: 64,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            stall_time: Duration::from_secs(60),
            patience: Duration::from_secs(1),
        }
    }
}

/// Why a gateway or a model API cannot be opened.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The socket cannot be made.
    #[error(
        "cannot open the door's socket {}: {source}; hint: check that its folder is on a local, \
         writable file system",
        path.display()
    )]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two doors answer one path.
    #[error("two doors answer {path}; hint: give each door its own path")]
    Twice {
        /// The path.
        path: String,
    },
    /// The listener made inside the wall cannot be used.
    #[error(
        "cannot listen for requests to the model API: {source}; hint: hand over a bound and listening TCP socket"
    )]
    Listener {
        /// Why.
        source: io::Error,
    },
    /// The provider's address is none.
    #[error(
        "`{url}` is no address of a model API: {why}; hint: give https://HOST, with a path where the provider has one"
    )]
    Upstream {
        /// What was given, without what stands before an `@`.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Connections to the provider cannot be set up.
    #[error(
        "cannot set up connections to the provider: {why}; hint: check the proxy in the environment (https_proxy)"
    )]
    Client {
        /// Why.
        why: String,
    },
    /// There is a limit on what may be spent, and nobody knows what is spent.
    #[error(
        "no price of {model} is known, so that a spending limit cannot be kept; hint: set a token limit instead, or add \
         its price to registry/prices.toml"
    )]
    NoPrice {
        /// The model.
        model: String,
    },
    /// The record of exchanges cannot be written.
    #[error("cannot {action} {}: {source}; hint: check that its folder exists, is writable and has room", path.display())]
    Record {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The server of the doors.
pub struct Gateway;

/// A gateway that serves. Dropping it ends it.
pub struct Running {
    socket: PathBuf,
    task: JoinHandle<()>,
    stop: DropGuard,
}

struct Hall {
    bounds: Bounds,
    doors: BTreeMap<String, Arc<dyn Door>>,
    slots: Arc<Slots>,
    stop: CancellationToken,
}

impl Gateway {
    /// Serves `doors` at the Unix socket `socket` until `shutdown`, with the default [`Bounds`]. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made or two doors have one path.
    pub fn serve(
        socket: &Path,
        doors: Vec<Arc<dyn Door>>,
        shutdown: &CancellationToken,
    ) -> Result<Running, GatewayError> {
        Self::serve_within(Bounds::default(), socket, doors, shutdown)
    }

    /// As [`Gateway::serve`], with bounds of one's own.
    ///
    /// # Errors
    /// As [`Gateway::serve`].
    pub fn serve_within(
        bounds: Bounds,
        socket: &Path,
        doors: Vec<Arc<dyn Door>>,
        shutdown: &CancellationToken,
    ) -> Result<Running, GatewayError> {
        let mut by_path = BTreeMap::new();
        for door in doors {
            let path = door.path().to_owned();
            if by_path.insert(path.clone(), door).is_some() {
                return Err(GatewayError::Twice { path });
            }
        }
        let listener = crate::socket::bind(socket)
            .and_then(UnixListener::from_std)
            .map_err(|source| GatewayError::Socket { path: socket.to_owned(), source })?;
        let stop = shutdown.child_token();
        let slots = Slots::new(bounds.connections, bounds.patience);
        let hall = Hall { bounds, doors: by_path, slots, stop: stop.clone() };
        let task = tokio::spawn(receive(listener, Arc::new(hall)));
        Ok(Running { socket: socket.to_owned(), task, stop: stop.drop_guard() })
    }
}

impl Running {
    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it: no new connection, and the open ones are cut. Returns when they are closed.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(e) = self.task.await {
            tracing::error!("the gateway ended badly: {e}");
        }
    }
}

async fn receive(listener: UnixListener, hall: Arc<Hall>) {
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
                None => turn_away(&stream),
            },
            Err(e) => {
                // Out of file descriptors, most likely: others may give theirs back meanwhile.
                tracing::warn!("cannot accept a connection at the door: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    conversations.close();
    if tokio::time::timeout(ENDING, conversations.wait()).await.is_err() {
        tracing::warn!("connections at the door did not end in {} s", ENDING.as_secs());
    }
}

/// Says that the house is full, without waiting for anything.
fn turn_away(stream: &UnixStream) {
    let refusal = Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "busy",
        "the door has too many connections",
        "close some connections, or wait a moment and try again",
    );
    let body = format!("{}\n", refusal.to_json());
    let reply = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // A fresh socket's buffer always holds this much; a client that is already gone needs no answer.
    let _ = stream.try_write(reply.as_bytes());
}

/// One connection from its first byte to its last.
async fn converse(stream: UnixStream, slot: Slot, hall: Arc<Hall>) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(hall.bounds.stall_time));
    let service =
        service_fn(|request| async { Ok::<_, Infallible>(hall.answer(request, &slot).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(hall.bounds.head_time)
        .max_buf_size(hall.bounds.head_bytes)
        .max_headers(hall.bounds.head_lines)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        ended = connection => if let Err(e) = ended {
            tracing::debug!("a connection at the door ended early: {e}");
        },
        () = slot.kick.cancelled() => {}
        () = hall.stop.cancelled() => {}
    }
}

impl Hall {
    async fn answer(&self, request: hyper::Request<Incoming>, slot: &Slot) -> Response {
        let path = request.uri().path();
        let Some(door) = self.doors.get(path) else { return self.no_door(path).into() };
        match self.whole(request, door.max_body()).await {
            Ok(request) => {
                slot.asked();
                door.call(request).await
            }
            Err(refusal) => refusal.into(),
        }
    }

    fn no_door(&self, path: &str) -> Refusal {
        let known: Vec<&str> = self.doors.keys().map(String::as_str).collect();
        let hint = match ptb_core::names::nearest(path, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("the doors are {}", known.join(", ")),
        };
        let path: String = path.chars().take(100).collect();
        Refusal::new(StatusCode::NOT_FOUND, "input", format!("there is no door {path}"), hint)
    }

    /// Reads the body within its bounds.
    async fn whole(
        &self,
        request: hyper::Request<Incoming>,
        max: usize,
    ) -> Result<Request, Refusal> {
        let too_large = || {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "input",
                format!("the request's body has more than {max} bytes"),
                "send the request's fields alone, files stay where they are",
            )
        };
        let (head, body) = request.into_parts();
        if body.size_hint().lower() > max as u64 {
            return Err(too_large());
        }
        let reading = Limited::new(body, max).collect();
        let bytes: Bytes = match tokio::time::timeout(self.bounds.body_time, reading).await {
            Ok(Ok(whole)) => whole.to_bytes(),
            Ok(Err(e)) if e.is::<LengthLimitError>() => return Err(too_large()),
            Ok(Err(e)) => {
                let message = format!("the request's body cannot be read: {e}");
                return Err(Refusal::input(message, "send the request again"));
            }
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "input",
                    "the request's body did not arrive in time",
                    "send the whole request at once",
                ));
            }
        };
        Ok(Request::from_parts(head, bytes))
    }
}
