//! Traces as they can come: parallel calls, results that are late or belong to nobody, sub-agents, resumed sessions,
//! failures. Whole outcomes, read back by the format's own package.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a step that fails fails the test")]

mod common;

use common::{about, made, validated};
use ptb_trace::{About, Budget, Ended, Follower, Format, Look, TroubleKind, Usage};
use serde_json::{Value, json};

fn lines(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|v| format!("{v}\n").into_bytes()).collect()
}

fn init(session: &str) -> Value {
    json!({"type": "system", "subtype": "init", "session_id": session, "model": "m", "claude_code_version": "2.1.0"})
}

fn block(message: &str, thread: Value, block: Value) -> Value {
    json!({"parent_tool_use_id": thread, "type": "assistant", "message": {"id": message, "model": "m", "content": [block],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3,
                  "cache_creation": {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 1}, "output_tokens": 7}}})
}

fn call(message: &str, thread: Value, id: &str) -> Value {
    block(
        message,
        thread,
        json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": format!("run {id}")}}),
    )
}

fn result(thread: Value, id: &str, content: Value) -> Value {
    json!({"type": "user", "parent_tool_use_id": thread, "message": {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": id, "content": content}]}})
}

fn steps(trajectory: &str) -> Vec<Value> {
    let whole: Value = serde_json::from_str(trajectory).unwrap();
    whole["steps"].as_array().unwrap().clone()
}

#[test]
fn one_message_is_one_step_and_costs_once() {
    let thought = json!({"type": "thinking", "thinking": "let me see", "signature": "x"});
    let trace = lines(&[
        init("s1"),
        block("m1", Value::Null, thought),
        block("m1", Value::Null, json!({"type": "text", "text": "two at once"})),
        call("m1", Value::Null, "a"),
        call("m1", Value::Null, "b"),
        result(Value::Null, "b", json!("B")),
        result(
            Value::Null,
            "a",
            json!([{"type": "text", "text": "A1"}, {"type": "image", "source": {"media_type": "image/png", "data": "AAAA"}}]),
        ),
        block("m2", Value::Null, json!({"type": "text", "text": "done"})),
    ]);
    let made = made(&trace, Format::Claude, &about());
    let usage = Usage {
        input: 36,
        cached_input: 10,
        cache_write_5m: 2,
        cache_write_1h: 4,
        output: 14,
        reasoning: 0,
    };
    assert_eq!((made.summary.steps, made.summary.tool_calls, made.summary.usage), (2, 2, usage));
    let steps = steps(&made.trajectory);
    assert_eq!(steps[0]["reasoning_content"], "let me see");
    let results = &steps[0]["observation"]["results"];
    assert_eq!(results[0], json!({"source_call_id": "b", "content": "B"}));
    assert_eq!(results[1]["content"], "A1\n(image/png, 6 characters of data)");
    assert_eq!(steps[0]["metrics"]["prompt_tokens"], 18);
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(2, 2, 2)]), [(2, 2, 2)]);
    insta::assert_snapshot!("parallel_calls", made.transcript);
}

#[test]
fn sub_agents_have_steps_of_their_own_between_call_and_result() {
    let (a, b) = (json!("task1"), json!("task2"));
    let trace = lines(&[
        init("s"),
        call("m1", Value::Null, "task1"),
        call("m1", Value::Null, "task2"),
        json!({"type": "user", "parent_tool_use_id": "task1", "message": {"role": "user", "content": "look around"}}),
        call("s1", a.clone(), "x"),
        call("s2", b.clone(), "y"),
        result(a.clone(), "x", json!("X")),
        block("s1b", a, json!({"type": "text", "text": "first is done"})),
        result(b, "y", json!("Y")),
        result(Value::Null, "task1", json!("T1")),
        result(Value::Null, "task2", json!("T2")),
        block("m2", Value::Null, json!({"type": "text", "text": "both"})),
    ]);
    let made = made(&trace, Format::Claude, &about());
    let steps = steps(&made.trajectory);
    let threads: Vec<&Value> = steps.iter().map(|s| &s["extra"]["sub_agent"]).collect();
    let null = &Value::Null;
    assert_eq!(
        threads,
        [null, &json!("task1"), &json!("task1"), &json!("task2"), &json!("task1"), null]
    );
    assert_eq!(steps[0]["observation"]["results"][1]["content"], "T2");
    assert_eq!(steps[3]["observation"]["results"][0]["content"], "Y");
    assert_eq!((made.summary.unanswered_calls, made.summary.unmatched_results), (0, 0));
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(6, 4, 4)]), [(6, 4, 4)]);
}

