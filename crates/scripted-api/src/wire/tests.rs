//! Each protocol, read back: what is written as a stream adds up to what is written whole.

use serde_json::{Value, json};

use super::*;
use crate::conversation::ToolResult;

fn request(path: &str, body: Value) -> Request {
    Request {
        number: 0,
        at: std::time::Duration::ZERO,
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body,
    }
}

/// The second request of a session in each protocol: the same story four times.
fn second_requests() -> [Request; 4] {
    let shell = json!({"type": "object", "properties": {"command": {"type": "string"}}});
    let messages = json!({
        "model": "m", "system": [{"type": "text", "text": "be good"}],
        "tools": [{"name": "Bash", "input_schema": shell}],
        "output_config": {"effort": "high"},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "write"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I write"},
                {"type": "tool_use", "id": "c1", "name": "Bash", "input": {"command": "ls"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "a.txt"}]},
            ]},
        ],
    });
    let responses = json!({
        "model": "m", "instructions": "be good", "reasoning": {"effort": "high"},
        "tools": [{"type": "function", "name": "shell", "parameters": shell}, {"type": "web_search"}],
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "write"}]},
            {"type": "reasoning", "summary": [], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I write"}]},
            {"type": "function_call", "call_id": "c1", "name": "shell", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "a.txt"},
        ],
    });
    let chat = json!({
        "model": "m", "reasoning_effort": "high", "stream_options": {"include_usage": true},
        "tools": [{"type": "function", "function": {"name": "bash", "parameters": shell}}],
        "messages": [
            {"role": "system", "content": "be good"},
            {"role": "user", "content": "write"},
            {"role": "assistant", "content": "I write", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
        ],
    });
    let gemini = json!({
        "systemInstruction": {"parts": [{"text": "be good"}]},
        "generationConfig": {"thinkingConfig": {"thinkingLevel": "high"}},
        "tools": [{"functionDeclarations": [{"name": "run_shell_command", "parametersJsonSchema": shell}]}],
        "contents": [
            {"role": "user", "parts": [{"text": "write"}]},
            {"role": "model", "parts": [{"text": "I write"}, {"functionCall": {"id": "c1", "name": "x"}}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "c1", "response": {"output": "a.txt"}}}]},
        ],
    });
    [
        request("/v1/messages?beta=true", messages),
        request("/v1/responses", responses),
        request("/v1/chat/completions", chat),
        request("/v1beta/models/m:generateContent", gemini),
    ]
}

fn parsed(request: &Request) -> Conversation {
    let (service, protocol) = service(request);
    assert_eq!(service, Service::Reply);
    parse(protocol.unwrap(), request)
}

#[test]
fn the_same_story_is_read_from_every_protocol() {
    for request in second_requests() {
        let conversation = parsed(&request);
        let told = |what: &str| format!("{what} of {:?}", conversation.protocol);
        assert_eq!((conversation.model.as_str(), conversation.turn), ("m", 1), "{}", told("turn"));
        assert_eq!(conversation.system.trim(), "be good", "{}", told("system"));
        assert_eq!(conversation.user, ["write"], "{}", told("user"));
        assert_eq!(conversation.said, ["I write"], "{}", told("said"));
        let result = ToolResult { call: "c1".to_owned(), text: "a.txt".to_owned() };
        assert_eq!(conversation.results, [result], "{}", told("results"));
        assert_eq!(conversation.effort.as_deref(), Some("high"), "{}", told("effort"));
        assert!(!conversation.is_aside() && conversation.old_bytes > 0, "{}", told("shell"));
        assert!(conversation.new_bytes > 0, "{}", told("new bytes"));
    }
}

/// The data of each event.
fn events(pieces: &[Piece]) -> Vec<Value> {
    let text: Vec<u8> = pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect();
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("\n\n"));
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// All strings at a place of the events, joined.
fn joined(events: &[Value], place: &str) -> String {
    events.iter().filter_map(|event| event.pointer(place)?.as_str()).collect()
}

