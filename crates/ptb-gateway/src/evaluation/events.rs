//! The lines of a streaming reply: JSON, one a line, at least one every few seconds.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::DropGuard;

use crate::door::Response;

/// Lines under way to the client.
pub(super) const LINES: usize = 64;

struct Stream {
    lines: mpsc::Receiver<Value>,
    keep_alive: Duration,
    began: Instant,
    /// Dropped with the body, that is when the reply has ended or the client has gone.
    _end: (DropGuard, OwnedSemaphorePermit),
}

/// A reply that sends what comes through `lines` until its senders are gone, and says that it is
/// alive when nothing comes. `end` is dropped when the reply ends, for whatever reason.
pub(super) fn reply(
    lines: mpsc::Receiver<Value>,
    keep_alive: Duration,
    end: (DropGuard, OwnedSemaphorePermit),
) -> Response {
    let stream = Stream { lines, keep_alive, began: Instant::now(), _end: end };
    let frames = futures::stream::unfold(stream, |mut stream| async move {
        let line = match tokio::time::timeout(stream.keep_alive, stream.lines.recv()).await {
            Ok(line) => line?,
            Err(_) => json!({"event": "alive", "seconds": stream.began.elapsed().as_secs()}),
        };
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{line}\n")))), stream))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
