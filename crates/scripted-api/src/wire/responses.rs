//! OpenAI Responses: <https://platform.openai.com/docs/api-reference/responses>, and its streaming.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{Piece, Reply, items, morsels, string, texts};
use crate::conversation::{Conversation, Protocol, Tool, WAITS};
use crate::tokens::Tokens;

/// When replies say they were made: the first second of 2026.
const CREATED: u64 = 1_767_225_600;

pub(super) fn parse(body: &Value) -> Conversation {
    let mut conversation = Conversation::new(Protocol::Responses);
    conversation.model = string(&body["model"]);
    conversation.stream = body["stream"] == true;
    conversation.system = string(&body["instructions"]);
    conversation.effort = body["reasoning"]["effort"].as_str().map(str::to_owned);
    let format = &body["text"]["format"]["schema"];
    conversation.schema = format.is_object().then(|| format.clone());
    let system_and_tools = conversation.system.len() + body["tools"].to_string().len();
    conversation.add_bytes(system_and_tools, false);
    for tool in items(&body["tools"]) {
        let name = tool["name"].as_str().or(tool["type"].as_str()).unwrap_or_default().to_owned();
        conversation.tools.push(Tool { name, schema: tool["parameters"].clone() });
    }
    if let Some(text) = body["input"].as_str() {
        conversation.user.push(text.to_owned());
        conversation.add_bytes(text.len(), false);
    }
    let mut reader = Reader { conversation, by_model_before: false, waits: HashSet::new() };
    for item in items(&body["input"]) {
        reader.item(item);
    }
    reader.conversation
}

/// Reads items, of which several make one turn.
struct Reader {
    conversation: Conversation,
    by_model_before: bool,
    /// Calls that wait for a command that goes on: no turns of the script.
    waits: HashSet<String>,
}

impl Reader {
    fn item(&mut self, item: &Value) {
        let kind = item["type"].as_str().unwrap_or("message");
        let role = item["role"].as_str().unwrap_or_default();
        let result = kind.ends_with("_output");
        let by_model = !result && (kind != "message" || role == "assistant");
        let call = string(&item["call_id"]);
        let waits = item["name"] == WAITS && call.starts_with("wait_");
        if waits {
            self.waits.insert(call.clone());
        }
        if by_model && !waits && !self.by_model_before {
            self.conversation.turn += 1;
        }
        self.by_model_before = by_model;
        self.conversation.add_bytes(item.to_string().len(), by_model);
        let said = texts(&item["content"]);
        match role {
            _ if result => {
                let text = texts(&item["output"]).join("\n");
                let waited = self.waits.contains(&call);
                self.conversation.add_result(&call, text, waited);
            }
            "assistant" => self.conversation.said.extend(said),
            "system" | "developer" => {
                for text in said {
                    self.conversation.system.push_str("\n\n");
                    self.conversation.system.push_str(&text);
                }
            }
            "user" => self.conversation.user.extend(said),
            _ => {}
        }
    }
}

pub(super) fn render(conversation: &Conversation, reply: &Reply, tokens: Tokens) -> Vec<Piece> {
    let output = output(reply);
    let response = |status: &str, output: &[Value], usage: Value| {
        json!({
            "id": format!("resp_{:024}", reply.number),
            "object": "response",
            "created_at": CREATED,
            "status": status,
            "error": null,
            "incomplete_details": null,
            "model": conversation.model,
            "output": output,
            "usage": usage,
        })
    };
    let whole = response("completed", &output, usage(tokens));
    if !conversation.stream {
        return vec![Piece::json(&whole, Some(tokens))];
    }
    let mut events = Events::default();
    let early = response("in_progress", &[], Value::Null);
    events.push("response.created", json!({"response": early}));
    events.push("response.in_progress", json!({"response": early}));
    for (index, item) in output.iter().enumerate() {
        events.item(index, item);
    }
    events.push("response.completed", json!({"response": whole}));
    let mut pieces = events.pieces;
    if let Some(last) = pieces.last_mut() {
        last.told = Some(tokens);
    }
    pieces
}

