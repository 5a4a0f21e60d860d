//! What is said at each door.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::args::Evaluate;
use crate::http::{Reply, ask};
use crate::print::{ascii_json, note, out};
use crate::{FAILED, FAULT, Failure};

/// Progress within one stage is printed at most this often.
const PAUSE: Duration = Duration::from_secs(2);

/// `ptb-door time`.
pub(crate) fn time(json: bool) -> Result<(), Failure> {
    let clock = single(ask("GET", "/v1/clock", "")?)?;
    if json {
        return out(&format!("{}\n", ascii_json(&clock.to_string())));
    }
    let digits = |c: char| c.is_ascii_digit() || c == ':';
    match clock.get("remaining").and_then(Value::as_str).filter(|text| text.chars().all(digits)) {
        Some(text) => out(&format!("{text}\n")),
        None => Err(Failure::new(FAILED, "the door did not tell the time left", "try again")),
    }
}

/// `ptb-door release`.
pub(crate) fn release() -> Result<(), Failure> {
    single(ask("POST", "/v1/engine/release", "")?)?;
    note("the engine is given up; the next evaluation starts it anew");
    Ok(())
}

/// `ptb-door evaluate`.
pub(crate) fn evaluate(options: &Evaluate) -> Result<(), Failure> {
    let path = std::path::absolute(&options.model_path).map_err(|e| {
        Failure::new(FAULT, format!("the model's path is not usable: {e}"), "see --model-path")
    })?;
    let Some(path) = path.to_str() else {
        let message = "the model's path is not valid UTF-8";
        return Err(Failure::new(FAULT, message, "rename the directory"));
    };
    let mut fields = options.fields.clone();
    fields.insert("model_path".to_owned(), path.into());
    let mut samples = options.samples_file.as_deref().map(SamplesFile::create).transpose()?;
    let reply = ask("POST", "/v1/evaluate", &Value::Object(fields).to_string())?;
    let metrics = follow(reply, samples.as_mut())?;
    if let Some(samples) = samples {
        samples.finish()?;
    }
    let text = serde_json::to_string_pretty(&metrics).unwrap_or_default();
    let text = format!("{}\n", ascii_json(&text));
    if let Some(path) = &options.metrics_file {
        std::fs::write(path, &text).map_err(|e| unwritten(path, e))?;
    }
    out(&text)
}

fn unwritten(path: &Path, e: io::Error) -> Failure {
    let message = format!("cannot write {}: {e}", path.display());
    Failure::new(FAILED, message, "name a file in a directory that exists and is writable")
}

/// `--samples-output-file`.
struct SamplesFile<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl<'a> SamplesFile<'a> {
    fn create(path: &'a Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|e| unwritten(path, e))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn add(&mut self, sample: &Value) -> Result<(), Failure> {
        let line = ascii_json(&sample.to_string());
        writeln!(self.file, "{line}").map_err(|e| unwritten(self.path, e))
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.file.flush().map_err(|e| unwritten(self.path, e))
    }
}

/// A line of a reply as an object.
fn event(line: &[u8]) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(line)
        .map_err(|_| Failure::new(FAILED, "the door sent what is no JSON object", "try again"))
}

fn text<'a>(event: &'a Map<String, Value>, key: &str) -> &'a str {
    event.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn number(event: &Map<String, Value>, key: &str) -> u64 {
    event.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn failure(event: &Map<String, Value>) -> Failure {
    let code = if matches!(text(event, "kind"), "input" | "model") { FAULT } else { FAILED };
    Failure::new(code, text(event, "message"), text(event, "hint"))
}

/// A reply of one object.
fn single(mut reply: Reply) -> Result<Value, Failure> {
    let line = reply.line()?.unwrap_or_default();
    let object = event(&line)?;
    if text(&object, "event") == "error" { Err(failure(&object)) } else { Ok(object.into()) }
}

/// Follows an evaluation to its end; gives the metrics.
fn follow(mut reply: Reply, mut samples: Option<&mut SamplesFile<'_>>) -> Result<Value, Failure> {
    let (mut progress, mut untold) = (None, 0);
    while let Some(line) = reply.line()? {
        let event = event(&line)?;
        match text(&event, "event") {
            "accepted" => list(&event, "notes").for_each(|text| note(&format!("note: {text}"))),
            "snapshot" => told_snapshot(&event),
            "progress" => told_progress(&event, &mut progress),
            "sample" => match (&mut samples, event.get("sample")) {
                (Some(file), Some(sample)) => file.add(sample)?,
                _ => untold += 1,
            },
            "error" => return Err(failure(&event)),
            "result" => {
                if untold > 0 {
                    note(&format!(
                        "note: {untold} samples can be had with --samples-output-file FILE"
                    ));
                }
                return Ok(event.get("metrics").cloned().unwrap_or_default());
            }
            // Signs of life, and what later doors may add.
            _ => {}
        }
    }
    let message = "the door closed before the evaluation had ended";
    Err(Failure::new(FAILED, message, "try again"))
}

fn list<'a>(event: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    event.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn told_snapshot(event: &Map<String, Value>) {
    let (bytes, sha256) = (number(event, "bytes"), text(event, "sha256"));
    note(&format!("snapshot of {bytes} bytes taken, sha256 {sha256}"));
    let left: Vec<&str> = list(event, "left_out").collect();
    if !left.is_empty() {
        note(&format!("not part of a model, left out: {}", left.join(", ")));
    }
}

fn told_progress(event: &Map<String, Value>, before: &mut Option<(String, Instant)>) {
    let stage = text(event, "stage");
    let (done, total) = (number(event, "done"), number(event, "total"));
    let soon = |(last, at): &(String, Instant)| last == stage && at.elapsed() < PAUSE;
    if done != total && before.as_ref().is_some_and(soon) {
        return;
    }
    *before = Some((stage.to_owned(), Instant::now()));
    match total {
        0 => note(stage),
        _ => note(&format!("{stage} {done}/{total}")),
    }
}