/// What a stream adds up to: thought, text, arguments of the calls; and where the usage stands.
fn added_up(protocol: Protocol, events: &[Value]) -> (String, String, String) {
    let of = |kind: &str| -> Vec<Value> {
        events.iter().filter(|event| event["type"] == kind).cloned().collect()
    };
    match protocol {
        Protocol::Messages => (
            joined(events, "/delta/thinking"),
            joined(events, "/delta/text"),
            joined(events, "/delta/partial_json"),
        ),
        Protocol::Responses => (
            joined(&of("response.reasoning_summary_text.delta"), "/delta"),
            joined(&of("response.output_text.delta"), "/delta"),
            joined(&of("response.function_call_arguments.delta"), "/delta"),
        ),
        Protocol::Chat => (
            joined(events, "/choices/0/delta/reasoning_content"),
            joined(events, "/choices/0/delta/content"),
            joined(events, "/choices/0/delta/tool_calls/0/function/arguments"),
        ),
        Protocol::Gemini => {
            let parts =
                events.iter().map(|event| event["candidates"][0]["content"]["parts"][0].clone());
            let (thoughts, others): (Vec<Value>, Vec<Value>) =
                parts.partition(|p| p["thought"] == true);
            let calls: String = others
                .iter()
                .filter(|part| part["functionCall"].is_object())
                .map(|part| part["functionCall"]["args"].to_string())
                .collect();
            (joined(&thoughts, "/text"), joined(&others, "/text"), calls)
        }
    }
}

#[test]
fn a_stream_adds_up_to_the_whole() {
    let turn =
        Turn::run_all(["echo \"größer\"", "ls"]).saying("Zwölf 猫 in words").thinking("I think so");
    for request in second_requests() {
        let mut conversation = parsed(&request);
        let reply = reply(&conversation, 7, &turn);
        let tokens = Tokens::of(&conversation, reply.bytes(), 10);
        let (kind, whole) = render(&conversation, &request, &reply, tokens);
        assert_eq!((kind, whole.len(), whole[0].told), ("application/json", 1, Some(tokens)));
        let whole: Value = serde_json::from_slice(&whole[0].bytes).unwrap();
        conversation.stream = true;
        let mut request = request;
        request.path.push_str("?alt=sse");
        let (kind, pieces) = render(&conversation, &request, &reply, tokens);
        assert_eq!(kind, "text/event-stream");
        assert_eq!(pieces.iter().rev().find_map(|piece| piece.told), Some(tokens));
        let events = events(&pieces);
        let (thought, text, calls) = added_up(conversation.protocol, &events);
        assert_eq!((thought.as_str(), text.as_str()), ("I think so", "Zwölf 猫 in words"));
        let inputs: String = reply.calls.iter().map(|(_, input)| input.to_string()).collect();
        assert_eq!(calls, inputs);
        // The last usage in the stream is the one of the whole reply.
        let usage = |value: &Value| {
            let places = ["/usage", "/usageMetadata", "/response/usage"];
            places.iter().find_map(|place| value.pointer(place).filter(|u| u.is_object()).cloned())
        };
        let last = events.iter().rev().find_map(usage);
        assert_eq!((last.is_some(), last), (true, usage(&whole)), "{:?}", conversation.protocol);
    }
}

#[test]
fn no_character_is_split() {
    let text = "a猫b🦀c".repeat(9);
    assert_eq!(morsels(&text).concat(), text);
    assert!(morsels(&text).len() > 5);
    assert_eq!(morsels(""), [""]);
}

#[test]
fn paths_tell_the_service() {
    let get = |path: &str| Request { method: "GET".to_owned(), ..request(path, Value::Null) };
    let cases = [
        (request("/proxy/v1/messages/count_tokens", Value::Null), Service::CountTokens),
        (request("/v1beta/models/m:countTokens", Value::Null), Service::CountTokens),
        (get("/v1/models?limit=3"), Service::Models),
        (get("/v1/messages"), Service::Unknown),
        (request("/v1/embeddings", Value::Null), Service::Unknown),
    ];
    for (request, expected) in cases {
        assert_eq!(service(&request).0, expected, "{}", request.path);
    }
}
