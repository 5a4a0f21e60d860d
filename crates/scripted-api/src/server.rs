//! The server: a thread with a runtime of its own, on loopback.
#![expect(clippy::expect_used, reason = "support of tests: one that cannot go on shall say where")]

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::fault::Fault;
use crate::ledger::{Ledger, Request};
use crate::script::Script;
use crate::wire::Piece;

mod desk;
use desk::{Answer, Armed, Content, Desk, When};

/// The longest body that is read.
const MOST_BYTES: usize = 256 << 20;
/// Between the last piece of a broken reply and the break, so that the piece still goes out.
const BEFORE_BREAK: Duration = Duration::from_millis(20);

/// A model API on loopback. It runs in a thread of its own and ends when it is dropped.
pub struct ScriptedApi {
    address: SocketAddr,
    desk: Arc<Desk>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl ScriptedApi {
    /// Starts a server that does what `script` says.
    ///
    /// # Panics
    /// When there is no socket on loopback.
    pub fn start(script: Script) -> Self {
        Self::start_at(0, script).expect("a socket on loopback")
    }

    /// Starts a server on this port of loopback, 0 for any.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start_at(port: u16, script: Script) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Desk::new(script));
        let running = Mutex::new(Some(run(listener, Arc::clone(&desk))));
        Ok(Self { address, desk, running })
    }

    /// Where it listens: `http://127.0.0.1:PORT`, without the version that protocols put behind it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.desk.state().requests.clone()
    }

    /// The books so far.
    pub fn ledger(&self) -> Ledger {
        self.desk.state().ledger.clone()
    }

    /// From now on refuses requests without this key, as if it had been revoked.
    pub fn expect_key(&self, key: &str) {
        self.desk.state().key = Some(key.to_owned());
    }

    /// From now on every reply, failures too, has this header more.
    ///
    /// # Panics
    /// Later, when it is none that HTTP may have.
    pub fn add_header(&self, name: &str, value: &str) {
        self.desk.state().headers.push((name.to_owned(), value.to_owned()));
    }

    /// From now on lists these models.
    pub fn list_models<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) {
        self.desk.state().models = names.into_iter().map(Into::into).collect();
    }

    /// Fails the next so many requests for a reply, errands too.
    pub fn fail_next(&self, times: usize, fault: Fault) {
        self.desk.state().armed.push(Armed { fault, when: When::Next(times) });
    }

    /// Fails every request for a reply of the agent's own work from this turn on, until [`Self::heal`].
    pub fn fail_from_turn(&self, turn: usize, fault: Fault) {
        self.desk.state().armed.push(Armed { fault, when: When::FromTurn(turn) });
    }

    /// Fails every request for a reply, until [`Self::heal`].
    pub fn fail(&self, fault: Fault) {
        self.fail_next(usize::MAX, fault);
    }

    /// Ends all failures that were asked for here; those of the script stay.
    pub fn heal(&self) {
        self.desk.state().armed.clear();
    }

    /// Breaks all connections and takes no more, until [`Self::restart`].
    pub fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread }) = running {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }

    /// Serves again, on the same port, with the same books.
    ///
    /// # Panics
    /// When somebody else has taken the port meanwhile.
    pub fn restart(&self) {
        self.stop();
        let listener = TcpListener::bind(self.address).expect("the same port again");
        let running = run(listener, Arc::clone(&self.desk));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    }
}

impl Drop for ScriptedApi {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for ScriptedApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedApi").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Serves in a thread. When it ends, all its connections break.
fn run(listener: TcpListener, desk: Arc<Desk>) -> Running {
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            listener.set_nonblocking(true).expect("a socket that does not block");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            tokio::select! {
                _ = stopped => {}
                () = accept(listener, desk) => {}
            }
        });
    });
    Running { stop, thread }
}

async fn accept(listener: tokio::net::TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(BEFORE_BREAK).await;
            continue;
        };
        // Each piece of a stream goes out at once.
        let _ = socket.set_nodelay(true);
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let service = service_fn(|request| serve(Arc::clone(&desk), request));
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Body = BoxBody<Bytes, io::Error>;

/// An error makes hyper close the connection without a reply.
async fn serve(desk: Arc<Desk>, request: HttpRequest<Incoming>) -> io::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let request = Request {
        number: 0,
        at: desk.since(),
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.iter().map(header).collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    if let Some(looked_at) = desk.looked_at(&request) {
        return Ok(with(Response::builder(), "application/json", whole(looked_at)));
    }
    let answer = desk.answer(request, body.len());
    tokio::time::sleep(answer.before).await;
    response(desk, answer)
}

fn response(desk: Arc<Desk>, answer: Answer) -> io::Result<Response<Body>> {
    let number = answer.number;
    let mut head = Response::builder();
    for (name, value) in &desk.state().headers {
        head = head.header(name, value);
    }
    match answer.content {
        Content::Nothing => Err(io::Error::other("closed by the script")),
        Content::Refusal(refusal) => {
            head = head.status(refusal.status);
            if let Some(seconds) = refusal.retry_after {
                head = head.header("retry-after", seconds);
            }
            desk.told(number, refusal.body.len(), None);
            Ok(with(head, &refusal.content_type, whole(refusal.body)))
        }
        Content::Whole(body) => {
            desk.told(number, body.len(), None);
            Ok(with(head, "application/json", whole(body)))
        }
        Content::Pieces { content_type, pieces, breaks } => {
            let request_id = format!("req_{number:024}");
            let head = head
                .header("cache-control", "no-cache")
                .header("request-id", &request_id)
                .header("x-request-id", &request_id);
            let pieces = pieces.into_iter();
            let state = Streaming { desk, number, pieces, between: answer.between, breaks };
            let body = StreamBody::new(stream::unfold((state, true), next)).boxed();
            Ok(with(head, content_type, body))
        }
    }
}

/// A reply on its way out.
struct Streaming {
    desk: Arc<Desk>,
    number: usize,
    pieces: std::vec::IntoIter<Piece>,
    between: Duration,
    breaks: bool,
}

type Next = Option<(io::Result<Frame<Bytes>>, (Streaming, bool))>;

/// The next piece. What is handed out is in the books, and what a client did not wait for is not.
async fn next((mut streaming, first): (Streaming, bool)) -> Next {
    let Some(piece) = streaming.pieces.next() else {
        if !std::mem::take(&mut streaming.breaks) {
            return None;
        }
        tokio::time::sleep(BEFORE_BREAK).await;
        return Some((Err(io::Error::other("broken by the script")), (streaming, false)));
    };
    if !first && !streaming.between.is_zero() {
        tokio::time::sleep(streaming.between).await;
    }
    streaming.desk.told(streaming.number, piece.bytes.len(), piece.told);
    Some((Ok(Frame::data(piece.bytes)), (streaming, false)))
}

fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

fn with(head: hyper::http::response::Builder, content_type: &str, body: Body) -> Response<Body> {
    head.header("content-type", content_type).body(body).expect("a script's status and headers")
}
