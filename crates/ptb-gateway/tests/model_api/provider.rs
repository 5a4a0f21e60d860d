//! A provider that does what a script says, one connection a task, HTTP/1.1.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// What the provider saw of a request.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A step of an answer's body.
pub(crate) enum Step {
    Send(String),
    /// Until the test says so.
    Await(Arc<Notify>),
    Sleep(Duration),
    /// The connection is reset.
    Break,
    /// Never ends.
    Hang,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) steps: Vec<Step>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("content-length", body.len().to_string()),
        ];
        Self { status, headers, steps: vec![Step::Send(body.to_owned())] }
    }

    pub(crate) fn stream(steps: Vec<Step>) -> Self {
        let headers = vec![("content-type", "text/event-stream; charset=utf-8".to_owned())];
        Self { status: 200, headers, steps }
    }

    /// A stream whose events come at once.
    pub(crate) fn events(events: &[String]) -> Self {
        Self::stream(events.iter().cloned().map(Step::Send).collect())
    }
}

struct Chunks {
    chunks: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    gone: Option<Arc<Mutex<u32>>>,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = self.chunks.poll_recv(cx);
        if let Poll::Ready(None) = next {
            self.gone = None;
        }
        next.map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if let Some(gone) = &self.gone {
            *gone.lock().unwrap() += 1;
        }
    }
}

/// The provider. Dropping it ends it.
pub(crate) struct Provider {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    dropped: Arc<Mutex<u32>>,
    task: JoinHandle<()>,
}

impl Provider {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let dropped = Arc::new(Mutex::new(0));
        let script = Arc::new(script);
        let (all, gone) = (Arc::clone(&seen), Arc::clone(&dropped));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (script, all, gone) =
                    (Arc::clone(&script), Arc::clone(&all), Arc::clone(&gone));
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let (script, all, gone) =
                            (Arc::clone(&script), Arc::clone(&all), Arc::clone(&gone));
                        async move {
                            Ok::<_, Infallible>(answer(&*script, &all, gone, request).await)
                        }
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self { address, seen, dropped, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Answers whose client went away before their end.
    pub(crate) fn dropped(&self) -> u32 {
        *self.dropped.lock().unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    script: &(impl Fn(&Seen) -> Answer + Send + Sync),
    all: &Mutex<Vec<Seen>>,
    gone: Arc<Mutex<u32>>,
    request: Request<Incoming>,
) -> Response<Chunks> {
    let (head, body) = request.into_parts();
    let headers = head.headers.iter();
    let seen = Seen {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        headers: headers
            .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect(),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    };
    let answer = script(&seen);
    all.lock().unwrap().push(seen);
    let (sender, chunks) = mpsc::channel(1);
    tokio::spawn(async move {
        for step in answer.steps {
            match step {
                Step::Send(text) => {
                    if sender.send(Ok(Bytes::from(text))).await.is_err() {
                        return;
                    }
                }
                Step::Await(notify) => notify.notified().await,
                Step::Sleep(time) => tokio::time::sleep(time).await,
                Step::Break => {
                    let _ = sender.send(Err(std::io::Error::other("scripted"))).await;
                    return;
                }
                Step::Hang => sender.closed().await,
            }
        }
    });
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    response.body(Chunks { chunks, gone: Some(gone) }).unwrap()
}
