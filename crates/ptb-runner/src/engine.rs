//! Starting the engine that an experiment names.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use ptb_core::names::nearest;
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
    /// Share of a GPU's memory that it may take; absent means most of what is free.
    pub gpu_share: Option<f64>,
}

/// Makes an engine; `ptb` is this program.
type Make = fn(ptb: &Path) -> Box<dyn Engine>;

/// Engines that are started here; any other name is a URL.
const OURS: [(&str, Make); 3] = [
    ("builtin", |ptb| Box::new(Builtin::new(ptb))),
    ("vllm", |_| Box::new(PythonServer::vllm())),
    ("transformers", |_| Box::new(PythonServer::transformers())),
];

fn ours(name: &str) -> Option<Make> {
    OURS.iter().find(|(own, _)| *own == name).map(|(_, make)| *make)
}

/// The engine called `name`: one of ours, or the URL of somebody's server.
fn engine(name: &str, ptb: &Path) -> Result<Box<dyn Engine>, EndpointError> {
    match ours(name) {
        Some(make) => Ok(make(ptb)),
        None => Ok(Box::new(Url::parse(name)?)),
    }
}

/// What is wrong with an engine's name, where something is, and what would be right.
pub fn unknown_engine(name: &str) -> Option<(String, String)> {
    engine(name, Path::new("ptb")).err()?;
    let known: Vec<&str> = OURS.iter().map(|(name, _)| *name).collect();
    let near = nearest(name, known.iter().copied());
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let known = known.join(", ");
    let url = "or a server's URL: http://HOST:8000/v1, https://HOST/v1, unix:PATH";
    Some((format!("unknown engine `{name}`"), format!("{near}known: {known}, {url}")))
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
    /// The engine's name, or the URL of somebody's server.
    name: String,
    ptb: PathBuf,
    spec: ServeSpec,
    running: Option<Running>,
}

impl Server {
    /// Nothing is started yet. `ptb` is this program.
    pub fn new(name: &str, ptb: &Path, served: Served<'_>) -> Self {
        Self { name: name.to_owned(), ptb: ptb.to_owned(), spec: spec(served), running: None }
    }

    /// Serves the same model from where it is now. An engine that is running goes on if it has room for as many
    /// tokens.
    pub(crate) async fn again(&mut self, served: Served<'_>) {
        if self.spec.max_context.is_some_and(|room| room < served.context) {
            self.stop().await;
        }
        let room = self.spec.max_context;
        self.spec = spec(served);
        if self.is_running() {
            self.spec.max_context = room;
        }
    }

    /// Whether an engine is there that answers.
    pub fn is_running(&self) -> bool {
        self.running.as_ref().is_some_and(Running::alive)
    }

    /// Whether it holds memory of a GPU, which others may be waiting for.
    pub(crate) fn holds_gpu(&self) -> bool {
        let launched = self.running.as_ref().and_then(Running::launched);
        launched.is_some_and(|launched| launched.gpu_share.is_some())
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

fn spec(served: Served<'_>) -> ServeSpec {
    let mut spec = ServeSpec::new(served.model);
    spec.links = served.links;
    spec.tokenizer_dir = served.base.map(Path::to_owned);
    spec.max_context = Some(served.context);
    spec.gpu_share = served.gpu_share;
    spec.log = served.log.map(Path::to_owned);
    spec
}

impl Serve for Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn engine(&mut self) -> BoxFuture<'_, Result<&Running, StartError>> {
        Box::pin(async move {
            if !self.is_running() {
                self.start().await?;
            }
            let gone = || StartError::Ended { status: "at once".to_owned(), output: String::new() };
            self.running.as_ref().ok_or_else(gone)
        })
    }

    fn log(&self) -> Option<&Path> {
        self.spec.log.as_deref()
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.stop())
    }

    fn starts(&self) -> bool {
        ours(&self.name).is_some()
    }
}
