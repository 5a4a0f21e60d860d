//! What the tests share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use ptb_infer::{
    CompletionRequest, Engine, Fault, FaultClass, Prompt, PythonServer, Running, Sandboxing,
    ServeSpec, StartError,
};
use ptb_model::{RandomModel, Sampling, random_model};

pub(crate) type Outcome = Result<(), Failed>;

pub(crate) const TIME: Duration = Duration::from_secs(120);
pub(crate) const GREEDY: Sampling =
    Sampling { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 };

pub(crate) fn check(condition: bool, what: impl Into<String>) -> Outcome {
    if condition { Ok(()) } else { Err(what.into().into()) }
}

/// One of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Vllm,
    Transformers,
}

impl Which {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Transformers => "transformers",
        }
    }

    pub(crate) fn of(name: &str) -> Self {
        if name == "vllm" { Self::Vllm } else { Self::Transformers }
    }

    fn variable(self) -> &'static str {
        match self {
            Self::Vllm => "PTB_VLLM",
            Self::Transformers => "PTB_TRANSFORMERS",
        }
    }

    /// The program, where it is named; else a word about the test that is left out.
    pub(crate) fn here(self) -> Result<Option<()>, Failed> {
        if !self.program().as_os_str().is_empty() {
            return Ok(Some(()));
        }
        let reason = format!("{} names no program", self.variable());
        check(std::env::var("PTB_REQUIRE_ALL").as_deref() != Ok("1"), &reason)?;
        println!("skipped: {reason}");
        Ok(None)
    }

    pub(crate) fn program(self) -> PathBuf {
        std::env::var_os(self.variable()).map(PathBuf::from).unwrap_or_default()
    }

    pub(crate) fn engine(self) -> PythonServer {
        match self {
            Self::Vllm => PythonServer::vllm(),
            Self::Transformers => PythonServer::transformers(),
        }
    }

    pub(crate) fn engine_of(self, program: &Path) -> PythonServer {
        self.engine().with_program(program)
    }
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

pub(crate) fn model(shape: &RandomModel) -> Result<tempfile::TempDir, Failed> {
    let home = tempfile::tempdir()?;
    random_model(home.path(), shape)?;
    Ok(home)
}

/// A start as an evaluation makes it, in a sandbox or not at all.
pub(crate) fn spec(dir: &Path) -> ServeSpec {
    let mut spec = ServeSpec::new(dir);
    spec.start_timeout = Duration::from_secs(240);
    spec.sandbox = Sandboxing::Always;
    spec.max_context = Some(512);
    spec
}

/// Starts what must not come up; gives the fault.
pub(crate) fn fault(engine: &dyn Engine, spec: &ServeSpec) -> Result<Fault, Failed> {
    let start = Instant::now();
    let outcome: Result<Running, StartError> = runtime()?.block_on(engine.start(spec));
    match outcome {
        Err(StartError::Fault(fault)) => {
            println!("{} {}: {fault} (after {:.1?})", engine.name(), fault.class, start.elapsed());
            Ok(*fault)
        }
        Err(other) => Err(format!("no fault but {other:?}").into()),
        Ok(_) => Err("it serves".into()),
    }
}

pub(crate) fn expect(fault: &Fault, class: FaultClass, of_model: bool) -> Outcome {
    let fits = fault.class == class && fault.of_model == of_model;
    check(fits, format!("not {class} ({of_model}) but {fault:#?}"))
}

pub(crate) fn request(text: &str, max_tokens: usize, seed: u64) -> CompletionRequest {
    let tokens = text.bytes().map(u32::from).collect();
    CompletionRequest {
        sampling: Some(Sampling { temperature: 0.9, top_p: 0.95, ..Sampling::default() }),
        seed: Some(seed),
        ignore_eos: true,
        ..CompletionRequest::new(Prompt::Tokens(tokens), max_tokens)
    }
}

/// All processes below one, with their command lines.
pub(crate) fn below(top: u32) -> Vec<(u32, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if let Some(parent) = parent {
            all.push((pid, parent, line));
        }
    }
    let mut found = BTreeSet::from([top]);
    loop {
        let more: Vec<u32> = all
            .iter()
            .filter(|(pid, up, _)| found.contains(up) && !found.contains(pid))
            .map(|p| p.0)
            .collect();
        if more.is_empty() {
            break;
        }
        found.extend(more);
    }
    all.into_iter()
        .filter(|p| p.0 != top && found.contains(&p.0))
        .map(|(pid, _, line)| (pid, line))
        .collect()
}

pub(crate) fn gone(pid: u32) -> bool {
    // A zombie has ended, too: its parent may be a test runner that collects it later.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.rsplit(')').next().is_some_and(|s| s.trim_start().starts_with('Z'))
}

pub(crate) fn wait_until(what: &str, time: Duration, mut is_so: impl FnMut() -> bool) -> Outcome {
    let start = Instant::now();
    while !is_so() {
        check(start.elapsed() < time, format!("not within {time:?}: {what}"))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
