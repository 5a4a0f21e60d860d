//! The table of formats, and what each must be able to do.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::TraceError;
use crate::event::Event;
use crate::parse;

/// How a scaffold prints what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Claude Code: `--output-format stream-json`.
    Claude,
    /// Codex CLI: `exec --json`.
    Codex,
    /// Gemini CLI: `--output-format stream-json`.
    Gemini,
    /// OpenCode: `run --format json`.
    OpenCode,
    /// Any other program: each line is text.
    Plain,
}

/// One row of the table: name in the registry, how a reader of it is made.
type Row = (Format, &'static str, fn() -> Box<dyn Parser>);

const TABLE: &[Row] = &[
    (Format::Claude, "claude", || Box::new(parse::claude::Claude::default())),
    (Format::Codex, "codex", || Box::new(parse::codex::Codex::default())),
    (Format::Gemini, "gemini", || Box::new(parse::gemini::Gemini::default())),
    (Format::OpenCode, "opencode", || Box::new(parse::opencode::OpenCode::default())),
    (Format::Plain, "plain", || Box::new(parse::plain::Plain::default())),
];

impl Format {
    /// Its name in an agent's file.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("plain", |row| row.1)
    }

    pub(crate) fn parser(self) -> Box<dyn Parser> {
        let row = TABLE.iter().find(|row| row.0 == self);
        row.map_or_else(|| Box::new(parse::plain::Plain::default()) as _, |row| row.2())
    }

    /// Whether the first prompt is among the lines.
    pub(crate) fn tells_prompt(self) -> bool {
        self == Self::Gemini
    }
}

impl FromStr for Format {
    type Err = TraceError;

    fn from_str(name: &str) -> Result<Self, TraceError> {
        let row = TABLE.iter().find(|row| row.1 == name);
        row.map(|row| row.0).ok_or_else(|| TraceError::Format(name.to_owned()))
    }
}

/// A reader of one format.
pub(crate) trait Parser: Send {
    /// Turns a line into events. `seconds`: since the attempt began, when known.
    fn line(&mut self, line: &str, seconds: Option<f64>, out: &mut dyn FnMut(Event<'_>))
    -> Verdict;

    /// Whether the error stream is read like the other one.
    fn takes_stderr(&self) -> bool {
        false
    }
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Used,
    /// Known, nothing in it for a reader.
    Passed,
    /// JSON, but nothing that this format has.
    Unknown,
    /// Not JSON.
    Broken,
}

impl From<serde_json::Error> for Verdict {
    fn from(error: serde_json::Error) -> Self {
        match error.is_data() {
            true => Self::Unknown,
            false => Self::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Format, TABLE};

    #[test]
    fn names_are_read_as_they_are_told() {
        for (format, name, _) in TABLE {
            assert_eq!((name.parse::<Format>().unwrap(), format.name()), (*format, *name));
            assert_eq!(serde_json::to_string(format).unwrap(), format!("\"{name}\""));
        }
        let error = "Claude".parse::<Format>().unwrap_err().to_string();
        assert!(error.starts_with("no trace format is called \"Claude\"; hint: "), "{error}");
    }
}
