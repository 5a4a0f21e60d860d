//! By what a request has the provider reach out: tools that run on its side, addresses that it fetches.
//!
//! The agent has no network, but a provider's web search has one. What runs in the scaffold (functions, its own shell
//! and editor tools) is not of interest here; what the provider runs is.

use serde_json::Value;
use serde_json::value::RawValue;

use super::{Body, Event, Protocol};

/// The longest query, address or code that is kept, in characters.
const SHOWN: usize = 2000;

/// Beginnings of Anthropic's tool types that run at the provider
/// (<https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview>).
const ANTHROPIC: [&str; 5] =
    ["web_search", "web_fetch", "code_execution", "mcp_toolset", "advisor"];
/// Of OpenAI's (<https://platform.openai.com/docs/guides/tools>).
const OPENAI: [&str; 6] =
    ["web_search", "file_search", "code_interpreter", "mcp", "image_generation", "retrieval"];
/// Google's, without case and underscores (<https://ai.google.dev/gemini-api/docs/tools>); all but functions and
/// `computerUse`.
const GOOGLE: [&str; 9] = [
    "googlesearch",
    "googlesearchretrieval",
    "enterprisewebsearch",
    "googlemaps",
    "urlcontext",
    "codeexecution",
    "filesearch",
    "retrieval",
    "mcpservers",
];
/// Fields of a request, beside its tools, that have the provider reach out, whatever the protocol.
const FIELDS: [&str; 4] = ["mcp_servers", "web_search_options", "plugins", "prompt"];

/// A tool of the provider that an answer used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolUse {
    /// Its name.
    pub tool: String,
    /// What was asked of it: a query, an address, code, arguments. Shortened.
    pub query: Option<String>,
    /// The address, where that is what it is about.
    pub url: Option<String>,
}

/// What remains of an element of `tools` when the provider's own tools are taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stripped {
    /// All of it.
    Same,
    /// Nothing.
    Gone,
    /// This JSON.
    Rest(String),
}

/// Names of the tools of an element of a request's `tools` that run at the provider.
pub fn server_tools(protocol: Protocol, tool: &Value) -> Vec<String> {
    let kind = tool["type"].as_str().unwrap_or_default();
    let one = |known: &[&str]| known.iter().any(|k| kind.starts_with(k)).then(|| shown(kind));
    match protocol {
        Protocol::Anthropic => one(&ANTHROPIC).into_iter().collect(),
        Protocol::Responses | Protocol::Chat => {
            // A shell may run in a container of the provider's.
            let place = tool["environment"]["type"].as_str().unwrap_or_default();
            let hosted = place.starts_with("container").then(|| shown(kind));
            one(&OPENAI).or(hosted).into_iter().collect()
        }
        Protocol::Gemini => {
            let names = tool.as_object().into_iter().flat_map(|fields| fields.keys());
            names.filter(|name| is_google(name)).map(|name| shown(name)).collect()
        }
    }
}

