//! Whole runs of the real command-line agents, driven by a model API that plays a script; their books.
//!
//! `PTB_AGENT_CACHE` names a folder that serves as `PTB_CACHE`: npm fills it when it is empty.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use scripted_api::ScriptedApi;
use serde_json::Value;

use super::processes::until;
use super::runs::{json, only_run, runs};
use super::{Answer, Place, skip, wall};

/// The key that opens the API: nothing of it may be inside or kept.
pub(crate) const KEY: &str = "sk-real-0123456789abcdefghij";

/// An agent with the model that drives it here, and the variable of its key.
pub(crate) const AGENTS: [(&str, &str, &str); 4] = [
    ("claude", "claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
    ("codex", "gpt-5.2", "OPENAI_API_KEY"),
    ("gemini", "gemini-2.5-pro", "GEMINI_API_KEY"),
    ("opencode", "gpt-5.2", "OPENAI_API_KEY"),
];

/// Where scaffolds are kept; none after a reason was told.
fn cache() -> Option<PathBuf> {
    let Some(cache) = std::env::var_os("PTB_AGENT_CACHE") else {
        skip("PTB_AGENT_CACHE names no folder for the agents' programs");
        return None;
    };
    wall().then(|| cache.into())
}

/// A run of one agent on the tiny model; `options` are those of its table in the experiment.
pub(crate) struct Trial {
    pub(crate) place: Place,
    cache: PathBuf,
    /// The variable of its key.
    pub(crate) key: &'static str,
}

impl Trial {
    pub(crate) fn new(agent: &str, url: &str, options: &str, hours: f64) -> Option<Self> {
        let cache = cache()?;
        let (_, model, key) = *AGENTS.iter().find(|(id, ..)| *id == agent).unwrap();
        let place = Place::new();
        let table = format!(
            "{{ scaffold = \"{agent}\", model = \"{model}\", endpoint = \"{url}\"{options} }}"
        );
        place.write(
            "e.toml",
            format!(
                "agents = [{table}]\nmodels = [\"tiny\"]\nbenchmarks = [\"arithmetic\"]\nhours = {hours}\n\
                 [evaluate]\nlimit = 40\n"
            ),
        );
        Some(Self { place, cache, key })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.place.run_command("e", &[]);
        command.env("PTB_CACHE", &self.cache).env(self.key, KEY);
        command
    }

    pub(crate) fn run(&self) -> (Answer, PathBuf) {
        let answer = Answer::of(&self.place, self.command().output().unwrap());
        (answer, only_run(&self.results(), "e"))
    }

    /// The run, left running.
    pub(crate) fn start(&self) -> Child {
        self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.place.path().join("results")
    }

    /// The run's events so far; empty before there are any.
    pub(crate) fn events(&self) -> String {
        let run = runs(&self.results(), "e").into_iter().next();
        run.and_then(|run| fs::read_to_string(run.join("events.jsonl")).ok()).unwrap_or_default()
    }

    /// Waits until the run has been waiting for its provider so many times.
    pub(crate) fn until_waiting(&self, times: usize) {
        until(&format!("outage {times}"), Duration::from_secs(240), || {
            self.events().matches("the provider fails").count() >= times
        });
    }

    /// Another scaffold's file in this place's registry: the usual one, with these parts replaced.
    pub(crate) fn with_agent(self, agent: &str, parts: &[(&str, &str)]) -> Self {
        let file = format!("{}/../../registry/agents/{agent}.toml", env!("CARGO_MANIFEST_DIR"));
        let mut text = fs::read_to_string(file).unwrap();
        for (usual, other) in parts {
            assert!(text.contains(usual), "{agent} has no {usual}");
            text = text.replacen(usual, other, 1);
        }
        self.place.write(&format!("registry/agents/{agent}.toml"), text);
        self
    }
}

/// Every text in a run directory, decompressed where it is compressed, with the name of its file.
pub(crate) fn texts(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in walkdir::WalkDir::new(run) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let plain = match entry.path().extension().is_some_and(|e| e == "zst") {
            true => zstd::decode_all(&bytes[..]).unwrap(),
            false => bytes,
        };
        all.push((entry.into_path(), plain));
    }
    all
}

pub(crate) fn has(text: &[u8], needle: &str) -> bool {
    memchr::memmem::find(text, needle.as_bytes()).is_some()
}

