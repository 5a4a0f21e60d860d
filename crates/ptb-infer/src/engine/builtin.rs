//! The built-in engine: this project's server in a process of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use futures::future::BoxFuture;
use ptb_model::{Links, ModelDir, check_opened};
use tokio::process::Command;

use super::process::Process;
use super::{Engine, Isolation, Running, ServeSpec, StartError};
use crate::client::Endpoint;

/// Runs `PROGRAM serve-model DIR --socket PATH --life-line`. The program exits with 2 when the model is at
/// fault, and as soon as its standard input is closed.
#[derive(Debug, Clone)]
pub struct Builtin {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Builtin {
    /// An engine that runs `program` (in the `ptb` program: itself).
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new() }
    }

    /// Arguments added to every start, such as `--threads 2`.
    #[must_use]
    pub fn with_args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    fn command(&self, spec: &ServeSpec, socket: &std::path::Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("serve-model").arg(&spec.model_dir).arg("--socket").arg(socket);
        command.arg("--life-line").args(&self.args);
        if let Some(dir) = &spec.tokenizer_dir {
            command.arg("--tokenizer").arg(dir);
        }
        if spec.links == Links::Follow {
            command.arg("--follow-links");
        }
        // It reads what strangers wrote, and needs none of the harness's keys.
        command.env_remove("PTB_GRADER_KEY").env_remove("PTB_ENGINE_KEY");
        // A group of its own: Ctrl-C is for the harness, which then ends its engines in order.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    async fn launch(&self, spec: &ServeSpec) -> Result<Running, StartError> {
        // What the model is missing is said with its type, before a process is spent on it.
        let (dir, links) = (spec.model_dir.clone(), spec.links);
        let check = move || check_opened(&ModelDir::open_with(dir, links)?);
        if let Ok(facts) = tokio::task::spawn_blocking(check).await {
            facts?;
        }
        let spawn = |source| StartError::Spawn { program: self.program.clone(), source };
        let home = tempfile::Builder::new().prefix("ptb-engine-").tempdir().map_err(spawn)?;
        let socket = home.path().join("api.sock");
        let child = self.command(spec, &socket).spawn().map_err(spawn)?;
        let mut process = Process::child(child, home, spec);
        let endpoint = Endpoint::Unix(socket);
        process.wait_ready(&endpoint, spec.start_timeout, spec.tokenizer_dir.is_none()).await?;
        Ok(Running {
            endpoint,
            model: None,
            key: None,
            chat_only: false,
            process: Some(process),
            isolation: Isolation::of("process"),
            launched: None,
            connections: None,
        })
    }
}

impl Engine for Builtin {
    fn name(&self) -> &str {
        "builtin"
    }

    fn start<'a>(&'a self, spec: &'a ServeSpec) -> BoxFuture<'a, Result<Running, StartError>> {
        Box::pin(self.launch(spec))
    }
}
