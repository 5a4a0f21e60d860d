//! `ptb score` and `ptb render` against what reference software said (`PTB_SHARED`).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Answer, Place, shared};

fn rows(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

/// `ptb score gsm8k` on these lines.
fn scored(place: &Place, data: &Path, lines: &[Value], more: &[&str]) -> Answer {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let file = place.write("completions.jsonl", text);
    let args = [
        "score",
        "gsm8k",
        "--completions",
        file.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
        "--json",
    ];
    place.output(&[&args, more].concat())
}

fn metrics(answer: &Answer) -> Value {
    serde_json::from_str(answer.err.lines().last().unwrap())
        .expect("the last line of stderr is the metrics")
}

/// Every reference completion, against data whose answers are the reference's targets.
#[test]
fn numeric_verdicts_equal_the_reference() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let rows = rows(&shared.join("oracle/numeric_gsm8k.jsonl"));
    let data: String = rows
        .iter()
        .map(|row| {
            let answer = format!("so it is\n#### {}", row["target"].as_str().unwrap());
            format!("{}\n", json!({ "question": "?", "answer": answer }))
        })
        .collect();
    let data = place.write("data/test.jsonl", data);
    let lines: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| json!({ "id": (i + 1).to_string(), "completion": row["completion"] }))
        .collect();
    let answer = scored(&place, &data, &lines, &[]);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let graded: Vec<Value> = answer.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(graded.len(), rows.len());
    let mut correct = 0;
    for (row, graded) in rows.iter().zip(&graded) {
        let expected = f64::from(u8::from(row["correct_fixed"].as_bool().unwrap()));
        assert_eq!(graded["score"].as_f64(), Some(expected), "{row} {graded}");
        correct += usize::from(expected > 0.0);
    }
    let accuracy = metrics(&answer)["accuracy"].as_f64().unwrap();
    assert!((accuracy - correct as f64 / rows.len() as f64).abs() < 1e-12, "{accuracy}");
}

#[test]
fn ids_are_checked_against_the_real_questions() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let data = shared.join("data/gsm8k");
    let all: Vec<Value> = rows(&data.join("test.jsonl"))
        .iter()
        .map(|row| row["answer"].as_str().unwrap().rsplit("#### ").next().unwrap().to_owned())
        .enumerate()
        .map(|(i, target)| json!({ "id": (i + 1).to_string(), "completion": format!("ANSWER: {target}") }))
        .collect();
    assert_eq!(all.len(), 1319);
    let perfect = scored(&place, &data, &all, &[]);
    let expected = |n: u64| (Some(n), Some(1.0), Some(0));
    let told = |answer: &Answer| {
        let m = metrics(answer);
        (m["n"].as_u64(), m["accuracy"].as_f64(), m["errors"].as_u64())
    };
    assert_eq!((perfect.code, told(&perfect)), (0, expected(1319)), "{}", perfect.err);
    // Without ids, a line's number is its id.
    let bare: Vec<Value> = all.iter().map(|l| json!({ "completion": l["completion"] })).collect();
    assert_eq!(told(&scored(&place, &data, &bare, &[])), expected(1319));

    let missing = &all[1..];
    let refused = scored(&place, &data, missing, &[]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.shown());
    assert!(
        refused.err.contains("1 of 1319 samples of gsm8k have no completion (1)"),
        "{}",
        refused.err
    );
    let partial = scored(&place, &data, missing, &["--partial"]);
    assert_eq!((partial.code, told(&partial)), (0, expected(1318)), "{}", partial.err);
    assert_eq!(metrics(&partial)["missing"].as_u64(), Some(1), "missing ones are counted");

    let with = |line: Value| [&all[..], &[line]].concat();
    for (line, word) in [
        (json!({ "id": "1320", "completion": "" }), "1320"),
        (json!({ "id": "7", "completion": "" }), "already"),
        (json!({ "id": "7" }), "completion"),
        (json!(["7"]), "1320"),
    ] {
        for more in [&[][..], &["--partial"]] {
            let answer = scored(&place, &data, &with(line.clone()), more);
            assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{line} {}", answer.err);
            assert!(answer.err.contains(word), "{line}: {}", answer.err);
        }
    }
}

#[test]
fn completions_come_from_stdin_too() {
    let place = Place::new();
    let data = place.write("test.jsonl", "{\"question\": \"1+1?\", \"answer\": \"#### 2\"}\r\n");
    let mut child = place
        .ptb(&["score", "gsm8k", "--completions", "-", "--data", data.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\xef\xbb\xbf{\"completion\": \"ANSWER: 2\"}\r\n")
        .unwrap();
    let answer = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!((answer.code, answer.out.as_str()), (0, ""), "{}", answer.shown());
    assert_eq!(metrics(&answer)["accuracy"].as_f64(), Some(1.0));
}

/// What `ptb render` is asked for one row.
fn render(place: &Place, row: &Value) -> std::process::Output {
    let (model, template) = match row["template"].as_str().unwrap() {
        "qwen3.jinja" => ("qwen3-1.7b", None),
        "smollm.jinja" => ("smollm3-3b", None),
        "gemma3.jinja" => ("gemma3-4b", None),
        "gemma3_tool_calling.jinja" => ("gemma3-4b", Some("gemma3-tools")),
        other => panic!("an unknown template: {other}"),
    };
    let messages = place.write("messages.json", row["messages"].to_string());
    let kwargs = row["kwargs"].to_string();
    let date = row["strftime_now_fixed"].as_str().unwrap();
    let mut command = place.ptb(&["render", "--model", model, "--kwargs", &kwargs, "--date", date]);
    command.arg("--messages").arg(messages);
    if !row["tools"].is_null() {
        command.arg("--tools").arg(place.write("tools.json", row["tools"].to_string()));
    }
    command.args(template.iter().flat_map(|t| ["--template", t]));
    command.output().unwrap()
}

#[test]
fn renderings_equal_the_reference_byte_for_byte() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let rows = rows(&shared.join("oracle/chat_render.jsonl"));
    assert_eq!(rows.iter().filter(|r| r["template"] == "qwen3.jinja").count(), 60);
    for row in &rows {
        let output = render(&place, row);
        let err = String::from_utf8_lossy(&output.stderr);
        if row["error"].is_null() {
            assert_eq!(output.status.code(), Some(0), "{row}: {err}");
            let expected = row["rendered"].as_str().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{row}");
        } else {
            assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{row}: {err}");
        }
    }
    eprintln!("{} renderings equal", rows.len());
}