/// An element of `tools` without what runs at the provider.
pub fn strip(protocol: Protocol, tool: &Value) -> Stripped {
    if server_tools(protocol, tool).is_empty() {
        return Stripped::Same;
    }
    match tool.as_object() {
        Some(fields) if protocol == Protocol::Gemini => {
            let rest: serde_json::Map<String, Value> = fields
                .iter()
                .filter(|(name, _)| !is_google(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            match rest.is_empty() {
                true => Stripped::Gone,
                false => Stripped::Rest(Value::Object(rest).to_string()),
            }
        }
        _ => Stripped::Gone,
    }
}

fn is_google(name: &str) -> bool {
    GOOGLE.iter().any(|known| super::same_key(known, name))
}

/// A request's fields, beside `tools`, that have the provider reach out.
pub fn reaching_fields(body: &Body<'_>) -> Vec<&'static str> {
    let there = |name: &&&str| {
        body.fields().any(|(field, value)| {
            super::same_key(field, name) && !matches!(value.get(), "null" | "[]" | "{}")
        })
    };
    FIELDS.iter().filter(there).copied().collect()
}

/// Addresses in a piece of the conversation that the provider fetches itself: pictures and files by reference.
/// What a tool of the scaffold was called with or gave back is not looked into.
pub fn fetched_urls(protocol: Protocol, piece: &RawValue) -> Vec<String> {
    let Ok(json) = serde_json::from_str::<Value>(piece.get()) else { return Vec::new() };
    let mut found = Vec::new();
    walk(protocol, &json, &mut found);
    found
}

fn walk(protocol: Protocol, json: &Value, found: &mut Vec<String>) {
    match json {
        Value::Array(list) => list.iter().for_each(|v| walk(protocol, v, found)),
        Value::Object(fields) => {
            let kind = json["type"].as_str().unwrap_or_default();
            let url = match (protocol, kind) {
                (Protocol::Anthropic, "url") => json["url"].as_str(),
                (Protocol::Responses, "input_image") => json["image_url"].as_str(),
                (Protocol::Responses, "input_file") => json["file_url"].as_str(),
                (Protocol::Chat, "image_url") => {
                    json["image_url"]["url"].as_str().or(json["image_url"].as_str())
                }
                (Protocol::Chat, "video_url") => json["video_url"]["url"].as_str(),
                _ => None,
            };
            found.extend(url.filter(|u| is_address(u)).map(shown));
            for (name, value) in fields {
                let own = ["input", "args", "arguments", "response"].contains(&name.as_str());
                if own && !(protocol == Protocol::Responses && name == "input") {
                    continue;
                }
                if protocol == Protocol::Gemini && super::same_key(name, "fileData") {
                    let uri = value["fileUri"].as_str().or(value["file_uri"].as_str());
                    found.extend(uri.map(shown));
                }
                walk(protocol, value, found);
            }
        }
        _ => {}
    }
}

/// Whether a reference leads out, rather than holding the data itself.
fn is_address(url: &str) -> bool {
    !url.trim_start().get(..5).is_some_and(|start| start.eq_ignore_ascii_case("data:"))
}

/// The provider's tools that an answer used. `events` are those of its stream; a whole answer is one event.
pub fn uses<'a>(protocol: Protocol, events: impl Iterator<Item = Event<'a>>) -> Vec<ToolUse> {
    let mut found = Vec::new();
    let mut open: Vec<(u64, String, String)> = Vec::new();
    for event in events {
        // Most events are pieces of text: only those that can matter are read whole.
        if !may_matter(protocol, event.data, !open.is_empty()) {
            continue;
        }
        let Ok(json) = serde_json::from_str::<Value>(event.data) else { continue };
        match protocol {
            Protocol::Anthropic => anthropic_use(&json, &mut open, &mut found),
            Protocol::Responses => responses_use(&json, &mut found),
            Protocol::Chat => chat_use(&json, &mut found),
            Protocol::Gemini => gemini_use(&json, &mut found),
        }
    }
    found
}

fn may_matter(protocol: Protocol, data: &str, open: bool) -> bool {
    let has = |needle: &str| memchr::memmem::find(data.as_bytes(), needle.as_bytes()).is_some();
    match protocol {
        Protocol::Anthropic => open || has("_tool_use"),
        Protocol::Responses => has("_call"),
        Protocol::Chat => has("url_citation"),
        Protocol::Gemini => has("Metadata") || has("executableCode"),
    }
}

fn anthropic_use(json: &Value, open: &mut Vec<(u64, String, String)>, found: &mut Vec<ToolUse>) {
    let index = json["index"].as_u64().unwrap_or(0);
    let is_server =
        |block: &Value| matches!(block["type"].as_str(), Some("server_tool_use" | "mcp_tool_use"));
    let name = |block: &Value| shown(block["name"].as_str().unwrap_or("unnamed"));
    match json["type"].as_str() {
        Some("content_block_start") if is_server(&json["content_block"]) && open.len() < 64 => {
            open.push((index, name(&json["content_block"]), String::new()));
        }
        Some("content_block_delta") => {
            let piece = json["delta"]["partial_json"].as_str().unwrap_or_default();
            if let Some((_, _, input)) = open.iter_mut().find(|(i, ..)| *i == index)
                && input.len() < 1 << 20
            {
                input.push_str(piece);
            }
        }
        Some("content_block_stop") => {
            if let Some(at) = open.iter().position(|(i, ..)| *i == index) {
                let (_, tool, input) = open.swap_remove(at);
                let input = serde_json::from_str(&input).unwrap_or(Value::String(input));
                found.push(tool_use(tool, &input));
            }
        }
        _ => {
            let blocks = json["content"].as_array().into_iter().flatten();
            found.extend(blocks.filter(|b| is_server(b)).map(|b| tool_use(name(b), &b["input"])));
        }
    }
}

fn responses_use(json: &Value, found: &mut Vec<ToolUse>) {
    let one = |item: &Value| {
        let kind = item["type"].as_str()?;
        let tool = kind.strip_suffix("_call")?;
        let known = ["web_search", "file_search", "code_interpreter", "mcp", "image_generation"];
        if !known.contains(&tool) {
            return None;
        }
        let about = match tool {
            "web_search" => &item["action"],
            _ => item,
        };
        Some(tool_use(tool.to_owned(), about))
    };
    match json["type"].as_str() {
        Some("response.output_item.done") => found.extend(one(&json["item"])),
        Some(_) => {}
        None => found.extend(json["output"].as_array().into_iter().flatten().filter_map(one)),
    }
}

fn chat_use(json: &Value, found: &mut Vec<ToolUse>) {
    for choice in json["choices"].as_array().into_iter().flatten() {
        for said in [&choice["delta"], &choice["message"]] {
            let notes = said["annotations"].as_array().into_iter().flatten();
            found.extend(notes.filter(|n| n["type"] == "url_citation").map(|note| {
                let url = note["url_citation"]["url"].as_str().or(note["url"].as_str());
                ToolUse { tool: "web_search".to_owned(), query: None, url: url.map(shown) }
            }));
        }
    }
}

fn gemini_use(json: &Value, found: &mut Vec<ToolUse>) {
    let pieces = json.as_array().map_or(std::slice::from_ref(json), Vec::as_slice);
    let candidates = pieces.iter().flat_map(|p| p["candidates"].as_array().into_iter().flatten());
    for candidate in candidates {
        let queries = candidate["groundingMetadata"]["webSearchQueries"].as_array();
        for query in queries.into_iter().flatten().filter_map(Value::as_str) {
            let tool = "googleSearch".to_owned();
            found.push(ToolUse { tool, query: Some(shown(query)), url: None });
        }
        let pages = candidate["urlContextMetadata"]["urlMetadata"].as_array();
        for page in pages.into_iter().flatten() {
            let url = page["retrievedUrl"].as_str().map(shown);
            found.push(ToolUse { tool: "urlContext".to_owned(), query: None, url });
        }
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            if let Some(code) = part["executableCode"]["code"].as_str() {
                let tool = "codeExecution".to_owned();
                found.push(ToolUse { tool, query: Some(shown(code)), url: None });
            }
        }
    }
}

fn tool_use(tool: String, about: &Value) -> ToolUse {
    let text = |key: &str| about[key].as_str().map(shown);
    let query = ["query", "code", "arguments", "pattern"].iter().find_map(|key| text(key));
    let listed = about["queries"].is_array().then(|| shown(&about["queries"].to_string()));
    let url = text("url");
    let all = (!about.is_null() && url.is_none()).then(|| shown(&about.to_string()));
    ToolUse { tool, query: query.or(listed).or(all), url }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_providers_tools_are_told_from_the_scaffolds() {
        use Protocol::{Anthropic, Chat, Gemini, Responses};
        for (protocol, tool, names) in [
            (Anthropic, json!({"name": "Bash", "input_schema": {}}), vec![]),
            (Anthropic, json!({"type": "custom", "name": "web_search"}), vec![]),
            (Anthropic, json!({"type": "bash_20250124", "name": "bash"}), vec![]),
            (
                Anthropic,
                json!({"type": "web_search_20250305", "name": "web_search"}),
                vec!["web_search_20250305"],
            ),
            (
                Anthropic,
                json!({"type": "code_execution_20250825"}),
                vec!["code_execution_20250825"],
            ),
            (Responses, json!({"type": "function", "name": "web_search"}), vec![]),
            (Responses, json!({"type": "local_shell"}), vec![]),
            (Responses, json!({"type": "web_search_preview"}), vec!["web_search_preview"]),
            (Responses, json!({"type": "mcp", "server_url": "https://x"}), vec!["mcp"]),
            (
                Responses,
                json!({"type": "shell", "environment": {"type": "container_auto"}}),
                vec!["shell"],
            ),
            (Responses, json!({"type": "shell", "environment": {"type": "local"}}), vec![]),
            (Chat, json!({"type": "function", "function": {"name": "x"}}), vec![]),
            (Gemini, json!({"functionDeclarations": []}), vec![]),
            (
                Gemini,
                json!({"function_declarations": [], "google_search": {}, "urlContext": {}}),
                vec!["google_search", "urlContext"],
            ),
        ] {
            assert_eq!(server_tools(protocol, &tool), names, "{tool}");
            let want = match (names.is_empty(), protocol) {
                (true, _) => Stripped::Same,
                (false, Gemini) => Stripped::Rest(r#"{"function_declarations":[]}"#.to_owned()),
                (false, _) => Stripped::Gone,
            };
            assert_eq!(strip(protocol, &tool), want, "{tool}");
        }
        assert_eq!(strip(Gemini, &json!({"googleSearch": {}})), Stripped::Gone);
        let body = br#"{"tools": [{"a": 1}], "mcp_servers": [{}], "plugins": [], "webSearchOptions": {"a": 1}}"#;
        let body = Body::parse(body).unwrap();
        assert_eq!(reaching_fields(&body), ["mcp_servers", "web_search_options"]);
    }

    #[test]
    fn addresses_that_the_provider_fetches_are_found() {
        use Protocol::{Anthropic, Chat, Gemini, Responses};
        let urls = |protocol, json: Value| {
            let raw = serde_json::value::to_raw_value(&json).unwrap();
            fetched_urls(protocol, &raw)
        };
        let image = json!({"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}]});
        assert_eq!(urls(Anthropic, image), ["https://x/a.png"]);
        let fetch = json!({"role": "assistant", "content": [{"type": "tool_use", "name": "WebFetch", "input": {"type": "url", "url": "https://x"}}]});
        assert_eq!(urls(Anthropic, fetch), [""; 0]);
        let inline = json!({"type": "message", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}, {"type": "input_file", "file_url": "https://x/f.pdf"}]});
        assert_eq!(urls(Responses, inline), ["https://x/f.pdf"]);
        let chat = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/b"}}]});
        assert_eq!(urls(Chat, chat), ["http://x/b"]);
        let gemini = json!({"parts": [{"fileData": {"fileUri": "https://youtu.be/x"}}, {"functionCall": {"args": {"fileData": {"fileUri": "no"}}}}]});
        assert_eq!(urls(Gemini, gemini), ["https://youtu.be/x"]);
    }

    #[test]
    fn uses_are_read_out_of_streams_and_whole_answers() {
        let read = |protocol, events: &[Value]| {
            let texts: Vec<String> = events.iter().map(Value::to_string).collect();
            let events = texts.iter().map(|data| Event { name: None, data });
            let found = uses(protocol, events);
            found.into_iter().map(|u| (u.tool, u.query, u.url)).collect::<Vec<_>>()
        };
        let is = |tool: &str, query: &str| vec![(tool.to_owned(), Some(query.to_owned()), None)];
        let events = [
            json!({"type": "content_block_start", "index": 1, "content_block": {"type": "server_tool_use", "name": "web_search", "input": {}}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{\"query\": \"gsm"}}),
            json!({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "8k\"}"}}),
            json!({"type": "content_block_stop", "index": 1}),
        ];
        assert_eq!(read(Protocol::Anthropic, &events), is("web_search", "gsm8k"));
        let whole = json!({"type": "message", "content": [{"type": "text"}, {"type": "server_tool_use", "name": "web_search", "input": {"query": "x"}}]});
        assert_eq!(read(Protocol::Anthropic, &[whole]), is("web_search", "x"));
        let item = json!({"type": "web_search_call", "action": {"type": "search", "query": "q"}});
        let done = json!({"type": "response.output_item.done", "item": item});
        let ended = json!({"type": "response.completed", "response": {"output": [item]}});
        assert_eq!(read(Protocol::Responses, &[done, ended]), is("web_search", "q"));
        assert_eq!(read(Protocol::Responses, &[json!({"output": [item]})]), is("web_search", "q"));
        let own = json!({"type": "response.output_item.done", "item": {"type": "function_call", "name": "x"}});
        assert_eq!(read(Protocol::Responses, &[own]), []);
        let gemini = json!({"candidates": [{"groundingMetadata": {"webSearchQueries": ["a"]}}]});
        assert_eq!(read(Protocol::Gemini, &[gemini]), is("googleSearch", "a"));
        let chat = json!({"choices": [{"delta": {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x"}}]}}]});
        let cited = ("web_search".to_owned(), None, Some("https://x".to_owned()));
        assert_eq!(read(Protocol::Chat, &[chat]), [cited]);
    }
}
