//! `ptb render`.

use std::path::Path;

use ptb_core::files::read_bounded;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::registry;
use crate::args::RenderArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

/// Largest file of messages or tools, in bytes.
const MAX_BYTES: u64 = 64 << 20;

pub(crate) fn run(args: &RenderArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    let chat = &registry.model(&args.model).map_err(Fault::file)?.value.chat;
    let own = chat.template_for(args.tools.is_some());
    let name = args.template.as_deref().map_or(own, |name| name.trim_end_matches(".jinja"));
    let template = registry.chat_template(name).map_err(Fault::file)?;
    let messages: Vec<Value> = read(&args.messages)?;
    let tools: Option<Vec<Value>> = args.tools.as_deref().map(read).transpose()?;
    let kwargs: Map<String, Value> = match &args.kwargs {
        Some(text) => serde_json::from_str(text)
            .map_err(|e| Fault::usage(format!("--kwargs is not a JSON object: {e}; hint: --kwargs '{{\"enable_thinking\": false}}'")))?,
        None => Map::new(),
    };
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

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let fail =
        |e: &dyn std::fmt::Display| Fault::usage(format!("cannot read {}: {e}", path.display()));
    let bytes = read_bounded(path, MAX_BYTES).map_err(|e| fail(&e))?;
    serde_json::from_slice(&bytes).map_err(|e| fail(&e))
}
