//! Replies: whole ones of our own, and those of the provider as they come.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use ptb_llm::protocol::ErrorReply;

use super::exchange::Passing;

/// What goes back to a client.
pub(super) type ApiResponse = hyper::Response<ApiBody>;

/// A body that is whole, or that passes through.
pub(super) enum ApiBody {
    /// All of it.
    Whole(Full<Bytes>),
    /// As the provider sends it.
    Passing(Box<Passing>),
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(full) => Pin::new(full).poll_frame(cx).map_err(|never| match never {}),
            Self::Passing(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(full) => full.is_end_stream(),
            Self::Passing(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(full) => full.size_hint(),
            Self::Passing(passing) => passing.size_hint(),
        }
    }
}

/// A whole reply.
pub(super) fn whole(status: StatusCode, headers: HeaderMap, body: Bytes) -> ApiResponse {
    let mut response = hyper::Response::new(ApiBody::Whole(Full::new(body)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An error of our own.
pub(super) fn error(reply: &ErrorReply) -> ApiResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    whole(status, error_headers(reply), Bytes::from(reply.body.clone()))
}

/// The headers of an error of our own. The SDKs of Anthropic and OpenAI obey `x-should-retry`.
pub(super) fn error_headers(reply: &ErrorReply) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let again = if reply.passing { "true" } else { "false" };
    headers.insert("x-should-retry", HeaderValue::from_static(again));
    headers
}
