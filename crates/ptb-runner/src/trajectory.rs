//! What an attempt's agent did, told from what it printed and from the record of its model API: `trajectory.json` and
//! `transcript.md` in the attempt's folder.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use jiff::Timestamp;
use ptb_core::cell::AgentAction;
use ptb_core::files::{read_bounded, read_log};
use ptb_core::run::{Event, RunDir, RunRecord};
use ptb_trace::{About, Budget, Form, Format, Summary, TraceError, convert};
use serde::Deserialize;

/// Largest prompt and journal of a clock that are read, in bytes.
const MOST: u64 = 64 << 20;

/// A line of `clock.jsonl`.
#[derive(Deserialize)]
struct Reading {
    at: f64,
    consumed: f64,
}

/// The format of an agent's output, and what is known of one of its attempts (from 1).
pub fn about(dir: &RunDir, record: &RunRecord, attempt: u32) -> (Format, About) {
    let spec = &record.spec;
    let (format, id) = match &spec.agent.action {
        AgentAction::Command(agent) => {
            (agent.value.trace.word().parse().unwrap_or(Format::Plain), agent.id.clone())
        }
        _ => (Format::Plain, spec.agent.name.clone()),
    };
    let prompt = read_bounded(&dir.prompt(), MOST).ok();
    let about = About {
        version: record.provenance.versions.get(&id).cloned().unwrap_or_default(),
        name: id,
        model: spec.agent.model.clone(),
        session: Some(format!("{}-{}-{attempt}", record.slug, record.id)),
        prompt: prompt.map(|text| String::from_utf8_lossy(&text).into_owned()),
        began: began(dir, attempt),
        budget: Some(Budget {
            seconds: spec.budget.hours * 3600.0,
            consumed: consumed(&dir.attempt(attempt)),
        }),
        form: Form::Recorded,
    };
    (format, about)
}

fn began(dir: &RunDir, attempt: u32) -> Option<Timestamp> {
    let events = read_log::<Event>(&dir.events()).ok()?;
    let begins = format!("{attempt} begins");
    let event = events.into_iter().find(|e| e.event == "attempt" && e.detail == begins)?;
    event.time.parse().ok()
}

/// Seconds since the attempt's clock first ran, and what was consumed then.
pub(crate) fn consumed(attempt: &Path) -> Vec<(f64, f64)> {
    let text = read_bounded(&attempt.join("clock.jsonl"), MOST).unwrap_or_default();
    let lines = text.split(|b| *b == b'\n');
    let readings: Vec<Reading> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let Some(first) = readings.first().map(|r| r.at) else { return Vec::new() };
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(readings.len());
    for reading in readings {
        let wall = reading.at - first;
        if points.last().is_none_or(|(last, _)| *last < wall) {
            points.push((wall, reading.consumed));
        }
    }
    points
}

/// Tells one attempt of a run.
///
/// # Errors
/// When its output cannot be read, or `trajectory` or `transcript` not be written.
pub fn tell(
    dir: &RunDir,
    record: &RunRecord,
    attempt: u32,
    trajectory: impl Write,
    transcript: impl Write,
) -> Result<Summary, TraceError> {
    let folder = dir.attempt(attempt);
    let (format, about) = about(dir, record, attempt);
    let input: Box<dyn BufRead> = match File::open(folder.join("output.jsonl")) {
        Ok(file) => Box::new(BufReader::new(file)),
        Err(_) => Box::new(std::io::empty()),
    };
    let mut api = File::open(folder.join("api.jsonl.zst")).ok();
    let api = api.as_mut().map(|file| file as &mut dyn std::io::Read);
    convert(input, format, api, &about, trajectory, transcript)
}

/// Writes both files of an attempt.
pub(crate) fn write(dir: &RunDir, record: &RunRecord, attempt: u32) -> Result<Summary, String> {
    let folder = dir.attempt(attempt);
    let new = |name: &str| {
        let file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(&folder);
        file.map(|file| (file, folder.join(name))).map_err(|e| format!("{name}: {e}"))
    };
    let (trajectory, transcript) = (new("trajectory.json")?, new("transcript.md")?);
    let summary = {
        let outputs = (BufWriter::new(&trajectory.0), BufWriter::new(&transcript.0));
        tell(dir, record, attempt, outputs.0, outputs.1).map_err(|e| e.to_string())?
    };
    for (file, path) in [trajectory, transcript] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        let kept = file.as_file().set_permissions(mode).and_then(|()| file.as_file().sync_all());
        kept.and_then(|()| file.persist(&path).map(drop).map_err(|e| e.error))
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(summary)
}
