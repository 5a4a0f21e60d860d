//! Anything may come: nothing panics, every line is counted once, both records stay whole.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod common;

use common::{about, made, validated};
use proptest::prelude::*;
use ptb_trace::{Follower, Format, Look};
use pulldown_cmark::{Event, Options, Parser, Tag};

const FORMATS: [Format; 5] =
    [Format::Claude, Format::Codex, Format::Gemini, Format::OpenCode, Format::Plain];

const WORDS: &[&str] = &[
    "type",
    "assistant",
    "user",
    "system",
    "result",
    "init",
    "message",
    "content",
    "tool_use",
    "tool_result",
    "text",
    "id",
    "usage",
    "item.completed",
    "item.started",
    "item",
    "command_execution",
    "agent_message",
    "thread.started",
    "turn.completed",
    "part",
    "tool",
    "state",
    "status",
    "step_finish",
    "tokens",
    "delta",
    "role",
    "stats",
    "error",
    "parameters",
    "tool_id",
    "sessionID",
    "messageID",
    "callID",
    "timestamp",
    "2026-11-21T08:39:41Z",
    "input",
    "name",
    "Bash",
    "Edit",
    "command",
    "tool_use_id",
    "parent_tool_use_id",
];

/// Words of all formats, and values that have no business where they will stand.
fn scrap() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        proptest::sample::select(WORDS).prop_map(|w| format!("\"{w}\"")),
        Just("null".into()),
        Just("-1".into()),
        Just("1e400".into()),
        Just("18446744073709551616".into()),
        Just("true".into()),
        Just(r#""\ud800""#.into()),
        Just(r#""\u0000\u001b[2J""#.into()),
        "\\PC{0,8}".prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    value.prop_recursive(4, 40, 6, move |inner| {
        let key = proptest::sample::select(WORDS);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|v| format!("[{}]", v.join(","))),
            proptest::collection::vec((key, inner), 0..7).prop_map(|v| format!(
                "{{{}}}",
                v.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect::<Vec<_>>().join(",")
            )),
        ]
    })
}

