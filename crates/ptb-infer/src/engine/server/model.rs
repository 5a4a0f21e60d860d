//! Which files of a model a server gets to see: an allowlist of names, so that no code and no pickled
//! weights are among them, with the tokenizer of the base model among the submission's weights.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ptb_model::{Checkpoint, Config, GenerationConfig, Links, ModelDir, expected_tensors};
use ptb_sandbox::Identity;
use serde_json::{Value, json};

use super::super::error::FaultClass;
use super::super::faults;
use super::super::output::tidy;
use super::super::{Fault, ServeSpec, StartError};

const CONFIG: &str = "config.json";
pub(super) const GENERATION: &str = "generation_config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const CONFIG_LIMIT: u64 = 1 << 20;
const INDEX_LIMIT: u64 = 32 << 20;

/// Files of tokenizers and processors; the first ones hold a vocabulary.
const TOKENIZER: [&str; 13] = [
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];
const VOCABULARIES: usize = 4;

/// Members of a configuration that lead away from the files beside it: to code, to other weights, to another model.
const LEADING_AWAY: [&str; 10] = [
    "auto_map",
    "custom_pipelines",
    "transformers_weights",
    "_name_or_path",
    "name_or_path",
    "base_model_name_or_path",
    "speculators_config",
    "speculative_config",
    "quantization_config",
    "compression_config",
];

/// Element types that the servers compute with, as a configuration names them.
const DTYPES: [&str; 3] = ["float32", "bfloat16", "float16"];

/// What is shown of a model.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// Files of the machine by the name that the server finds them under.
    pub(super) files: BTreeMap<String, PathBuf>,
    /// Files that are written for the server, by name.
    pub(super) written: BTreeMap<&'static str, Value>,
    /// Bytes of the weights that the architecture uses; of all, where it is none that we know.
    pub(super) weights: u64,
    /// Element type that the configuration names.
    pub(super) dtype: Option<String>,
    /// Longest context that the configuration names.
    pub(super) positions: Option<u64>,
    /// Whether a tower for images stands beside the text.
    pub(super) vision: bool,
    /// Whether the tokenizer is the model's own.
    pub(super) own_tokenizer: bool,
    /// What `generation_config.json` says, where there is one.
    pub(super) sampling: Option<GenerationConfig>,
}

/// Looks through the directories. What can be said of a model without a server is said here: files that are
/// missing, cut short or lead out, weights that are pickled.
pub(super) fn collect(engine: &'static str, spec: &ServeSpec) -> Result<Shown, StartError> {
    let dir = ModelDir::open_with(&spec.model_dir, spec.links)?;
    let checkpoint = Checkpoint::open(&dir)?;
    let sampling = GenerationConfig::read(&dir)?;
    let config: Value = serde_json::from_slice(&dir.read(CONFIG, CONFIG_LIMIT)?)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| StartError::Model {
            message: format!(
                "failed to read model file {}: it is no JSON object\nhint: save the model again",
                spec.model_dir.join(CONFIG).display()
            ),
        })?;
    let mut files = BTreeMap::new();
    for name in weight_files(&dir)? {
        files.insert(name.clone(), located(&dir, &name)?);
    }
    let stored = checkpoint.tensors().values().map(|tensor| tensor.stored().to_owned());
    let mut texts: Vec<String> = files.keys().cloned().chain(stored).collect();
    let inner = config.get("text_config").unwrap_or(&Value::Null);
    let dtype = dtype(engine, [&config, inner])?;
    let mut written = BTreeMap::new();
    let mut vision = false;
    match Config::read(&dir) {
        // A server acts upon members that no architecture needs, down to how it fails: it gets what was checked.
        Ok(known) => {
            vision = known.vision.is_some();
            written.insert(CONFIG, known.to_json(dtype.as_deref()));
            if !sampling.eos.is_empty() {
                written.insert(GENERATION, json!({ "eos_token_id": sampling.eos }));
            }
        }
        Err(_) => {
            for name in [CONFIG, GENERATION].into_iter().filter(|name| dir.has(name)) {
                let text = dir.read(name, CONFIG_LIMIT)?;
                let value: Value = serde_json::from_slice(&text).unwrap_or_default();
                add_texts(&value, &mut texts);
                match name {
                    CONFIG => drop(written.insert(CONFIG, staying(value))),
                    _ => drop(files.insert(name.to_owned(), located(&dir, name)?)),
                }
            }
        }
    }
    refuse_imitations(engine, &texts)?;
    let own_tokenizer = spec.tokenizer_dir.is_none();
    match &spec.tokenizer_dir {
        None => add_tokenizer(engine, &dir, true, &mut files)?,
        // The base model is our own choice, and may lie in the hub's cache.
        Some(path) => {
            let base = ModelDir::open_with(path, Links::Follow);
            let base = base.map_err(|e| StartError::prepare("opening the base model", other(e)))?;
            add_tokenizer(engine, &base, false, &mut files)?;
        }
    }
    let find = |key: &str| config.get(key).or(inner.get(key)).filter(|v| !v.is_null());
    Ok(Shown {
        files,
        written,
        weights: used_bytes(&dir, &checkpoint),
        dtype,
        positions: find("max_position_embeddings").and_then(Value::as_u64),
        vision,
        own_tokenizer,
        sampling: dir.has(GENERATION).then_some(sampling),
    })
}