#[test]
fn late_results_name_their_call_and_those_of_nobody_are_told() {
    let big = "x".repeat(9 << 20);
    let trace = lines(&[
        call("m1", Value::Null, "slow"),
        call("m2", Value::Null, "fat"),
        result(Value::Null, "fat", json!(big)),
        result(Value::Null, "slow", json!("at last")),
        result(Value::Null, "nobody", json!("?")),
        call("m3", Value::Null, "lost"),
    ]);
    let made = made(&trace, Format::Claude, &about());
    let steps = steps(&made.trajectory);
    assert_eq!(steps[0]["extra"]["without_result"], json!(["slow"]));
    assert_eq!(steps[1]["observation"]["results"][0]["content"].as_str().unwrap().len(), big.len());
    let late = &steps[2]["observation"]["results"];
    assert_eq!(
        late[0],
        json!({"source_call_id": "slow", "content": "at last", "extra": {"call_step_id": 1}})
    );
    assert_eq!(late[1]["source_call_id"], "nobody");
    assert_eq!((made.summary.unanswered_calls, made.summary.unmatched_results), (1, 1));
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(4, 3, 3)]), [(4, 3, 3)]);
}

#[test]
fn resumed_sessions_add_up_and_the_last_word_counts() {
    let ended = |subtype: &str, error: bool, cost: f64| {
        json!({"type": "result", "subtype": subtype, "is_error": error, "result": "Credit balance is too low", "total_cost_usd": cost,
            "usage": {"input_tokens": 1, "output_tokens": 1}, "modelUsage": {
                "m": {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 7, "cacheCreationInputTokens": 0, "costUSD": cost}}})
    };
    let text = |id: &str| block(id, Value::Null, json!({"type": "text", "text": "x"}));
    let mut all =
        vec![init("s1"), text("m1"), ended("success", false, 0.5), init("s2"), text("m2")];
    let killed = made(&lines(&all), Format::Claude, &about()).summary;
    assert_eq!((killed.ended, killed.sessions), (Ended::Unsaid, 2));
    assert_eq!((killed.usage.input, killed.usage.output), (107 + 18, 20 + 7));
    all.push(ended("error_max_turns", true, 0.25));
    let limited = made(&lines(&all), Format::Claude, &about()).summary;
    assert_eq!(limited.ended, Ended::Limit("error_max_turns".into()));
    assert_eq!(
        (limited.usage.input, limited.usage.output, limited.reported_cost),
        (214, 40, Some(0.75))
    );
    assert_eq!(limited.session_id.as_deref(), Some("s2"));
    let mut failed = json!({"type": "assistant", "error": "billing_error", "message": {"id": "u", "model": "<synthetic>",
        "content": [{"type": "text", "text": "Credit balance is too low"}], "usage": {"input_tokens": 0, "output_tokens": 0}}});
    failed["isApiErrorMessage"] = json!(true);
    let gone =
        made(&lines(&[init("s"), failed, ended("success", true, 0.0)]), Format::Claude, &about())
            .summary;
    assert_eq!(gone.api_error.unwrap().kind, TroubleKind::Credit);
    assert!(matches!(gone.ended, Ended::Failed(_)), "{:?}", gone.ended);
}

#[test]
fn a_resumed_session_goes_on_counting() {
    let ended = |own: u64, all: u64| {
        json!({"type": "result", "subtype": "success", "session_id": "s", "usage": {"input_tokens": own, "output_tokens": 1},
            "modelUsage": {"m": {"inputTokens": all, "outputTokens": all / 6, "costUSD": 0.5}}})
    };
    for (results, wanted) in
        [([ended(10, 12), ended(20, 40)], 40), ([ended(10, 12), ended(20, 21)], 33)]
    {
        let trace = lines(&[vec![init("s")], results.to_vec()].concat());
        assert_eq!(made(&trace, Format::Claude, &about()).summary.usage.input, wanted);
    }
}

