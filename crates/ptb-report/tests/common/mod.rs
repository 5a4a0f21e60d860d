//! Synthetic run directories, written through ptb-core's own types.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ptb_core::cell::{AgentAction, AgentSpec, Budget, Feedback, RunSpec};
use ptb_core::failure::FailureKind;
use ptb_core::files::{sha256_hex, write_json};
use ptb_core::registry::{Agent, Benchmark, Entry, Model, Registry, Submit};
use ptb_core::run::{
    Counts, Mark, RunDir, RunRecord, Score, Stage, StageFailure, StageState, Submission,
};
use ptb_report::{Options, Report, ReportError, WeightsChoice};
use serde_json::json;

/// A results folder that is made run by run.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) registry: Registry,
}

/// How a run came out.
#[derive(Clone)]
pub(crate) enum End {
    Own(f64),
    OwnWithError(f64, f64),
    Marked(Mark),
    Failed(Stage, FailureKind, &'static str),
    Running(Stage),
}

/// One run before it is written.
#[derive(Clone)]
pub(crate) struct Make {
    pub(crate) spec: RunSpec,
    pub(crate) end: End,
    pub(crate) seconds: f64,
}

impl World {
    pub(crate) fn new() -> Self {
        let registry = Registry::load(&[]).unwrap();
        Self { dir: tempfile::tempdir().unwrap(), registry }
    }

    /// Writes a run and tells where it is.
    pub(crate) fn add(&self, make: Make) -> RunDir {
        let Make { spec, end, seconds } = make;
        let mut record = RunRecord::new(spec);
        record.created = "2026-01-02T03:04:05Z".to_owned();
        record.attempts = 1;
        record.solve_seconds = seconds;
        record.solve_end = Some(ptb_core::run::End::Finished);
        let spec = &record.spec;
        let name = format!("{}-{}", record.slug, record.id);
        let dir = RunDir::new(self.dir.path().join(&spec.experiment).join("runs").join(name));
        let (own_score, own_stderr, mark, open) = match end {
            End::Own(own) => (Some(own), None, None, None),
            End::OwnWithError(own, stderr) => (Some(own), Some(stderr), None, None),
            End::Marked(mark) => (None, None, Some(mark), None),
            End::Running(stage) => (None, None, None, Some((stage, StageState::Running))),
            End::Failed(stage, kind, message) => {
                let message = message.to_owned();
                let failure = StageFailure { kind, message, retryable: true };
                (None, None, None, Some((stage, StageState::Failed(failure))))
            }
        };
        let last = open.as_ref().map(|(stage, _)| *stage);
        for stage in Stage::ALL.into_iter().take_while(|s| Some(*s) != last) {
            record.stages.insert(stage, StageState::Done);
        }
        record.stages.extend(open.clone());
        if open.is_none() {
            let score = Score {
                edition: spec.edition.clone(),
                cell: record.cell.clone(),
                agent: spec.agent.name.clone(),
                model: spec.model.id.clone(),
                benchmark: spec.benchmark.id.clone(),
                repeat: spec.repeat,
                counts: if mark.is_some() { Counts::Base } else { Counts::Own },
                own_score,
                own_stderr,
                mark,
                reason: mark
                    .map_or("the submission's own score counts", |_| "a rule says so")
                    .to_owned(),
                submission: if mark.is_some() { Submission::None } else { Submission::Final },
            };
            write_json(&dir.score(&spec.edition), &score).unwrap();
        }
        write_json(&dir.record(), &record).unwrap();
        dir
    }

    pub(crate) fn report(&self) -> Result<Report, ReportError> {
        self.report_with(WeightsChoice::Default)
    }

    pub(crate) fn report_with(&self, weights: WeightsChoice) -> Result<Report, ReportError> {
        Report::of(self.dir.path(), &self.registry, &Options { edition: None, weights })
    }

    /// Text with the results folder's own path and the runs' ids replaced, for snapshots: ids change with
    /// every built-in file.
    pub(crate) fn neutral(&self, text: &str) -> String {
        let text = text.replace(self.dir.path().to_str().unwrap(), "[results]");
        let found = ptb_report::find(self.dir.path()).unwrap();
        let broken = found.problems.iter().map(|p| PathBuf::from(&p.path));
        let runs = found.runs.iter().map(|r| r.path().to_owned()).chain(broken);
        runs.fold(text, |text, run| {
            let name = run.file_name().unwrap().to_string_lossy().into_owned();
            text.replace(name.rsplit('-').next().unwrap(), "[id]")
        })
    }

