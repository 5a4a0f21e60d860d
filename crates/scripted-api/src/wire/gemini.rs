//! Gemini: <https://ai.google.dev/api/generate-content>. A stream is a list of whole replies that each hold a part.

use serde_json::{Value, json};

use super::{Piece, Reply, first, items, morsels, string, texts};
use crate::conversation::{Conversation, Protocol, Tool};
use crate::tokens::Tokens;

pub(super) fn parse(path: &str, body: &Value) -> Conversation {
    let mut conversation = Conversation::new(Protocol::Gemini);
    let path = path.split('?').next().unwrap_or_default();
    let (before, method) = path.rsplit_once(':').unwrap_or((path, ""));
    conversation.model = before.rsplit('/').next().unwrap_or_default().to_owned();
    conversation.stream = method == "streamGenerateContent";
    // A request for a count may wrap the whole request.
    let body = first([&body["generateContentRequest"], body]).unwrap_or(body);
    let system = first([&body["systemInstruction"], &body["system_instruction"]]);
    conversation.system = system.map(|s| texts(&s["parts"]).join("\n\n")).unwrap_or_default();
    let config = &body["generationConfig"];
    let thinking = &config["thinkingConfig"];
    let effort = first([&thinking["thinkingLevel"], &thinking["thinkingBudget"]]);
    conversation.effort = effort.map(|e| e.as_str().map_or_else(|| e.to_string(), str::to_owned));
    conversation.schema =
        first([&config["responseJsonSchema"], &config["responseSchema"]]).cloned();
    let system_and_tools = conversation.system.len() + body["tools"].to_string().len();
    conversation.add_bytes(system_and_tools, false);
    for function in items(&body["tools"]).flat_map(|tool| items(&tool["functionDeclarations"])) {
        let schema = first([&function["parametersJsonSchema"], &function["parameters"]]);
        let (name, schema) = (string(&function["name"]), schema.cloned().unwrap_or_default());
        conversation.tools.push(Tool { name, schema });
    }
    let mut by_model_before = false;
    for content in items(&body["contents"]) {
        let by_model = content["role"] == "model";
        if by_model && !by_model_before {
            conversation.turn += 1;
        }
        by_model_before = by_model;
        for part in items(&content["parts"]) {
            let answer = &part["functionResponse"];
            if answer.is_object() {
                let response = &answer["response"];
                let text = first([&response["output"], &response["error"], response]);
                let text = text.map(|t| t.as_str().map_or_else(|| t.to_string(), str::to_owned));
                let call = string(&answer["id"]);
                conversation.add_result(&call, text.unwrap_or_default(), false);
            } else if part["thought"] != true {
                let said = texts(&part["text"]);
                if by_model { &mut conversation.said } else { &mut conversation.user }.extend(said);
            }
        }
        conversation.add_bytes(content["parts"].to_string().len(), by_model);
    }
    conversation
}

pub(super) fn render(conversation: &Conversation, reply: &Reply, tokens: Tokens) -> Vec<Piece> {
    let parts = parts(reply, conversation.stream);
    let whole = |parts: &[Value], last: bool, tokens: Tokens| {
        let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
        if last {
            candidate["finishReason"] = json!("STOP");
        }
        json!({
            "candidates": [candidate],
            "usageMetadata": usage(tokens),
            "modelVersion": conversation.model,
            "responseId": format!("script{:016}", reply.number),
        })
    };
    if !conversation.stream {
        return vec![Piece::json(&whole(&parts, true, tokens), Some(tokens))];
    }
    let count = parts.len().max(1) as u64;
    let part = |index: usize| parts.get(index).map(std::slice::from_ref).unwrap_or_default();
    (0..count)
        .map(|index| {
            // The counts grow with the stream; only the last ones are what it cost.
            let so_far = |tokens: u64| tokens * (index + 1) / count;
            let reasoning = so_far(tokens.reasoning);
            let output = so_far(tokens.output - tokens.reasoning) + reasoning;
            let told = Tokens { output, reasoning, ..tokens };
            let data = whole(part(index as usize), index + 1 == count, told);
            Piece::event(None, &data).telling(told)
        })
        .collect()
}

/// A stream without `alt=sse`: the same replies as one list.
pub(super) fn as_list(pieces: &[Piece]) -> Vec<Piece> {
    let mut list: Vec<Piece> = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        let event = String::from_utf8_lossy(&piece.bytes);
        let data = event.trim_start_matches("data: ").trim_end();
        let before = if index == 0 { "[" } else { ",\r\n" };
        let after = if index + 1 == pieces.len() { "]" } else { "" };
        list.push(Piece { bytes: format!("{before}{data}{after}").into(), told: piece.told });
    }
    list
}

/// What was thought, said and called.
fn parts(reply: &Reply, split: bool) -> Vec<Value> {
    let pieces = |text: &str| -> Vec<String> {
        let pieces = if split { morsels(text) } else { vec![text] };
        pieces.into_iter().map(str::to_owned).collect()
    };
    let mut parts = Vec::new();
    for thought in reply.thought.iter().flat_map(|thought| pieces(thought)) {
        parts.push(json!({"text": thought, "thought": true}));
    }
    for text in reply.text.iter().flat_map(|text| pieces(text)) {
        parts.push(json!({"text": text}));
    }
    for (index, (name, input)) in reply.calls.iter().enumerate() {
        let call = json!({"id": reply.call_id("fn", index), "name": name, "args": input});
        let signature = format!("c2NyaXB0ZWQ{:08}", reply.number);
        parts.push(json!({"functionCall": call, "thoughtSignature": signature}));
    }
    parts
}

fn usage(tokens: Tokens) -> Value {
    let mut usage = json!({
        "promptTokenCount": tokens.all_input(),
        "candidatesTokenCount": tokens.output - tokens.reasoning,
        "totalTokenCount": tokens.all_input() + tokens.output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.all_input()}],
    });
    if tokens.cached > 0 {
        usage["cachedContentTokenCount"] = json!(tokens.cached);
    }
    if tokens.reasoning > 0 {
        usage["thoughtsTokenCount"] = json!(tokens.reasoning);
    }
    usage
}