fn holds(input: &[u8], format: Format) -> Result<String, TestCaseError> {
    let made = made(input, format, &about());
    let l = made.summary.lines;
    prop_assert_eq!(l.total, l.used + l.passed + l.unknown + l.broken + l.stderr + l.blank);
    let trajectory: serde_json::Value = serde_json::from_str(&made.trajectory).unwrap();
    prop_assert_eq!(trajectory["steps"].as_array().unwrap().len() as u64, made.summary.steps);
    prop_assert!(!made.transcript.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
    let mut lines: Vec<&[u8]> = input.split(|b| *b == b'\n').collect();
    lines.pop_if(|last| last.is_empty());
    for look in [Look::Markdown, Look::Terminal { color: false }] {
        let mut follower = Follower::new(format, &about(), look).unwrap();
        let mut followed: String = lines.iter().map(|line| follower.line(line)).collect();
        followed += &follower.finish().0;
        prop_assert!(!followed.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        prop_assert!(look != Look::Markdown || followed == made.transcript);
    }
    Ok(made.trajectory)
}

proptest! {
    #[test]
    fn bytes(input in proptest::collection::vec(any::<u8>(), 0..400), format in proptest::sample::select(&FORMATS[..])) {
        let lines = input.split(|b| *b == b'\n').count() as u64 - u64::from(input.last().is_none_or(|b| *b == b'\n'));
        holds(&input, format)?;
        prop_assert_eq!(made(&input, format, &about()).summary.lines.total, lines);
    }

    #[test]
    fn scraps(lines in proptest::collection::vec(scrap(), 0..8), format in proptest::sample::select(&FORMATS[..])) {
        holds(lines.join("\n").as_bytes(), format)?;
    }

    #[test]
    fn records(lines in proptest::collection::vec((scrap(), any::<bool>(), any::<bool>(), -1.0f64..1e300), 1..8), format in proptest::sample::select(&FORMATS[..])) {
        let record = |(text, err, more, seconds): &(String, bool, bool, f64)| {
            let text = serde_json::to_string(text).unwrap();
            let stream = if *err { "err" } else { "out" };
            format!("{{\"schema\":1,\"seconds\":{seconds:?},\"stream\":\"{stream}\",\"text\":{text},\"more\":{more}}}\n")
        };
        let input: String = lines.iter().map(record).collect();
        holds(input.as_bytes(), format)?;
    }
}

#[test]
fn generated_trajectories_are_what_the_format_says() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut all = Vec::new();
    for n in 0..300 {
        let lines =
            proptest::collection::vec(scrap(), 1..12).new_tree(&mut runner).unwrap().current();
        all.push(made(lines.join("\n").as_bytes(), FORMATS[n % 5], &about()));
    }
    let texts: Vec<&str> = all.iter().map(|m| m.trajectory.as_str()).collect();
    let Some(read) = validated(&texts) else { return };
    for (made, (steps, calls, _)) in all.iter().zip(read) {
        assert_eq!((steps, calls), (made.summary.steps, made.summary.tool_calls));
    }
}

/// Texts that would leave their place if they could.
const BREAKOUTS: &[&str] = &[
    "```\n# Heading\n```",
    "````\n<script>alert(1)</script>",
    "<b>bold</b>",
    "![x](http://e/x.png)",
    "[a](javascript:b)",
    "</pre><h1>x",
    "\n\n# Heading\n\n- list\n\n---\n\n| a | b |\n|---|---|\n",
    "<!-- ",
    "<details>",
    "&lt;b&gt;",
    "\r# Heading",
    "\u{2028}# Heading",
    "~~~\nx",
    "    code\n\n<p>",
    "setext\n===\n",
    "1. one\n2. two",
    "`` ` <i> ``",
    "[x]: http://e\n\n[x]",
    "<http://e>",
    "*a* __b__ ~~c~~",
];

#[test]
fn no_text_leaves_its_place() {
    let mut lines = Vec::new();
    for (n, text) in BREAKOUTS.iter().enumerate() {
        let quoted = serde_json::to_string(text).unwrap();
        for block in [
            format!(r#"{{"type":"text","text":{quoted}}}"#),
            format!(r#"{{"type":"thinking","thinking":{quoted}}}"#),
            format!(
                r#"{{"type":"tool_use","id":{quoted},"name":{quoted},"input":{{"x":{quoted}}}}}"#
            ),
            format!(
                r#"{{"type":"tool_use","id":"b{n}","name":"Bash","input":{{"command":{quoted}}}}}"#
            ),
            format!(
                r#"{{"type":"tool_use","id":"e{n}","name":"Edit","input":{{"file_path":{quoted},"old_string":{quoted},"new_string":"y"}}}}"#
            ),
            format!(
                r#"{{"type":"tool_use","id":"w{n}","name":"Write","input":{{"file_path":"p","content":{quoted}}}}}"#
            ),
        ] {
            lines.push(
                format!(r#"{{"type":"assistant","message":{{"id":{n},"content":[{block}]}}}}"#)
                    .replace(&format!("\"id\":{n},"), &format!("\"id\":\"m{n}\",")),
            );
        }
        lines.push(format!(r#"{{"type":"user","parent_tool_use_id":{quoted},"message":{{"content":[{{"type":"tool_result","tool_use_id":{quoted},"content":{quoted}}},{{"type":"text","text":{quoted}}}]}}}}"#));
        lines.push((*text).to_owned());
        lines.push(format!(r#"{{"type":"result","subtype":{quoted},"result":{quoted}}}"#));
    }
    let made = made(lines.join("\n").as_bytes(), Format::Claude, &about());
    let (mut headings, mut quotes) = (0, 0);
    for event in Parser::new_ext(&made.transcript, Options::all()) {
        match &event {
            Event::Html(_) | Event::InlineHtml(_) => panic!("{event:?}"),
            Event::Start(Tag::Heading { .. }) if quotes == 0 => headings += 1,
            Event::Start(Tag::BlockQuote(_)) => quotes += 1,
            Event::End(pulldown_cmark::TagEnd::BlockQuote(_)) => quotes -= 1,
            Event::Start(
                Tag::Heading { .. }
                | Tag::Image { .. }
                | Tag::Link { .. }
                | Tag::Table(_)
                | Tag::HtmlBlock,
            ) => panic!("{event:?}"),
            Event::Start(Tag::List(_)) if quotes > 0 => panic!("{event:?}"),
            _ => {}
        }
    }
    let ours =
        made.transcript.lines().filter(|l| l.starts_with("# ") || l.starts_with("## ")).count();
    let own = made
        .transcript
        .lines()
        .filter(|l| l.starts_with("## ") && l.contains(" · ") || *l == "## End")
        .count();
    // Lines of code may begin like headings; the Markdown parser alone knows.
    assert_eq!(headings, own + 1, "{ours} lines look like headings");
}

#[test]
fn small_pieces_of_a_long_line_do_not_become_large_in_memory() {
    let blocks = "{},".repeat(2 << 20);
    let keys: String = (0..200_000).map(|n| format!("\"k{n}\":1,")).collect();
    let lines = [
        format!(r#"{{"type":"assistant","message":{{"id":"m","content":[{blocks}{{}}]}}}}"#),
        format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t","content":[{blocks}{{}}]}}]}}}}"#
        ),
        format!(
            r#"{{"type":"assistant","message":{{"id":"n","content":[{{"type":"tool_use","id":"e","name":"MultiEdit","input":{{"file_path":"p","edits":[{blocks}{{}}]}}}}]}}}}"#
        ),
        format!(
            r#"{{"type":"assistant","message":{{"id":"o","content":[{{"type":"tool_use","id":"b","name":"Bash","input":{{{keys}"command":"ls"}}}}]}}}}"#
        ),
    ];
    let before = peak();
    let made = made(lines.join("\n").as_bytes(), Format::Claude, &about());
    assert_eq!((made.summary.lines.unknown, made.summary.lines.used), (1, 3));
    assert!(made.transcript.contains("```sh\nls\n```"));
    let grown = peak() - before;
    assert!(grown < 150 << 10, "{grown} kB more for lines of 6 MB");
}

/// Most memory of this process so far, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
