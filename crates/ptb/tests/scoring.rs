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

/// `ptb score BENCHMARK` on these lines.
fn scored(place: &Place, benchmark: &str, data: &Path, lines: &[Value], more: &[&str]) -> Answer {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let file = place.write("completions.jsonl", text);
    let (file, data) = (file.to_str().unwrap(), data.to_str().unwrap());
    let args = ["score", benchmark, "--completions", file, "--data", data, "--json"];
    place.output(&[&args, more].concat())
}

fn metrics(answer: &Answer) -> Value {
    serde_json::from_str(answer.err.lines().last().unwrap())
        .expect("the last line of stderr is the metrics")
}

/// One verdict of the reference: the record that it is about, the line that says the completion, whether it is right.
struct Case {
    record: Value,
    line: Value,
    right: bool,
}

/// Scores cases through `ptb score`, each with a record of its own, and finds the reference's verdicts.
fn assert_verdicts(benchmark: &str, more: &[&str], cases: impl IntoIterator<Item = Case>) {
    let place = Place::new();
    let cases: Vec<Case> = cases.into_iter().collect();
    let data: String = cases.iter().map(|c| format!("{}\n", c.record)).collect();
    let data = place.write("data/test.jsonl", data);
    let lines: Vec<Value> =
        cases.iter().filter(|c| !c.line.is_null()).map(|c| c.line.clone()).collect();
    let answer = scored(&place, benchmark, &data, &lines, more);
    assert_eq!(answer.code, 0, "{}", answer.shown());
    let graded: Vec<Value> = answer.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let said: Vec<&Case> = cases.iter().filter(|c| !c.line.is_null()).collect();
    assert_eq!(graded.len(), said.len());
    for (case, graded) in said.iter().zip(&graded) {
        assert_eq!(graded["score"], json!(f64::from(case.right)), "{} {graded}", case.line);
    }
    let right = said.iter().filter(|c| c.right).count() as f64 / said.len() as f64;
    let found = metrics(&answer);
    assert!((found["accuracy"].as_f64().unwrap() - right).abs() < 1e-12, "{found}");
    assert_eq!((&found["n"], &found["errors"]), (&json!(said.len()), &json!(0)));
    eprintln!("{benchmark}: {} verdicts are the reference's", said.len());
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap()
}

#[test]
fn numeric_verdicts_equal_the_reference() {
    let Some(shared) = shared() else { return };
    let gsm8k: fn(&str) -> Value =
        |target| json!({ "question": "?", "answer": format!("thus\n#### {target}") });
    let aime: fn(&str) -> Value = |target| json!({ "problem": "?", "answer": target });
    for (benchmark, record) in [("gsm8k", gsm8k), ("aime2025", aime)] {
        let rows = rows(&shared.join(format!("oracle/numeric_{benchmark}.jsonl")));
        assert!(rows.len() >= 63);
        let case = |(i, row): (usize, &Value)| {
            let (id, mut record) = (format!("case {i}"), record(text(row, "target")));
            record["id"] = json!(id);
            let line = json!({ "id": id, "completion": row["completion"] });
            Case { record, line, right: row["correct_fixed"].as_bool().unwrap() }
        };
        assert_verdicts(benchmark, &[], rows.iter().enumerate().map(case));
    }
}

