//! Which files of a model a server gets to see: an allowlist of names, so that no code and no pickled
//! weights are among them, with the tokenizer of the base model among the submission's weights.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ptb_model::{Checkpoint, GenerationConfig, Links, ModelDir};
use ptb_sandbox::Identity;
use serde_json::Value;

use super::super::error::FaultClass;
use super::super::{Fault, ServeSpec, StartError};

const CONFIG: &str = "config.json";
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

/// What is shown of a model.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// Files of the machine by the name that the server finds them under.
    pub(super) files: BTreeMap<String, PathBuf>,
    /// Bytes of the weights.
    pub(super) weights: u64,
    /// Element type that the configuration names.
    pub(super) dtype: Option<String>,
    /// Longest context that the configuration names.
    pub(super) positions: Option<u64>,
    /// Whether the tokenizer is the model's own.
    pub(super) own_tokenizer: bool,
}

/// Looks through the directories. What can be said of a model without a server is said here: files that are
/// missing, cut short or lead out, weights that are pickled.
pub(super) fn collect(engine: &'static str, spec: &ServeSpec) -> Result<Shown, StartError> {
    let dir = ModelDir::open_with(&spec.model_dir, spec.links)?;
    let checkpoint = Checkpoint::open(&dir)?;
    GenerationConfig::read(&dir)?;
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
    for name in [CONFIG, "generation_config.json"] {
        if dir.has(name) {
            files.insert(name.to_owned(), located(&dir, name)?);
        }
    }
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
    let inner = config.get("text_config").unwrap_or(&Value::Null);
    let find = |key: &str| config.get(key).or(inner.get(key)).filter(|v| !v.is_null());
    let dtype = find("dtype").or(find("torch_dtype")).and_then(Value::as_str);
    Ok(Shown {
        files,
        weights: checkpoint.tensors().values().map(|t| t.bytes).sum(),
        dtype: dtype.map(str::to_owned),
        positions: find("max_position_embeddings").and_then(Value::as_u64),
        own_tokenizer,
    })
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
    Ok(names)
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
    Err(Fault {
        engine,
        class: FaultClass::Tokenizer,
        of_model: own,
        status: "not started".to_owned(),
        message: format!(
            "{} has neither {}",
            dir.path().display(),
            TOKENIZER[..VOCABULARIES].join(" nor ")
        ),
        hint: "save the tokenizer with the model, or fetch the base model again",
        tail: String::new(),
    }
    .into())
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
        assert_ne!(shown.files["config.json"].parent(), Some(into.path()));
    }
}
