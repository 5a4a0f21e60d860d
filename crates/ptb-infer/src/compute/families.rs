//! Every architecture against the real `transformers`: logits, texts, all spellings of a configuration.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ptb_model::{
    Architecture, Checkpoint, Config, ModelDir, RandomModel, check_model_dir, random_like,
    random_model,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::kernel::BLOCK;
use super::step::{Scratch, Slice, step};
use super::weights::Weights;
use crate::cache::{KvShape, Pool};

/// Tokens to continue by.
const NEW: usize = 64;
/// The same where another spelling of the same model has been continued.
const ONE: usize = 1;
/// Within a block and beyond it; beyond the window (48) of the random models with windows.
const LENGTHS: [usize; 3] = [5, 70, 200];

/// As the script has it.
fn prompt(length: usize) -> Vec<u32> {
    (0..length as u32).map(|i| (i * i * 31 + i * 7 + length as u32) % 251).collect()
}

/// A loaded model with a cache of its own.
struct Model {
    weights: Weights,
    pool: Pool,
    table: Vec<usize>,
    scratch: Scratch,
}

impl Model {
    fn open(dir: &Path) -> Self {
        check_model_dir(dir).unwrap();
        let dir = ModelDir::open(dir).unwrap();
        let config = Config::read(&dir).unwrap();
        let weights = Weights::load(&config, &Checkpoint::open(&dir).unwrap()).unwrap();
        let mut pool = Pool::new(KvShape::new(&config), 16);
        let table = (0..16).map(|_| pool.take().unwrap()).collect();
        Self { weights, pool, table, scratch: Scratch::default() }
    }

    fn logits(&mut self, tokens: &[u32], start: usize) -> Vec<f32> {
        let table = &self.table[..(start + tokens.len()).div_ceil(BLOCK)];
        let slice = Slice { tokens, start, table, logits: true };
        step(&self.weights, &mut self.pool, &[slice], &mut self.scratch).to_vec()
    }

    /// The prompt's last logits, and the `new` likeliest tokens after it.
    fn answer(&mut self, prompt: &[u32], new: usize) -> (Vec<f32>, Vec<u32>) {
        let first = self.logits(prompt, 0);
        let mut tokens = vec![argmax(&first)];
        while tokens.len() < new {
            let (last, at) = ([*tokens.last().unwrap()], prompt.len() + tokens.len() - 1);
            tokens.push(argmax(&self.logits(&last, at)));
        }
        (first, tokens)
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(i, _)| i as u32)
}

fn deviation(x: &[f32]) -> f32 {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    (x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32).sqrt()
}

#[derive(Deserialize)]
struct Answer {
    logits: Vec<f32>,
    tokens: Vec<u32>,
}

