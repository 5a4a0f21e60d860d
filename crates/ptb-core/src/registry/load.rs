//! Loading: embedded files first, then the user's folders, the last one winning.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use miette::Diagnostic;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Agent, Benchmark, Edition, Entry, GraderPrompt, Model, Script, ScriptFolderError};
use crate::cell::GraderChoice;
use crate::files::sha256_hex;
use crate::names::{is_id, nearest};
use crate::userfile::{UserFile, UserFileError};

static BUILT_IN: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../registry");
/// Where the built-in files lay when this program was built. Local folders that they name (the tiny models') are
/// found while that checkout is there.
const CHECKOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../registry");

/// Why a registry or one of its entries cannot be had.
#[derive(Debug, Error, Diagnostic)]
pub enum RegistryError {
    /// A file says something wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] Box<UserFileError>),
    /// A benchmark that is a program.
    #[error(transparent)]
    Script(#[from] ScriptFolderError),
    /// A folder cannot be read.
    #[error("cannot read the registry folder {}: {reason}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing is called that.
    #[error("unknown {kind} `{name}`{}", hint.as_ref().map(|h| format!("; hint: {h}")).unwrap_or_default())]
    Unknown {
        /// What was looked for.
        kind: &'static str,
        /// The name.
        name: String,
        /// The nearest known name, or all of them.
        hint: Option<String>,
    },
}

/// The API of graders where no other is named.
pub const GRADER_URL: &str = "https://api.openai.com/v1";

/// What a user chooses of a grader, in place of what a benchmark's file says.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChosenGrader<'a> {
    /// Root of its API.
    pub url: Option<&'a str>,
    /// Its model.
    pub model: Option<&'a str>,
    /// A file with its prompt, as those in `prompts/`.
    pub prompt: Option<&'a Path>,
    /// What may be spent on one evaluation, in US dollars.
    pub spend_limit: Option<f64>,
}

/// Everything that experiments can name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    benchmarks: BTreeMap<String, Entry<Benchmark>>,
    models: BTreeMap<String, Entry<Model>>,
    agents: BTreeMap<String, Entry<Agent>>,
    editions: BTreeMap<String, Entry<Edition>>,
    chat_templates: BTreeMap<String, Entry<String>>,
    prompts: BTreeMap<String, Entry<GraderPrompt>>,
}

impl Registry {
    /// The built-in registry, with files of `folders` (in order) over it.
    pub fn load(folders: &[PathBuf]) -> Result<Self, RegistryError> {
        let mut registry = Self::default();
        for (path, text) in built_in_files(&BUILT_IN) {
            registry.add(
                &path,
                UserFile::new(format!("built-in {}", path.display()), text),
                "built-in",
                Path::new(CHECKOUT),
            )?;
        }
        for folder in folders {
            registry.add_folder(folder)?;
        }
        Ok(registry)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), RegistryError> {
        let fail =
            |path: &Path, reason: String| RegistryError::Folder { path: path.to_owned(), reason };
        let list = |dir: &Path| -> Result<Vec<PathBuf>, RegistryError> {
            let entries = fs::read_dir(dir).map_err(|e| fail(dir, e.to_string()))?;
            let mut paths: Vec<PathBuf> =
                entries.filter_map(Result::ok).map(|e| e.path()).collect();
            paths.sort();
            Ok(paths)
        };
        list(folder)?;
        for kind in ["benchmarks", "models", "agents", "editions", "chat-templates", "prompts"] {
            let dir = folder.join(kind);
            if !dir.is_dir() {
                continue;
            }
            for path in list(&dir)? {
                let path = match kind {
                    "benchmarks" if !path.join("benchmark.toml").is_file() => {
                        self.add_script(&path)?;
                        continue;
                    }
                    "benchmarks" => path.join("benchmark.toml"),
                    _ => path,
                };
                let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                if path.is_file() && classify(&relative).is_some() {
                    let file = UserFile::read(&path).map_err(Box::new)?;
                    self.add(&relative, file, &path.display().to_string(), folder)?;
                }
            }
        }
        Ok(())
    }