/// Each scaffold was run, and then continued in a second process: one call and one answer, then one answer. Each
/// answer is 100 prompt tokens and 20 generated ones by the account of the API that they talked to.
#[test]
fn real_scaffolds_are_followed_over_a_resumption() {
    let table = [
        (Format::Claude, &include_bytes!("traces/resumed-claude.jsonl")[..], 4, 2, Some(0.0018)),
        (Format::Codex, &include_bytes!("traces/resumed-codex.jsonl")[..], 6, 2, None),
        (Format::Gemini, &include_bytes!("traces/resumed-gemini.jsonl")[..], 6, 2, None),
        (Format::OpenCode, &include_bytes!("traces/resumed-opencode.jsonl")[..], 3, 1, Some(0.0)),
    ];
    for (format, trace, steps, sessions, cost) in table {
        let made = made(trace, format, &about());
        let s = &made.summary;
        assert_eq!((s.usage.input, s.usage.output), (300, 60), "{format:?}");
        assert_eq!((s.steps, s.tool_calls, s.sessions), (steps, 1, sessions), "{format:?}");
        assert_eq!(
            (s.lines.unknown, s.lines.broken, &s.ended),
            (0, 0, &Ended::Finished),
            "{format:?}"
        );
        assert_eq!(
            s.reported_cost.map(|c| (c * 1e6).round()),
            cost.map(|c: f64| (c * 1e6).round()),
            "{format:?}"
        );
        assert!(
            validated(&[&made.trajectory]).is_none_or(|read| read == [(steps, 1, 1)]),
            "{format:?}"
        );
    }
}

/// The scripted API sent reasoning, words and two calls at once, one of them for a sub-agent in the background; then a
/// file was written and edited. Each of six answers is 115 prompt tokens and 20 generated ones.
#[test]
fn a_real_sub_agent_is_followed() {
    let made = made(include_bytes!("traces/sub-agent-claude.jsonl"), Format::Claude, &about());
    let s = &made.summary;
    let usage = Usage {
        input: 690,
        cached_input: 30,
        cache_write_5m: 60,
        cache_write_1h: 0,
        output: 120,
        reasoning: 0,
    };
    assert_eq!((s.usage, s.lines.unknown + s.lines.broken), (usage, 0));
    assert_eq!((s.steps, s.tool_calls, s.unanswered_calls, s.unmatched_results), (7, 5, 0, 0));
    assert!(validated(&[&made.trajectory]).is_none_or(|read| read == [(7, 5, 5)]));
    insta::assert_snapshot!("sub_agent", made.transcript);
}

/// The API answered all requests with 401 and `invalid x-api-key`, or with 400 and words about credit. Claude was
/// stopped while it was still trying; OpenCode and Gemini end at once.
#[test]
fn real_scaffolds_tell_why_the_api_refused_them() {
    use TroubleKind::{Credentials, Credit};
    let table = [
        (
            Format::Claude,
            &include_bytes!("traces/refused-key-claude.jsonl")[..],
            Some(401),
            Credentials,
            7,
            false,
        ),
        (
            Format::Codex,
            &include_bytes!("traces/refused-key-codex.jsonl")[..],
            Some(401),
            Credentials,
            6,
            true,
        ),
        (
            Format::Gemini,
            &include_bytes!("traces/refused-key-gemini.jsonl")[..],
            Some(401),
            Credentials,
            1,
            true,
        ),
        (
            Format::OpenCode,
            &include_bytes!("traces/refused-key-opencode.jsonl")[..],
            Some(401),
            Credentials,
            1,
            true,
        ),
        (
            Format::Claude,
            &include_bytes!("traces/refused-credit-claude.jsonl")[..],
            Some(400),
            Credit,
            1,
            true,
        ),
        (
            Format::Codex,
            &include_bytes!("traces/refused-credit-codex.jsonl")[..],
            None,
            Credit,
            1,
            true,
        ),
        (
            Format::Gemini,
            &include_bytes!("traces/refused-credit-gemini.jsonl")[..],
            Some(400),
            Credit,
            1,
            true,
        ),
        (
            Format::OpenCode,
            &include_bytes!("traces/refused-credit-opencode.jsonl")[..],
            Some(400),
            Credit,
            1,
            true,
        ),
    ];
    for (format, trace, status, kind, errors, failed) in table {
        let s = made(trace, format, &about()).summary;
        let error = s.api_error.clone().unwrap();
        assert_eq!(
            (error.status, error.kind, error.retried),
            (status, kind, !failed),
            "{format:?}"
        );
        assert_eq!(
            (s.api_errors, matches!(s.ended, Ended::Failed(_))),
            (errors, failed),
            "{format:?}"
        );
        assert_eq!((s.lines.unknown, s.lines.broken), (0, 0), "{format:?}");
    }
}

