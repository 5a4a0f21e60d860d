//! To the provider and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::{HeaderMap, Method, StatusCode};
use ptb_llm::http;
use ptb_llm::protocol::{Protocol, ProviderFault, Refused, Said};
use reqwest::Url;

use super::exchange::{Exchange, Passing};
use super::guard::Guard;
use super::headers::{authorize, to_client};
use super::reply::{self, ApiBody, ApiResponse};
use super::server::Hall;
use super::setup::ApiBounds;
use super::upstream::Upstream;
use crate::GatewayError;
use crate::slots::Slot;

/// The largest error that is read whole, in bytes.
const MOST_ERROR: usize = 1 << 20;
const PROBE_TIME: Duration = Duration::from_secs(15);

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The provider answers and lets the key in.
    Up,
    /// It answers; but what is wrong is the credit, and only a paid request can tell whether there is some again.
    Reachable,
    /// It does not serve.
    Down {
        /// What is wrong.
        kind: ProviderFault,
        /// Its words, or why it cannot be reached.
        message: String,
    },
}

/// The client of the provider. Proxies of the environment are respected, but not for this machine.
pub(super) fn client(
    upstream: &Upstream,
    bounds: &ApiBounds,
) -> Result<reqwest::Client, GatewayError> {
    let builder = upstream
        .client()
        .connect_timeout(bounds.connect_time)
        .read_timeout(bounds.silence)
        .tcp_nodelay(true)
        // A connection that the provider is about to close would cost a request.
        .pool_idle_timeout(Duration::from_secs(30));
    builder.build().map_err(|e| GatewayError::Client { why: chain(&e) })
}

/// A request ready to be sent.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Sends a request and begins to pass its answer on.
pub(super) async fn send(mut exchange: Exchange, slot: &Arc<Slot>, out: Outgoing) -> ApiResponse {
    let hall = Arc::clone(exchange.hall());
    let mut request = hall.client.request(out.method, out.url).headers(out.headers);
    if let Some(body) = out.body {
        request = request.body(body);
    }
    let response = match request.send().await {
        Ok(response) => response,
        Err(e) => return unreachable(exchange, &chain(&e)),
    };
    let status = response.status();
    let headers = to_client(response.headers(), hall.covered());
    if status.is_redirection() || status.is_informational() {
        let why = format!("it sends the request elsewhere (status {})", status.as_u16());
        return unreachable(exchange, &why);
    }
    if let Some(why) = encoded(response.headers()) {
        if status.is_success() {
            exchange.unseen();
        }
        return unreachable(exchange, &why);
    }
    exchange.head(status, &headers);
    if status.is_success() {
        let body = hyper::Response::from(response).into_body();
        let passing = Passing::new(body, exchange, Arc::clone(slot));
        let mut out = hyper::Response::new(ApiBody::Passing(Box::new(passing)));
        (*out.status_mut(), *out.headers_mut()) = (status, headers);
        return out;
    }
    match whole(response).await {
        Ok(body) => {
            let body = Guard::whole(hall.covered(), body);
            exchange.error(status, &body);
            reply::whole(status, headers, body)
        }
        Err(why) => unreachable(exchange, &why),
    }
}

fn unreachable(mut exchange: Exchange, why: &str) -> ApiResponse {
    let host = exchange.hall().upstream.host();
    let text = format!("the provider at {host} cannot be reached: {why}");
    let reply = Refused::Unreachable.reply(exchange.protocol(), &text);
    exchange.unreachable(&reply, &reply::error_headers(&reply), why);
    reply::error(&reply)
}

/// What cannot be looked at is not passed on: it may hold the key, and what it used is not told.
fn encoded(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all("content-encoding").iter();
    let mut forms =
        values.flat_map(|value| value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii));
    let form = forms.find(|f| !f.is_empty() && !f.eq_ignore_ascii_case(b"identity"))?;
    let form: String = String::from_utf8_lossy(form).chars().take(40).collect();
    Some(format!(
        "it answers in a form that was not asked for (content-encoding {})",
        form.escape_debug()
    ))
}

/// An error's body, within its bound.
async fn whole(mut response: reqwest::Response) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MOST_ERROR => bytes.extend(chunk),
            Ok(Some(_)) => return Err("its error is too long to be one".to_owned()),
            Ok(None) => return Ok(bytes.freeze()),
            Err(e) => return Err(chain(&e)),
        }
    }
}

/// Asks for the list of models.
pub(super) async fn probe(hall: &Hall) -> Probe {
    let gemini = hall.setup.protocols.first() == Some(&Protocol::Gemini);
    let path = if gemini { "/v1beta/models" } else { "/v1/models" };
    let mut headers = HeaderMap::new();
    if hall.setup.protocols.contains(&Protocol::Anthropic) {
        let version = hyper::header::HeaderValue::from_static("2023-06-01");
        headers.insert("anthropic-version", version);
    }
    authorize(&mut headers, &hall.setup.credential);
    let request = hall.client.get(hall.upstream.url(path, None)).headers(headers);
    let asked = async {
        let response = request.send().await.map_err(|e| chain(&e))?;
        let status = response.status();
        if let Some(why) = encoded(response.headers()) {
            return Err(why);
        }
        let body = if status.is_success() { Bytes::new() } else { whole(response).await? };
        Ok::<_, String>((status, body))
    };
    let outage = |message: String| Probe::Down { kind: ProviderFault::Outage, message };
    let found = match tokio::time::timeout(PROBE_TIME, asked).await {
        Err(_) => outage(format!("no answer within {} s", PROBE_TIME.as_secs())),
        Ok(Err(why)) => outage(why),
        Ok(Ok((status, body))) => judged(status, &Guard::whole(hall.covered(), body)),
    };
    match (&found, hall.service.fault()) {
        (Probe::Up, Some(ProviderFault::Credit)) => Probe::Reachable,
        (Probe::Up, _) => {
            hall.service.up(None);
            found
        }
        _ => found,
    }
}

/// A provider that lists no models answers with 404 or 405: it can be reached.
fn judged(status: StatusCode, body: &Bytes) -> Probe {
    let said = Said::of(status.as_u16(), body);
    let message = format!("status {}: {}", status.as_u16(), said.message);
    match said.fault() {
        Some(kind) => Probe::Down { kind, message },
        None if status.is_redirection() => Probe::Down { kind: ProviderFault::Outage, message },
        None => Probe::Up,
    }
}

/// Why a request failed.
pub(super) fn chain(e: &reqwest::Error) -> String {
    match http::reason(e) {
        Some(reason) => reason.chars().take(300).collect(),
        None if e.is_timeout() => "it was silent for too long".to_owned(),
        None => "the request could not be sent".to_owned(),
    }
}
