//! The API record: parts put back, sums, side conversations; torn, bent and blown up records.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::panic,
    reason = "a step that fails fails the test"
)]

mod common;

use std::io::Read;

use common::{about, made_with, validated};
use ptb_trace::{ApiLimits, ApiRecord, Format, Usage};
use serde_json::{Value, json};

/// A record under construction, written the way the gateway does: parts once, then requests and responses.
#[derive(Default)]
struct Book {
    lines: Vec<String>,
    parts: Vec<Value>,
    number: u64,
}

impl Book {
    fn part(&mut self, value: &Value) -> Value {
        let known = self.parts.iter().position(|p| p == value);
        let n = known.unwrap_or_else(|| {
            self.parts.push(value.clone());
            let id = format!("{:032x}", self.parts.len() - 1);
            self.lines
                .push(json!({"schema": 1, "kind": "part", "id": id, "value": value}).to_string());
            self.parts.len() - 1
        });
        json!({"$part": format!("{n:032x}")})
    }

    fn exchange(
        &mut self,
        protocol: &str,
        body: &Value,
        usage: Usage,
        cost: Option<f64>,
        reply: Value,
    ) -> u64 {
        self.number += 1;
        let mut shape = body.clone();
        for key in ["system", "instructions", "systemInstruction"] {
            if let Some(value) = body.get(key) {
                shape[key] = self.part(value);
            }
        }
        for key in ["messages", "input", "contents", "tools"] {
            for (n, value) in
                body.get(key).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                shape[key][n] = self.part(value);
            }
        }
        let number = self.number;
        let request = json!({"schema": 1, "kind": "request", "number": number, "at": 1.8e9, "method": "POST", "path": "/v1/x",
            "protocol": protocol, "headers": {"user-agent": "x"}, "body": shape});
        let response = json!({"schema": 1, "kind": "response", "number": number, "at": 1.8e9, "status": 200, "first_byte_s": 0.1,
            "duration_s": 0.5, "headers": {}, "model": "answering-model", "usage": usage, "cost_usd": cost, "end": "complete", "body": reply});
        self.lines.extend([request.to_string(), response.to_string()]);
        number
    }

    fn packed(&self) -> Vec<u8> {
        zstd::encode_all((self.lines.join("\n") + "\n").as_bytes(), 3).unwrap()
    }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