#[test]
fn codex_threads_count_from_their_beginning() {
    let turn = |input: u64, output: u64| json!({"type": "turn.completed", "usage": {"input_tokens": input, "cached_input_tokens": 2, "output_tokens": output}});
    let begin = |id: &str| json!({"type": "thread.started", "thread_id": id});
    let change = json!({"type": "item.completed", "item": {"id": "item_0", "type": "file_change", "status": "completed",
        "changes": [{"path": "/a/b.py", "kind": "update"}, {"path": "c", "kind": "add"}]}});
    let failed = json!({"type": "turn.failed", "error": {"message": "exceeded retry limit, last status: 429 Too Many Requests"}});
    let plan = |event: &str, done: bool| json!({"type": event, "item": {"id": "item_9", "type": "todo_list", "items": [{"text": "look", "completed": done}]}});
    let plans =
        [plan("item.started", false), plan("item.updated", true), plan("item.completed", true)];
    let trace = lines(&[
        begin("t"),
        turn(10, 1),
        begin("t"),
        change.clone(),
        turn(30, 4),
        begin("u"),
        change,
        turn(5, 5),
        failed,
    ]);
    let planned = made(&lines(&plans), Format::Codex, &about());
    assert_eq!(
        (planned.summary.steps, planned.summary.tool_calls, planned.summary.lines.passed),
        (2, 2, 1)
    );
    let made = made(&trace, Format::Codex, &about());
    let s = &made.summary;
    assert_eq!((s.usage.input, s.usage.output, s.usage.cached_input), (35, 9, 4));
    assert_eq!((s.tool_calls, s.session_id.as_deref()), (2, Some("u")));
    let error = s.api_error.clone().unwrap();
    assert_eq!((error.status, error.kind), (Some(429), TroubleKind::RateLimit));
    assert!(matches!(s.ended, Ended::Failed(_)));
    let ids: Vec<Value> = steps(&made.trajectory)
        .iter()
        .map(|s| s["tool_calls"][0]["tool_call_id"].clone())
        .filter(|v| !v.is_null())
        .collect();
    assert_eq!(ids, ["2/item_0", "3/item_0"]);
    assert!(made.transcript.contains("update /a/b.py"));
}

#[test]
fn gemini_speaks_in_pieces_and_opencode_in_parts() {
    let said = |text: &str| json!({"type": "message", "role": "assistant", "content": text, "delta": true});
    let limit = json!({"type": "result", "status": "error", "error": {"type": "FatalTurnLimitedError", "message": "Reached max session turns"}});
    let trace = lines(&[said("Hel"), said("lo\n- a"), limit]);
    let gemini = made(&trace, Format::Gemini, &about());
    assert_eq!(steps(&gemini.trajectory)[0]["message"], "Hello\n- a");
    assert!(gemini.transcript.contains("> Hello  \n> \\- a\n"), "{}", gemini.transcript);
    assert!(matches!(gemini.summary.ended, Ended::Limit(_)), "{:?}", gemini.summary.ended);
    let tool = json!({"type": "tool_use", "timestamp": 1_795_249_353_252_u64, "sessionID": "s", "part": {"type": "tool", "tool": "edit", "callID": "c",
        "messageID": "m", "state": {"status": "error", "error": "no such file", "input": {"filePath": "a.py", "oldString": "x = 1\ny = 2\n", "newString": "x = 1\ny = 3\n"}}}});
    let finish = json!({"type": "step_finish", "sessionID": "s", "part": {"messageID": "m", "reason": "tool-calls", "cost": 0.25,
        "tokens": {"input": 10, "output": 3, "reasoning": 2, "cache": {"read": 100, "write": 5}}}});
    let open = made(&lines(&[tool, finish]), Format::OpenCode, &about());
    let usage = Usage {
        input: 115,
        cached_input: 100,
        cache_write_5m: 5,
        cache_write_1h: 0,
        output: 5,
        reasoning: 2,
    };
    assert_eq!((open.summary.usage, open.summary.reported_cost), (usage, Some(0.25)));
    assert!(
        open.transcript.contains("```diff\n x = 1\n-y = 2\n+y = 3\n```"),
        "{}",
        open.transcript
    );
    assert_eq!(steps(&open.trajectory)[0]["observation"]["results"][0]["extra"]["is_error"], true);
}

