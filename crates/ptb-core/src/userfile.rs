//! Files that people write by hand (TOML): parsed with errors that show file, line and a hint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::names::nearest;

/// Largest hand-written file that is read, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// What is wrong with a hand-written file.
#[derive(Debug, Error, Diagnostic)]
pub enum UserFileError {
    /// The file could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file was read but says something wrong.
    #[error("{file}:{line}:{column}: {message}")]
    Invalid {
        /// File name as the user knows it.
        file: String,
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
        /// What is wrong.
        message: String,
        /// What to do next.
        #[help]
        hint: Option<String>,
        /// The text, for the excerpt.
        #[source_code]
        text: Arc<NamedSource<String>>,
        /// The place.
        #[label("here")]
        at: SourceSpan,
    },
}

impl UserFileError {
    /// The hint, when there is one.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Invalid { hint, .. } => hint.as_deref(),
            Self::Read { .. } => None,
        }
    }
}

/// A hand-written file's text with its name, so that checks after parsing can point into it.
#[derive(Debug, Clone)]
pub struct UserFile {
    name: String,
    text: String,
}

impl UserFile {
    /// A file from text already in memory (an embedded registry file).
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Reads a file of at most [`MAX_BYTES`]; a byte-order mark is dropped.
    pub fn read(path: &Path) -> Result<Self, UserFileError> {
        let fail = |reason: String| UserFileError::Read { path: path.to_owned(), reason };
        let bytes = crate::files::read_bounded(path, MAX_BYTES).map_err(|e| fail(e.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| fail("it is not UTF-8 text".to_owned()))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(Self::new(path.display().to_string(), text))
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Parses the text; unknown keys, wrong types and missing keys are errors that name the place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, UserFileError> {
        toml::from_str(&self.text).map_err(|e| {
            let message = e.message().trim_end_matches('\n').replace('\n', ", ");
            let hint = hint_for(&message);
            self.error(e.span().unwrap_or(0..0), message, hint)
        })
    }

    /// An error at a key or value that stands in the text, for checks after parsing. `needle` is
    /// searched as written, where a line begins with it before anywhere else; when it cannot be found, the error
    /// points at the file's start.
    pub fn error_at(
        &self,
        needle: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> UserFileError {
        let begins = |at: &usize| {
            let before = self.text.get(..*at).unwrap_or_default();
            before.rsplit('\n').next().is_none_or(|line| line.trim().is_empty())
        };
        let lines = self.text.match_indices(needle).map(|(at, _)| at).find(begins);
        let start = lines.or_else(|| self.text.find(needle)).unwrap_or(0);
        let end = if self.text.is_empty() {
            0
        } else {
            start + needle.len().min(self.text.len() - start)
        };
        self.error(start..end, message.into(), hint)
    }

    fn error(
        &self,
        span: std::ops::Range<usize>,
        message: String,
        hint: Option<String>,
    ) -> UserFileError {
        let before = self.text.get(..span.start).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        UserFileError::Invalid {
            file: harmless(&self.name),
            line,
            column,
            message,
            hint,
            text: Arc::new(NamedSource::new(harmless(&self.name), harmless(&self.text))),
            at: span.into(),
        }
    }
}

/// The text without what a terminal would act upon, byte for byte as long: an excerpt of it points at the same place.
fn harmless(text: &str) -> String {
    let acts = |c: char| {
        let invisible = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || invisible
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => out.extend(std::iter::repeat_n('?', c.len_utf8())),
            false => out.push(c),
        }
    }
    out
}

/// For serde's "unknown field/variant `x`, expected one of `a`, `b`": the nearest known name.
fn hint_for(message: &str) -> Option<String> {
    if !message.starts_with("unknown") {
        return None;
    }
    let mut quoted = message.split('`').skip(1).step_by(2);
    let word = quoted.next()?;
    let known: Vec<&str> = quoted.collect();
    match nearest(word, known.iter().copied()) {
        Some(k) => Some(format!("did you mean `{k}`?")),
        None if known.is_empty() => None,
        None => Some(format!("known here: {}", known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Thing {
        #[serde(rename = "hours")]
        _hours: f64,
    }

    #[test]
    fn an_unknown_key_names_file_line_and_nearest_key() {
        let e = UserFile::new("x.toml", "# c\n\nhuors = 1.0\n").parse::<Thing>().unwrap_err();
        assert!(e.to_string().starts_with("x.toml:3:1: unknown field `huors`"), "{e}");
        assert_eq!(e.hint(), Some("did you mean `hours`?"));
    }

    #[test]
    fn an_excerpt_holds_nothing_that_a_terminal_acts_upon() {
        let text = "# \u{1b}[2J\u{9b}\u{202e}\n\u{1b}huors = 1\n";
        let e = UserFile::new("\u{1b}[31mx.toml", text).parse::<Thing>().unwrap_err();
        let UserFileError::Invalid { text: shown, file, .. } = &e else { panic!("{e}") };
        let read = miette::SourceCode::read_span(&**shown, &(0, 5).into(), 9, 9).unwrap();
        assert_eq!(read.data().len(), text.len());
        for said in [file.as_bytes(), read.data(), e.to_string().as_bytes()] {
            let said = String::from_utf8_lossy(said).into_owned();
            assert!(!said.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{said:?}");
        }
    }

    #[test]
    fn a_wrong_type_names_the_place() {
        let e = UserFile::new("x.toml", "hours = \"ten\"").parse::<Thing>().unwrap_err();
        assert!(e.to_string().starts_with("x.toml:1:9: invalid type"), "{e}");
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let e = UserFile::new("x.toml", "hours = 1.0\n[[[\n").parse::<Thing>().unwrap_err();
        assert!(e.to_string().starts_with("x.toml:2:"), "{e}");
    }
}
