//! Engines: how a model comes to be served.

mod builtin;
mod error;
mod faults;
mod output;
mod process;
mod server;
mod url;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use ptb_model::Links;
use serde::Serialize;

pub use builtin::Builtin;
pub use error::{Fault, FaultClass, Shortfall, StartError};
pub use output::{Output as ProcessOutput, tidy};
pub use server::{
    PythonHome, PythonServer, ShownModel, device_environment, gpu_devices, write_lscpu,
};
pub use url::Url;

use crate::client::{Client, Endpoint, InferError};
use process::Process;

/// Whether a server of another project runs in a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sandboxing {
    /// In a sandbox, or, where the machine allows none, without one: [`Isolation`] tells.
    #[default]
    IfPossible,
    /// In a sandbox or not at all.
    Always,
    /// Without one.
    Never,
}

/// What is to be served. Made with [`ServeSpec::new`], then changed field by field.
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
    /// Longest prompt and answer together, in tokens; absent leaves it to the model's configuration. The
    /// built-in engine goes by the configuration alone.
    pub max_context: Option<usize>,
    /// Share of the GPU's memory, above 0 to 1, for what else uses it to be left alone; absent takes what is
    /// free, at most 0.9.
    pub gpu_share: Option<f64>,
    /// Whether a sandbox is needed; the built-in engine is our own code and has none.
    pub sandbox: Sandboxing,
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
            max_context: None,
            gpu_share: None,
            sandbox: Sandboxing::default(),
        }
    }
}

/// Something that can serve models.
pub trait Engine: Send + Sync {
    /// Its name in commands and records.
    fn name(&self) -> &str;

    /// Whether what it needs is installed; asked before work is done whose evaluation would fail.
    ///
    /// # Errors
    /// [`StartError::Missing`].
    fn check(&self) -> Result<(), StartError> {
        Ok(())
    }

    /// Starts serving and returns once requests are answered.
    ///
    /// # Errors
    /// See [`StartError`].
    fn start<'a>(&'a self, spec: &'a ServeSpec) -> BoxFuture<'a, Result<Running, StartError>>;
}

/// What stands between a server and the machine, for records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Isolation {
    /// `namespaces` or `none` (as walls are called), `process` for the built-in engine, `remote` for a URL.
    pub wall: String,
    /// Why there is no sandbox, where there could be one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Isolation {
    fn of(wall: &str) -> Self {
        Self { wall: wall.to_owned(), reason: None }
    }
}

/// How a server of another project was started, for records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Launched {
    /// Its program on this machine.
    pub program: PathBuf,
    /// Its command line, with paths as it sees them.
    pub command: Vec<String>,
    /// Versions of Python and of packages by name.
    pub versions: BTreeMap<String, String>,
    /// Share of the GPU's memory; absent without a GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_share: Option<f64>,
}

/// A serving engine. Dropping it ends the process at once; [`Running::stop`] waits for its end.
#[derive(Debug)]
pub struct Running {
    endpoint: Endpoint,
    model: Option<String>,
    key: Option<String>,
    chat_only: bool,
    process: Option<Process>,
    isolation: Isolation,
    launched: Option<Launched>,
    connections: Option<usize>,
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
        // These servers are known to give the ids of what they generated; others may refuse to be asked.
        let client = client.with_token_ids(self.launched.is_some());
        Ok(client.with_model(self.model.clone()).with_key(self.key.clone()))
    }

    /// The server's process id, when it is ours: the process that all others of it end with.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Process::pid)
    }

    /// False once a server of ours has ended: open requests have failed then, and only another start helps.
    /// Of somebody else's server nothing is known, and the answer is true.
    pub fn alive(&self) -> bool {
        self.exited().is_none()
    }

    /// How a server of ours ended, if it has.
    pub fn exited(&self) -> Option<String> {
        self.process.as_ref().and_then(Process::exited)
    }

    /// How a server of ours ended, if it has, with the line of its output that tells why.
    pub async fn last_words(&self) -> Option<String> {
        self.process.as_ref()?.last_words().await
    }

    /// What stands between it and the machine.
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// How it was started, when it is another project's server.
    pub fn launched(&self) -> Option<&Launched> {
        self.launched.as_ref()
    }

    /// The most requests that it makes sense to have open, where that is known: more would only wait, and
    /// their time runs while they do.
    pub fn connections(&self) -> Option<usize> {
        self.connections
    }

    /// Ends the server and waits until it has gone; does nothing to somebody else's.
    pub async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}