    /// A benchmark without a `benchmark.toml`, if it is one.
    fn add_script(&mut self, folder: &Path) -> Result<(), RegistryError> {
        let Some((value, sha256)) = Script::read(folder)? else { return Ok(()) };
        let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_id(&id) {
            let reason = format!(
                "`{id}` cannot be an id; hint: use lower-case letters, digits, `.`, `_`, `-`"
            );
            return Err(RegistryError::Folder { path: folder.to_owned(), reason });
        }
        let source = folder.display().to_string();
        self.benchmarks.insert(id.clone(), Entry { id, source, sha256, value });
        Ok(())
    }

    fn add(
        &mut self,
        relative: &Path,
        file: UserFile,
        source: &str,
        folder: &Path,
    ) -> Result<(), RegistryError> {
        let Some((kind, id)) = classify(relative) else { return Ok(()) };
        if !is_id(&id) {
            let hint = Some("use lower-case letters, digits, `.`, `_`, `-`".to_owned());
            return Err(Box::new(file.error_at("", format!("`{id}` cannot be an id"), hint)).into());
        }
        match kind {
            "benchmarks" => {
                let mut entry = entry(&id, source, &file, Benchmark::fault)?;
                if let Some(path) = &mut entry.value.data.path {
                    *path = resolved(&folder.join("benchmarks").join(&id), path);
                }
                self.benchmarks.insert(id, entry);
            }
            "models" => {
                let mut entry = entry(&id, source, &file, |_: &Model| None)?;
                for weights in [Some(&mut entry.value.base), entry.value.instruct.as_mut()]
                    .into_iter()
                    .flatten()
                {
                    if let Some(path) = &mut weights.path {
                        *path = resolved(folder, path);
                    }
                }
                self.models.insert(id, entry);
            }
            "agents" => {
                drop(self.agents.insert(id.clone(), entry(&id, source, &file, Agent::fault)?))
            }
            "editions" => {
                drop(self.editions.insert(id.clone(), entry(&id, source, &file, Edition::fault)?))
            }
            "prompts" => {
                let entry = entry(&id, source, &file, GraderPrompt::fault)?;
                self.prompts.insert(id, entry);
            }
            _ => {
                let text = file.text().to_owned();
                let sha256 = sha256_hex(text.as_bytes());
                let entry =
                    Entry { id: id.clone(), source: source.to_owned(), sha256, value: text };
                self.chat_templates.insert(id, entry);
            }
        }
        Ok(())
    }

    /// A benchmark by id.
    pub fn benchmark(&self, id: &str) -> Result<&Entry<Benchmark>, RegistryError> {
        find(&self.benchmarks, "benchmark", id)
    }
    /// A base model by id.
    pub fn model(&self, id: &str) -> Result<&Entry<Model>, RegistryError> {
        find(&self.models, "model", id)
    }
    /// An agent by id.
    pub fn agent(&self, id: &str) -> Result<&Entry<Agent>, RegistryError> {
        find(&self.agents, "agent", id)
    }
    /// An edition by id.
    pub fn edition(&self, id: &str) -> Result<&Entry<Edition>, RegistryError> {
        find(&self.editions, "edition", id)
    }
    /// The text of a chat template by id.
    pub fn chat_template(&self, id: &str) -> Result<&Entry<String>, RegistryError> {
        find(&self.chat_templates, "chat template", id)
    }
    /// What a grader is told, by id.
    pub fn prompt(&self, id: &str) -> Result<&Entry<GraderPrompt>, RegistryError> {
        find(&self.prompts, "grader's prompt", id)
    }
    /// Who grades a benchmark: the model and the prompt that its file names, or others; none where no language model
    /// grades.
    pub fn grader(
        &self,
        benchmark: &Benchmark,
        chosen: &ChosenGrader<'_>,
    ) -> Result<Option<GraderChoice>, RegistryError> {
        let Some(grading) = &benchmark.scorer.grader else { return Ok(None) };
        let prompt = match chosen.prompt {
            Some(path) => read_grader_prompt(path)?,
            None => self.prompt(&grading.prompt)?.clone(),
        };
        Ok(Some(GraderChoice {
            url: chosen.url.unwrap_or(GRADER_URL).to_owned(),
            model: chosen.model.unwrap_or(&grading.model).to_owned(),
            prompt,
            spend_limit: chosen.spend_limit,
        }))
    }
    /// All benchmarks, by id.
    pub fn benchmarks(&self) -> impl Iterator<Item = &Entry<Benchmark>> {
        self.benchmarks.values()
    }
    /// All models, by id.
    pub fn models(&self) -> impl Iterator<Item = &Entry<Model>> {
        self.models.values()
    }
    /// All agents, by id.
    pub fn agents(&self) -> impl Iterator<Item = &Entry<Agent>> {
        self.agents.values()
    }
    /// All editions, by id.
    pub fn editions(&self) -> impl Iterator<Item = &Entry<Edition>> {
        self.editions.values()
    }
}