/// A configuration of an architecture that we do not know, without what leads away, on any level.
fn staying(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !LEADING_AWAY.contains(&name.as_str()))
            .map(|(name, value)| (name, staying(value)))
            .collect(),
        other => other,
    }
}

/// Bytes of the tensors that the architecture uses: others need no room on a GPU.
fn used_bytes(dir: &ModelDir, checkpoint: &Checkpoint) -> u64 {
    let used: Option<BTreeSet<String>> = Config::read(dir)
        .ok()
        .map(|config| expected_tensors(&config).into_iter().map(|(_, name, _)| name).collect());
    let counts = |name: &String| used.as_ref().is_none_or(|used| used.contains(name));
    checkpoint.tensors().iter().filter(|(name, _)| counts(name)).map(|(_, t)| t.bytes).sum()
}

/// The element type that the configuration names, of those that there are: any other name is looked up among
/// all that the servers' libraries have.
fn dtype(engine: &'static str, configs: [&Value; 2]) -> Result<Option<String>, Fault> {
    let named = configs.into_iter().flat_map(|c| [c.get("dtype"), c.get("torch_dtype")]).flatten();
    let mut first = None;
    for value in named.filter(|value| !value.is_null()) {
        match value.as_str().filter(|name| DTYPES.contains(name)) {
            Some(name) => first = first.or(Some(name.to_owned())),
            None => {
                let name = tidy(&value.to_string(), 80);
                let message = format!("{CONFIG} names the element type {name}");
                let hint = "save the model as bfloat16, and config.json with it";
                return Err(of_model(engine, FaultClass::Dtype, message, hint));
            }
        }
    }
    Ok(first)
}

/// All texts of a file's values, names of members included.
fn add_texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, into)),
        Value::Object(members) => {
            for (name, value) in members {
                into.push(name.clone());
                add_texts(value, into);
            }
        }
        _ => {}
    }
}

/// Servers quote a model's files in the lines that tell why they end. A text that reads as the machine's fault
/// there would have a submission that cannot be served tried again for ever.
fn refuse_imitations(engine: &'static str, texts: &[String]) -> Result<(), Fault> {
    let Some(text) = texts.iter().find_map(|text| faults::imitated(text)) else { return Ok(()) };
    let message = format!("the model's files hold `{text}`, the words of a fault of the machine");
    let hint = "give tensors, files and what config.json names their own names";
    Err(of_model(engine, FaultClass::Config, message, hint))
}

fn of_model(engine: &'static str, class: FaultClass, message: String, hint: &'static str) -> Fault {
    let status = "not started".to_owned();
    Fault { engine, class, of_model: true, status, message, hint, tail: String::new() }
}

fn other(e: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    std::io::Error::other(e)
}

