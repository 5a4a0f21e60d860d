//! Replies that nobody would write: every scorer grades them, in time that grows with their length alone. Nothing
//! here is timed: what grew with its square would not end.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::{Scorer, ScorerKind, ToolForm};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Outcome, Reply, ToolCall, score};
use serde_json::json;

/// A long reply, in bytes.
const LONG: usize = 50_000_000;
/// A reply that is long enough to tell time that grows with the square.
const SQUARE: usize = 200_000;

fn scorers() -> [(Scorer, Sample); 5] {
    let sample = |target: &str| Sample {
        target: target.to_owned(),
        choices: vec![String::new(); 4],
        tools: vec![json!({"function": {"name": "f", "parameters": {"properties": {"a": {}}}}})],
        fields: json!({"t": "def check(f): pass", "e": "f"}).as_object().unwrap().clone(),
        ..Sample::default()
    };
    let numeric = Scorer { boxed: true, ..Scorer::new(ScorerKind::Numeric) };
    let (t, e) = (Some("t".to_owned()), Some("e".to_owned()));
    let code = Scorer { tests: t, entry_point: e, ..Scorer::new(ScorerKind::Code) };
    [
        (numeric, sample("7")),
        (Scorer::new(ScorerKind::Exact), sample("yes")),
        (Scorer::new(ScorerKind::Choice), sample("B")),
        (code, sample("")),
        (Scorer::new(ScorerKind::ToolCall), sample("f(a=1)")),
    ]
}

/// Whether a reply is right; code is always to be run.
fn right(scorer: &Scorer, text: &str, sample: &Sample) -> bool {
    let reply = Reply { text, form: ToolForm::Gemma, ..Reply::default() };
    match score(scorer, &reply, sample).unwrap() {
        Outcome::Graded(graded) => graded.score == 1.0,
        Outcome::Run(program) => program.source.len() <= text.len(),
    }
}

#[test]
fn fifty_megabytes_are_graded() {
    let [numeric, exact, choice, code, call] = scorers();
    let words = "x y ".repeat(LONG / 4);
    assert!(right(&numeric.0, &format!("{words}7"), &numeric.1));
    assert!(!right(&exact.0, &words, &exact.1));
    assert!(right(&choice.0, &format!("{words}\nANSWER: B"), &choice.1));
    assert!(right(&code.0, &format!("```python\n{words}\n```"), &code.1));
    let element = r#"<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>"#;
    assert!(right(&call.0, &format!("{words}{element}"), &call.1));
}

#[test]
fn what_repeats_is_graded_in_linear_time() {
    let parts = [
        "7",
        "½",
        "7 ",
        "1,",
        "-",
        ".",
        "\\boxed{",
        "\\boxed{7}",
        "}",
        "ANSWER: ",
        "ANSWER:",
        "ANSWER: B ",
        "ANSWER: B\n",
        "ANSWER : (",
        "$",
        "$ A",
        "**",
        "** B ",
        ": (B)",
        ",(B) ",
        "(",
        " ",
        "\n",
        ":\n    ",
        "`",
        "```",
        "```\n",
        "```python\n",
        "<think>",
        "</think>",
        "<think >",
        "<think signature=\"",
        "<tool_call>",
        "</tool_call>",
        "<tool_call>{",
        "```tool_code\n",
        "{",
        "[",
        "{\"a\":",
        "\"",
        "\\",
        "\u{0}",
        "é",
        "\u{1F600}",
        "- ",
        "- - ",
        "? ",
        "a: ",
        "&a [*a,",
        "!!",
    ];
    for part in parts {
        let text = part.repeat(SQUARE / part.len());
        for (scorer, sample) in scorers() {
            for text in [&text, &format!("{text}ANSWER: C"), &format!("<tool_call>{text}")] {
                let right = right(&scorer, text, &sample);
                assert!(
                    !right
                        || [ScorerKind::Code, ScorerKind::Numeric, ScorerKind::Choice]
                            .contains(&scorer.kind)
                );
            }
        }
        // The same as arguments that a server hands on.
        let (scorer, sample) = &scorers()[4];
        for arguments in [text.clone(), format!("{{\"a\": {text}"), format!("[{text}")] {
            let calls = [ToolCall { name: "f".to_owned(), arguments: arguments.into() }];
            let reply = Reply { tool_calls: Some(&calls), ..Reply::default() };
            assert_eq!(score(scorer, &reply, sample).unwrap().graded().unwrap().score, 0.0);
        }
    }
}

#[test]
fn empty_replies_are_wrong() {
    for (scorer, sample) in scorers() {
        for text in ["", " ", "\n", "\u{feff}", "\u{0}"] {
            let code = scorer.kind == ScorerKind::Code;
            assert_eq!(right(&scorer, text, &sample), code, "{:?} {text:?}", scorer.kind);
        }
    }
}