/// A grader's prompt from a file outside any registry folder; its id is the file's path.
fn read_grader_prompt(path: &Path) -> Result<Entry<GraderPrompt>, RegistryError> {
    let file = UserFile::read(path).map_err(Box::new)?;
    let name = path.display().to_string();
    entry(&name, &name, &file, GraderPrompt::fault)
}

fn built_in_files(dir: &'static Dir<'static>) -> Vec<(PathBuf, &'static str)> {
    let mut files: Vec<_> =
        dir.files().filter_map(|f| Some((f.path().to_owned(), f.contents_utf8()?))).collect();
    files.extend(dir.dirs().flat_map(built_in_files));
    files
}

/// The embedded chat templates, by name of file.
pub(crate) fn built_in_chat_templates() -> Vec<(String, &'static str)> {
    let files = BUILT_IN.get_dir("chat-templates").map(built_in_files).unwrap_or_default();
    let named = |(path, text): (PathBuf, &'static str)| {
        Some((path.file_name()?.to_str()?.to_owned(), text))
    };
    files.into_iter().filter_map(named).collect()
}

/// A path that a file names, seen from its folder: one name for one place, however the folder was written,
/// because paths of weights are part of a cell's key.
fn resolved(folder: &Path, path: &Path) -> PathBuf {
    let joined = folder.join(path);
    joined.canonicalize().unwrap_or(joined)
}

/// The kind and id that a path inside a registry folder names.
fn classify(relative: &Path) -> Option<(&'static str, String)> {
    let parts: Vec<&str> = relative.iter().filter_map(|p| p.to_str()).collect();
    let stem =
        |ending: &str| parts.last().and_then(|name| name.strip_suffix(ending)).map(str::to_owned);
    match parts.as_slice() {
        ["benchmarks", id, "benchmark.toml"] => Some(("benchmarks", (*id).to_owned())),
        ["models", _] => Some(("models", stem(".toml")?)),
        ["agents", _] => Some(("agents", stem(".toml")?)),
        ["editions", _] => Some(("editions", stem(".toml")?)),
        ["prompts", _] => Some(("prompts", stem(".toml")?)),
        ["chat-templates", _] => Some(("chat-templates", stem(".jinja")?)),
        _ => None,
    }
}

