//! The provider's own tools: what is told of them, and how they are taken out of a request.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use ptb_llm::protocol::{
    Body, Protocol, Stripped, ToolUse, elements, fetched_urls, reaching_fields, server_tools, strip,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::setup::ServerTools;

/// So many pieces of conversations are remembered as holding no address.
const MOST_SEEN: usize = 100_000;

/// A line of `network.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct NetworkEvent {
    schema: u32,
    pub(super) at: f64,
    kind: &'static str,
    pub(super) tool: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    pub(super) number: u64,
    /// Whether the request offers it, rather than the answer having used it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    declared: bool,
}

impl NetworkEvent {
    /// The answer to request `number` used a tool.
    pub(super) fn used(at: f64, number: u64, used: ToolUse) -> Self {
        let ToolUse { tool, query, url } = used;
        Self { schema: 1, at, kind: "server_tool", tool, query, url, number, declared: false }
    }

    fn declared(tool: String, url: Option<String>) -> Self {
        let kind = "server_tool";
        Self { schema: 1, at: 0.0, kind, tool, query: None, url, number: 0, declared: true }
    }
}

/// What a piece of a request declares: a tool of the provider's, or addresses that it fetches.
pub(super) fn declared(protocol: Protocol, field: &str, value: &RawValue) -> Vec<NetworkEvent> {
    if field == "tools" {
        let tool: Value = serde_json::from_str(value.get()).unwrap_or(Value::Null);
        let url = tool["server_url"].as_str().map(|u| u.chars().take(2000).collect());
        let names = server_tools(protocol, &tool).into_iter();
        return names.map(|name| NetworkEvent::declared(name, url.clone())).collect();
    }
    let urls = fetched_urls(protocol, value).into_iter();
    urls.map(|url| NetworkEvent::declared("fetch".to_owned(), Some(url))).collect()
}

/// What the other fields of a request declare.
pub(super) fn declared_fields(body: &Body<'_>) -> Vec<NetworkEvent> {
    let fields = reaching_fields(body).into_iter();
    fields.map(|field| NetworkEvent::declared(field.to_owned(), None)).collect()
}

/// Applies the policy, and remembers which pieces of conversations hold no address: each request repeats them all.
pub(super) struct Reach {
    policy: ServerTools,
    keyed: RandomState,
    clean: Mutex<HashMap<u64, usize>>,
}

/// A request that may be sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Passed {
    /// Its body, where something was taken out.
    pub(super) body: Option<Bytes>,
    /// What was taken out.
    pub(super) stripped: Vec<String>,
}

impl Reach {
    pub(super) fn new(policy: ServerTools) -> Self {
        Self { policy, keyed: RandomState::new(), clean: Mutex::default() }
    }

    /// Takes out what the policy does not let through.
    ///
    /// # Errors
    /// The words for the client where something cannot be taken out.
    pub(super) fn apply(&self, protocol: Protocol, body: &Body<'_>) -> Result<Passed, String> {
        if self.policy == ServerTools::Allow {
            return Ok(Passed::default());
        }
        for (name, value) in body.fields() {
            let said = protocol.conversation_fields().contains(&name)
                || protocol.system_fields().contains(&name);
            if said {
                self.look(protocol, value)?;
            }
        }
        Ok(without_tools(protocol, body))
    }

    fn look(&self, protocol: Protocol, value: &RawValue) -> Result<(), String> {
        let list = elements(value).unwrap_or_else(|| vec![value]);
        for piece in list {
            let text = piece.get();
            let hash = self.keyed.hash_one(text);
            let mut clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
            if clean.get(&hash) == Some(&text.len()) {
                continue;
            }
            drop(clean);
            if let Some(url) = fetched_urls(protocol, piece).first() {
                let url: String = url.chars().take(200).collect();
                return Err(format!(
                    "this run has no network: the provider may not fetch {url}; send files as data instead"
                ));
            }
            clean = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
            if clean.len() >= MOST_SEEN {
                clean.clear();
            }
            clean.insert(hash, text.len());
        }
        Ok(())
    }
}