/// What the library says of each directory, for each length; none without a Python that has it.
fn reference(dirs: &[(usize, PathBuf)]) -> Option<Vec<Vec<Answer>>> {
    let Ok(python) = std::env::var("PTB_PYTHON") else {
        let reason = "PTB_PYTHON names no Python with torch and transformers";
        assert_ne!(std::env::var("PTB_REQUIRE_ALL").as_deref(), Ok("1"), "{reason}");
        eprintln!("skipped: {reason}");
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transformers_logits.py");
    let mut child = Command::new(python)
        .arg(script)
        .args(LENGTHS.map(|n| n.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String =
        dirs.iter().map(|(new, dir)| format!("{new} {}\n", dir.display())).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Holds each directory's model to what the library says of it.
fn compare(dirs: &[(usize, PathBuf)]) {
    let Some(all) = reference(dirs) else { return };
    for ((new, dir), theirs) in dirs.iter().zip(all) {
        let mut ours = Model::open(dir);
        let mut distinct = BTreeSet::new();
        for (length, theirs) in LENGTHS.into_iter().zip(theirs) {
            let what = format!("{} at {length}", dir.display());
            let (logits, tokens) = ours.answer(&prompt(length), *new);
            assert!(deviation(&theirs.logits) > 1.0, "{what}: {}", deviation(&theirs.logits));
            let apart = logits.iter().zip(&theirs.logits).map(|(a, b)| (a - b).abs());
            let worst = apart.fold(0.0, f32::max);
            assert!(worst < 1e-3, "{what}: logits are {worst} apart");
            assert_eq!(tokens, theirs.tokens, "{what}");
            assert_eq!(tokens.len(), *new, "{what}");
            distinct.extend(tokens);
        }
        let what = "texts that repeat themselves show little";
        assert!(*new == ONE || distinct.len() > 16, "{}: {what}: {distinct:?}", dir.display());
    }
}

/// A directory with another's weights, and a configuration of its own.
fn respelt(from: &Path, to: &Path, config: &Value) {
    std::fs::create_dir(to).unwrap();
    for name in ["model.safetensors", "generation_config.json"] {
        std::fs::hard_link(from.join(name), to.join(name)).unwrap();
    }
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
}

fn config(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("config.json")).unwrap()).unwrap()
}

/// Takes away the older form of rotary settings and puts in the newer one.
fn newer(mut text: Value, rope_parameters: Value) -> Value {
    let members = text.as_object_mut().unwrap();
    for key in ["rope_theta", "rope_scaling", "rope_local_base_freq"] {
        members.remove(key);
    }
    members.insert("rope_parameters".to_owned(), rope_parameters);
    text
}

fn llama3() -> Value {
    json!({
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 256,
    })
}

#[test]
fn qwen3_llama_and_smollm3_are_as_transformers_has_them() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    random_model(at("qwen"), &RandomModel::of(Architecture::Qwen3, 20)).unwrap();
    let llama = RandomModel::of(Architecture::Llama, 21);
    random_model(at("llama"), &llama).unwrap();
    respelt(&at("llama"), &at("llama-new"), &newer(config(&at("llama")), llama3()));
    let other = RandomModel { tie_word_embeddings: false, bf16: true, num_kv_heads: 1, ..llama };
    random_model(at("llama-bf16"), &RandomModel { seed: 22, ..other }).unwrap();
    let smol = RandomModel::of(Architecture::SmolLm3, 23);
    random_model(at("smol"), &smol).unwrap();
    let plain = json!({ "rope_type": "default", "rope_theta": 2e6 });
    let mut by_interval = newer(config(&at("smol")), plain);
    let members = by_interval.as_object_mut().unwrap();
    members.remove("no_rope_layers");
    members.insert("no_rope_layer_interval".to_owned(), json!(2));
    respelt(&at("smol"), &at("smol-new"), &by_interval);
    let all = [
        (NEW, "qwen"),
        (NEW, "llama"),
        (ONE, "llama-new"),
        (NEW, "llama-bf16"),
        (NEW, "smol"),
        (ONE, "smol-new"),
    ];
    compare(&all.map(|(new, name)| (new, at(name))));
}

#[test]
fn gemma3_is_as_transformers_has_it() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    let gemma = RandomModel::of(Architecture::Gemma3, 31);
    random_model(at("gemma"), &gemma).unwrap();
    let far = json!({ "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 });
    let near = json!({ "rope_type": "default", "rope_theta": 1e4 });
    let parameters = json!({ "full_attention": far, "sliding_attention": near });
    respelt(&at("gemma"), &at("gemma-new"), &newer(config(&at("gemma")), parameters.clone()));
    // Windows by a pattern; heads whose width is not what scores are divided by; logits that are bent.
    let mut odd = config(&at("gemma"));
    let members = odd.as_object_mut().unwrap();
    members.remove("layer_types");
    for (key, value) in [
        ("sliding_window_pattern", json!(2)),
        ("query_pre_attn_scalar", json!(20)),
        ("final_logit_softcapping", json!(4.0)),
        ("sliding_window", json!(65)),
    ] {
        members.insert(key.to_owned(), value);
    }
    random_like(at("gemma-odd"), &odd, 32, false).unwrap();
    respelt(
        &at("gemma-odd"),
        &at("gemma-anew"),
        &Model::open(&at("gemma-odd")).weights.config.to_json(None),
    );
    // The text within a model that has a tower for images, by the names of today and of before.
    let outer = RandomModel::of(Architecture::Gemma3Vision, 33).config().to_json(Some("float32"));
    random_like(at("whole"), &outer, 33, true).unwrap();
    let mut new = outer.clone();
    new["text_config"] = newer(outer["text_config"].clone(), parameters);
    respelt(&at("whole"), &at("whole-new"), &new);
    std::fs::create_dir(at("whole-old")).unwrap();
    std::fs::write(at("whole-old").join("config.json"), outer.to_string()).unwrap();
    let bytes = std::fs::read(at("whole").join("model.safetensors")).unwrap();
    let tensors = safetensors(&bytes, "model.language_model.", "language_model.model.");
    std::fs::write(at("whole-old").join("model.safetensors"), tensors).unwrap();
    let first = [(NEW, "gemma"), (ONE, "gemma-new"), (NEW, "gemma-odd"), (ONE, "gemma-anew")];
    let whole = [(NEW, "whole"), (ONE, "whole-new"), (ONE, "whole-old")];
    let all = first.into_iter().chain(whole).map(|(new, name)| (new, at(name)));
    compare(&all.collect::<Vec<_>>());
}

/// The same tensors with another beginning of their names, which must be as long.
fn safetensors(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains(from));
    [&length[..], header.replace(from, to).as_bytes(), data].concat()
}

/// The configurations of the registry's base models, as published: of their layers two, of the feed-forward width an
/// eighth and a small vocabulary. A random model of each loads and answers.
#[test]
fn the_real_configurations_load_and_answer() {
    let all: Value =
        serde_json::from_str(include_str!("../../tests/real_configurations.json")).unwrap();
    for (name, config) in all.as_object().unwrap() {
        let mut config = config.clone();
        let nested = config.get("text_config").is_some();
        let text = if nested { &mut config["text_config"] } else { &mut config };
        let layers = text["num_hidden_layers"].as_u64().unwrap();
        assert!(layers >= 28, "{name}");
        text["num_hidden_layers"] = json!(2);
        text["vocab_size"] = json!(300);
        text["intermediate_size"] = json!(text["intermediate_size"].as_u64().unwrap() / 8);
        if text.get("layer_types").is_some() {
            text["layer_types"] = json!(["full_attention", "full_attention"]);
        }
        let home = tempfile::tempdir().unwrap();
        random_like(home.path(), &config, 5, true).unwrap();
        let logits = Model::open(home.path()).logits(&prompt(90), 0);
        let fine = logits.len() == 300 && logits.iter().all(|x| x.is_finite());
        assert!(fine && deviation(&logits) > 1.0, "{name}");
    }
}
