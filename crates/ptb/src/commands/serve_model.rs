//! `ptb serve-model`.

use std::sync::Arc;

use ptb_core::failure::ExitCode;
use ptb_infer::{ChatRenderer, ChatRequest, Listen, ServeError, ServeOptions, serve, tie_to_stdin};
use ptb_model::Links;
use ptb_tasks::chat::{ChatTemplate, RenderRequest};

use super::registry;
use crate::args::ServeModelArgs;
use crate::fault::{Fault, Outcome};
use crate::{print, signals};

pub(crate) fn run(args: ServeModelArgs) -> Outcome {
    let renderer = renderer(&args)?;
    let mut options = ServeOptions::new(&args.dir);
    options.tokenizer_dir = args.tokenizer;
    options.threads = args.threads;
    if args.follow_links {
        options.links = Links::Follow;
    }
    let listen = match args.socket {
        Some(path) => Listen::Socket(path),
        None => Listen::Port(args.port),
    };
    if args.life_line {
        let socket = match &listen {
            Listen::Socket(path) => Some(path.clone()),
            Listen::Port(_) => None,
        };
        tie_to_stdin(socket).map_err(Fault::harness)?;
    }
    let ready = |endpoint: &ptb_infer::Endpoint| {
        print::err(&format!("serving at {endpoint}; Ctrl-C ends it"))
    };
    let served = signals::runtime().map_err(Fault::harness)?.block_on(async move {
        let token = signals::token().map_err(|e| ServeError::Run(e.to_string()))?;
        let stop = token.clone();
        serve(options, listen, renderer, ready, async move { stop.cancelled().await }).await
    });
    match served {
        Ok(()) => Ok(ExitCode::Done),
        // A model that cannot be loaded is bad input; the harness that started us tells it apart by the code.
        Err(e @ ServeError::Model(_)) => Err(Fault::usage(e)),
        Err(e) => Err(Fault::harness(e)),
    }
}

fn renderer(args: &ServeModelArgs) -> Result<Option<Arc<dyn ChatRenderer>>, Fault> {
    let Some(model) = &args.model else { return Ok(None) };
    let registry = registry(&args.registry)?;
    let chat = registry.model(model).map_err(Fault::file)?.value.chat.clone();
    let template = |tools: bool| {
        let text = &registry.chat_template(chat.template_for(tools)).map_err(Fault::file)?.value;
        ChatTemplate::new(text).map_err(Fault::usage)
    };
    let (plain, with_tools) = (template(false)?, template(true)?);
    Ok(Some(Arc::new(Renderer { plain, with_tools, bos_token: chat.bos_token })))
}

struct Renderer {
    plain: ChatTemplate,
    with_tools: ChatTemplate,
    bos_token: String,
}

impl ChatRenderer for Renderer {
    fn render(&self, request: &ChatRequest) -> Result<String, String> {
        let tools = Some(request.tools.as_slice()).filter(|t| !t.is_empty());
        let template = if tools.is_some() { &self.with_tools } else { &self.plain };
        template
            .render(&RenderRequest {
                messages: &request.messages,
                tools,
                kwargs: &request.kwargs,
                bos_token: &self.bos_token,
                date: jiff::Zoned::now().date(),
                add_generation_prompt: true,
            })
            .map_err(|e| e.to_string())
    }
}