    /// Another registry over the built-in one: files by path inside it.
    pub(crate) fn with_registry(mut self, files: &[(&str, &str)]) -> Self {
        let folder = self.dir.path().join(".registry");
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.registry = Registry::load(&[folder]).unwrap();
        self
    }
}

/// A run of a command agent.
pub(crate) fn agent(name: &str, model: &str, benchmark: &str, end: End) -> Make {
    let entry: Agent = serde_json::from_value(json!({"name": name, "command": ["true"]})).unwrap();
    make(name, AgentAction::Command(Box::new(entry_of(name, entry))), model, benchmark, end)
}

/// A run of a baseline, called `base` or `instruct`.
pub(crate) fn baseline(submit: Submit, model: &str, benchmark: &str, own: f64) -> Make {
    let name = if submit == Submit::Base { "base" } else { "instruct" };
    let mut make =
        make(name, AgentAction::Submit(submit), model, benchmark, End::OwnWithError(own, 0.01));
    make.seconds = 0.0;
    make
}

/// A run of the built-in agent `few-shot`.
pub(crate) fn few_shot(model: &str, benchmark: &str, own: f64) -> Make {
    let registry = Registry::load(&[]).unwrap();
    let action = AgentAction::of(registry.agent("few-shot").unwrap());
    let mut make = make("few-shot", action, model, benchmark, End::OwnWithError(own, 0.01));
    make.seconds = 0.0;
    make
}

fn make(name: &str, action: AgentAction, model: &str, benchmark: &str, end: End) -> Make {
    let spec = RunSpec {
        experiment: "exp".to_owned(),
        agent: AgentSpec { name: name.to_owned(), action, model: None, options: BTreeMap::new() },
        model: entry_of(model, model_of(model)),
        benchmark: entry_of(benchmark, benchmark_of(benchmark)),
        chat_template: "{{ messages }}".to_owned(),
        data_sha256: "d".repeat(64),
        data: None,
        budget: Budget { hours: 10.0, gpus: 1, nodes: 1 },
        feedback: Feedback::Samples,
        binds: Vec::new(),
        sandbox: "namespaces".to_owned(),
        engine: "builtin".to_owned(),
        gpu_share: None,
        grader: None,
        edition: "main".to_owned(),
        seeds: vec![42],
        limit: None,
        max_tokens: 256,
        prompt: None,
        repeat: 1,
    };
    Make { spec, end, seconds: 3600.0 }
}

impl Make {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut RunSpec)) -> Self {
        change(&mut self.spec);
        self
    }
    pub(crate) fn repeat(self, repeat: u32) -> Self {
        self.with(|spec| spec.repeat = repeat)
    }
    pub(crate) fn seconds(mut self, seconds: f64) -> Self {
        self.seconds = seconds;
        self
    }
    pub(crate) fn option(self, option: &str, value: &str) -> Self {
        self.with(|spec| drop(spec.agent.options.insert(option.to_owned(), value.to_owned())))
    }
}

fn entry_of<T: serde::Serialize>(id: &str, value: T) -> Entry<T> {
    let sha256 = sha256_hex(serde_json::to_string(&value).unwrap().as_bytes());
    Entry { id: id.to_owned(), source: "built-in".to_owned(), sha256, value }
}

fn model_of(id: &str) -> Model {
    serde_json::from_value(json!({
        "name": id,
        "base": {"hub": format!("maker/{id}")},
        "architecture": {"class": "Qwen3ForCausalLM", "layers": 4, "hidden": 128, "intermediate": 256,
            "heads": 4, "kv_heads": 2, "head_dim": 32, "vocab": 512, "tied": true, "context": 1024,
            "parameters": 1_000_000},
        "chat": {"template": "qwen3"},
    }))
    .unwrap()
}

fn benchmark_of(id: &str) -> Benchmark {
    serde_json::from_value(json!({
        "name": id,
        "task": "answer",
        "data": {"path": "data"},
        "prompt": {"messages": [{"role": "user", "content": "{{ question }}"}]},
        "generation": {"max_tokens": 256},
        "scorer": {"kind": "numeric"},
        "evaluate": {"seeds": [42]},
    }))
    .unwrap()
}

/// Sets `[weight]` in the spec of a run.
pub(crate) fn weigh(make: Make, value: f64) -> Make {
    make.with(|spec| {
        spec.benchmark.value.weight =
            Some(serde_json::from_value(json!({"value": value})).unwrap());
    })
}

/// A reference file below `PTB_SHARED`, or nothing after saying why the test is skipped.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    match std::env::var_os("PTB_SHARED") {
        Some(dir) => Some(Path::new(&dir).join(path)),
        None if std::env::var("PTB_REQUIRE_ALL").is_ok_and(|v| v == "1") => {
            panic!("PTB_REQUIRE_ALL=1 but PTB_SHARED is not set")
        }
        None => {
            println!("skipped: PTB_SHARED is not set, and {path} is in it");
            None
        }
    }
}

/// Asserts that two numbers are within 1e-12.
#[track_caller]
pub(crate) fn close(a: Option<f64>, b: f64) {
    let a = a.expect("a known number");
    assert!((a - b).abs() < 1e-12, "{a} is not {b}");
}
