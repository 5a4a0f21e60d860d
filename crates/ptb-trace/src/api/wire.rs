//! What was said in a conversation, out of the four protocols' messages. Sources: the providers' API references of
//! Anthropic Messages, OpenAI Responses and Chat Completions, Gemini generateContent.

use serde_json::{Map, Value, json};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    System,
    #[default]
    User,
    Agent,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) role: Role,
    pub(crate) text: String,
    pub(crate) reasoning: String,
    /// Id, name, arguments as JSON text.
    pub(crate) calls: Vec<(String, String, String)>,
    /// Id of the call, what came of it.
    pub(crate) results: Vec<(String, String)>,
}

/// The field of a request's body that holds the messages.
pub(crate) fn messages_key(protocol: &str) -> &'static str {
    match protocol {
        "responses" => "input",
        "gemini" => "contents",
        _ => "messages",
    }
}

/// The field that holds the system prompt.
pub(crate) fn system_key(protocol: &str) -> &'static str {
    match protocol {
        "responses" => "instructions",
        "gemini" => "systemInstruction",
        _ => "system",
    }
}

fn word(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn add(to: &mut String, text: &str) {
    if !to.is_empty() && !text.is_empty() {
        to.push('\n');
    }
    to.push_str(text);
}

/// The words in a text, a list of blocks, or an object with parts.
pub(crate) fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let mut all = String::new();
            // Claude Code's first block names its build, and differs from request to request.
            let told =
                blocks.iter().map(words).filter(|w| !w.starts_with("x-anthropic-billing-header"));
            told.for_each(|text| add(&mut all, &text));
            all
        }
        Value::Object(block) => {
            match ["text", "parts", "content", "output"].iter().find_map(|k| block.get(*k)) {
                Some(inner) => words(inner),
                None => block
                    .get("type")
                    .and_then(Value::as_str)
                    .map(|t| format!("({t})"))
                    .unwrap_or_default(),
            }
        }
        _ => String::new(),
    }
}

/// A message of any protocol.
pub(crate) fn said(message: &Value) -> Said {
    let role = match message.get("role").and_then(Value::as_str) {
        Some("assistant" | "model") => Role::Agent,
        Some("system" | "developer") => Role::System,
        _ => Role::User,
    };
    let mut said = Said { role, ..Said::default() };
    match message.get("type").and_then(Value::as_str) {
        Some("message") | None => {}
        Some(_) => item(message, &mut said),
    }
    if role == Role::User && message.get("role").and_then(Value::as_str) == Some("tool") {
        said.results.push((word(message, "tool_call_id"), words(&message["content"])));
        return said;
    }
    let content = message.get("content").or_else(|| message.get("parts"));
    match content {
        Some(Value::Array(blocks)) => blocks.iter().for_each(|block| piece(block, &mut said)),
        Some(Value::String(text)) => add(&mut said.text, text),
        _ => {}
    }
    add(&mut said.reasoning, &word(message, "reasoning_content"));
    for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = &call["function"];
        said.calls.push((word(call, "id"), word(function, "name"), word(function, "arguments")));
    }
    said
}

/// An item of OpenAI's Responses that is no message.
fn item(item: &Value, said: &mut Said) {
    let kind = word(item, "type");
    if kind == "reasoning" {
        said.role = Role::Agent;
        let summary = words(&item["summary"]);
        return add(&mut said.reasoning, &summary);
    }
    if kind.ends_with("_output") {
        let output = words(&item["output"]);
        return said.results.push((word(item, "call_id"), output));
    }
    if kind.ends_with("_call") {
        said.role = Role::Agent;
        let name = Some(word(item, "name")).filter(|n| !n.is_empty()).unwrap_or(kind);
        let asked = ["arguments", "input", "action"].iter().find_map(|key| item.get(*key));
        let asked = match asked {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => "{}".to_owned(),
        };
        said.calls.push((word(item, "call_id"), name, asked));
    }
}

/// A content block of Anthropic or OpenAI, or a part of Gemini.
fn piece(block: &Value, said: &mut Said) {
    if let Some(call) = block.get("functionCall") {
        let name = word(call, "name");
        let id = Some(word(call, "id")).filter(|id| !id.is_empty()).unwrap_or_else(|| name.clone());
        return said.calls.push((id, name, call.get("args").map_or("{}".into(), Value::to_string)));
    }
    if let Some(result) = block.get("functionResponse") {
        let id = word(result, "id");
        let id = if id.is_empty() { word(result, "name") } else { id };
        return said.results.push((id, result["response"].to_string()));
    }
    match block.get("type").and_then(Value::as_str) {
        Some("thinking") => add(&mut said.reasoning, &word(block, "thinking")),
        Some("tool_use" | "server_tool_use") => {
            let asked = block.get("input").map_or("{}".into(), Value::to_string);
            said.calls.push((word(block, "id"), word(block, "name"), asked));
        }
        Some("tool_result") => {
            said.results.push((word(block, "tool_use_id"), words(&block["content"])));
        }
        _ if block.get("thought").and_then(Value::as_bool) == Some(true) => {
            add(&mut said.reasoning, &word(block, "text"));
        }
        _ => add(&mut said.text, &words(block)),
    }
}

