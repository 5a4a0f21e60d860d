//! The built-in engine: this project's server in a process of its own.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use ptb_model::{Links, ModelDir, check_opened};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use super::{Engine, Running, ServeSpec, StartError};
use crate::client::{Client, Endpoint};

/// Time between two questions whether a starting server answers.
const POLL: Duration = Duration::from_millis(20);
/// Time that a server has to end after its life line is cut.
const END_TIME: Duration = Duration::from_secs(5);
/// Bytes of output kept for error messages, and bytes kept in the log.
const TAIL: usize = 2000;
const LOG_LIMIT: u64 = 16 << 20;
/// Exit code of a server that refuses its model.
const BAD_MODEL: i32 = 2;

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
        let mut child = self.command(spec, &socket).spawn().map_err(spawn)?;
        let output = Output::collect(child.stderr.take(), spec.log.as_ref());
        let mut process = Process { child, output, _home: home };
        let endpoint = Endpoint::Unix(socket);
        process.wait_ready(&endpoint, spec.start_timeout).await?;
        let (model, key) = (None, None);
        Ok(Running { endpoint, model, key, chat_only: false, process: Some(process) })
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

/// A server's process with its socket's directory. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    output: Output,
    _home: TempDir,
}

impl Process {
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    async fn wait_ready(&mut self, endpoint: &Endpoint, time: Duration) -> Result<(), StartError> {
        let client = Client::new(endpoint.clone(), Duration::from_secs(2))?;
        let start = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.ended(status).await);
            }
            if client.health().await.is_ok() {
                return Ok(());
            }
            if start.elapsed() > time {
                return Err(StartError::Timeout(time));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ended(&mut self, status: ExitStatus) -> StartError {
        let output = self.output.tail().await;
        if status.code() == Some(BAD_MODEL) {
            return StartError::Model { message: output };
        }
        StartError::Ended { status: status.to_string(), output }
    }

    pub(super) async fn stop(mut self) {
        // Closing its standard input is the signal to end.
        drop(self.child.stdin.take());
        if tokio::time::timeout(END_TIME, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// What the server prints: its end is kept for messages, its beginning goes to the log.
#[derive(Debug)]
struct Output {
    tail: Arc<Mutex<VecDeque<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn collect(stderr: Option<ChildStderr>, log: Option<&PathBuf>) -> Self {
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        // Without its log a run is still a run.
        let log = log.and_then(|path| File::create(path).ok());
        let reader = stderr.map(|stderr| tokio::spawn(read(stderr, log, Arc::clone(&tail))));
        Self { tail, reader }
    }

    async fn tail(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            let _ = tokio::time::timeout(Duration::from_secs(1), reader).await;
        }
        let bytes: Vec<u8> = match self.tail.lock() {
            Ok(tail) => tail.iter().copied().collect(),
            Err(_) => Vec::new(),
        };
        let text = String::from_utf8_lossy(&bytes);
        text.trim().trim_start_matches("error: ").to_owned()
    }
}

async fn read(mut stderr: ChildStderr, mut log: Option<File>, tail: Arc<Mutex<VecDeque<u8>>>) {
    let (mut buffer, mut written) = ([0; 4096], 0);
    while let Ok(n) = stderr.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { return };
        if let Some(file) = log.as_mut().filter(|_| written < LOG_LIMIT) {
            let _ = file.write_all(bytes);
            written += n as u64;
        }
        if let Ok(mut tail) = tail.lock() {
            tail.extend(bytes);
            let over = tail.len().saturating_sub(TAIL);
            tail.drain(..over);
        }
    }
}
