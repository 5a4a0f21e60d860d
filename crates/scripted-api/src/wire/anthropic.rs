//! Anthropic Messages: <https://platform.claude.com/docs/en/api/messages>, and its streaming.

use serde_json::{Value, json};

use super::{Piece, Reply, first, items, morsels, string, texts};
use crate::conversation::{Conversation, Protocol, Tool};
use crate::tokens::Tokens;

pub(super) fn parse(body: &Value) -> Conversation {
    let mut conversation = Conversation::new(Protocol::Messages);
    conversation.model = string(&body["model"]);
    conversation.stream = body["stream"] == true;
    conversation.system = texts(&body["system"]).join("\n\n");
    let system_and_tools = conversation.system.len() + body["tools"].to_string().len();
    conversation.add_bytes(system_and_tools, false);
    for tool in items(&body["tools"]) {
        let tool = Tool { name: string(&tool["name"]), schema: tool["input_schema"].clone() };
        conversation.tools.push(tool);
    }
    let config = &body["output_config"];
    let budget = &body["thinking"]["budget_tokens"];
    conversation.effort = first([&config["effort"], budget]).map(plain);
    let format = first([&config["format"], &body["output_format"]]);
    conversation.schema = format.map(|f| f["schema"].clone()).filter(Value::is_object);
    let mut by_model_before = false;
    for message in items(&body["messages"]) {
        let by_model = message["role"] == "assistant";
        if by_model && !by_model_before {
            conversation.turn += 1;
        }
        by_model_before = by_model;
        let said = texts(&message["content"]);
        if by_model { &mut conversation.said } else { &mut conversation.user }.extend(said);
        for result in items(&message["content"]).filter(|part| part["type"] == "tool_result") {
            let text = texts(&result["content"]).join("\n");
            conversation.add_result(&string(&result["tool_use_id"]), text, false);
        }
        conversation.add_bytes(message["content"].to_string().len(), by_model);
    }
    conversation
}

/// A word or a number as text.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) fn render(conversation: &Conversation, reply: &Reply, tokens: Tokens) -> Vec<Piece> {
    let stop = if reply.calls.is_empty() { "end_turn" } else { "tool_use" };
    let blocks = blocks(reply);
    let message = |content: Value, stop: Value, usage: Value| {
        json!({
            "id": format!("msg_{:024}", reply.number),
            "type": "message",
            "role": "assistant",
            "model": conversation.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": null,
            "usage": usage,
        })
    };
    if !conversation.stream {
        let whole = message(json!(blocks), json!(stop), usage(tokens));
        return vec![Piece::json(&whole, Some(tokens))];
    }
    let early = Tokens { output: 1, ..tokens };
    let start = message(json!([]), Value::Null, usage(early));
    let mut pieces = vec![
        event(&json!({"type": "message_start", "message": start})).telling(early),
        event(&json!({"type": "ping"})),
    ];
    for (index, block) in blocks.iter().enumerate() {
        pieces.extend(block_events(index, block));
    }
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    let end = json!({"type": "message_delta", "delta": delta, "usage": usage(tokens)});
    pieces.push(event(&end).telling(tokens));
    pieces.push(event(&json!({"type": "message_stop"})));
    pieces
}

/// The content: what was thought, said and called, in that order.
fn blocks(reply: &Reply) -> Vec<Value> {
    let thought = reply.thought.as_ref().map(|thought| {
        let signature = format!("c2NyaXB0ZWQ{:08}", reply.number);
        json!({"type": "thinking", "thinking": thought, "signature": signature})
    });
    let text = reply.text.as_ref().map(|text| json!({"type": "text", "text": text}));
    let calls = reply.calls.iter().enumerate().map(|(index, (name, input))| {
        json!({"type": "tool_use", "id": reply.call_id("toolu", index), "name": name, "input": input})
    });
    thought.into_iter().chain(text).chain(calls).collect()
}

/// A block as it comes in a stream: an empty one first, then what is in it.
fn block_events(index: usize, block: &Value) -> Vec<Piece> {
    let kind = block["type"].as_str().unwrap_or_default();
    let (field, delta, content) = match kind {
        "thinking" => ("thinking", "thinking_delta", string(&block["thinking"])),
        "tool_use" => ("partial_json", "input_json_delta", block["input"].to_string()),
        _ => ("text", "text_delta", string(&block["text"])),
    };
    let mut empty = block.clone();
    match kind {
        "thinking" => {
            empty["thinking"] = json!("");
            empty["signature"] = json!("");
        }
        "tool_use" => empty["input"] = json!({}),
        _ => empty["text"] = json!(""),
    }
    let start = json!({"type": "content_block_start", "index": index, "content_block": empty});
    let mut pieces = vec![event(&start)];
    let mut push = |delta: Value| {
        let delta = json!({"type": "content_block_delta", "index": index, "delta": delta});
        pieces.push(event(&delta));
    };
    for morsel in morsels(&content) {
        push(json!({"type": delta, field: morsel}));
    }
    if kind == "thinking" {
        push(json!({"type": "signature_delta", "signature": block["signature"]}));
    }
    pieces.push(event(&json!({"type": "content_block_stop", "index": index})));
    pieces
}

fn event(data: &Value) -> Piece {
    Piece::event(data["type"].as_str(), data)
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "cache_read_input_tokens": tokens.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "output_tokens": tokens.output,
        "service_tier": "standard",
    })
}
