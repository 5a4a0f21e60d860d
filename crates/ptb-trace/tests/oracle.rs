//! Traces of the real scaffolds: whole outcomes beside a table, the owner's validator, snapshots for people.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod common;

use common::{Made, about, made, traces, validated};
use ptb_trace::{Ended, Format, TroubleKind};

/// What a trace must come to.
struct Wanted {
    file: &'static str,
    format: Format,
    lines: u64,
    steps: u64,
    calls: u64,
    /// Prompt and generated tokens.
    tokens: (u64, u64),
    cost: Option<f64>,
    finished: bool,
    session: &'static str,
    /// Failures of the API, how the last was told.
    errors: u64,
    last_error: Option<TroubleKind>,
}

const TABLE: &[Wanted] = &[
    Wanted {
        file: "claude-2.1.197",
        format: Format::Claude,
        lines: 5,
        steps: 2,
        calls: 1,
        tokens: (200, 40),
        cost: Some(0.0012000000000000001),
        finished: true,
        session: "e4ee3bb8-bab5-40d4-aa78-2539e8df2804",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "claude-2.1.329",
        format: Format::Claude,
        lines: 5,
        steps: 2,
        calls: 1,
        tokens: (200, 40),
        cost: Some(0.0012000000000000001),
        finished: true,
        session: "3ad2d727-5582-47f0-9de9-07bbd14ba348",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "codex-0.169.0",
        format: Format::Codex,
        lines: 7,
        steps: 3,
        calls: 1,
        tokens: (200, 40),
        cost: None,
        finished: true,
        session: "01a1fd33-1cc1-7e83-a861-4d98160ee477",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "gemini-0.61.0",
        format: Format::Gemini,
        lines: 6,
        steps: 3,
        calls: 1,
        tokens: (200, 40),
        cost: None,
        finished: true,
        session: "83409419-6055-44bd-8b31-1f097bfb75d8",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "opencode-1.18.33",
        format: Format::OpenCode,
        lines: 6,
        steps: 2,
        calls: 1,
        tokens: (200, 40),
        cost: Some(0.0),
        finished: true,
        session: "ses_e02ccd4aeffeIzQhcHcHFyL3cz",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "apierror-claude",
        format: Format::Claude,
        lines: 7,
        steps: 6,
        calls: 0,
        tokens: (0, 0),
        cost: None,
        finished: false,
        session: "3c28e296-b572-4c4c-86fc-6099702cf4ec",
        errors: 6,
        last_error: Some(TroubleKind::Unknown),
    },
    Wanted {
        file: "apierror-codex",
        format: Format::Codex,
        lines: 5,
        steps: 3,
        calls: 0,
        tokens: (0, 0),
        cost: None,
        finished: false,
        session: "01a1fd42-ed29-7073-ae17-343bd6259880",
        errors: 2,
        last_error: Some(TroubleKind::Unknown),
    },
    Wanted {
        file: "apierror-gemini",
        format: Format::Gemini,
        lines: 2,
        steps: 1,
        calls: 0,
        tokens: (0, 0),
        cost: None,
        finished: false,
        session: "e019683d-4085-472d-9e51-4ede2e4d8e09",
        errors: 0,
        last_error: None,
    },
    Wanted {
        file: "apierror-opencode",
        format: Format::OpenCode,
        lines: 1,
        steps: 2,
        calls: 0,
        tokens: (0, 0),
        cost: None,
        finished: false,
        session: "ses_e02bcfb4cffeChZCa7mX0y0Bim",
        errors: 1,
        last_error: Some(TroubleKind::Unknown),
    },
];

#[test]
fn traces_of_real_scaffolds_are_parsed_whole() {
    let Some(folder) = traces() else { return };
    let mut all: Vec<Made> = Vec::new();
    for wanted in TABLE {
        let Wanted { file, format, .. } = wanted;
        let input = std::fs::read(folder.join(format!("{file}.jsonl"))).unwrap();
        let made = made(&input, *format, &about());
        let s = &made.summary;
        assert_eq!(
            (s.lines.total, s.lines.unknown, s.lines.broken),
            (wanted.lines, 0, 0),
            "{file}"
        );
        assert_eq!((s.steps, s.tool_calls), (wanted.steps, wanted.calls), "{file}");
        assert_eq!((s.unanswered_calls, s.unmatched_results), (0, 0), "{file}");
        assert_eq!((s.usage.input, s.usage.output), wanted.tokens, "{file}");
        assert_eq!(s.reported_cost, wanted.cost, "{file}");
        assert_eq!(s.ended == Ended::Finished, wanted.finished, "{file}: {:?}", s.ended);
        assert_eq!(s.session_id.as_deref(), Some(wanted.session), "{file}");
        assert_eq!(s.api_errors, wanted.errors, "{file}");
        assert_eq!(s.api_error.as_ref().map(|e| e.kind), wanted.last_error, "{file}");
        all.push(made);
    }
    let present = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(present, TABLE.len(), "every trace of the folder is in the table");
    let texts: Vec<&str> = all.iter().map(|m| m.trajectory.as_str()).collect();
    let Some(read) = validated(&texts) else { return };
    for (wanted, read) in TABLE.iter().zip(read) {
        assert_eq!(read, (wanted.steps, wanted.calls, wanted.calls), "{}", wanted.file);
    }
}

#[test]
fn people_read_what_happened() {
    let Some(folder) = traces() else { return };
    for file in
        ["claude-2.1.197", "codex-0.169.0", "gemini-0.61.0", "opencode-1.18.33", "apierror-codex"]
    {
        let format: Format =
            file.trim_start_matches("apierror-").split('-').next().unwrap().parse().unwrap();
        let input = std::fs::read(folder.join(format!("{file}.jsonl"))).unwrap();
        let made = made(&input, format, &about());
        insta::assert_snapshot!(file, made.transcript);
    }
    let input = std::fs::read(folder.join("gemini-0.61.0.jsonl")).unwrap();
    insta::assert_snapshot!("trajectory", made(&input, Format::Gemini, &about()).trajectory);
}