/// The letters of right choices follow from the seed and a record's place, so each completion goes to a place whose
/// letter is its target.
#[test]
fn verdicts_over_choices_equal_the_reference() {
    let Some(shared) = shared() else { return };
    let rows = rows(&shared.join("oracle/choice_gpqa.jsonl"));
    let orders = fs::read(shared.join("oracle/gpqa_choice_orders.json")).unwrap();
    let orders: Value = serde_json::from_slice(&orders).unwrap();
    for seed in ["42", "0", "1234"] {
        let order_of = orders["seeds"][seed].as_array().unwrap();
        let mut left: Vec<&Value> = rows.iter().filter(|r| r["n_choices"] == 4).collect();
        let count = left.len();
        assert!(count >= 95, "{count}");
        let cases: Vec<Case> = order_of
            .iter()
            .enumerate()
            .map(|(i, order)| {
                let id = format!("rec{i}");
                let letter = ["A", "B", "C", "D"][order.as_str().unwrap().find('0').unwrap()];
                let record = json!({
                    "Record ID": id, "Question": "?", "Correct Answer": "w",
                    "Incorrect Answer 1": "x", "Incorrect Answer 2": "y", "Incorrect Answer 3": "z",
                });
                let place = left.iter().position(|row| row["target"] == letter);
                let Some(row) = place.map(|place| left.remove(place)) else {
                    return Case { record, line: Value::Null, right: false };
                };
                let line = json!({ "id": id, "completion": row["completion"] });
                Case { record, line, right: row["correct_inspect_latest"].as_bool().unwrap() }
            })
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let more: &[&str] = if seed == "42" { &[] } else { &["--seed", seed] };
        assert_verdicts("gpqamain", &[&["--partial"], more].concat(), cases);
    }
}

#[test]
fn verdicts_over_programs_equal_the_reference() {
    let Some(shared) = shared() else { return };
    let problems = rows(&shared.join("data/humaneval/HumanEval.jsonl"));
    let rows = rows(&shared.join("oracle/code_humaneval.jsonl"));
    assert!(rows.len() >= 104);
    let case = |row: &Value| {
        let mut record = problems.iter().find(|p| p["task_id"] == row["task_id"]).unwrap().clone();
        record["task_id"] = row["id"].clone();
        let line = json!({ "task_id": row["id"], "completion": row["completion"] });
        Case { record, line, right: row["correct_fixed"].as_bool().unwrap() }
    };
    assert_verdicts("humaneval", &[], rows.iter().map(case));
}

/// The reference's own solutions are all right, and none is that only raises.
#[test]
fn every_reference_solution_passes_and_nothing_that_raises() {
    let Some(shared) = shared() else { return };
    let problems = rows(&shared.join("data/humaneval/HumanEval.jsonl"));
    assert_eq!(problems.len(), 164);
    for (body, right) in [(None, true), (Some("    raise ValueError(\"no\")\n"), false)] {
        let case = |problem: &Value| {
            let body = body.unwrap_or(text(problem, "canonical_solution"));
            let code = format!("```python\n{}{body}```", text(problem, "prompt"));
            let line = json!({ "task_id": problem["task_id"], "completion": code });
            Case { record: problem.clone(), line, right }
        };
        assert_verdicts("humaneval", &[], problems.iter().map(case));
    }
}

