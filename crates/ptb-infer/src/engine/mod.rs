//! Engines: how a model comes to be served.

mod builtin;
mod url;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use ptb_model::{Links, ModelError};

pub use builtin::Builtin;
pub use url::Url;

use crate::client::{Client, Endpoint, InferError};
use builtin::Process;

/// What is to be served.
#[derive(Debug, Clone)]
pub struct ServeSpec {
    /// The model's directory.
    pub model_dir: PathBuf,
    /// Where the tokenizer is taken from, if not from there (the base model's directory).
    pub tokenizer_dir: Option<PathBuf>,
    /// Where links in these directories may lead; `Follow` for the hub's cache alone.
    pub links: Links,
    /// File that the server's own output goes to; nowhere if absent.
    pub log: Option<PathBuf>,
    /// How long loading may take.
    pub start_timeout: Duration,
}

impl ServeSpec {
    /// An untrusted directory with its own tokenizer and ten minutes to load.
    pub fn new(model_dir: impl Into<PathBuf>) -> Self {
        Self {
            model_dir: model_dir.into(),
            tokenizer_dir: None,
            links: Links::Inside,
            log: None,
            start_timeout: Duration::from_secs(600),
        }
    }
}

/// Something that can serve models.
pub trait Engine: Send + Sync {
    /// Its name in commands and records.
    fn name(&self) -> &str;

    /// Starts serving and returns once requests are answered.
    ///
    /// # Errors
    /// See [`StartError`].
    fn start<'a>(&'a self, spec: &'a ServeSpec) -> BoxFuture<'a, Result<Running, StartError>>;
}

/// Why an engine does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The model is at fault, and its owner answers for it.
    #[error("{message}")]
    Model {
        /// The file and its fault.
        message: String,
    },
    /// The engine's program cannot be run.
    #[error("failed to start {}: {source}\nhint: check that the program is there and executable", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended before it served.
    #[error("the engine ended while it was starting ({status}): {output}\nhint: see its log")]
    Ended {
        /// How it ended.
        status: String,
        /// The end of its output.
        output: String,
    },
    /// It did not answer in time.
    #[error("the engine did not answer within {} s\nhint: raise the time to start, or look at its log", .0.as_secs())]
    Timeout(Duration),
    /// A server that somebody else runs does not answer.
    #[error(transparent)]
    Unreachable(#[from] InferError),
}

impl StartError {
    /// True when the model is at fault rather than machine, program or network.
    pub fn is_model_fault(&self) -> bool {
        matches!(self, Self::Model { .. })
    }
}

impl From<ModelError> for StartError {
    fn from(e: ModelError) -> Self {
        let message = e.to_string();
        if e.is_io() {
            return Self::Ended { status: "before loading".to_owned(), output: message };
        }
        Self::Model { message }
    }
}

/// A serving engine. Dropping it ends the process at once; [`Running::stop`] waits for its end.
#[derive(Debug)]
pub struct Running {
    endpoint: Endpoint,
    model: Option<String>,
    key: Option<String>,
    chat_only: bool,
    process: Option<Process>,
}

impl Running {
    /// Where it answers.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// True when it takes messages alone (`/chat/completions`).
    pub fn chat_only(&self) -> bool {
        self.chat_only
    }

    /// A client for it; `timeout` is for each request.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn client(&self, timeout: Duration) -> Result<Client, InferError> {
        let client = Client::new(self.endpoint.clone(), timeout)?;
        Ok(client.with_model(self.model.clone()).with_key(self.key.clone()))
    }

    /// The server's process id, when it is ours.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// Ends the server and waits until it has gone; does nothing to somebody else's.
    pub async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}
