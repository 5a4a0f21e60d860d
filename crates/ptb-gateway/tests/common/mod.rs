//! A raw client, a scripted evaluator and a small fake model, shared by the tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test program uses its part"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use ptb_core::cell::Feedback;
use ptb_core::run::{Metrics, SeedMetrics};
use ptb_gateway::snapshot::{CheckFault, SnapshotLimits, Snapshots};
use ptb_gateway::*;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a connection gave: status and body, chunks put together.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let raw = String::from_utf8_lossy(raw);
        let (head, body) = raw.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Some(Self { status, body: if chunked { unchunk(body) } else { body.to_owned() } })
    }

    pub fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names of the events, runs of equal ones merged.
    pub fn events(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.lines().iter().map(|l| l["event"].as_str().unwrap().to_owned()).collect();
        names.dedup();
        names
    }

    pub fn last(&self) -> Value {
        self.lines().pop().unwrap_or_default()
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut out = String::new();
    while let Some((size, tail)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        out.push_str(&tail[..size]);
        rest = tail[size..].strip_prefix("\r\n").unwrap();
    }
    out
}

pub fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

pub fn request(method: &str, path: &str, body: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Sends bytes and reads to the end; nothing when the other side only closed.
pub fn exchange(socket: &Path, bytes: &[u8]) -> Option<Answer> {
    let mut stream = connect(socket);
    let _ = stream.write_all(bytes);
    let mut raw = Vec::new();
    let _ = stream.read_to_end(&mut raw);
    Answer::parse(&raw)
}

pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Answer {
    exchange(socket, request(method, path, body).as_bytes()).expect("an answer")
}

pub fn evaluate(socket: &Path, body: &str) -> Answer {
    ask(socket, "POST", "/v1/evaluate", body)
}

/// Waits for something to become true.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a scripted evaluator does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Script {
    /// Reads the model's config and gives a score.
    Score(f64),
    /// Waits until it is cancelled.
    Hang,
    /// Waits even when it is cancelled.
    Deaf,
    Panic,
    /// Fails by this kind, with the model's path in the message.
    Fail(FaultKind),
    /// Gives a score after so many milliseconds.
    Slow(u64),
    /// Gives a score and so many samples of 64 KiB.
    Big(usize),
}

pub struct Scripted {
    pub script: Mutex<Script>,
    pub running: AtomicUsize,
    pub started: AtomicUsize,
    pub released: AtomicUsize,
    pub seen: Mutex<Vec<EvaluationRequest>>,
}

struct Count<'a>(&'a AtomicUsize);
impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Scripted {
    pub fn new(script: Script) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script),
            running: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            seen: Mutex::default(),
        })
    }

    pub fn set(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }
}

pub fn metrics(accuracy: f64) -> Metrics {
    Metrics {
        benchmark: "arithmetic".to_owned(),
        accuracy,
        stderr: 0.1,
        n: 2,
        errors: 0,
        truncated: 0,
        stderr_clustered: None,
        interval: None,
        reduced: 0,
        breakdowns: std::collections::BTreeMap::new(),
        unparsed: 1,
        prompt_tokens: 20,
        completion_tokens: 10,
        complete: true,
        seeds: vec![SeedMetrics { seed: 4242, accuracy, n: 2 }],
        weights_sha256: "w".to_owned(),
        data_sha256: "secret-data-hash".to_owned(),
        sampling: serde_json::json!({"temperature": 0.6}),
        grader: None,
        script: None,
    }
}

pub fn outcome(accuracy: f64) -> Outcome {
    let sample = |id: &str, verdict| SampleFeedback {
        id: id.to_owned(),
        prompt: format!("prompt {id}"),
        completion: format!("completion {id} \u{1b}[31m\u{9b}"),
        verdict: Some(verdict),
        target: Some("secret-target".to_owned()),
        answer: Some("read-answer".to_owned()),
    };
    Outcome { metrics: metrics(accuracy), samples: vec![sample("1", 1.0), sample("2", 0.0)] }
}

