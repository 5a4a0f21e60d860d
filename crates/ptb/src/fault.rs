//! Errors as the user sees them, with their exit codes.

use miette::{Diagnostic, Report};
use ptb_core::failure::ExitCode;
use ptb_report::text::harmless;

use crate::print;

/// Why a command ended without its result.
#[derive(Debug)]
pub(crate) struct Fault {
    code: ExitCode,
    report: Report,
}

/// What a subcommand gives.
pub(crate) type Outcome = Result<ExitCode, Fault>;

impl Fault {
    /// A fault told by a text; a part after `hint: ` is shown as the hint.
    pub(crate) fn new(code: ExitCode, text: impl std::fmt::Display) -> Self {
        // Messages quote files that others made.
        let text = text.to_string().split('\n').map(harmless).collect::<Vec<_>>().join("\n");
        let split = text.rsplit_once("\nhint: ").or_else(|| text.rsplit_once("; hint: "));
        let report = match split {
            Some((message, hint)) => miette::miette!(help = hint.to_owned(), "{message}"),
            None => miette::miette!("{text}"),
        };
        Self { code, report }
    }

    /// Bad usage or input.
    pub(crate) fn usage(e: impl std::fmt::Display) -> Self {
        Self::new(ExitCode::Usage, e)
    }

    /// Our machine or program.
    pub(crate) fn harness(e: impl std::fmt::Display) -> Self {
        Self::new(ExitCode::Harness, e)
    }

    /// A hand-written file, with an excerpt where there is one.
    pub(crate) fn file(e: impl Diagnostic + Send + Sync + 'static) -> Self {
        if e.help().is_none() && e.source_code().is_none() {
            return Self::usage(e);
        }
        Self { code: ExitCode::Usage, report: Report::new(e) }
    }

    pub(crate) fn code(&self) -> ExitCode {
        self.code
    }

    /// Tells it on stderr; with `--json` as a JSON object.
    pub(crate) fn tell(&self, json: bool) {
        if json {
            let hint = self.report.help().map(|h| h.to_string());
            let value = serde_json::json!({ "error": self.report.to_string(), "hint": hint, "code": self.code as u8 });
            return print::err(&value.to_string());
        }
        print::err(format!("{:?}", self.report).trim_end());
    }
}
