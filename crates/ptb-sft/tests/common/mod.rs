//! Base models, data and the program, for tests from outside.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ptb_model::{Checkpoint, ModelDir, RandomModel, random_model};
use ptb_sft::{Data, Encoder, Event, Outcome, Settings, SftError, Stop, TooLong};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_ptb-sft");

/// A folder with a base model in `base`.
pub(crate) struct Home(pub(crate) tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self::with(&RandomModel::mini(1))
    }

    pub(crate) fn with(model: &RandomModel) -> Self {
        let dir = tempfile::tempdir().unwrap();
        random_model(dir.path().join("base"), model).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::new(self.path("base"), self.path("out"))
    }

    pub(crate) fn encoder(&self) -> Encoder {
        Encoder::new(&self.path("base"), 256, TooLong::Skip).unwrap()
    }

    /// Trains through the library without a door.
    pub(crate) fn train(&self, settings: &Settings, lines: &str) -> Result<Outcome, SftError> {
        self.train_told(settings, lines, &mut |_| ())
    }

    pub(crate) fn train_told(
        &self,
        settings: &Settings,
        lines: &str,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, SftError> {
        let encoder = self.encoder();
        let data = Data::read_from(lines.as_bytes(), "data", &encoder)?;
        ptb_sft::train(settings, data, &encoder, None, &Stop::new(), tell)
    }

    /// The program in this folder, with `base`, `data.jsonl` and `out`, without a door.
    pub(crate) fn command(&self, flags: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args("--base base --data data.jsonl --out out".split(' '));
        command.args(flags.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        command.env("PTB_DOOR_SOCKET", self.path("no.sock"));
        command
    }

    pub(crate) fn run(&self, flags: &str) -> Told {
        Told::of(&self.command(flags).output().unwrap())
    }

    pub(crate) fn spawn(&self, flags: &str) -> Child {
        let mut command = self.command(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn write_data(&self, lines: &str) {
        fs::write(self.path("data.jsonl"), lines).unwrap();
    }

    /// The names in this folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Told {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Questions whose answer is in them: enough to see a model learn.
pub(crate) fn copies(count: usize) -> String {
    let letter = |i: usize| char::from(b'a' + u8::try_from(i % 26).unwrap());
    (0..count)
        .map(|i| {
            let (a, b) = (letter(i * 7 + i / 26), letter(i * 11 + 3));
            format!("{{\"prompt\":\"{a}{b}>\",\"completion\":\"{a}{b}\"}}\n")
        })
        .collect()
}

/// Chats of several lengths.
pub(crate) fn chats(count: usize) -> String {
    (0..count)
        .map(|i| {
            let filler = "x".repeat(i * 7 % 23);
            format!(
                "{{\"messages\":[{{\"role\":\"user\",\"content\":\"say {i} {filler}\"}},\
                 {{\"role\":\"assistant\",\"content\":\"{i}\"}}]}}\n"
            )
        })
        .collect()
}

/// The bytes of the weights in a model's directory.
pub(crate) fn weights(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("model.safetensors")).unwrap()
}

/// All tensors' bits.
pub(crate) fn tensors(dir: &Path) -> Vec<(String, Vec<u32>)> {
    let checkpoint = Checkpoint::open(&ModelDir::open(dir).unwrap()).unwrap();
    let names = checkpoint.tensors().keys();
    let bits = |name: &String| -> Vec<u32> {
        checkpoint.read_f32(name).unwrap().into_iter().map(f32::to_bits).collect()
    };
    names.map(|name| (name.clone(), bits(name))).collect()
}

/// Waits for something, within reason.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a component that is missing may be; prints why a test is skipped.
pub(crate) fn skipped(reason: &str) {
    let all = std::env::var_os("PTB_REQUIRE_ALL").is_some_and(|v| v == "1");
    assert!(!all, "everything is required, and {reason}");
    println!("skipped: {reason}");
}