fn entry<T: DeserializeOwned>(
    id: &str,
    source: &str,
    file: &UserFile,
    fault: impl Fn(&T) -> Option<(&'static str, String, String)>,
) -> Result<Entry<T>, RegistryError> {
    let value: T = file.parse().map_err(Box::new)?;
    if let Some((at, message, hint)) = fault(&value) {
        return Err(Box::new(file.error_at(at, message, Some(hint))).into());
    }
    let sha256 = sha256_hex(file.text().as_bytes());
    Ok(Entry { id: id.to_owned(), source: source.to_owned(), sha256, value })
}

fn find<'a, T>(
    map: &'a BTreeMap<String, Entry<T>>,
    kind: &'static str,
    id: &str,
) -> Result<&'a Entry<T>, RegistryError> {
    map.get(id).ok_or_else(|| {
        let hint = match nearest(id, map.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", map.keys().cloned().collect::<Vec<_>>().join(", ")),
        };
        RegistryError::Unknown { kind, name: id.to_owned(), hint: Some(hint) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_is_sound_and_its_references_hold() {
        let registry = Registry::load(&[]).unwrap();
        for model in registry.models() {
            for tools in [false, true] {
                registry.chat_template(model.value.chat.template_for(tools)).unwrap();
            }
        }
        for id in ["arithmetic", "gsm8k"] {
            registry.benchmark(id).unwrap();
        }
        for benchmark in registry.benchmarks() {
            if let Some(grader) = &benchmark.value.scorer.grader {
                registry.prompt(&grader.prompt).unwrap();
            }
        }
        for id in ["qwen3-1.7b", "qwen3-4b", "smollm3-3b", "gemma3-4b", "tiny"] {
            assert!(registry.model(id).unwrap().value.instruct.is_some(), "{id}");
        }
        assert_eq!(registry.agent("base").unwrap().value.submit, Some(super::super::Submit::Base));
        registry.edition("main").unwrap();
    }

    #[test]
    fn unknown_names_offer_the_nearest() {
        let e = Registry::load(&[]).unwrap().benchmark("gsm8").unwrap_err();
        assert_eq!(e.to_string(), "unknown benchmark `gsm8`; hint: did you mean `gsm8k`?");
    }

    #[test]
    fn a_users_file_wins_and_its_faults_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("agents")).unwrap();
        let path = dir.path().join("agents/base.toml");
        fs::write(&path, "name = \"mine\"\ncommand = [\"true\"]\n").unwrap();
        let registry = Registry::load(&[dir.path().to_owned()]).unwrap();
        assert_eq!(registry.agent("base").unwrap().value.name, "mine");
        fs::write(&path, "name = \"mine\"\ncomand = [\"true\"]\n").unwrap();
        let e = Registry::load(&[dir.path().to_owned()]).unwrap_err();
        assert!(e.to_string().contains("base.toml:2:1: unknown field `comand`"), "{e}");
        fs::write(&path, "name = \"mine\"\n").unwrap();
        let e = Registry::load(&[dir.path().to_owned()]).unwrap_err();
        assert!(e.to_string().contains("exactly one of"), "{e}");
    }

    /// What a registry says to `agents/a.toml` with this text.
    fn agent_fault(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("agents")).unwrap();
        fs::write(dir.path().join("agents/a.toml"), text).unwrap();
        let e = Registry::load(&[dir.path().to_owned()]).unwrap_err();
        let hint = Diagnostic::help(&e).map(|h| format!(" | {h}")).unwrap_or_default();
        format!("{e}{hint}").replace(&format!("{}/", dir.path().display()), "")
    }

    #[test]
    fn only_baselines_set_prompt_and_sampling() {
        let command = "name = \"a\"\ncommand = [\"x\", \"{prompt}\"]\n";
        let base = "name = \"a\"\nsubmit = \"base\"\n";
        let cases = [
            (
                command,
                "[sampling]\ntemperature = 0.6\n",
                "a.toml:3:1: `[sampling]` is for baselines",
                "generation_config.json",
            ),
            (
                command,
                "prompt = \"few-shot\"\n",
                "a.toml:3:1: `prompt` is for baselines",
                "leave `prompt` out",
            ),
            (
                command,
                "prompt = \"chat\"\n",
                "a.toml:3:1: `prompt` is for baselines",
                "leave `prompt` out",
            ),
            (base, "[sampling]\n", "a.toml:3:1: [sampling] sets nothing", "leave the table out"),
            (
                base,
                "[sampling]\ntemperature = -0.1\n",
                "a.toml:4:1: temperature = -0.1 is out of range",
                "from 0 to 100",
            ),
            (
                base,
                "[sampling]\ntop_p = 0.0\n",
                "a.toml:4:1: top_p = 0 is out of range",
                "above 0 to 1",
            ),
            (
                base,
                "[sampling]\ntop_p = nan\n",
                "a.toml:4:1: top_p = NaN is out of range",
                "above 0 to 1",
            ),
            (
                base,
                "[sampling]\nmin_p = 2\n",
                "a.toml:4:1: min_p = 2 is out of range",
                "from 0 to 1",
            ),
            (base, "[sampling]\ntop_k = -1\n", "a.toml:4:9: invalid value", ""),
            (
                base,
                "[sampling]\ntemprature = 1.0\n",
                "a.toml:4:1: unknown field `temprature`",
                "did you mean `temperature`?",
            ),
            (
                base,
                "prompt = \"few_shot\"\n",
                "a.toml:3:10: unknown variant `few_shot`",
                "did you mean `few-shot`?",
            ),
        ];
        for (head, more, message, hint) in cases {
            let told = agent_fault(&format!("{head}{more}"));
            assert!(told.contains(message) && told.contains(hint), "{more:?} is told as: {told}");
        }
    }

    /// Limits of new tokens, each with its lower ones (the source of the numbers: the evaluation code that
    /// published results were made with).
    #[test]
    fn ladders_are_those_of_the_reference() {
        let registry = Registry::load(&[]).unwrap();
        for (id, limits) in [
            ("aime2025", [16000, 12000, 8000]),
            ("bfcl", [16000, 12000, 8000]),
            ("gpqamain", [16000, 12000, 8000]),
            ("gsm8k", [4000, 3000, 2000]),
            ("humaneval", [4000, 3000, 2000]),
            ("arenahardwriting", [16384, 12288, 8192]),
            ("healthbench", [16384, 12288, 8192]),
        ] {
            let Benchmark { generation, evaluate, .. } = &registry.benchmark(id).unwrap().value;
            assert_eq!([&[generation.max_tokens], &evaluate.ladder[..]].concat(), limits, "{id}");
        }
    }

    /// Every dataset of the hub is pinned to a commit.
    #[test]
    fn revisions_are_commits() {
        for entry in Registry::load(&[]).unwrap().benchmarks() {
            let Some(hub) = &entry.value.data.hub else { continue };
            let digits = hub.revision.bytes().all(|b| b.is_ascii_hexdigit());
            assert!(digits && hub.revision.len() == 40, "{}: {}", entry.id, hub.revision);
        }
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_line() {
        let built_in = BUILT_IN.get_file("benchmarks/gsm8k/benchmark.toml").unwrap();
        let text = built_in.contents_utf8().unwrap();
        // A line of the file, what stands in its place, what is told.
        for (key, instead, message) in [
            ("ladder", "ladder = [4000, 2000]", "the ladder does not fall: 4000 comes after 4000"),
            ("ladder", "ladder = [3000, 3000]", "the ladder does not fall: 3000 comes after 3000"),
            ("ladder", "breakdown = [\"answer\"]", "`answer` holds single items"),
            ("train_sha256", "train_sha256 = \"EA82\"", "`train_sha256` is no SHA-256"),
        ] {
            let mut lines: Vec<&str> = text.lines().collect();
            let at = lines.iter().position(|l| l.starts_with(&format!("{key} = "))).unwrap();
            lines[at] = instead;
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("benchmarks/gsm8k/benchmark.toml");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, lines.join("\n")).unwrap();
            let e = Registry::load(&[dir.path().to_owned()]).unwrap_err();
            let told = format!("{}:{}:1: {message}", path.display(), at + 1);
            assert!(e.to_string().starts_with(&told), "{e} instead of {told}");
            assert!(Diagnostic::help(&e).is_some());
        }
    }

    #[test]
    fn a_few_shot_prompt_needs_examples_and_an_end() {
        let built_in = BUILT_IN.get_file("benchmarks/gsm8k/benchmark.toml").unwrap();
        let text = built_in.contents_utf8().unwrap();
        let (before, after) = text.split_once("[few_shot.examples]\nrows = [").unwrap();
        let no_rows =
            format!("{before}[few_shot.examples]\nrows = []{}", after.split_once(']').unwrap().1);
        let stop = "stop = [\"\\nQuestion:\"]";
        assert!(text.contains(stop));
        let cases = [
            (no_rows, "there are no examples in [few_shot.examples]"),
            (text.replace(stop, "stop = []"), "[few_shot] has no `stop`"),
            (text.replace(stop, "stop = [\"\"]"), "[few_shot] has no `stop`, or an empty one"),
        ];
        for (text, message) in cases {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("benchmarks/x/benchmark.toml");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let e = Registry::load(&[dir.path().to_owned()]).unwrap_err().to_string();
            assert!(e.contains(message) && !e.contains("toml:1:1:"), "{e}");
        }
    }
}