impl Evaluator for Scripted {
    fn evaluate(
        &self,
        request: EvaluationRequest,
        progress: mpsc::Sender<Progress>,
        cancel: CancellationToken,
    ) -> BoxFuture<'_, Result<Outcome, EvaluationFault>> {
        async move {
            self.running.fetch_add(1, Ordering::SeqCst);
            let _count = Count(&self.running);
            self.started.fetch_add(1, Ordering::SeqCst);
            self.seen.lock().unwrap().push(request.clone());
            let (ModelSource::Snapshot { path, .. } | ModelSource::Known { path, .. }) =
                request.model;
            assert!(path.join("config.json").is_file(), "the model is there while it is evaluated");
            for done in 0..=10 {
                let stage = "generating".to_owned();
                let _ = progress.send(Progress { stage, done, total: 10 }).await;
            }
            let script = *self.script.lock().unwrap();
            match script {
                Script::Score(score) => Ok(outcome(score)),
                Script::Slow(ms) => {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                    Ok(outcome(0.5))
                }
                Script::Big(samples) => {
                    let mut outcome = outcome(0.5);
                    outcome.samples[0].completion = "x".repeat(64 << 10);
                    outcome.samples = vec![outcome.samples[0].clone(); samples];
                    Ok(outcome)
                }
                Script::Hang => {
                    cancel.cancelled().await;
                    Err(EvaluationFault::cancelled())
                }
                Script::Deaf => std::future::pending().await,
                Script::Panic => panic!("a scripted panic"),
                Script::Fail(kind) => {
                    let message = format!("{}/config.json is bad", path.display());
                    Err(EvaluationFault::new(kind, message, "a hint"))
                }
            }
        }
        .boxed()
    }

    fn release(&self) -> BoxFuture<'_, ()> {
        self.released.fetch_add(1, Ordering::SeqCst);
        async {}.boxed()
    }
}

/// Writes a directory that the tests' check takes for a model.
pub fn write_model(dir: &Path, text: &str) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("config.json"), format!("{{\"text\":{text:?}}}")).unwrap();
    std::fs::write(dir.join("model.safetensors"), text.repeat(1000)).unwrap();
}

/// A model is whole when both files are there.
pub fn check(dir: &Path) -> Result<(), CheckFault> {
    for name in ["config.json", "model.safetensors"] {
        let path = dir.join(name);
        if !path.is_file() {
            return Err(CheckFault::Model(format!("{} is missing", path.display())));
        }
    }
    Ok(())
}

/// A gateway with every door over a temporary workspace.
pub struct House {
    pub dir: tempfile::TempDir,
    pub evaluator: Arc<Scripted>,
    pub snapshots: Arc<Snapshots>,
    pub evaluation: Arc<EvaluationDoor>,
    pub running: Option<Running>,
    pub runtime: tokio::runtime::Runtime,
}

impl House {
    pub fn new(feedback: Feedback, script: Script) -> Self {
        Self::with(feedback, script, Bounds::default(), |_| {})
    }

    pub fn with(
        feedback: Feedback,
        script: Script,
        bounds: Bounds,
        change: impl FnOnce(&mut EvaluationSetup),
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let evaluator = Scripted::new(script);
        let snapshots = Arc::new(Snapshots::open(dir.path().join("snapshots")).unwrap());
        let clock: ReadClock = Arc::new(|| ClockReading { hours: 1.5, consumed_seconds: 61.0 });
        write_model(&dir.path().join("work/final_model"), "agent");
        write_model(&dir.path().join("base"), "base");
        let mut setup = EvaluationSetup {
            workspace: Workspace {
                host: dir.path().join("work"),
                inside: PathBuf::from("/home/agent/task"),
            },
            known: vec![KnownModel {
                name: "base".to_owned(),
                inside: PathBuf::from("/models/base"),
                host: dir.path().join("base"),
            }],
            snapshots: Arc::clone(&snapshots),
            limits: SnapshotLimits { bytes: 1 << 20, files: 10, entries: 1000 },
            check: Arc::new(check),
            feedback,
            log: dir.path().join("attempts/1/evaluations.jsonl"),
            clock: Arc::clone(&clock),
            evaluator: evaluator.clone(),
            keep_alive: EvaluationSetup::KEEP_ALIVE,
            cancel_grace: EvaluationSetup::CANCEL_GRACE,
            pace: Duration::ZERO,
        };
        change(&mut setup);
        let evaluation = Arc::new(EvaluationDoor::new(setup));
        let doors: Vec<Arc<dyn Door>> = vec![
            Arc::new(ClockDoor::new(clock)),
            evaluation.clone(),
            Arc::new(evaluation.release_door()),
        ];
        let socket = dir.path().join("run/door.sock");
        let running = runtime.block_on(async {
            Gateway::serve_within(bounds, &socket, doors, &CancellationToken::new()).unwrap()
        });
        Self { dir, evaluator, snapshots, evaluation, running: Some(running), runtime }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/door.sock")
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn records(&self) -> Vec<EvaluationRecord> {
        let path = self.dir.path().join("attempts/1/evaluations.jsonl");
        ptb_core::files::read_log(&path).unwrap_or_default()
    }

    pub fn clock_is_served(&self) -> bool {
        exchange(&self.socket(), request("GET", "/v1/clock", "").as_bytes())
            .is_some_and(|answer| answer.status == 200)
    }
}
