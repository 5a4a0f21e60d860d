//! Reading `attempts/<n>/api.jsonl.zst`: exchanges with the model API, with the parts that stand apart put back in.
//!
//! The gateway writes it, but what it writes comes from an agent: sizes are bounded, and a bound that was reached is
//! told.

use std::collections::HashMap;
use std::io::{BufReader, Read, Take};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::lines::Reader;
use crate::text::{is_tame, whole_characters};
use crate::usage::Usage;

/// Longest line, in bytes: a request's longest part.
const LONGEST: usize = 128 << 20;
/// Largest JSON text that is taken apart, in bytes: its values take many times as much.
const VALUE: usize = 16 << 20;
/// Requests that wait for their response.
const WAITING: usize = 4096;

/// How much of a record is read.
#[derive(Debug, Clone, Copy)]
pub struct ApiLimits {
    /// Bytes after decompression.
    pub bytes: u64,
    /// Bytes of parts that are held to be put back.
    pub parts: usize,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self { bytes: 4 << 30, parts: 512 << 20 }
    }
}

/// Reader of a record: an iterator of exchanges, in the order of their responses; requests without one come last.
///
/// A torn end, as a kill leaves it, ends the iteration like a whole one; [`ApiRecord::state`] tells.
pub struct ApiRecord<R: Read> {
    lines: Option<Lines<R>>,
    limits: ApiLimits,
    parts: HashMap<String, Arc<RawValue>>,
    waiting: HashMap<u64, Request>,
    rest: std::vec::IntoIter<Request>,
    state: RecordState,
}

type Lines<R> = Reader<BufReader<Take<zstd::Decoder<'static, BufReader<R>>>>>;

impl<R: Read> std::fmt::Debug for ApiRecord<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiRecord").field("state", &self.state).finish_non_exhaustive()
    }
}

/// How the reading of a record went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordState {
    /// Lines that were read.
    pub lines: u64,
    /// Lines that could not be understood.
    pub broken_lines: u64,
    /// Whether the end is missing.
    pub torn: bool,
    /// Whether a bound was reached: what lies beyond was not read, or parts of it are missing.
    pub limited: bool,
    /// Bytes of parts that are held.
    pub part_bytes: u64,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number in the record.
    pub number: u64,
    /// Unix seconds.
    pub at: f64,
    /// HTTP method.
    pub method: String,
    /// Path of the URL.
    pub path: String,
    /// `anthropic`, `responses`, `chat` or `gemini`; empty when the gateway did not know it.
    pub protocol: String,
    /// Headers, as the gateway kept them.
    pub headers: Value,
    /// The body.
    pub body: Body,
}

/// A request's body: long parts stand beside it and are shared between requests.
#[derive(Debug, Clone, Default)]
pub struct Body {
    shape: Value,
    parts: HashMap<String, Arc<RawValue>>,
}

/// A response.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Response {
    /// Unix seconds.
    pub at: f64,
    /// HTTP status.
    pub status: u16,
    /// Seconds until the first byte.
    pub first_byte_s: Option<f64>,
    /// Seconds until the last byte.
    pub duration_s: Option<f64>,
    /// Headers.
    pub headers: Value,
    /// The model that answered.
    pub model: Option<String>,
    /// Tokens.
    pub usage: Option<Usage>,
    /// US dollars; none when the price is unknown.
    pub cost_usd: Option<f64>,
    /// `complete`, `cut`, `refused` or `failed`.
    pub end: String,
    /// JSON, `{"$sse": [{"event", "data"}..]}` or `{"$text": ".."}`; null when it is too large or too deep.
    #[serde(skip)]
    pub body: Value,
}

/// A request and what came of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// What was asked.
    pub request: Request,
    /// What was answered, if anything.
    pub response: Option<Response>,
}

