//! What the user sees: short lines on standard output, at most one a second while training.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ptb_sft::{
    Begin, Criterion, End, Event, Look, Outcome, SftError, Step, clock_text, is_hidden, printable,
};
use serde_json::{Value, json};

/// Between lines about steps.
const PAUSE: Duration = Duration::from_secs(1);

/// A line on standard error. Errors are of no use to anybody here.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
}

/// Text on standard output.
pub(crate) fn out(text: &str) -> Result<u8, SftError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(SftError::failure(
            format!("failed to write to standard output: {e}"),
            "check where it leads",
        )),
        _ => Ok(0),
    }
}

/// A line of JSON whose strings a terminal shows as they are.
fn json_line(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Prints events as they come.
pub(crate) struct Printer {
    json: bool,
    last: Option<Instant>,
    /// When the door's words were told last; none before an evaluation's first.
    heard: Option<Instant>,
    untold: Option<Step>,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self { json, last: None, heard: None, untold: None }
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>) {
        match event {
            Event::Step(step) if !self.is_due(step) => self.untold = Some(**step),
            Event::Step(step) => {
                self.untold = None;
                self.last = Some(Instant::now());
                self.line(step_line(step), || object("step", step));
            }
            Event::Begin(begin) => self.line(begin_lines(begin), || object("begin", begin)),
            Event::Evaluating(words) => self.words(words),
            Event::Look(look) => {
                self.flush();
                self.heard = None;
                self.line(look_line(look), || object("look", look));
            }
            Event::Checkpoint(step) => {
                let value = || json!({"event": "checkpoint", "step": step});
                self.line(format!("checkpoint after step {step}"), value);
            }
            Event::Note(text) => {
                self.line(format!("note: {text}"), || json!({"event": "note", "text": text}));
            }
        }
    }

    /// The first and the last step are always told.
    fn is_due(&self, step: &Step) -> bool {
        let ended = step.steps == Some(step.step);
        ended || self.last.is_none_or(|last| last.elapsed() >= PAUSE)
    }

    fn words(&mut self, words: &str) {
        if self.heard.is_none_or(|heard| heard.elapsed() >= PAUSE) {
            self.flush();
            self.heard = Some(Instant::now());
            let short: String = words.chars().take(60).collect();
            self.line(
                format!("evaluating: {short}"),
                || json!({"event": "evaluating", "text": words}),
            );
        }
    }

    /// Tells the newest step, so that what follows is not ahead of it.
    fn flush(&mut self) {
        if let Some(step) = self.untold.take() {
            self.line(step_line(&step), || object("step", &step));
        }
    }

    pub(crate) fn end(&mut self, outcome: &Outcome, out: &Path) {
        self.flush();
        self.line(end_line(outcome, out), || object("end", outcome));
    }

    fn line(&self, text: String, value: impl Fn() -> Value) {
        let line = if self.json { json_line(&value()) } else { printable(&text) };
        let mut stdout = io::stdout().lock();
        // Nobody listening is no reason to stop training.
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }
}

fn object(event: &str, value: &impl serde::Serialize) -> Value {
    let mut all = json!({"event": event});
    if let (Some(all), Ok(Value::Object(fields))) =
        (all.as_object_mut(), serde_json::to_value(value))
    {
        all.extend(fields);
    }
    all
}

/// 1234567 as 1,234,567.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

fn seconds(seconds: f64) -> String {
    clock_text(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn begin_lines(b: &Begin) -> String {
    let base = Path::new(&b.base)
        .file_name()
        .map_or_else(|| b.base.clone(), |n| n.to_string_lossy().into());
    let number = |n: usize| grouped(n as u64);
    let trained = match b.trained == b.parameters {
        true => format!("all {} parameters", number(b.parameters)),
        false => format!("{} beside {} parameters", number(b.trained), number(b.parameters)),
    };
    let mut text = format!("model {base}: trains {trained}, {} threads", b.threads);
    text.push_str(&format!(
        "\ndata {} examples, {} tokens; batches of {}, {:.1}% padding",
        number(b.examples),
        number(b.tokens),
        number(b.batch_tokens),
        100.0 * b.waste
    ));
    for (count, what) in [
        (b.held_back, "held back for validation"),
        (b.skipped, "too long, left out"),
        (b.cut, "too long, cut"),
    ] {
        if count > 0 {
            text.push_str(&format!("\n     {} {what}", number(count)));
        }
    }
    if let Some(left) = b.seconds_left {
        text.push_str(&format!("\ntime {} left in all", seconds(left)));
    }
    if let Some(step) = b.resumed {
        text.push_str(&format!("\ncontinues after step {step}"));
    }
    text
}

fn step_line(s: &Step) -> String {
    let of = s.steps.map(|n| format!("/{n}")).unwrap_or_default();
    let left = s.seconds_left.map(|left| format!("  {} left", seconds(left))).unwrap_or_default();
    let speed = grouped(s.tokens_per_second as u64);
    format!("step {}{of}  loss {:.4}  lr {:.1e}  {speed} tokens/s{left}", s.step, s.loss, s.lr)
}

fn measure(criterion: Criterion, value: f64) -> String {
    match criterion {
        Criterion::Accuracy => format!("accuracy {value:.4}"),
        Criterion::Loss | Criterion::Newest => format!("validation loss {value:.4}"),
    }
}

fn look_line(l: &Look) -> String {
    let value =
        l.value.map(|value| format!(": {}", measure(l.criterion, value))).unwrap_or_default();
    let kept = if l.kept { "saved" } else { "not better" };
    format!("look after step {}{value}, {kept} ({:.1} s)", l.step, l.seconds)
}

fn end_line(o: &Outcome, out: &Path) -> String {
    let why = match o.end {
        End::Finished => "done".to_owned(),
        End::Patience => "ended early, nothing better came".to_owned(),
        End::Deadline => "ended by the clock".to_owned(),
        End::Stopped(signal) => format!("stopped by signal {signal}"),
        End::Diverged => "diverged: the loss is no number any more".to_owned(),
    };
    let model = match o.best {
        Some(best) => {
            let value =
                best.value.map(|v| format!(", {}", measure(o.criterion, v))).unwrap_or_default();
            format!("{} is the model after step {}{value}", out.display(), best.step)
        }
        None => format!("{} is as it was", out.display()),
    };
    let spent = seconds(o.seconds);
    let waste = 100.0 * o.waste;
    format!(
        "{why}: {} steps, {} tokens, {waste:.1}% padding, {spent}\n{model}",
        o.steps,
        grouped(o.tokens)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_json_say_the_same_in_characters_that_are_shown() {
        let value = json!({"text": "a\u{202e}\"\u{7f}\u{e0001}é\n"});
        let line = json_line(&value);
        assert_eq!(line, r#"{"text":"a\u202e\"\u007f\udb40\udc01é\n"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