/// What a response said.
pub(crate) fn reply(body: &Value) -> Said {
    let mut said = Said { role: Role::Agent, ..Said::default() };
    match body.get("$sse").and_then(Value::as_array) {
        Some(events) => stream(events, &mut said),
        None => whole(body, &mut said),
    }
    said
}

fn take_in(said: &mut Said, more: Said) {
    add(&mut said.text, &more.text);
    add(&mut said.reasoning, &more.reasoning);
    said.calls.extend(more.calls);
}

/// A response that is one JSON value.
fn whole(body: &Value, to: &mut Said) {
    let list = |key: &str| body.get(key).and_then(Value::as_array).into_iter().flatten();
    list("output").for_each(|item| take_in(to, said(item)));
    list("choices").take(1).for_each(|choice| take_in(to, said(&choice["message"])));
    list("candidates").take(1).for_each(|c| take_in(to, said(&c["content"])));
    list("content").for_each(|block| piece(block, to));
}

/// A response that came in events.
fn stream(events: &[Value], to: &mut Said) {
    for data in events.iter().map(|event| &event["data"]) {
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default();
        let delta = &data["delta"];
        match kind {
            "content_block_start" => {
                let block = &data["content_block"];
                if block.get("id").is_some() {
                    to.calls.push((word(block, "id"), word(block, "name"), String::new()));
                }
            }
            "content_block_delta" => {
                to.text.push_str(&word(delta, "text"));
                to.reasoning.push_str(&word(delta, "thinking"));
                if let (Some(call), true) =
                    (to.calls.last_mut(), delta.get("partial_json").is_some())
                {
                    call.2.push_str(&word(delta, "partial_json"));
                }
            }
            "response.output_item.done" => take_in(to, said(&data["item"])),
            _ => {
                let choice = data["choices"].get(0).map(|c| &c["delta"]);
                choice.into_iter().for_each(|delta| chat_delta(delta, to));
                let parts = data["candidates"].get(0).map(|c| &c["content"]["parts"]);
                for part in parts.and_then(Value::as_array).into_iter().flatten() {
                    match part.get("text").and_then(Value::as_str) {
                        Some(text) if part.get("thought").is_none() => to.text.push_str(text),
                        _ => piece(part, to),
                    }
                }
            }
        }
    }
}

fn chat_delta(delta: &Value, to: &mut Said) {
    to.text.push_str(&word(delta, "content"));
    to.reasoning.push_str(&word(delta, "reasoning_content"));
    for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
        let function = &call["function"];
        if call.get("id").and_then(Value::as_str).is_some_and(|id| !id.is_empty()) {
            to.calls.push((word(call, "id"), word(function, "name"), String::new()));
        }
        if let Some(last) = to.calls.last_mut() {
            last.2.push_str(&word(function, "arguments"));
        }
    }
}

/// Tool definitions in OpenAI's form, which ATIF asks for. Tools of the provider's own stay as they are.
pub(crate) fn definitions(tools: &[Value]) -> Vec<Value> {
    let mut made = Vec::new();
    for tool in tools.iter().filter(|tool| tool.is_object()) {
        let several =
            ["functionDeclarations", "function_declarations"].iter().find_map(|k| tool.get(*k));
        match several.and_then(Value::as_array) {
            Some(declared) => made.extend(declared.iter().map(definition)),
            None if tool.get("function").is_some() || tool.get("name").is_none() => {
                made.push(tool.clone());
            }
            None => made.push(definition(tool)),
        }
    }
    made
}

fn definition(tool: &Value) -> Value {
    let mut function = Map::new();
    function.insert("name".to_owned(), tool.get("name").cloned().unwrap_or_default());
    if let Some(told) = tool.get("description") {
        function.insert("description".to_owned(), told.clone());
    }
    let keys = ["input_schema", "parameters", "parametersJsonSchema"];
    if let Some(schema) = keys.iter().find_map(|key| tool.get(*key)) {
        function.insert("parameters".to_owned(), schema.clone());
    }
    json!({"type": "function", "function": function})
}