#[derive(Deserialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(borrow)]
    id: Option<&'a str>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    number: Option<u64>,
    at: Option<f64>,
    method: Option<String>,
    path: Option<String>,
    protocol: Option<String>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl<R: Read> ApiRecord<R> {
    /// Begins to read.
    pub fn new(from: R, limits: ApiLimits) -> Self {
        let lines = zstd::Decoder::new(from)
            .map(|decoder| Reader::new(BufReader::new(decoder.take(limits.bytes)), LONGEST));
        let state = RecordState { torn: lines.is_err(), ..RecordState::default() };
        Self {
            lines: lines.ok(),
            limits,
            parts: HashMap::new(),
            waiting: HashMap::new(),
            rest: Vec::new().into_iter(),
            state,
        }
    }

    /// How the reading went so far.
    pub fn state(&self) -> RecordState {
        self.state
    }

    /// Ends the reading: what waits for a response will get none.
    fn end(&mut self) {
        if let Some(lines) = self.lines.take() {
            self.state.limited |= lines.inner().get_ref().limit() == 0;
        }
        let mut rest: Vec<Request> = std::mem::take(&mut self.waiting).into_values().collect();
        rest.sort_by_key(|request| request.number);
        self.rest = rest.into_iter();
    }

    fn line(&mut self, text: &str) -> Option<Exchange> {
        let Ok(line) = serde_json::from_str::<Line<'_>>(text) else {
            self.state.broken_lines += 1;
            return None;
        };
        match (line.kind, line.number) {
            ("part", _) => self.part(&line),
            ("request", Some(number)) => self.request(number, &line),
            ("response", Some(number)) => return self.response(number, &line, text),
            _ => self.state.broken_lines += 1,
        }
        None
    }

    fn part(&mut self, line: &Line<'_>) {
        let (Some(id), Some(value)) = (line.id, line.value) else {
            self.state.broken_lines += 1;
            return;
        };
        let size = (value.get().len() + id.len() + 64) as u64;
        if self.state.part_bytes + size > self.limits.parts as u64 {
            self.state.limited = true;
            return;
        }
        self.state.part_bytes += size;
        self.parts.insert(id.to_owned(), Arc::from(value.to_owned()));
    }

    /// A value, unless it is too large or too deep.
    fn value(&mut self, raw: Option<&RawValue>) -> Value {
        let Some(raw) = raw else { return Value::Null };
        let value = (raw.get().len() <= VALUE).then(|| serde_json::from_str(raw.get()).ok());
        value.flatten().unwrap_or_else(|| {
            self.state.limited = true;
            Value::Null
        })
    }

    fn request(&mut self, number: u64, line: &Line<'_>) {
        let shape = self.value(line.body);
        let headers = self.value(line.headers);
        let mut parts = HashMap::new();
        each_reference(&shape, &mut |id| {
            if let Some(part) = self.parts.get(id) {
                parts.insert(id.to_owned(), Arc::clone(part));
            }
        });
        if self.waiting.len() >= WAITING {
            self.state.limited = true;
            return;
        }
        let request = Request {
            number,
            at: line.at.unwrap_or_default(),
            method: line.method.clone().unwrap_or_default(),
            path: line.path.clone().unwrap_or_default(),
            protocol: line.protocol.clone().unwrap_or_default(),
            headers,
            body: Body { shape, parts },
        };
        self.waiting.insert(number, request);
    }

    fn response(&mut self, number: u64, line: &Line<'_>, text: &str) -> Option<Exchange> {
        let request = self.waiting.remove(&number);
        let response = serde_json::from_str::<Response>(text).ok();
        let (Some(request), Some(mut response)) = (request, response) else {
            self.state.broken_lines += 1;
            return None;
        };
        response.body = self.value(line.body);
        Some(Exchange { request, response: Some(response) })
    }
}

impl<R: Read> Iterator for ApiRecord<R> {
    type Item = Exchange;

    fn next(&mut self) -> Option<Exchange> {
        while let Some(mut lines) = self.lines.take() {
            let exchange = match lines.next() {
                Ok(Some((raw, cut))) => {
                    self.state.lines += 1;
                    self.state.limited |= cut;
                    let text = String::from_utf8_lossy(raw);
                    match text.trim_ascii().is_empty() {
                        true => None,
                        false => self.line(&whole_characters(&text)),
                    }
                }
                read => {
                    self.state.torn = read.is_err();
                    self.lines = Some(lines);
                    self.end();
                    break;
                }
            };
            self.lines = Some(lines);
            if exchange.is_some() {
                return exchange;
            }
        }
        self.rest.next().map(|request| Exchange { request, response: None })
    }
}

/// The id of a part, if this value stands for one.
fn reference(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|o| o.len() == 1)?;
    object.get("$part")?.as_str()
}

/// Parts stand for values of the body's keys and for elements of its arrays, nowhere else.
fn each_reference<'a>(shape: &'a Value, take: &mut dyn FnMut(&'a str)) {
    for value in shape.as_object().into_iter().flat_map(|o| o.values()) {
        let elements = value.as_array().map_or(&[][..], Vec::as_slice);
        std::iter::once(value).chain(elements).filter_map(reference).for_each(&mut *take);
    }
}

impl Body {
    /// The body as it was sent. A part that is missing, or too large or deep, stands as its reference. Costs a copy of everything: the bodies
    /// of one conversation together grow with the square of its length.
    pub fn whole(&self) -> Value {
        let mut whole = self.shape.clone();
        for value in whole.as_object_mut().into_iter().flat_map(|o| o.values_mut()) {
            match value {
                Value::Array(elements) => elements.iter_mut().for_each(|e| *e = self.put_back(e)),
                value => *value = self.put_back(value),
            }
        }
        whole
    }

    fn put_back(&self, value: &Value) -> Value {
        let part = reference(value).and_then(|id| self.parts.get(id));
        let part = part.filter(|raw| raw.get().len() <= VALUE && is_tame(raw.get()));
        part.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_else(|| value.clone())
    }

    /// One field as it was sent.
    pub fn field(&self, key: &str) -> Option<Value> {
        let value = self.shape.get(key)?;
        Some(match value {
            Value::Array(elements) => elements.iter().map(|e| self.put_back(e)).collect(),
            value => self.put_back(value),
        })
    }

    /// The first `most` elements of a field that is an array.
    pub(crate) fn first(&self, key: &str, most: usize) -> Vec<Value> {
        let elements = self.shape.get(key).and_then(Value::as_array);
        elements.into_iter().flatten().take(most).map(|e| self.put_back(e)).collect()
    }

    /// How many elements the array at `key` has.
    pub(crate) fn len(&self, key: &str) -> usize {
        self.shape.get(key).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// What stands for a field: equal for equal contents.
    pub(crate) fn stand_in(&self, key: &str) -> Option<&Value> {
        self.shape.get(key)
    }
}