/// The files of the weights, as [`Checkpoint`] chose and checked them.
fn weight_files(dir: &ModelDir) -> Result<Vec<String>, StartError> {
    if dir.has(SINGLE) {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let index: Value = serde_json::from_slice(&dir.read(INDEX, INDEX_LIMIT)?).unwrap_or_default();
    let map = index["weight_map"].as_object();
    let shards = map.into_iter().flat_map(|map| map.values()).filter_map(Value::as_str);
    let mut names: Vec<String> = shards.map(str::to_owned).chain([INDEX.to_owned()]).collect();
    names.sort();
    names.dedup();
    // By its name it would be taken for something else than weights.
    match names.iter().find(|name| !name.ends_with(".safetensors") && *name != INDEX) {
        Some(name) => Err(StartError::Model {
            message: format!(
                "{} names weights in `{}`\nhint: files of weights end with .safetensors",
                dir.path().join(INDEX).display(),
                tidy(name, 80)
            ),
        }),
        None => Ok(names),
    }
}

fn add_tokenizer(
    engine: &'static str,
    dir: &ModelDir,
    own: bool,
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<(), StartError> {
    for name in TOKENIZER.iter().filter(|name| dir.has(name)) {
        files.insert((*name).to_owned(), located(dir, name)?);
    }
    if TOKENIZER[..VOCABULARIES].iter().any(|name| files.contains_key(*name)) {
        return Ok(());
    }
    let names = TOKENIZER[..VOCABULARIES].join(" nor ");
    let message = format!("{} has neither {names}", dir.path().display());
    let hint = "save the tokenizer with the model, or fetch the base model again";
    Err(Fault { of_model: own, ..of_model(engine, FaultClass::Tokenizer, message, hint) }.into())
}

/// Where a file of a model really is: opened by the rules of its directory, then named by the kernel.
fn located(dir: &ModelDir, name: &str) -> Result<PathBuf, StartError> {
    use std::os::fd::AsRawFd;
    let file = dir.file(name)?;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let doing = || format!("finding {}", dir.path().join(name).display());
    let path = std::fs::read_link(link).map_err(|e| StartError::prepare(doing(), e))?;
    let (there, here) = (std::fs::metadata(&path), file.metadata());
    match (there, here) {
        (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.dev(), b.ino()) => Ok(path),
        _ => Err(StartError::prepare(doing(), std::io::Error::other("it was moved meanwhile"))),
    }
}

/// Writes the files that are made for the server below `into`, for everyone to read.
pub(super) fn write_own(shown: &mut Shown, into: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for (name, value) in &shown.written {
        let path = into.join(name);
        std::fs::write(&path, value.to_string())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        shown.files.insert((*name).to_owned(), path);
    }
    Ok(())
}

/// Replaces files that the sandbox's user may not read by copies below `into`, which that user may.
pub(super) fn make_readable(
    shown: &mut Shown,
    who: Identity,
    into: &Path,
) -> Result<(), StartError> {
    for (name, path) in &mut shown.files {
        let doing = || format!("copying {}", path.display());
        let meta = std::fs::metadata(&*path).map_err(|e| StartError::prepare(doing(), e))?;
        let (mode, owner, group) = (meta.mode(), meta.uid() == who.uid, meta.gid() == who.gid);
        let bit = if owner {
            0o400
        } else if group {
            0o040
        } else {
            0o004
        };
        if mode & bit != 0 {
            continue;
        }
        let copy = into.join(name.replace('/', "%"));
        let copied = std::fs::copy(&*path, &copy).and_then(|_| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o644))
        });
        copied.map_err(|e| StartError::prepare(doing(), e))?;
        *path = copy;
    }
    Ok(())
}