#[test]
fn records_of_the_harness_give_times_and_time_left() {
    let record = |seconds: f64, stream: &str, text: &str| json!({"schema": 1, "seconds": seconds, "stream": stream, "text": text, "more": false});
    let trace = lines(&[
        record(1.0, "out", &init("s").to_string()),
        record(
            3600.0,
            "out",
            &block("m", Value::Null, json!({"type": "text", "text": "an hour"})).to_string(),
        ),
        record(3601.0, "err", "(node) warning: \u{1b}[31mred"),
        record(3602.0, "out", "not json"),
        record(3603.0, "out", r#"{"type":"from the future"}"#),
        record(7200.0, "out", ""),
    ]);
    let budget = Budget { seconds: 36_000.0, consumed: vec![(1800.0, 1800.0), (3600.0, 1800.0)] };
    let began = Some("2026-01-02T03:04:05Z".parse().unwrap());
    let about = About { began, budget: Some(budget), prompt: Some("train it".into()), ..about() };
    let made = made(&trace, Format::Claude, &about);
    let lines = made.summary.lines;
    assert_eq!(
        (lines.total, lines.used, lines.stderr, lines.broken, lines.unknown, lines.blank),
        (6, 2, 1, 1, 1, 1)
    );
    let steps = steps(&made.trajectory);
    assert_eq!(steps[1]["timestamp"], "2026-01-02T04:04:05Z");
    assert_eq!(
        steps[2]["extra"],
        json!({"unknown_lines": 1, "broken_lines": 1, "stderr_lines": 1})
    );
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(3, 0, 0)]), [(3, 0, 0)]);
    insta::assert_snapshot!("time_left", made.transcript);
    for look in [Look::Terminal { color: false }, Look::Terminal { color: true }] {
        let mut follower = Follower::new(Format::Claude, &about, look).unwrap();
        let mut shown: String =
            trace.split(|b| *b == b'\n').map(|line| follower.line(line)).collect();
        let (rest, summary) = follower.finish();
        shown += &rest;
        assert_eq!(summary, made.summary);
        match look {
            Look::Terminal { color: false } => insta::assert_snapshot!("terminal", shown),
            _ => assert!(!shown.contains("\u{1b}[31m") && shown.contains("\u{1b}[1m")),
        }
    }
}

#[test]
fn other_programs_say_what_they_print() {
    let record = |seconds: f64, stream: &str, text: &str| json!({"schema": 1, "seconds": seconds, "stream": stream, "text": text, "more": false});
    let trace = lines(&[
        record(0.0, "out", "one"),
        record(0.5, "err", "two"),
        record(60.0, "out", "three"),
    ]);
    let made = made(&trace, Format::Plain, &about());
    let texts: Vec<Value> = steps(&made.trajectory).iter().map(|s| s["message"].clone()).collect();
    assert_eq!(texts, ["one\ntwo", "three"]);
    assert!(made.transcript.contains("> one  \n> two\n"), "{}", made.transcript);
}

#[test]
fn hostile_arguments_and_cut_characters_stay_readable() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let wild = [
        format!("{{\"a\":{deep}}}"),
        format!("{{\"n\":{}}}", "9".repeat(5000)),
        "{\"e\":1e999}".into(),
        "[1]".into(),
        "\"s\"".into(),
        "null".into(),
    ];
    let mut trace = Vec::new();
    for (n, arguments) in wild.iter().enumerate() {
        let line = format!(
            r#"{{"type":"assistant","message":{{"id":"m{n}","content":[{{"type":"tool_use","id":"c{n}","name":"N\ud83d","input":{arguments}}}]}}}}"#
        );
        trace.extend_from_slice(line.as_bytes());
        trace.push(b'\n');
    }
    let made = made(&trace, Format::Claude, &about());
    assert_eq!((made.summary.lines.used, made.summary.tool_calls), (6, 6));
    let steps = steps(&made.trajectory);
    assert_eq!(steps[2]["tool_calls"][0]["arguments"]["_raw"], "{\"e\":1e999}");
    assert_eq!(steps[0]["tool_calls"][0]["function_name"], "N\u{fffd}");
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(6, 6, 0)]), [(6, 6, 0)]);
}
