//! Starting the engine that an experiment names.

use std::path::Path;

use ptb_infer::{Builtin, EndpointError, Engine, Running, ServeSpec, StartError, Url};
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
}

/// The engine called `name`: `builtin`, or the URL of somebody's server.
fn engine(name: &str, ptb: &Path) -> Result<Box<dyn Engine>, EndpointError> {
    match name {
        "builtin" => Ok(Box::new(Builtin::new(ptb))),
        url => Ok(Box::new(Url::parse(url)?)),
    }
}

/// Whether the engine called `name` is a server that takes messages alone (see [`Url::parse`]).
pub fn only_chats(name: &str) -> bool {
    name.ends_with("?chat")
}

/// Starts the engine called `name` for a model; `ptb` is this program.
pub async fn serve(name: &str, ptb: &Path, served: Served<'_>) -> Result<Running, StartError> {
    let engine = engine(name, ptb).map_err(|e| StartError::Ended {
        status: "before it was asked".to_owned(),
        output: e.to_string(),
    })?;
    let mut spec = ServeSpec::new(served.model);
    spec.links = served.links;
    spec.tokenizer_dir = served.base.map(Path::to_owned);
    spec.log = served.log.map(Path::to_owned);
    engine.start(&spec).await
}
