//! The model as a benchmark's program sees it, and what a result depends on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ptb_core::files::{sha256_file, sha256_hex};
use ptb_infer::{ShownModel, StartError};
use ptb_model::{Checkpoint, ModelDir, Tokenizer};
use ptb_sandbox::Identity;
use serde::Serialize;

use super::error::ScriptError;
use super::{PROGRAM, ScriptSpec};
use crate::error::{EvalError, of_model};

const TOKENIZER: &str = "tokenizer.json";

/// A model, looked through.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    model: ShownModel,
    pub(super) weights_sha256: String,
    /// SHA-256 of every file that is shown, by its name.
    pub(super) shown: BTreeMap<String, String>,
    /// SHA-256 over all that a result depends on.
    pub(super) key: String,
}

#[derive(Serialize)]
struct Key<'a> {
    weights: &'a str,
    /// Every file that is shown.
    shown: &'a BTreeMap<String, String>,
    folder: &'a str,
    limit: Option<usize>,
}

impl Subject {
    /// # Errors
    /// A model that servers would not be started on either; or a base model that cannot be read.
    pub(super) fn read(spec: &ScriptSpec) -> Result<Self, EvalError> {
        let dir = ModelDir::open_with(&spec.model_dir, spec.links).map_err(of_model)?;
        let weights_sha256 =
            Checkpoint::open(&dir).and_then(|c| c.weights_hash()).map_err(of_model)?;
        let model = ShownModel::read(PROGRAM, &spec.model_dir, spec.links, spec.base.as_deref())
            .map_err(of_start)?;
        if model.own_tokenizer() && model.files().contains_key(TOKENIZER) {
            Tokenizer::read(&dir).map_err(of_model)?;
        }
        let mut shown = BTreeMap::new();
        for (name, path) in model.files() {
            let hash = sha256_file(path).map_err(ScriptError::place("reading the model"))?;
            shown.insert(name.clone(), hash);
        }
        for (name, text) in model.written() {
            shown.insert(name.to_owned(), sha256_hex(text.as_bytes()));
        }
        let (folder, limit) = (spec.benchmark.sha256.as_str(), spec.limit);
        let key = Key { weights: &weights_sha256, shown: &shown, folder, limit };
        let key = sha256_hex(&serde_json::to_vec(&key).unwrap_or_default());
        Ok(Self { model, weights_sha256, shown, key })
    }

    /// Whose tokenizer the program finds, for records.
    pub(super) fn tokenizer(&self) -> &'static str {
        if self.model.own_tokenizer() { "submission" } else { "base model" }
    }

    /// Writes what is written for the program below `into`, and copies there what the wall's user may not read.
    pub(super) fn make_ready(&mut self, into: &Path) -> Result<(), EvalError> {
        self.model.make_ready(Identity::for_this_process(), into).map_err(of_start)
    }

    /// Files of the machine by the name that the program finds them under.
    pub(super) fn files(&self) -> &BTreeMap<String, PathBuf> {
        self.model.files()
    }
}

