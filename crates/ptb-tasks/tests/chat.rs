//! One rich conversation in each built-in chat format, so that a change of a format is seen without the
//! reference files.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::Registry;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use serde_json::{Map, Value, json};

fn render(template: &str, messages: &Value, tools: Option<&Value>) -> Result<String, String> {
    let registry = Registry::load(&[]).unwrap();
    let template = ChatTemplate::new(&registry.chat_template(template).unwrap().value).unwrap();
    let request = RenderRequest {
        messages: messages.as_array().unwrap(),
        tools: tools.map(|t| t.as_array().unwrap().as_slice()),
        kwargs: &Map::new(),
        bos_token: "<bos>",
        date: jiff::civil::date(2026, 2, 3),
        add_generation_prompt: true,
    };
    template.render(&request).map_err(|e| e.to_string())
}

fn tools() -> Value {
    json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "strict": true}}}])
}

/// Thinking before and after the last question, two calls with text, arguments as object and as text.
fn with_tools() -> Value {
    json!([
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "<think>\nold\n</think>\n\nHi"},
        {"role": "user", "content": "1+2 and 3+4?"},
        {"role": "assistant", "content": "I add.", "reasoning_content": "two sums", "tool_calls": [
            {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.0}}},
            {"name": "add", "arguments": "{\"a\":3}"}]},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "7"},
    ])
}

#[test]
fn conversations_with_tools() {
    for template in ["qwen3", "smollm", "gemma3_tool_calling"] {
        let text = render(template, &with_tools(), Some(&tools())).unwrap();
        insta::assert_snapshot!(format!("with_tools_{template}"), text);
    }
    assert!(
        render("gemma3", &with_tools(), Some(&tools()))
            .unwrap_err()
            .contains("roles must alternate")
    );
}

#[test]
fn plain_conversations() {
    let messages = json!([
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": " 1+1? "},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Sure?"},
    ]);
    for template in ["qwen3", "smollm", "gemma3", "gemma3_tool_calling"] {
        let text = render(template, &messages, None).unwrap();
        insta::assert_snapshot!(format!("plain_{template}"), text);
    }
}

#[test]
fn conversations_that_no_template_can_use_are_refused() {
    for template in ["qwen3", "smollm", "gemma3", "gemma3_tool_calling"] {
        for messages in
            [json!([]), json!([{"role": "system", "content": 7}, {"role": "user", "content": "a"}])]
        {
            let e = render(template, &messages, None).unwrap_err();
            assert!(
                e.starts_with("cannot render the conversation: ") && e.contains("hint:"),
                "{template}: {e}"
            );
        }
    }
}
