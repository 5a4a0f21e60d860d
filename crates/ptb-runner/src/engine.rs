//! Starting the engine that an experiment names.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use ptb_eval::Serve;
use ptb_infer::{
    Builtin, EndpointError, Engine, PythonServer, Running, ServeSpec, StartError, Url,
};
use ptb_model::Links;

/// A model to serve.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Its directory.
    pub model: &'a Path,
    /// Where links in it may lead.
    pub links: Links,
    /// The base model, whose tokenizer is used; absent means the model's own.
    pub base: Option<&'a Path>,
    /// File for the server's own output.
    pub log: Option<&'a Path>,
    /// Tokens of the longest prompt and its completion: servers plan their memory by it.
    pub context: usize,
}

/// Engines that are started here; any other name is a URL.
const OURS: [&str; 3] = ["builtin", "vllm", "transformers"];

/// The engine called `name`: `builtin`, `vllm`, `transformers`, or the URL of somebody's server.
fn engine(name: &str, ptb: &Path) -> Result<Box<dyn Engine>, EndpointError> {
    Ok(match name {
        "builtin" => Box::new(Builtin::new(ptb)),
        "vllm" => Box::new(PythonServer::vllm()),
        "transformers" => Box::new(PythonServer::transformers()),
        url => Box::new(Url::parse(url)?),
    })
}

/// What is wrong with an engine's name, where something is.
pub fn unknown_engine(name: &str) -> Option<String> {
    let known = "known: builtin, vllm, transformers, or a server's URL such as http://HOST:8000/v1";
    let fault = |e: EndpointError| format!("unknown engine `{name}`: {e}; hint: {known}");
    engine(name, Path::new("ptb")).err().map(fault)
}

/// Whether the engine called `name` can be started here, as far as that shows without a model.
pub(crate) fn check_engine(name: &str) -> Result<(), StartError> {
    // A name that is none was told when the experiment was read.
    engine(name, Path::new("ptb")).map_or(Ok(()), |engine| engine.check())
}

/// Whether the engine called `name` is a server that takes messages alone (see [`Url::parse`]).
pub fn only_chats(name: &str) -> bool {
    name.ends_with("?chat")
}

/// A model with the engine that serves it: started when it is first needed, and again when it has died.
#[derive(Debug)]
pub struct Server {
    /// The engine's name: `builtin`, or the URL of somebody's server.
    name: String,
    ptb: PathBuf,
    spec: ServeSpec,
    running: Option<Running>,
}

impl Server {
    /// Nothing is started yet. `ptb` is this program.
    pub fn new(name: &str, ptb: &Path, served: Served<'_>) -> Self {
        let mut spec = ServeSpec::new(served.model);
        spec.links = served.links;
        spec.tokenizer_dir = served.base.map(Path::to_owned);
        spec.max_context = Some(served.context);
        spec.log = served.log.map(Path::to_owned);
        Self { name: name.to_owned(), ptb: ptb.to_owned(), spec, running: None }
    }

    /// Whether an engine is there that answers.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(Running::alive)
    }

    /// Ends what was started.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    async fn start(&mut self) -> Result<(), StartError> {
        self.stop().await;
        let engine = engine(&self.name, &self.ptb).map_err(|e| StartError::Ended {
            status: "before it was asked".to_owned(),
            output: e.to_string(),
        })?;
        self.running = Some(engine.start(&self.spec).await?);
        Ok(())
    }
}

impl Serve for Server {
    fn engine(&mut self) -> BoxFuture<'_, Result<&Running, StartError>> {
        Box::pin(async move {
            if !self.is_running() {
                self.start().await?;
            }
            let gone = || StartError::Ended { status: "at once".to_owned(), output: String::new() };
            self.running.as_ref().ok_or_else(gone)
        })
    }

    fn starts(&self) -> bool {
        OURS.contains(&self.name.as_str())
    }
}
