//! A server on loopback that a test scripts byte by byte: it keeps what it was asked, and can break any rule of
//! HTTP. It ends with the test's process; its threads wait for connections and for nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// One request for a completion.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// Its number, from 0, among those for completions.
    pub(crate) number: usize,
    /// How often one with the same seed came before.
    pub(crate) before: usize,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Asked {
    /// The request's own seed: none where it only finds out how the server wants to be asked.
    pub(crate) fn seed(&self) -> Option<u64> {
        self.body["seed"].as_u64()
    }
}

/// What is written in answer to a request for a completion. The connection is closed if that fails, or if told so.
type Script = dyn Fn(&Asked, &mut TcpStream) -> std::io::Result<Then> + Send + Sync;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Keep,
    Close,
}

/// A scripted server.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Names one model at `/v1/models`; requests for completions are the script's.
    pub(crate) fn start(
        script: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        Self::with_models(r#"{"data": [{"id": "m"}]}"#, script)
    }

    /// Gives `models` for `/v1/models`.
    pub(crate) fn with_models(
        models: &'static str,
        script: impl Fn(&Asked, &mut TcpStream) -> std::io::Result<Then> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (script, asked): (Arc<Script>, _) = (Arc::new(script), Arc::default());
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                std::thread::spawn(move || serve(stream, models, &*script, &log));
            }
        });
        Self { url, asked }
    }

    /// Answers after a while, with a text that depends on the request's seed alone.
    pub(crate) fn good(wait: Duration) -> Self {
        Self::start(move |asked, stream| {
            std::thread::sleep(wait);
            answer(stream, asked)
        })
    }

    /// Requests for completions so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Those that had a seed, with how often each was made.
    pub(crate) fn seeds(&self) -> BTreeMap<u64, usize> {
        let mut seeds = BTreeMap::new();
        for seed in self.asked.lock().unwrap().iter().filter_map(Asked::seed) {
            *seeds.entry(seed).or_default() += 1;
        }
        seeds
    }
}

/// Requests of one connection, one after the other. Errors are the peer's leaving.
fn serve(stream: TcpStream, models: &str, script: &Script, log: &Mutex<Vec<Asked>>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if first.starts_with("GET") {
            let found = first.starts_with("GET /v1/models ");
            let status = if found { "200 OK" } else { "404 Not Found" };
            whole(&mut out, status, &[], models).ok()?;
            continue;
        }
        let body: Value = serde_json::from_slice(&body).ok()?;
        let asked = {
            let mut log = log.lock().ok()?;
            let before = log.iter().filter(|a| a.body["seed"] == body["seed"]).count();
            let asked = Asked { number: log.len(), before, body, at: Instant::now() };
            log.push(asked.clone());
            asked
        };
        if script(&asked, &mut out).ok()? == Then::Close {
            let _ = out.shutdown(std::net::Shutdown::Both);
            return None;
        }
    }
}

/// A whole answer with these further headers.
pub(crate) fn whole(
    stream: &mut TcpStream,
    status: &str,
    headers: &[&str],
    body: impl AsRef<[u8]>,
) -> std::io::Result<Then> {
    let body = body.as_ref();
    let mut head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|h| head.push_str(&format!("{h}\r\n")));
    stream.write_all(&[head.as_bytes(), b"\r\n", body].concat())?;
    Ok(Then::Keep)
}

/// A completion as it should be.
pub(crate) fn completion(text: &str) -> String {
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 3 });
    json!({ "choices": [{ "text": text, "finish_reason": "stop" }], "usage": usage }).to_string()
}

/// Answers as a good server does: a number that depends on the seed alone.
pub(crate) fn answer(stream: &mut TcpStream, asked: &Asked) -> std::io::Result<Then> {
    let text = format!("So it is.\nANSWER: {}", asked.seed().unwrap_or(0) % 50);
    whole(stream, "200 OK", &["content-type: application/json"], completion(&text))
}
