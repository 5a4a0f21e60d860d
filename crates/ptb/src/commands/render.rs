//! `ptb render`.

use std::fmt::Display;
use std::io::Read;
use std::path::Path;

use ptb_core::files::read_bounded;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use serde_json::{Map, Value};

use super::registry;
use crate::args::RenderArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

/// Largest file of messages or tools, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// What the files hold.
const MESSAGES: &str = "[{\"role\": \"user\", \"content\": \"What is 2 + 3?\"}]";
const TOOLS: &str =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}]";
/// Variables of a template that are not for `--kwargs`, and how they are given.
const GIVEN: [(&str, &str); 4] = [
    ("messages", "give the conversation with --messages FILE"),
    ("tools", "give the functions with --tools FILE"),
    ("strftime_now", "give the day with --date YYYY-MM-DD"),
    ("bos_token", "it is the model's"),
];

pub(crate) fn run(args: &RenderArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    let chat = &registry.model(&args.model).map_err(Fault::file)?.value.chat;
    let own = chat.template_for(args.tools.is_some());
    let name = args.template.as_deref().map_or(own, |name| name.trim_end_matches(".jinja"));
    let template = registry.chat_template(name).map_err(Fault::file)?;
    let kwargs = args.kwargs.as_deref().map(kwargs).transpose()?.unwrap_or_default();
    let messages = list(&args.messages, "messages", MESSAGES)?;
    let tools = args.tools.as_deref().map(|path| list(path, "tools", TOOLS)).transpose()?;
    let request = RenderRequest {
        messages: &messages,
        tools: tools.as_deref(),
        kwargs: &kwargs,
        bos_token: &chat.bos_token,
        date: args.date.unwrap_or_else(|| jiff::Zoned::now().date()),
        add_generation_prompt: false,
    };
    let text = ChatTemplate::new(&template.value)
        .and_then(|t| t.render(&request))
        .map_err(Fault::usage)?;
    print::out(&text)
}

fn kwargs(text: &str) -> Result<Map<String, Value>, Fault> {
    let kwargs: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
        let hint = "--kwargs '{\"enable_thinking\": false}'";
        Fault::usage(format!("--kwargs is not a JSON object: {e}; hint: {hint}"))
    })?;
    match GIVEN.iter().find(|(name, _)| kwargs.contains_key(*name)) {
        Some((name, hint)) => {
            Err(Fault::usage(format!("`{name}` cannot be given in --kwargs; hint: {hint}")))
        }
        None => Ok(kwargs),
    }
}

/// The list of objects that a file holds; `-` is stdin.
fn list(path: &Path, what: &str, form: &str) -> Result<Vec<Value>, Fault> {
    let stdin = path.as_os_str() == "-";
    let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
    let fail = |e: &dyn Display| Fault::usage(format!("cannot read {name}: {e}"));
    let bytes = match stdin {
        true => read_stdin().map_err(|e| fail(&e))?,
        false => read_bounded(path, MAX_BYTES).map_err(|e| fail(&e))?,
    };
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let value: Value = serde_json::from_slice(text).map_err(|e| fail(&e))?;
    let found = match value {
        Value::Array(items) => match items.iter().find(|item| !item.is_object()) {
            None => return Ok(items),
            Some(item) => format!("a list with {}", kind(item)),
        },
        other => kind(&other).to_owned(),
    };
    Err(Fault::usage(format!("{name} holds {found}, not a list of {what}; hint: {form}")))
}

fn read_stdin() -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(std::io::Error::other(format!("it is longer than {MAX_BYTES} bytes"))),
        false => Ok(bytes),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