/// Calls from the server's field, and written out as models write them. A line is one message: what the reference
/// says of two cannot be asked.
#[test]
fn verdicts_over_calls_equal_the_reference() {
    let Some(shared) = shared() else { return };
    let records = rows(&shared.join("data/bfcl/BFCL_v3_exec_simple.jsonl"));
    let rows = rows(&shared.join("oracle/bfcl_calls.jsonl"));
    let rows: Vec<&Value> =
        rows.iter().filter(|r| r["n_assistant_messages"].as_u64().unwrap() < 2).collect();
    assert!(rows.len() >= 274);
    for written in [false, true] {
        let case = |row: &&Value| {
            let mut record = records.iter().find(|r| r["id"] == row["record_id"]).unwrap().clone();
            record["id"] = row["id"].clone();
            let calls = row["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
            let calls: Vec<Value> = calls
                .iter()
                .map(|c| json!({ "name": c["function"], "arguments": c["arguments"] }))
                .collect();
            let line = if written {
                let call = |c: &Value| format!("<tool_call>\n{c}\n</tool_call>\n");
                json!({ "id": row["id"], "completion": calls.iter().map(call).collect::<String>() })
            } else {
                json!({ "id": row["id"], "completion": "", "tool_calls": calls })
            };
            Case { record, line, right: row["correct_inspect"].as_bool().unwrap() }
        };
        assert_verdicts("bfcl", &[], rows.iter().map(case));
    }
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
    let perfect = scored(&place, "gsm8k", &data, &all, &[]);
    let expected = |n: u64| (Some(n), Some(1.0), Some(0));
    let told = |answer: &Answer| {
        let m = metrics(answer);
        (m["n"].as_u64(), m["accuracy"].as_f64(), m["errors"].as_u64())
    };
    assert_eq!((perfect.code, told(&perfect)), (0, expected(1319)), "{}", perfect.err);
    // Without ids, a line's number is its id.
    let bare: Vec<Value> = all.iter().map(|l| json!({ "completion": l["completion"] })).collect();
    assert_eq!(told(&scored(&place, "gsm8k", &data, &bare, &[])), expected(1319));

    let missing = &all[1..];
    let refused = scored(&place, "gsm8k", &data, missing, &[]);
    assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.shown());
    assert!(
        refused.err.contains("1 of 1319 samples of gsm8k have no completion (1)"),
        "{}",
        refused.err
    );
    let partial = scored(&place, "gsm8k", &data, missing, &["--partial"]);
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
            let answer = scored(&place, "gsm8k", &data, &with(line.clone()), more);
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
    assert_eq!(answer.code, 0, "{}", answer.shown());
    assert!(answer.out.starts_with("gsm8k: accuracy 1.0000 ± 0.0000 over 1 samples"));
    assert_eq!(metrics(&answer)["accuracy"].as_f64(), Some(1.0));
}

/// What `ptb render` is asked for one row.
fn render(place: &Place, row: &Value) -> std::process::Output {
    let (model, template) = match row["template"].as_str().unwrap() {
        "qwen3.jinja" => ("qwen3-1.7b", None),
        "smollm.jinja" => ("smollm3-3b", None),
        named @ ("gemma3.jinja" | "gemma3_tool_calling.jinja") => ("gemma3-4b", Some(named)),
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
fn what_is_rendered_is_what_the_files_hold() {
    let place = Place::new();
    place.write("m.json", r#"[{"role": "user", "content": "from the file"}]"#);
    place.write("object.json", r#"{"role": "user", "content": "x"}"#);
    place.write("texts.json", r#"["x"]"#);
    let render = |more: &[&str]| {
        place.output(&[&["render", "--model", "tiny", "--messages"], more].concat())
    };
    for (more, words) in [
        (
            &["m.json", "--kwargs", r#"{"messages": [{"role": "user", "content": "x"}]}"#][..],
            ["`messages` cannot be given in --kwargs", "--messages FILE"],
        ),
        (
            &["m.json", "--kwargs", r#"{"tools": null}"#],
            ["`tools` cannot be given in --kwargs", "--tools FILE"],
        ),
        (
            &["object.json"],
            ["object.json holds an object, not a list of messages", "[{\"role\": \"user\""],
        ),
        (
            &["texts.json"],
            ["texts.json holds a list with a text, not a list of messages", "[{\"role\""],
        ),
        (
            &["m.json", "--tools", "object.json"],
            ["object.json holds an object, not a list of tools", "\"function\": {\"name\""],
        ),
    ] {
        let answer = render(more);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{more:?}: {}", answer.shown());
        for word in words {
            assert!(answer.err.contains(word), "no `{word}` in: {}", answer.err);
        }
    }
    let mut command = place.ptb(&["render", "--model", "tiny", "--messages", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let text = fs::read(place.path().join("m.json")).unwrap();
    child.stdin.take().unwrap().write_all(&text).unwrap();
    let piped = Answer::of(&place, child.wait_with_output().unwrap());
    assert_eq!((piped.code, piped.out), (0, render(&["m.json"]).out));
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