/// Without a sandbox that moves files: links to them in a directory of their own.
pub(super) fn link_all(shown: &Shown, into: &Path) -> Result<(), StartError> {
    for (name, path) in &shown.files {
        let link = into.join(name);
        let parent = link.parent().unwrap_or(into);
        let made =
            std::fs::create_dir_all(parent).and_then(|()| std::os::unix::fs::symlink(path, &link));
        made.map_err(|e| StartError::prepare(format!("linking {}", link.display()), e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_model::{RandomModel, random_model};

    fn model() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        random_model(dir.path(), &RandomModel::mini(1)).unwrap();
        dir
    }

    #[test]
    fn code_and_pickles_are_never_shown_and_the_tokenizer_is_the_bases() {
        let (dir, base) = (model(), model());
        for name in ["modeling_x.py", "pytorch_model.bin", "extra.safetensors", "notes.txt"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::write(dir.path().join("chat_template.jinja"), "cheat").unwrap();
        let mut spec = ServeSpec::new(dir.path());
        let own = collect("vllm", &spec).unwrap();
        assert!(own.own_tokenizer && own.files.contains_key("chat_template.jinja"));
        spec.tokenizer_dir = Some(base.path().to_owned());
        let shown = collect("vllm", &spec).unwrap();
        let root = |name: &str| shown.files[name].parent().unwrap().to_owned();
        assert_eq!(root("tokenizer.json"), base.path().canonicalize().unwrap());
        assert_eq!(root("model.safetensors"), dir.path().canonicalize().unwrap());
        for name in ["modeling_x.py", "pytorch_model.bin", "extra.safetensors", "notes.txt"] {
            assert!(!shown.files.contains_key(name), "{name}");
        }
        assert!(!shown.files.contains_key("chat_template.jinja") && !shown.own_tokenizer);
        assert!(shown.weights > 1000 && shown.positions.is_some());
    }

    #[test]
    fn faults_that_need_no_server_are_told_without_one() {
        let dir = model();
        let spec = ServeSpec::new(dir.path());
        let path = dir.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        let e = collect("vllm", &spec).unwrap_err();
        assert!(e.is_model_fault() && e.to_string().contains("model.safetensors"), "{e}");
        std::fs::write(&path, bytes).unwrap();
        std::fs::write(dir.path().join(CONFIG), "[]").unwrap();
        let e = collect("vllm", &spec).unwrap_err();
        assert!(e.is_model_fault() && e.to_string().contains("no JSON object"), "{e}");
        let dir = model();
        std::fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
        let e = collect("vllm", &ServeSpec::new(dir.path())).unwrap_err();
        assert!(e.is_model_fault() && e.to_string().contains("tokenizer.json"), "{e}");
        // The base model's is not the submission's to answer for.
        let mut spec = ServeSpec::new(model().keep());
        spec.tokenizer_dir = Some(dir.path().to_owned());
        let e = collect("vllm", &spec).unwrap_err();
        std::fs::remove_dir_all(&spec.model_dir).unwrap();
        assert!(!e.is_model_fault() && e.to_string().contains("base model"), "{e}");
    }

    /// Changes one member of a model's configuration.
    fn configure(dir: &Path, key: &str, value: Value) {
        let path = dir.join(CONFIG);
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(path, config.to_string()).unwrap();
    }

    #[test]
    fn a_submission_cannot_speak_for_the_machine() {
        for (key, value, class) in [
            ("model_type", "cuda out of memory".into(), FaultClass::Config),
            (
                "rope_scaling",
                serde_json::json!({"rope_type": ["x\nMemoryError"]}),
                FaultClass::Config,
            ),
            ("dtype", "cuda".into(), FaultClass::Dtype),
            ("dtype", "float8_e4m3fn".into(), FaultClass::Dtype),
            ("torch_dtype", "float99".into(), FaultClass::Dtype),
            ("text_config", serde_json::json!({"dtype": 16}), FaultClass::Dtype),
        ] {
            let dir = model();
            configure(dir.path(), key, value);
            match collect("vllm", &ServeSpec::new(dir.path())) {
                Err(StartError::Fault(fault)) if fault.of_model && fault.class == class => {
                    assert!(!fault.retryable() && fault.message.len() < 200, "{fault}");
                }
                other => panic!("{key}: {other:?}"),
            }
        }
    }

    /// Each of these ended a server, or filled its memory, in words that nobody can tell from the machine's.
    #[test]
    fn members_that_no_architecture_needs_reach_no_server() {
        let dir = model();
        let members = serde_json::json!({
            "__class__": "x", "pad_token_id": 1_000_000_000, "num_labels": 1_000_000_000, "return_dict": false,
            "id2label": 1, "text_config": {"a": 1}, "to_dict": 1, "torch.OutOfMemoryError": 1, "decoder": 1,
        });
        for (key, value) in members.as_object().unwrap() {
            configure(dir.path(), key, value.clone());
        }
        let text = r#"{"eos_token_id": [258, 256], "ImportError": 1, "watermarking_config": 1}"#;
        std::fs::write(dir.path().join(GENERATION), text).unwrap();
        let mut shown = collect("vllm", &ServeSpec::new(dir.path())).unwrap();
        let config = &shown.written[CONFIG];
        assert!(
            members.as_object().unwrap().keys().all(|key| config.get(key).is_none()),
            "{config}"
        );
        assert_eq!(shown.written[GENERATION], serde_json::json!({"eos_token_id": [258, 256]}));
        // What is written says what the file said of the architecture.
        let into = tempfile::tempdir().unwrap();
        write_own(&mut shown, into.path()).unwrap();
        let read = |dir: &Path| Config::read(&ModelDir::open_with(dir, Links::Inside).unwrap());
        assert_eq!(read(into.path()).unwrap(), read(dir.path()).unwrap());
        assert_eq!(shown.files[CONFIG], into.path().join(CONFIG));
    }

    /// What an unknown architecture's configuration says is kept, but for what names other files.
    #[test]
    fn nothing_leads_away_from_the_files_that_are_shown() {
        let dir = model();
        configure(dir.path(), "architectures", json!(["Grand"]));
        for key in LEADING_AWAY {
            configure(dir.path(), key, json!({ "AutoModel": "x", "verifier": "y" }));
        }
        configure(dir.path(), "text_config", json!({ "depth": 3, "auto_map": { "a": "b" } }));
        let shown = collect("vllm", &ServeSpec::new(dir.path())).unwrap();
        let config = shown.written[CONFIG].to_string();
        assert!(LEADING_AWAY.iter().all(|key| !config.contains(key)), "{config}");
        assert_eq!(shown.written[CONFIG]["text_config"], json!({ "depth": 3 }));
        assert!(config.contains("Grand") && !shown.files.contains_key(CONFIG));
    }

    #[test]
    fn weights_are_called_weights() {
        let dir = model();
        let weights = std::fs::read(dir.path().join(SINGLE)).unwrap();
        std::fs::remove_file(dir.path().join(SINGLE)).unwrap();
        for (name, fits) in [("a.safetensors", true), ("adapter_config.json", false)] {
            std::fs::write(dir.path().join(name), &weights).unwrap();
            let opened = ModelDir::open(dir.path()).unwrap();
            let map: BTreeMap<String, &str> = {
                let length = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
                let header: Value = serde_json::from_slice(&weights[8..8 + length]).unwrap();
                let names = header.as_object().unwrap().keys().filter(|k| *k != "__metadata__");
                names.map(|k| (k.clone(), name)).collect()
            };
            let index = json!({ "metadata": {}, "weight_map": map });
            std::fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
            let found = weight_files(&opened);
            assert_eq!(found.is_ok(), fits, "{found:?}");
            assert_eq!(collect("vllm", &ServeSpec::new(dir.path())).is_ok(), fits);
        }
    }

    #[test]
    fn weights_are_those_that_are_used() {
        let dir = model();
        let all = collect("vllm", &ServeSpec::new(dir.path())).unwrap().weights;
        let path = dir.path().join(SINGLE);
        let bytes = std::fs::read(&path).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        let mut header: Value = serde_json::from_slice(header).unwrap();
        let (from, to) = (data.len(), data.len() + (1 << 20));
        header["padding"] =
            serde_json::json!({"dtype": "U8", "shape": [1 << 20], "data_offsets": [from, to]});
        let header = header.to_string().into_bytes();
        let whole = [&(header.len() as u64).to_le_bytes()[..], &header, data, &[0; 1 << 20]];
        std::fs::write(&path, whole.concat()).unwrap();
        assert_eq!(collect("vllm", &ServeSpec::new(dir.path())).unwrap().weights, all);
        // Of an architecture that only the servers know, everything counts.
        configure(dir.path(), "architectures", serde_json::json!(["Grand"]));
        assert_eq!(collect("vllm", &ServeSpec::new(dir.path())).unwrap().weights, all + (1 << 20));
    }

    #[test]
    fn links_out_of_a_submission_are_refused_and_the_hubs_followed() {
        let (dir, blobs) = (model(), tempfile::tempdir().unwrap());
        let (from, to) = (dir.path().join("model.safetensors"), blobs.path().join("abc"));
        std::fs::copy(&from, &to).unwrap();
        std::fs::remove_file(&from).unwrap();
        std::os::unix::fs::symlink(&to, &from).unwrap();
        let mut spec = ServeSpec::new(dir.path());
        assert!(collect("vllm", &spec).unwrap_err().is_model_fault());
        spec.links = Links::Follow;
        let shown = collect("vllm", &spec).unwrap();
        assert_eq!(shown.files["model.safetensors"], to.canonicalize().unwrap());
    }

    #[test]
    fn what_the_sandboxs_user_may_not_read_is_copied() {
        use std::os::unix::fs::PermissionsExt;
        let (dir, into) = (model(), tempfile::tempdir().unwrap());
        let secret = dir.path().join("model.safetensors");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut shown = collect("vllm", &ServeSpec::new(dir.path())).unwrap();
        let who = Identity { uid: 1_990_000_042, gid: 1_990_000_042 };
        make_readable(&mut shown, who, into.path()).unwrap();
        let copy = &shown.files["model.safetensors"];
        assert_eq!(copy.parent(), Some(into.path()));
        assert_eq!(std::fs::metadata(copy).unwrap().mode() & 0o777, 0o644);
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(&secret).unwrap());
        assert_ne!(shown.files["tokenizer.json"].parent(), Some(into.path()));
    }
}