/// The request without the provider's tools, and without what would refer to them.
fn without_tools(protocol: Protocol, body: &Body<'_>) -> Passed {
    let mut stripped: Vec<String> = reaching_fields(body).into_iter().map(str::to_owned).collect();
    let fields = stripped.clone();
    let mut tools = None;
    for (_, value) in body.fields().filter(|(name, _)| *name == "tools") {
        let mut kept = Vec::new();
        let before = stripped.len();
        for tool in elements(value).unwrap_or_default() {
            let json: Value = serde_json::from_str(tool.get()).unwrap_or(Value::Null);
            match strip(protocol, &json) {
                Stripped::Same => kept.push(tool.get().to_owned()),
                Stripped::Rest(rest) => {
                    stripped.extend(server_tools(protocol, &json));
                    kept.push(rest);
                }
                Stripped::Gone => stripped.extend(server_tools(protocol, &json)),
            }
        }
        tools = (stripped.len() > before).then_some(kept);
    }
    if stripped.is_empty() {
        return Passed::default();
    }
    let gone = |name: &str| {
        fields.iter().any(|field| ptb_llm::protocol::same_key(field, name))
            || tools.as_ref().is_some_and(|kept| refers(name, kept.is_empty()))
    };
    let mut parts = Vec::new();
    for (name, value) in body.fields().filter(|(name, _)| !gone(name)) {
        let value = match (&tools, name) {
            (Some(kept), "tools") => format!("[{}]", kept.join(",")),
            _ => value.get().to_owned(),
        };
        parts.push(format!("{}:{value}", Value::from(name)));
    }
    Passed { body: Some(Bytes::from(format!("{{{}}}", parts.join(",")))), stripped }
}

/// Whether a field makes no sense when tools are gone: the choice among them, and the list itself when it is empty.
fn refers(name: &str, none_left: bool) -> bool {
    match name {
        "tool_choice" | "toolConfig" | "tool_config" => true,
        "tools" => none_left,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(
        policy: ServerTools,
        protocol: Protocol,
        text: &str,
    ) -> Result<(String, Vec<String>), String> {
        let body = Body::parse(text.as_bytes()).unwrap();
        let passed = Reach::new(policy).apply(protocol, &body)?;
        let sent = passed.body.map_or_else(|| text.as_bytes().to_vec(), |b| b.to_vec());
        Ok((String::from_utf8(sent).unwrap(), passed.stripped))
    }

    #[test]
    fn the_providers_tools_are_taken_out_and_nothing_else_changes() {
        let tools = r#"{"model": "m", "n": 1.50, "tools": [{"name": "Bash"}, {"type": "web_search_20250305", "name": "web_search"}], "tool_choice": {"type": "tool", "name": "web_search"}, "mcp_servers": [{"url": "https://x"}]}"#;
        let (sent, stripped) = apply(ServerTools::Strip, Protocol::Anthropic, tools).unwrap();
        assert_eq!(sent, r#"{"model":"m","n":1.50,"tools":[{"name": "Bash"}]}"#);
        assert_eq!(stripped, ["mcp_servers", "web_search_20250305"]);
        let (sent, stripped) = apply(ServerTools::Allow, Protocol::Anthropic, tools).unwrap();
        assert_eq!((sent.as_str(), stripped.len()), (tools, 0));
        let gemini = r#"{"contents":[],"tools":[{"googleSearch":{}}],"toolConfig":{}}"#;
        let (sent, stripped) = apply(ServerTools::Strip, Protocol::Gemini, gemini).unwrap();
        assert_eq!(
            (sent.as_str(), stripped),
            (r#"{"contents":[]}"#, vec!["googleSearch".to_owned()])
        );
        let plain = r#"{"model": "m", "tools": [{"type": "function", "name": "x"}], "tool_choice": "auto"}"#;
        let (sent, stripped) = apply(ServerTools::Strip, Protocol::Responses, plain).unwrap();
        assert_eq!((sent.as_str(), stripped.len()), (plain, 0));
    }

    #[test]
    fn addresses_are_refused_where_there_is_no_network() {
        let text = r#"{"model": "m", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/a.png"}}]}]}"#;
        let e = apply(ServerTools::Strip, Protocol::Chat, text).unwrap_err();
        assert!(e.contains("may not fetch https://x/a.png"), "{e}");
        apply(ServerTools::Allow, Protocol::Chat, text).unwrap();
        // The second look at the same piece comes from memory, the first at another does not.
        let reach = Reach::new(ServerTools::Strip);
        let look = |text: &str| {
            reach.apply(Protocol::Chat, &Body::parse(text.as_bytes()).unwrap()).is_ok()
        };
        let clean = r#"{"messages": [{"role": "user", "content": "x"}]}"#;
        assert!(look(clean) && look(clean) && !look(text) && !look(text));
    }
}