/// What tokens cost by the list prices in `registry/prices.toml`, in US dollars.
fn cost(model: &str, tokens: &scripted_api::Tokens) -> f64 {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../registry/prices.toml");
    let list: toml::Table = fs::read_to_string(file).unwrap().parse().unwrap();
    let price = |kind: &str| list["models"][model].get(kind).and_then(toml::Value::as_float);
    let input = price("input").unwrap();
    let of = |tokens: u64, price: f64| tokens as f64 * price / 1e6;
    of(tokens.input, input)
        + of(tokens.cached, price("cached_input").unwrap())
        + of(tokens.cache_write_5m, price("cache_write_5m").unwrap_or(input))
        + of(tokens.cache_write_1h, price("cache_write_1h").unwrap_or(input))
        + of(tokens.output, price("output").unwrap())
}

/// Kinds of tokens, as books and ledger name them, with their numbers in the ledger.
fn kinds(tokens: &scripted_api::Tokens) -> [(&'static str, u64); 6] {
    [
        ("input", tokens.all_input()),
        ("cached_input", tokens.cached),
        ("cache_write_5m", tokens.cache_write_5m),
        ("cache_write_1h", tokens.cache_write_1h),
        ("output", tokens.output),
        ("reasoning", tokens.reasoning),
    ]
}

/// The gateway's books of all attempts are the provider's: requests, tokens by kind and model, cost; and each exchange
/// is on record with the status that it had.
pub(crate) fn assert_books(run: &Path, api: &ScriptedApi) {
    let attempts = json(&run.join("run.json"))["attempts"].as_u64().unwrap();
    let folders: Vec<PathBuf> = (1..=attempts).map(|n| run.join(format!("attempts/{n}"))).collect();
    let books: Vec<Value> = folders.iter().map(|folder| json(&folder.join("usage.json"))).collect();
    let shown = || format!("{books:#?}\n{:#?}", api.ledger().entries);
    let sum = |pointer: &str| -> u64 {
        books.iter().filter_map(|usage| usage.pointer(pointer)?.as_u64()).sum()
    };
    let usd = |pointer: &str| -> f64 {
        books.iter().filter_map(|usage| usage.pointer(pointer)?.as_f64()).sum()
    };
    let ledger = api.ledger();
    for (kind, told) in kinds(&ledger.total()) {
        assert_eq!(sum(&format!("/tokens/{kind}")), told, "{kind}: {}", shown());
    }
    let mut whole = 0.0;
    for (model, tokens) in ledger.by_model() {
        for (kind, told) in kinds(&tokens) {
            let pointer = format!("/models/{model}/tokens/{kind}");
            assert_eq!(sum(&pointer), told, "{pointer}: {}", shown());
        }
        let (pointer, cost) = (format!("/models/{model}/cost_usd"), cost(&model, &tokens));
        whole += cost;
        // What an answer cost that told no tokens, nobody knows.
        if !books.iter().any(|usage| usage.pointer(&pointer).is_some_and(Value::is_null)) {
            let told = usd(&pointer);
            assert!((told - cost).abs() < 1e-9, "{model}: {told} is not {cost}: {}", shown());
        }
    }
    assert!((usd("/known_cost_usd") - whole).abs() < 1e-9, "{whole}: {}", shown());
    for usage in &books {
        let known = (usage["uncounted"] == 0).then(|| usage["known_cost_usd"].clone());
        assert_eq!(usage["cost_usd"], known.unwrap_or_default(), "{}", shown());
    }
    assert_eq!(sum("/generations"), ledger.replies().count() as u64, "{}", shown());
    assert!(api.requests().iter().filter_map(|r| r.key()).all(|key| key == KEY));

    let mut recorded: BTreeMap<u64, u64> = BTreeMap::new();
    let mut failed = 0;
    for folder in &folders {
        let lines = zstd::decode_all(&fs::read(folder.join("api.jsonl.zst")).unwrap()[..]).unwrap();
        let lines: Vec<Value> =
            lines.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
        let of = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
        let posted: Vec<&Value> =
            of("request").filter(|line| line["method"] == "POST").map(|l| &l["number"]).collect();
        for line in of("response").filter(|line| posted.contains(&&line["number"])) {
            if line["refused"].is_null() || line["refused"] == "unreachable" {
                *recorded.entry(line["status"].as_u64().unwrap()).or_default() += 1;
                failed += u64::from(line["end"] != "complete");
            }
        }
    }
    let mut answered: BTreeMap<u64, u64> = BTreeMap::new();
    let asked = |number: usize| api.requests()[number].method == "POST";
    for entry in ledger.entries.iter().filter(|e| e.protocol.is_some() && asked(e.number)) {
        // Where there was no answer, the gateway says that it could not be had.
        *answered.entry(entry.status.unwrap_or(502).into()).or_default() += 1;
    }
    assert_eq!(recorded, answered, "statuses on record and as sent: {}", shown());
    let faults = ledger.entries.iter().filter(|entry| entry.fault.is_some()).count() as u64;
    assert!(failed >= faults, "{faults} failures, {failed} on record: {}", shown());
}