fn claude_book() -> Book {
    let mut book = Book::default();
    let tools =
        json!([{"name": "Bash", "description": "runs", "input_schema": {"type": "object"}}]);
    let first = json!({"role": "user", "content": [{"type": "text", "text": "train it", "cache_control": {"type": "ephemeral"}}]});
    let plain = json!({"role": "user", "content": [{"type": "text", "text": "train it"}]});
    let called = json!({"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}]});
    let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a b"}]});
    let system = |build: &str| json!([{"type": "text", "text": format!("x-anthropic-billing-header: {build}")}, {"type": "text", "text": "You are the agent"}]);
    let sse = |text: &str| {
        json!({"$sse": [
        {"event": "content_block_start", "data": {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}},
        {"event": "content_block_delta", "data": {"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}}}]})
    };
    book.exchange(
        "anthropic",
        &json!({"model": "small", "messages": [{"role": "user", "content": "quota"}]}),
        usage(1, 1),
        None,
        json!({"content": []}),
    );
    book.exchange(
        "anthropic",
        &json!({"model": "m", "system": system("1"), "tools": tools, "messages": [first]}),
        usage(10, 2),
        Some(0.5),
        sse("x"),
    );
    let messages = json!([plain, called, result]);
    book.exchange(
        "anthropic",
        &json!({"model": "m", "system": system("2"), "tools": tools, "messages": messages}),
        usage(30, 3),
        Some(0.25),
        sse("done"),
    );
    let sub = json!([{"role": "user", "content": "explore"}, called, result]);
    book.exchange(
        "anthropic",
        &json!({"model": "m", "system": "You are a sub-agent", "tools": tools, "messages": sub}),
        usage(7, 7),
        Some(0.125),
        sse("found"),
    );
    book
}

const STREAM: &str = r#"{"type":"assistant","message":{"id":"m1","content":[{"type":"text","text":"done"}],"usage":{"input_tokens":1,"output_tokens":1}}}"#;

#[test]
fn what_the_stream_lacks_comes_from_the_record() {
    let record = claude_book().packed();
    let made = made_with(STREAM.as_bytes(), Format::Claude, Some(&record), &about());
    let api = made.summary.api.clone().unwrap();
    assert_eq!((api.exchanges, api.complete, api.unpriced), (4, 4, 1));
    assert_eq!((api.usage, api.cost), (usage(48, 13), Some(0.875)));
    assert_eq!((made.summary.usage, made.summary.reported_usage), (usage(48, 13), usage(1, 1)));
    let differs: Vec<(u64, Option<&str>)> =
        api.conversations.iter().map(|c| (c.requests, c.differs.as_deref())).collect();
    assert_eq!(differs, [(2, None), (1, Some("system prompt")), (1, Some("system prompt"))]);
    let whole: Value = serde_json::from_str(&made.trajectory).unwrap();
    assert_eq!(
        whole["steps"][0],
        json!({"step_id": 1, "source": "system", "message": "You are the agent"})
    );
    assert_eq!(
        whole["agent"]["tool_definitions"][0]["function"]["parameters"],
        json!({"type": "object"})
    );
    assert_eq!(whole["final_metrics"]["total_cost_usd"], 0.875);
    let side = &whole["subagent_trajectories"][1];
    let said: Vec<&str> =
        side["steps"].as_array().unwrap().iter().map(|s| s["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["You are a sub-agent", "explore", "", "found"]);
    assert_eq!(side["steps"][2]["observation"]["results"][0]["content"], "a b");
    assert_eq!(side["steps"][3]["metrics"]["completion_tokens"], 7);
    assert_eq!(validated(&[&made.trajectory]).unwrap_or(vec![(2, 0, 0)]), [(2, 0, 0)]);
}

#[test]
fn every_protocol_is_told_in_the_same_words() {
    let input = json!([{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c", "name": "sh", "arguments": "{\"a\":1}"},
        {"type": "function_call_output", "call_id": "c", "output": "out"}]);
    let item = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "end"}]});
    let responses = (
        json!({"model": "m", "instructions": "sys", "input": input, "tools": [{"type": "function", "name": "sh", "parameters": {}}]}),
        json!({"$sse": [{"event": "e", "data": {"type": "response.output_item.done", "item": item}}]}),
    );
    let messages = json!([{"role": "system", "content": "sys"}, {"role": "user", "content": "go"},
        {"role": "assistant", "content": null, "reasoning_content": "hm", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "sh", "arguments": "{\"a\":1}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "out"}]);
    let chat = (
        json!({"model": "m", "messages": messages, "tools": [{"type": "function", "function": {"name": "sh", "parameters": {}}}]}),
        json!({"$sse": [{"data": {"choices": [{"delta": {"content": "en"}}]}}, {"data": {"choices": [{"delta": {"content": "d"}}]}}]}),
    );
    let contents = json!([{"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [{"text": "hm", "thought": true}, {"functionCall": {"id": "c", "name": "sh", "args": {"a": 1}}}]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c", "name": "sh", "response": {"output": "out"}}}]}]);
    let gemini = (
        json!({"systemInstruction": {"parts": [{"text": "sys"}]}, "contents": contents, "tools": [{"functionDeclarations": [{"name": "sh", "parameters": {}}]}]}),
        json!({"$sse": [{"data": {"candidates": [{"content": {"parts": [{"text": "en"}]}}]}}, {"data": {"candidates": [{"content": {"parts": [{"text": "d"}]}}]}}]}),
    );
    for (protocol, (body, reply)) in [("responses", responses), ("chat", chat), ("gemini", gemini)]
    {
        let mut book = Book::default();
        let mut main = body.clone();
        let key =
            ["input", "messages", "contents"].into_iter().find(|k| body.get(k).is_some()).unwrap();
        let first = usize::from(protocol == "chat");
        main[key][first] = json!({"role": "user", "content": "main", "parts": [{"text": "main"}]});
        book.exchange(protocol, &main, usage(1, 1), None, json!({}));
        book.exchange(protocol, &body, usage(5, 4), Some(1.0), reply);
        let made = made_with(b"", Format::Plain, Some(&book.packed()), &about());
        let whole: Value = serde_json::from_str(&made.trajectory).unwrap();
        assert_eq!(whole["steps"][0]["message"], "sys", "{protocol}");
        assert_eq!(
            whole["agent"]["tool_definitions"][0]["function"]["name"]
                .as_str()
                .or(whole["agent"]["tool_definitions"][0]["name"].as_str()),
            Some("sh"),
            "{protocol}"
        );
        let side = &whole["subagent_trajectories"][0];
        assert_eq!(side["extra"]["conversation"]["differs"], "first message", "{protocol}");
        let mut told = Vec::new();
        for step in side["steps"].as_array().unwrap() {
            told.push(json!([
                step["source"],
                step["message"],
                step["reasoning_content"],
                step["tool_calls"][0]["arguments"]["a"],
                step["observation"]["results"][0]["source_call_id"]
            ]));
        }
        let told = Value::Array(told);
        let (joined, apart) = (
            json!(["agent", "", "hm", 1, "c"]),
            [json!(["agent", "", "hm", null, null]), json!(["agent", "", null, 1, "c"])],
        );
        let mut wanted = vec![
            json!(["system", "sys", null, null, null]),
            json!(["user", "go", null, null, null]),
        ];
        match protocol {
            "responses" => wanted.extend(apart),
            _ => wanted.push(joined),
        }
        wanted.push(json!(["agent", "end", null, null, null]));
        assert_eq!(told, Value::Array(wanted), "{protocol}");
        assert!(validated(&[&made.trajectory]).is_none_or(|read| read[0].0 == 1));
    }
}

#[test]
fn bodies_are_put_back_as_they_were_sent() {
    let body = json!({"model": "m", "system": "sys", "messages": [{"role": "user", "content": "a"}, {"$part": "mine"}], "max_tokens": 5});
    let mut book = Book::default();
    book.exchange("anthropic", &body, usage(1, 1), None, json!({}));
    book.lines.push(
        json!({"schema": 1, "kind": "request", "number": 9, "body": {"$text": "not json"}})
            .to_string(),
    );
    book.lines
        .extend(["rubbish".to_owned(), json!({"kind": "response", "number": 77}).to_string()]);
    let packed = book.packed();
    let mut record = ApiRecord::new(packed.as_slice(), ApiLimits::default());
    let all: Vec<_> = record.by_ref().collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].request.body.whole(), body);
    assert_eq!(all[0].request.body.field("messages"), body.get("messages").cloned());
    assert!(all[1].response.is_none());
    let state = record.state();
    assert_eq!((state.broken_lines, state.torn, state.limited), (2, false, false));
}

#[test]
fn torn_and_bent_records_are_read_as_far_as_they_go() {
    let packed = claude_book().packed();
    for end in 0..packed.len() {
        let mut record = ApiRecord::new(&packed[..end], ApiLimits::default());
        assert!(record.by_ref().count() <= 4);
        assert!(record.state().torn || end == 0, "cut at {end}");
    }
    for n in 0..packed.len() {
        let mut bent = packed.clone();
        bent[n] ^= 0x55;
        made_with(b"", Format::Claude, Some(&bent), &about());
    }
    let two = [packed.clone(), packed].concat();
    assert_eq!(
        ApiRecord::new(two.as_slice(), ApiLimits::default()).count(),
        8,
        "a frame for each opening"
    );
}

#[test]
fn a_record_that_unpacks_without_end_is_bounded() {
    let packed = zstd::encode_all(std::io::repeat(b'x').take(300 << 20), 1).unwrap();
    let limits = ApiLimits { bytes: 50 << 20, parts: 1 << 20 };
    let mut record = ApiRecord::new(packed.as_slice(), limits);
    assert_eq!(record.by_ref().count(), 0);
    assert!(record.state().limited && !record.state().torn);
    let mut book = Book::default();
    let long = "y".repeat(2 << 20);
    book.exchange(
        "anthropic",
        &json!({"messages": [{"role": "user", "content": long}]}),
        usage(1, 1),
        None,
        json!({}),
    );
    let packed = book.packed();
    let mut record = ApiRecord::new(packed.as_slice(), limits);
    let exchange = record.next().unwrap();
    assert!(record.state().limited);
    assert!(exchange.request.body.whole()["messages"][0].get("$part").is_some());
}
