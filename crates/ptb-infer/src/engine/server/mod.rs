//! Servers of other projects, each started in a sandbox of its own: no network, the model's files read-only
//! and named one by one, the server's installation and the GPU's devices read-only, a home and a `/tmp` of
//! its own, and one Unix socket on which it answers.
//!
//! Where the machine allows no sandbox, the server runs beside the harness, still supervised and ended with
//! it; [`super::Isolation`] says so and why.

mod gpu;
mod home;
mod model;
mod python;
mod sandbox;
mod shown;
mod transformers;
mod vllm;

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use super::process::Process;
use super::{Engine, Isolation, Launched, Running, Sandboxing, ServeSpec, StartError};
use crate::client::Endpoint;
use crate::memory;
use gpu::Gpu;
pub use home::{PythonHome, device_environment, gpu_devices, write_lscpu};
use model::Shown;
use python::Installation;
use sandbox::Prepared;
pub use shown::ShownModel;

/// What a server is called and how it is had.
#[derive(Debug)]
struct Product {
    /// Its name in commands, and its program's.
    name: &'static str,
    /// The environment variable that names its program.
    variable: &'static str,
    /// How to install it.
    install: &'static str,
}

/// What one start knows when the command line is made. Paths are those that the server sees.
struct Setting<'a> {
    spec: &'a ServeSpec,
    installation: &'a Installation,
    shown: &'a Shown,
    model: &'a Path,
    socket: &'a Path,
    script: &'a Path,
    /// Share of the GPU's memory; absent without a GPU.
    gpu_share: Option<f64>,
    /// Bytes of the machine's memory that are available; 0 where nobody says.
    memory: u64,
}

/// What differs between servers.
trait Server: std::fmt::Debug + Sync {
    fn product(&self) -> &'static Product;

    /// The command line.
    fn command(&self, at: &Setting<'_>) -> Result<Vec<String>, StartError>;

    /// Environment beside what every server gets.
    fn env(&self, at: &Setting<'_>) -> Vec<(&'static str, String)>;

    /// The name that requests call the model by.
    fn model_name(&self, at: &Setting<'_>) -> String;

    /// A script of ours that starts it.
    fn script(&self) -> Option<&'static str> {
        None
    }

    /// Requests that it makes sense to have open at one time.
    fn connections(&self) -> Option<usize> {
        None
    }
}

/// A server of another project, written in Python, that is installed on this machine.
#[derive(Debug, Clone)]
pub struct PythonServer {
    server: &'static dyn Server,
    program: Option<PathBuf>,
}

impl PythonServer {
    /// `vllm serve`: the program named by `PTB_VLLM`, else the one on `PATH`.
    pub fn vllm() -> Self {
        Self { server: &vllm::Vllm, program: None }
    }

    /// `transformers serve`: the program named by `PTB_TRANSFORMERS`, else the one on `PATH`. It answers one
    /// request at a time, so that each has its own seed.
    pub fn transformers() -> Self {
        Self { server: &transformers::Transformers, program: None }
    }

    /// This program instead.
    #[must_use]
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }
}

impl Engine for PythonServer {
    fn name(&self) -> &str {
        self.server.product().name
    }

    fn check(&self) -> Result<(), StartError> {
        python::find(self.server.product(), self.program.as_deref()).map(drop)
    }

    fn start<'a>(&'a self, spec: &'a ServeSpec) -> BoxFuture<'a, Result<Running, StartError>> {
        Box::pin(launch(self.server, self.program.as_deref(), spec))
    }
}

/// Finds, prepares and starts a server, in the best sandbox that is allowed and can be had.
async fn launch(
    server: &dyn Server,
    program: Option<&Path>,
    spec: &ServeSpec,
) -> Result<Running, StartError> {
    let product = server.product();
    let installation = python::inspect(python::find(product, program)?).await?;
    let (copy, name) = (spec.clone(), product.name);
    let shown = blocking("looking at the model", move || model::collect(name, &copy)).await?;
    let gpus = gpu::visible().await?;
    let gpu_share = gpus.first().map(|gpu| gpu::share(gpu, spec, shown.weights)).transpose()?;
    let job = Job { server, installation, shown, spec, gpu_share, gpus };
    if spec.sandbox == Sandboxing::Never {
        return job.start(None, Some("it was asked for".to_owned())).await;
    }
    let e = match sandbox::probe().await {
        Ok(wall) => match job.start(Some(wall), None).await {
            // The machine's walls hold, but this installation cannot live behind one.
            Err(StartError::Sandbox(e)) => e,
            other => return other,
        },
        Err(e) => e,
    };
    if spec.sandbox == Sandboxing::Always {
        return Err(e.into());
    }
    let reason = e.to_string();
    tracing::warn!("the engine {name} runs without a sandbox: {reason}");
    job.start(None, Some(reason)).await
}

/// A start that has all it needs but its place.
struct Job<'a> {
    server: &'a dyn Server,
    installation: Installation,
    shown: Shown,
    spec: &'a ServeSpec,
    gpu_share: Option<f64>,
    gpus: Vec<Gpu>,
}

impl Job<'_> {
    async fn start(
        &self,
        wall: Option<ptb_sandbox::Namespaces>,
        reason: Option<String>,
    ) -> Result<Running, StartError> {
        let (script, mut shown) = (self.server.script(), self.shown.clone());
        // Weights may be copied there.
        let (place, shown) = blocking("preparing its directory", move || {
            let place = Prepared::new(wall, script, &mut shown)?;
            Ok((place, shown))
        })
        .await?;
        let setting = Setting {
            spec: self.spec,
            installation: &self.installation,
            shown: &shown,
            model: &place.model,
            socket: &place.socket,
            script: &place.script,
            gpu_share: self.gpu_share,
            memory: memory::available().unwrap_or(0),
        };
        let command = self.server.command(&setting)?;
        let env = self.server.env(&setting);
        let devices = if self.gpus.is_empty() { Vec::new() } else { gpu::devices() };
        let name = self.server.product().name;
        let launched = Launched {
            program: self.installation.program.clone(),
            command: command.clone(),
            versions: self.installation.versions.clone(),
            gpu_share: self.gpu_share,
        };
        let isolation = Isolation { wall: place.wall_name().to_owned(), reason };
        let model = self.server.model_name(&setting);
        let wall_spec = place.spec(command, env, &self.installation, &shown, &devices);
        let endpoint = Endpoint::Unix(place.outside.clone());
        let mut running = place.wall().launch(wall_spec)?;
        running.started().await?;
        let mut process = Process::walled(name, running, place.scratch, self.spec);
        process.wait_ready(&endpoint, self.spec.start_timeout, shown.own_tokenizer).await?;
        Ok(Running {
            endpoint,
            model: Some(model),
            key: None,
            chat_only: false,
            process: Some(process),
            isolation,
            launched: Some(launched),
            connections: self.server.connections(),
        })
    }
}

/// Does what takes long or waits for the disk where nobody else waits for it.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| StartError::prepare(doing, std::io::Error::other(e)))?
}