/// The output's items: what was thought, said and called.
fn output(reply: &Reply) -> Vec<Value> {
    let number = reply.number;
    let thought = reply.thought.as_ref().map(|thought| {
        json!({
            "id": format!("rs_{number:024}"),
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": thought}],
            "encrypted_content": format!("c2NyaXB0ZWQ{number:08}"),
        })
    });
    let text = reply.text.as_ref().map(|text| {
        json!({
            "id": format!("msg_{number:024}"),
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        })
    });
    let calls = reply.calls.iter().enumerate().map(|(index, (name, input))| {
        let prefix = if name == WAITS { "wait" } else { "call" };
        let call = reply.call_id(prefix, index);
        if name == "local_shell" {
            let action = json!({"type": "exec", "command": input["command"], "env": {}});
            return json!({
                "id": reply.call_id("lsh", index),
                "type": "local_shell_call",
                "status": "completed",
                "call_id": call,
                "action": action,
            });
        }
        json!({
            "id": reply.call_id("fc", index),
            "type": "function_call",
            "status": "completed",
            "call_id": call,
            "name": name,
            "arguments": input.to_string(),
        })
    });
    thought.into_iter().chain(text).chain(calls).collect()
}

/// Events with their numbers.
#[derive(Default)]
struct Events {
    pieces: Vec<Piece>,
}

impl Events {
    fn push(&mut self, kind: &str, fields: Value) {
        let mut data = json!({"type": kind, "sequence_number": self.pieces.len()});
        if let (Some(data), Value::Object(fields)) = (data.as_object_mut(), fields) {
            data.extend(fields);
        }
        self.pieces.push(Piece::event(Some(kind), &data));
    }

    /// An item: an empty one first, then what is in it, then the whole.
    fn item(&mut self, index: usize, item: &Value) {
        let mut empty = item.clone();
        if !item["status"].is_null() {
            empty["status"] = json!("in_progress");
        }
        for (field, nothing) in
            [("content", json!([])), ("summary", json!([])), ("arguments", json!(""))]
        {
            if item.get(field).is_some() {
                empty[field] = nothing;
            }
        }
        self.push("response.output_item.added", json!({"output_index": index, "item": empty}));
        let (id, place) = (&item["id"], json!({"item_id": item["id"], "output_index": index}));
        match item["type"].as_str().unwrap_or_default() {
            "message" => {
                let (part, place) = (&item["content"][0], with(&place, "content_index"));
                self.part("response.content_part", "response.output_text", part, &place);
            }
            "reasoning" => {
                let (part, place) = (&item["summary"][0], with(&place, "summary_index"));
                let names = ("response.reasoning_summary_part", "response.reasoning_summary_text");
                self.part(names.0, names.1, part, &place);
            }
            "function_call" => {
                let arguments = string(&item["arguments"]);
                for morsel in morsels(&arguments) {
                    let fields = json!({"item_id": id, "output_index": index, "delta": morsel});
                    self.push("response.function_call_arguments.delta", fields);
                }
                let fields = json!({
                    "item_id": id,
                    "output_index": index,
                    "name": item["name"],
                    "arguments": arguments,
                });
                self.push("response.function_call_arguments.done", fields);
            }
            _ => {}
        }
        self.push("response.output_item.done", json!({"output_index": index, "item": item}));
    }

    /// A part with text in it.
    fn part(&mut self, part_event: &str, text_event: &str, part: &Value, place: &Value) {
        let text = string(&part["text"]);
        let mut empty = part.clone();
        empty["text"] = json!("");
        self.push(&format!("{part_event}.added"), and(place, "part", empty));
        for morsel in morsels(&text) {
            self.push(&format!("{text_event}.delta"), and(place, "delta", json!(morsel)));
        }
        self.push(&format!("{text_event}.done"), and(place, "text", json!(text)));
        self.push(&format!("{part_event}.done"), and(place, "part", part.clone()));
    }
}

/// A place, with the index of its only part.
fn with(place: &Value, index: &str) -> Value {
    and(place, index, json!(0))
}

fn and(place: &Value, name: &str, value: Value) -> Value {
    let mut place = place.clone();
    place[name] = value;
    place
}

fn usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.all_input(),
        "input_tokens_details": {"cached_tokens": tokens.cached},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.all_input() + tokens.output,
    })
}