/// No server is started here: what is the submission's fault is told without speaking of one.
fn of_start(e: StartError) -> EvalError {
    match e {
        StartError::Model { message } => EvalError::Model(message),
        StartError::Fault(fault) if fault.of_model => {
            EvalError::Model(format!("{}\nhint: {}", fault.message, fault.hint))
        }
        e => EvalError::Start(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::failure::FailureKind;
    use ptb_core::registry::Registry;
    use ptb_model::{Links, RandomModel, random_model};
    use std::time::Duration;

    fn spec(dir: &Path) -> ScriptSpec {
        random_model(dir, &RandomModel::mini(1)).unwrap();
        let benchmark = Registry::load(&[]).unwrap().benchmark("gsm8k").unwrap().clone();
        ScriptSpec {
            benchmark,
            model_dir: dir.to_owned(),
            links: Links::Inside,
            base: None,
            limit: None,
            time: Duration::from_secs(1),
            out: PathBuf::new(),
        }
    }

    fn names(subject: &Subject) -> Vec<&str> {
        subject.shown.keys().map(String::as_str).collect()
    }

    #[test]
    fn every_change_of_what_is_shown_makes_another_result() {
        let dir = tempfile::tempdir().unwrap();
        let mut spec = spec(dir.path());
        let first = Subject::read(&spec).unwrap();
        let shown = names(&first);
        assert!(shown.contains(&"model.safetensors") && shown.contains(&"config.json"));
        let mut keys = vec![first.key];
        spec.limit = Some(3);
        keys.push(Subject::read(&spec).unwrap().key);
        spec.benchmark.sha256 = "another".to_owned();
        keys.push(Subject::read(&spec).unwrap().key);
        std::fs::write(dir.path().join("generation_config.json"), "{\"top_k\": 9}").unwrap();
        keys.push(Subject::read(&spec).unwrap().key);
        std::fs::write(dir.path().join("special_tokens_map.json"), "{}").unwrap();
        keys.push(Subject::read(&spec).unwrap().key);
        // Not the tensors' values, which have a hash of their own, but how they are stored.
        let weights = dir.path().join("model.safetensors");
        let bytes = std::fs::read(&weights).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let header = [header, b"        "].concat();
        let whole = [&(header.len() as u64).to_le_bytes()[..], &header, data].concat();
        std::fs::write(&weights, whole).unwrap();
        keys.push(Subject::read(&spec).unwrap().key);
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    /// Files beside what was judged and hashed: each of these was loaded in place of it.
    #[test]
    fn what_was_not_judged_is_not_shown_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let spec = spec(dir.path());
        let before = Subject::read(&spec).unwrap();
        for name in [
            "other.safetensors",
            "zzz.safetensors",
            "model.safetensors.index.json",
            "adapter_config.json",
            "adapter_model.safetensors",
            "modeling_x.py",
            "pytorch_model.bin",
            "hf_quant_config.json",
            "params.json",
            "consolidated.safetensors",
        ] {
            std::fs::write(dir.path().join(name), "{}").unwrap();
        }
        let path = dir.path().join("config.json");
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for key in ["transformers_weights", "auto_map", "speculators_config", "_name_or_path"] {
            config[key] = "other.safetensors".into();
        }
        std::fs::write(&path, config.to_string()).unwrap();
        let after = Subject::read(&spec).unwrap();
        assert_eq!(names(&after), names(&before));
        assert_eq!(after.key, before.key);
        let mut ready = after;
        let into = tempfile::tempdir().unwrap();
        ready.make_ready(into.path()).unwrap();
        let config = std::fs::read_to_string(&ready.files()["config.json"]).unwrap();
        assert!(!config.contains("other.safetensors"), "{config}");
    }

    #[test]
    fn the_tokenizer_is_the_bases_and_a_broken_one_the_models_fault() {
        let (dir, base) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut spec = spec(dir.path());
        random_model(base.path(), &RandomModel::mini(2)).unwrap();
        std::fs::write(dir.path().join(TOKENIZER), "{\"broken\": ").unwrap();
        let e = Subject::read(&spec).unwrap_err();
        assert!(e.kind() == FailureKind::Agent && e.to_string().contains(TOKENIZER), "{e}");
        spec.base = Some(base.path().to_owned());
        let subject = Subject::read(&spec).unwrap();
        assert_eq!(subject.tokenizer(), "base model");
        let root = base.path().canonicalize().unwrap();
        assert_eq!(subject.files()[TOKENIZER], root.join(TOKENIZER));
        // A base model without one is nobody's fault but the harness's.
        std::fs::remove_file(base.path().join(TOKENIZER)).unwrap();
        let e = Subject::read(&spec).unwrap_err();
        assert_eq!(e.kind(), FailureKind::Harness, "{e}");
    }
}
