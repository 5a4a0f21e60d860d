//! What the model API adds: latency of streamed requests and throughput of 64 streams, beside direct connections to the
//! same scripted provider, all on one machine. `cargo run --release -p ptb-gateway --example model_api_latency [SECONDS]`
//!
//! Direct and passed requests alternate, so that what else the machine does falls on both. The provider puts the time
//! into each event: the delay of an event is the time from its writing to its reading by the client.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::convert::Infallible;
use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ptb_gateway::{
    ApiBounds, Credential, Limits, ModelApi, ModelApiSetup, Models, RunningModelApi, ServerTools,
};
use ptb_llm::protocol::Protocol;
use ptb_llm::{Key, Prices};
use tokio_util::sync::CancellationToken;

type Failed = Box<dyn Error + Send + Sync>;

/// Events of a paced stream, and the pause between two.
const EVENTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(2);
/// Events of a stream that runs as fast as it can.
const FAST_EVENTS: usize = 2_000;
const STREAMS: usize = 64;

fn now_ns() -> u128 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos()
}

fn event(n: usize, of: usize) -> String {
    if n + 1 == of {
        return "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".to_owned();
    }
    let text = "word ".repeat(6);
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
         {{\"type\":\"text_delta\",\"text\":\"{text}\"}},\"at\":{}}}\n\n",
        now_ns()
    )
}

type Events = StreamBody<futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn provide(request: Request<Incoming>) -> Result<Response<Events>, Failed> {
    let body = request.into_body().collect().await?.to_bytes();
    let fast = memchr::memmem::find(&body, b"\"fast\"").is_some();
    let (of, pause) = if fast { (FAST_EVENTS, None) } else { (EVENTS, Some(PAUSE)) };
    let events = futures::stream::iter(0..of).then(move |n| async move {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        Ok(Frame::data(Bytes::from(event(n, of))))
    });
    let response = Response::builder().header("content-type", "text/event-stream");
    Ok(response.body(StreamBody::new(events.boxed()))?)
}

async fn provider() -> Result<String, Failed> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service_fn(provide)).await;
            });
        }
    });
    Ok(url)
}

/// One streamed request: seconds to its first bytes, the delays of its events in seconds, its size.
async fn ask(
    client: &reqwest::Client,
    url: &str,
    body: &str,
) -> Result<(f64, Vec<f64>, usize), Failed> {
    let start = Instant::now();
    let request = client.post(format!("{url}/v1/messages")).body(body.to_owned());
    let response = request.send().await?.error_for_status()?;
    let (mut first, mut delays, mut size) = (None, Vec::new(), 0);
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let (chunk, now) = (chunk?, now_ns());
        first.get_or_insert_with(|| start.elapsed().as_secs_f64());
        size += chunk.len();
        let mut rest = &chunk[..];
        while let Some(at) = memchr::memmem::find(rest, b"\"at\":") {
            rest = &rest[at + 5..];
            let digits: u128 = rest
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .fold(0, |n, b| n * 10 + u128::from(b - b'0'));
            delays.push(now.saturating_sub(digits) as f64 / 1e9);
        }
    }
    Ok((first.unwrap_or_default(), delays, size))
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = ((times.len().saturating_sub(1)) as f64 * q).round() as usize;
    times.get(at).copied().unwrap_or_default() * 1e3
}

fn told(what: &str, direct: &mut [f64], passed: &mut [f64]) {
    let [d, p] = [&mut *direct, &mut *passed].map(|t| (quantile(t, 0.5), quantile(t, 0.99)));
    println!(
        "{what}: direct median {:.3} ms, p99 {:.3}; passed median {:.3}, p99 {:.3}; added median {:.3}, p99 {:.3}",
        d.0,
        d.1,
        p.0,
        p.1,
        p.0 - d.0,
        p.1 - d.1
    );
}

fn body(kind: &str, size: usize) -> String {
    let text = "x".repeat(1000);
    let turns = (size / 1000).max(1);
    let messages: Vec<String> =
        (0..turns).map(|n| format!(r#"{{"role":"user","content":"{n} {text}"}}"#)).collect();
    format!(
        r#"{{"model":"m","stream":true,"metadata":"{kind}","max_tokens":9,"messages":[{}]}}"#,
        messages.join(",")
    )
}

fn open(upstream: String, folder: &std::path::Path) -> Result<RunningModelApi, Failed> {
    let setup = ModelApiSetup {
        upstream,
        protocols: vec![Protocol::Anthropic],
        credential: Credential::ApiKey(Key::new("sk-0123456789")?),
        models: Models { main: "m".to_owned(), aux: Vec::new() },
        limits: Limits { tokens: Some(u64::MAX), ..Limits::default() },
        server_tools: ServerTools::Strip,
        prices: Prices::built_in()?,
        record: folder.join("api.jsonl.zst"),
        network: folder.join("network.jsonl"),
        mask: Arc::new(|line| line),
        covers_key: true,
        bounds: ApiBounds::default(),
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(ModelApi::serve(listener, setup, &CancellationToken::new())?)
}

async fn latency(
    client: &reqwest::Client,
    urls: [&str; 2],
    size: usize,
    time: Duration,
) -> Result<(), Failed> {
    let body = body("paced", size);
    let (mut first, mut delay) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let until = Instant::now() + time;
    let mut requests = 0;
    while Instant::now() < until {
        for (n, url) in urls.iter().enumerate() {
            let (to_first, delays, _) = ask(client, url, &body).await?;
            if requests > 4 {
                first[n].push(to_first);
                delay[n].extend(delays);
            }
        }
        requests += 1;
    }
    println!(
        "{requests} requests each, bodies of {} bytes, {EVENTS} events 2 ms apart",
        body.len()
    );
    let [d, p] = &mut first;
    told("  to the first event", d, p);
    let [d, p] = &mut delay;
    told("  delay of an event ", d, p);
    Ok(())
}

async fn throughput(client: &reqwest::Client, url: &str, what: &str) -> Result<(), Failed> {
    let body = body("fast", 1000);
    let start = Instant::now();
    let asked = (0..STREAMS).map(|_| ask(client, url, &body));
    let all = futures::future::try_join_all(asked).await?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes: usize = all.iter().map(|(_, _, size)| size).sum();
    println!(
        "  {what}: {:.1} MB/s, {:.0} events/s",
        bytes as f64 / 1e6 / seconds,
        (STREAMS * FAST_EVENTS) as f64 / seconds
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let seconds = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(10);
    let folder = tempfile::tempdir()?;
    let direct = provider().await?;
    let running = open(direct.clone(), folder.path())?;
    let passed = format!("http://{}", running.address());
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
    for size in [2_000, 200_000] {
        latency(&client, [&direct, &passed], size, Duration::from_secs(seconds)).await?;
    }
    println!("{STREAMS} streams at once, {FAST_EVENTS} events each, as fast as they go");
    for _ in 0..3 {
        throughput(&client, &direct, "direct").await?;
        throughput(&client, &passed, "passed").await?;
    }
    let totals = running.stop().await;
    let record = std::fs::metadata(folder.path().join("api.jsonl.zst"))?.len();
    println!("{} requests on record in {record} bytes, {} cut", totals.requests, totals.cut);
    Ok(())
}
