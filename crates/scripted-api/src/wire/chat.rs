//! OpenAI Chat Completions: <https://platform.openai.com/docs/api-reference/chat>, and its streaming.

use serde_json::{Value, json};

use super::{Piece, Reply, items, morsels, string, texts};
use crate::conversation::{Conversation, Protocol, Tool};
use crate::tokens::Tokens;

/// When replies say they were made: the first second of 2026.
const CREATED: u64 = 1_767_225_600;

pub(super) fn parse(body: &Value) -> Conversation {
    let mut conversation = Conversation::new(Protocol::Chat);
    conversation.model = string(&body["model"]);
    conversation.stream = body["stream"] == true;
    conversation.effort = body["reasoning_effort"].as_str().map(str::to_owned);
    let format = &body["response_format"]["json_schema"]["schema"];
    conversation.schema = format.is_object().then(|| format.clone());
    conversation.add_bytes(body["tools"].to_string().len(), false);
    for tool in items(&body["tools"]) {
        let function = &tool["function"];
        let (name, schema) = (string(&function["name"]), function["parameters"].clone());
        conversation.tools.push(Tool { name, schema });
    }
    let mut by_model_before = false;
    for message in items(&body["messages"]) {
        let role = message["role"].as_str().unwrap_or_default();
        let (by_model, said) = (role == "assistant", texts(&message["content"]));
        if by_model && !by_model_before {
            conversation.turn += 1;
        }
        by_model_before = by_model;
        match role {
            "assistant" => conversation.said.extend(said),
            "system" | "developer" => {
                conversation.system.push_str(&said.join("\n\n"));
                conversation.system.push('\n');
            }
            "tool" => {
                let call = string(&message["tool_call_id"]);
                conversation.add_result(&call, said.join("\n"), false);
            }
            _ => conversation.user.extend(said),
        }
        conversation.add_bytes(message.to_string().len(), by_model);
    }
    conversation
}

pub(super) fn render(
    conversation: &Conversation,
    body: &Value,
    reply: &Reply,
    tokens: Tokens,
) -> Vec<Piece> {
    let finish = if reply.calls.is_empty() { "stop" } else { "tool_calls" };
    let head = |object: &str| {
        json!({
            "id": format!("chatcmpl-{:024}", reply.number),
            "object": object,
            "created": CREATED,
            "model": conversation.model,
        })
    };
    let calls: Vec<Value> = reply
        .calls
        .iter()
        .enumerate()
        .map(|(index, (name, input))| {
            let function = json!({"name": name, "arguments": input.to_string()});
            json!({"id": reply.call_id("call", index), "type": "function", "function": function})
        })
        .collect();
    if !conversation.stream {
        let mut message = json!({"role": "assistant", "content": reply.text});
        if let Some(thought) = &reply.thought {
            message["reasoning_content"] = json!(thought);
        }
        if !calls.is_empty() {
            message["tool_calls"] = json!(calls);
        }
        let mut whole = head("chat.completion");
        whole["choices"] = json!([{"index": 0, "message": message, "finish_reason": finish}]);
        whole["usage"] = usage(tokens);
        return vec![Piece::json(&whole, Some(tokens))];
    }
    let with_usage = body["stream_options"]["include_usage"] == true;
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = head("chat.completion.chunk");
        chunk["choices"] = choices;
        if with_usage {
            chunk["usage"] = usage;
        }
        Piece::event(None, &chunk)
    };
    let piece = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": finish}]), Value::Null)
    };
    let mut pieces: Vec<Piece> =
        deltas(reply, &calls).into_iter().map(|d| piece(d, Value::Null)).collect();
    pieces.push(piece(json!({}), json!(finish)));
    if with_usage {
        pieces.push(chunk(json!([]), usage(tokens)).telling(tokens));
    }
    pieces.push(Piece { bytes: "data: [DONE]\n\n".into(), told: None });
    pieces
}

/// What is added to the message, piece by piece.
fn deltas(reply: &Reply, calls: &[Value]) -> Vec<Value> {
    let mut deltas = vec![json!({"role": "assistant", "content": ""})];
    for morsel in reply.thought.iter().flat_map(|thought| morsels(thought)) {
        deltas.push(json!({"reasoning_content": morsel}));
    }
    for morsel in reply.text.iter().flat_map(|text| morsels(text)) {
        deltas.push(json!({"content": morsel}));
    }
    for (index, call) in calls.iter().enumerate() {
        let mut start = call.clone();
        start["index"] = json!(index);
        start["function"]["arguments"] = json!("");
        deltas.push(json!({"tool_calls": [start]}));
        for morsel in morsels(&string(&call["function"]["arguments"])) {
            let function = json!({"arguments": morsel});
            deltas.push(json!({"tool_calls": [{"index": index, "function": function}]}));
        }
    }
    deltas
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.all_input(),
        "completion_tokens": tokens.output,
        "total_tokens": tokens.all_input() + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    })
}
