//! A benchmark that is a program: a folder with `evaluate.py` and `benchmark.txt`, as the original harness has them.
//!
//! What it asks and how it scores is the program's own business. The registry knows its name, and a hash over its
//! files.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use walkdir::{DirEntry, WalkDir};

use super::{
    Benchmark, Contamination, Data, Elsewhere, Evaluate, Generation, Prompt, Publish, Scorer,
    ScorerKind,
};
use crate::files::{read_bounded, sha256_file, sha256_hex};

/// The program.
const EVALUATE: &str = "evaluate.py";
/// The file that holds the benchmark's name.
const NAME: &str = "benchmark.txt";
/// Folder with what belongs to the program.
const CODE: &str = "evaluation_code";
/// Folder whose contents lie in an agent's workspace.
const CONTEXT: &str = "task_context";
/// Chat templates of its own, in place of ours of the same name.
const TEMPLATES: &str = "templates";
/// Most files, bytes and levels that a folder may have.
const MAX_FILES: usize = 10_000;
const MAX_BYTES: u64 = 256 << 20;
const MAX_DEPTH: usize = 32;
/// Longest name, in bytes.
const NAME_BYTES: usize = 200;
/// What Python and version control leave behind, which belongs to no benchmark.
const LEFT_BEHIND: [&str; 2] = ["__pycache__", ".git"];

/// Where a script benchmark lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its folder on this machine. What is in it is known by the entry's hash.
    pub folder: PathBuf,
}

/// What is wrong with a script benchmark's folder.
#[derive(Debug, Error)]
pub enum ScriptFolderError {
    /// It has no usable name.
    #[error("{} {why}; hint: write the benchmark's name into its first line", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// It has a program and no name.
    #[error("{} has {EVALUATE} and neither benchmark.toml nor {NAME}; hint: write the benchmark's name into {NAME}", .0.display())]
    NoName(PathBuf),
    /// It holds something that is neither file nor folder.
    #[error("{} is not a plain file; hint: a benchmark's folder holds plain files and folders alone, copy what links point to", .0.display())]
    NotPlain(PathBuf),
    /// It is too large.
    #[error("{} holds more than {MAX_FILES} files or {} MiB; hint: keep data in the hub's cache (HF_HOME), which evaluations see", .0.display(), MAX_BYTES >> 20)]
    TooLarge(PathBuf),
    /// It is too deep.
    #[error("{} lies more than {MAX_DEPTH} folders deep in the benchmark; hint: flatten it", .0.display())]
    TooDeep(PathBuf),
    /// Its files are not those that its hash was taken of.
    #[error("{} has changed since it was read; hint: run again, which takes it for another benchmark", .0.display())]
    Changed(PathBuf),
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn cannot(path: &Path) -> impl FnOnce(io::Error) -> ScriptFolderError {
    let path = path.to_owned();
    move |source| ScriptFolderError::Io { path, source }
}

/// One file of a folder, or a folder in it that holds nothing.
struct Item {
    path: PathBuf,
    relative: PathBuf,
    executable: bool,
    folder: bool,
}

impl Script {
    /// The script benchmark in a folder of the registry: its name and the hash over its files; none where there is no
    /// `evaluate.py`.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn read(folder: &Path) -> Result<Option<(Benchmark, String)>, ScriptFolderError> {
        if !plain(folder.join(EVALUATE))? {
            return Ok(None);
        }
        if !plain(folder.join(NAME))? {
            return Err(ScriptFolderError::NoName(folder.to_owned()));
        }
        let script = Self { folder: folder.canonicalize().map_err(cannot(folder))? };
        let sha256 = script.sha256()?;
        let name = name(&folder.join(NAME))?;
        Ok(Some((script.benchmark(name), sha256)))
    }

    /// SHA-256 over the names, executable bits and contents of the folder's files, in order of name.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn sha256(&self) -> Result<String, ScriptFolderError> {
        sha256_of(&self.folder)
    }

    /// Copies all files below `to`, and checks that they are those of `sha256`.
    ///
    /// # Errors
    /// What is wrong with the folder, [`ScriptFolderError::Changed`] among it.
    pub fn copy_whole(&self, to: &Path, sha256: &str) -> Result<(), ScriptFolderError> {
        self.copy(to, &|relative| Some(relative.to_owned()))?;
        match sha256_of(to)? == sha256 {
            true => Ok(()),
            false => Err(ScriptFolderError::Changed(self.folder.clone())),
        }
    }

    /// Copies what an agent finds in its workspace: the contents of `task_context/`.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn copy_context(&self, to: &Path) -> Result<(), ScriptFolderError> {
        self.copy(to, &|relative| relative.strip_prefix(CONTEXT).ok().map(Path::to_owned))
    }

    /// Copies what of the evaluation an agent sees and may run: `evaluate.py`, `evaluation_code/`, `templates/`.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn copy_evaluation(&self, to: &Path) -> Result<(), ScriptFolderError> {
        let seen = |path: &Path| {
            path == Path::new(EVALUATE) || path.starts_with(CODE) || path.starts_with(TEMPLATES)
        };
        self.copy(to, &|relative| seen(relative).then(|| relative.to_owned()))
    }

    /// The chat templates that the program finds: ours, by name of file, with the folder's own over them.
    ///
    /// # Errors
    /// What is wrong with the folder.
    pub fn write_templates(&self, to: &Path) -> Result<(), ScriptFolderError> {
        fs::create_dir_all(to).map_err(cannot(to))?;
        for (name, text) in super::built_in_chat_templates() {
            let path = to.join(name);
            fs::write(&path, text).map_err(cannot(&path))?;
        }
        self.copy(to, &|relative| relative.strip_prefix(TEMPLATES).ok().map(Path::to_owned))
    }

    /// `target` says where a file goes, if anywhere.
    fn copy(
        &self,
        to: &Path,
        target: &dyn Fn(&Path) -> Option<PathBuf>,
    ) -> Result<(), ScriptFolderError> {
        for item in items(&self.folder)? {
            let Some(relative) = target(&item.relative).filter(|r| is_below(r)) else { continue };
            let target = to.join(relative);
            let copy = || -> io::Result<()> {
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent)?;
                }
                if item.folder {
                    return fs::create_dir_all(&target);
                }
                fs::copy(&item.path, &target)?;
                let mode = if item.executable { 0o755 } else { 0o644 };
                fs::set_permissions(&target, fs::Permissions::from_mode(mode))
            };
            copy().map_err(cannot(&item.path))?;
        }
        Ok(())
    }

    /// The benchmark. Of data, prompt and limits the program alone knows; what stands for them here says so.
    fn benchmark(self, name: String) -> Benchmark {
        let from = format!("{EVALUATE} brings its own data");
        Benchmark {
            task: task(&name),
            name,
            data: Data { elsewhere: Some(Elsewhere { from }), ..Data::none() },
            prompt: Prompt::default(),
            few_shot: None,
            generation: Generation { max_tokens: 0, stop: Vec::new() },
            scorer: Scorer { script: Some(self), ..Scorer::new(ScorerKind::Script) },
            evaluate: Evaluate {
                limit: None,
                seeds: vec![0],
                ladder: Vec::new(),
                breakdown: Vec::new(),
                max_connections: 1,
            },
            contamination: Contamination::default(),
            weight: None,
            publish: Publish::default(),
        }
    }
}

/// What agents are told.
fn task(name: &str) -> String {
    format!(
        "{name} is measured by a program. `{EVALUATE}` in this directory takes a model, asks it and scores its answers; \
         the accuracy that it writes is the score, from 0 to 1. Read it, and what lies in `{CODE}/` where that is there, \
         to learn what is asked and in what form an answer counts. The final evaluation runs the harness's own copy of \
         it, on all samples: what you change in the copy here changes nothing."
    )
}

/// Whether a plain file is there: anything else of that name is a fault, as nothing of its kind may be in a benchmark.
fn plain(path: PathBuf) -> Result<bool, ScriptFolderError> {
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_file() => Ok(true),
        Ok(_) => Err(ScriptFolderError::NotPlain(path)),
        Err(_) => Ok(false),
    }
}

fn is_below(relative: &Path) -> bool {
    !relative.as_os_str().is_empty()
        && relative.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The first line that holds something.
fn name(path: &Path) -> Result<String, ScriptFolderError> {
    let fault = |why| ScriptFolderError::Name { path: path.to_owned(), why };
    let bytes = read_bounded(path, 1 << 16).map_err(cannot(path))?;
    let text = String::from_utf8(bytes).map_err(|_| fault("is no UTF-8 text"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let name = text.lines().map(str::trim).find(|line| !line.is_empty());
    match name.ok_or_else(|| fault("is empty"))? {
        name if name.len() > NAME_BYTES => Err(fault("holds no name but a long text")),
        name if name.chars().any(char::is_control) => Err(fault("holds control characters")),
        name => Ok(name.to_owned()),
    }
}

fn sha256_of(folder: &Path) -> Result<String, ScriptFolderError> {
    let mut lines = String::new();
    for item in items(folder)? {
        if item.folder {
            lines.push_str(&format!("{:?} folder\n", item.relative));
            continue;
        }
        let hash = sha256_file(&item.path).map_err(cannot(&item.path))?;
        lines.push_str(&format!("{:?} {} {hash}\n", item.relative, item.executable));
    }
    Ok(sha256_hex(lines.as_bytes()))
}

fn belongs(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !LEFT_BEHIND.iter().any(|name| entry.file_name() == *name)
}

fn items(folder: &Path) -> Result<Vec<Item>, ScriptFolderError> {
    let (mut items, mut bytes) = (Vec::new(), 0u64);
    let too_large = || ScriptFolderError::TooLarge(folder.to_owned());
    for entry in WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(belongs) {
        let entry = entry.map_err(|e| ScriptFolderError::Io {
            path: e.path().unwrap_or(folder).to_owned(),
            source: e.into(),
        })?;
        let kind = entry.file_type();
        if kind.is_dir() && entry.depth() > MAX_DEPTH {
            return Err(ScriptFolderError::TooDeep(entry.into_path()));
        }
        if entry.depth() == 0 {
            continue;
        }
        let relative = entry.path().strip_prefix(folder).unwrap_or(entry.path()).to_owned();
        // What holds something is there with that: in order of name it comes right behind.
        let is_parent = |item: &mut Item| item.folder && relative.starts_with(&item.relative);
        items.pop_if(is_parent);
        if items.len() >= MAX_FILES {
            return Err(too_large());
        }
        if kind.is_dir() {
            items.push(Item { path: entry.into_path(), relative, executable: false, folder: true });
            continue;
        }
        if !kind.is_file() {
            return Err(ScriptFolderError::NotPlain(entry.into_path()));
        }
        let meta = entry.metadata().map_err(|e| cannot(entry.path())(e.into()))?;
        bytes = bytes.saturating_add(meta.len());
        if bytes > MAX_BYTES {
            return Err(too_large());
        }
        let executable = meta.permissions().mode() & 0o100 != 0;
        items.push(Item { path: entry.into_path(), relative, executable, folder: false });
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    fn folder(root: &Path) -> PathBuf {
        let folder = root.join("benchmarks/mine");
        for dir in ["evaluation_code/deep", "task_context", "__pycache__", "secret"] {
            fs::create_dir_all(folder.join(dir)).unwrap();
        }
        for (name, text) in [
            (EVALUATE, "print(1)"),
            (NAME, "\n  My Benchmark \nmore\n"),
            ("evaluation_code/deep/a.py", "x = 1"),
            ("task_context/README.md", "read me"),
            ("__pycache__/a.pyc", "left behind"),
            ("secret/evaluate_hard.py", "y = 2"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    fn names(dir: &Path) -> Vec<String> {
        items(dir).unwrap().into_iter().map(|i| i.relative.display().to_string()).collect()
    }

    #[test]
    fn a_folder_with_a_program_and_a_name_is_a_benchmark() {
        let root = tempfile::tempdir().unwrap();
        let folder = folder(root.path());
        let load = || Registry::load(&[root.path().to_owned()]).unwrap();
        let entry = load().benchmark("mine").unwrap().clone();
        assert_eq!(entry.value.name, "My Benchmark");
        assert_eq!(entry.value.scorer.kind, ScorerKind::Script);
        assert!(entry.value.task.starts_with("My Benchmark is measured by a program"));
        // A recorded one is read again as it was.
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<super::super::Entry<Benchmark>>(&text).unwrap(), entry);
        // The hash is of names, modes and contents, not of what Python leaves behind.
        let hash = || load().benchmark("mine").unwrap().sha256.clone();
        fs::write(folder.join("__pycache__/b.pyc"), "x").unwrap();
        assert_eq!(hash(), entry.sha256);
        fs::write(folder.join("evaluation_code/deep/a.py"), "x = 2").unwrap();
        let changed = hash();
        assert_ne!(changed, entry.sha256);
        let path = folder.join(EVALUATE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_ne!(hash(), changed);
    }

    #[test]
    fn agents_get_the_evaluation_and_their_context_and_nothing_else() {
        let (root, task) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let script = Script { folder: folder(root.path()) };
        script.copy_context(task.path()).unwrap();
        script.copy_evaluation(task.path()).unwrap();
        assert_eq!(names(task.path()), ["README.md", EVALUATE, "evaluation_code/deep/a.py"]);
        let whole = tempfile::tempdir().unwrap();
        let hash = script.sha256().unwrap();
        script.copy_whole(whole.path(), &hash).unwrap();
        assert_eq!(names(whole.path()).len(), 5);
        fs::write(script.folder.join(EVALUATE), "print(2)").unwrap();
        let e = script.copy_whole(whole.path(), &hash).unwrap_err();
        assert!(matches!(e, ScriptFolderError::Changed(_)), "{e}");
    }

    #[test]
    fn templates_are_ours_and_the_folders_own_over_them() {
        let (root, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let script = Script { folder: folder(root.path()) };
        fs::create_dir(script.folder.join(TEMPLATES)).unwrap();
        fs::write(script.folder.join("templates/smollm.jinja"), "own").unwrap();
        script.write_templates(to.path()).unwrap();
        for name in ["qwen3", "smollm", "gemma3", "gemma3_tool_calling"] {
            let text = fs::read_to_string(to.path().join(format!("{name}.jinja"))).unwrap();
            assert_eq!(text == "own", name == "smollm", "{name}");
        }
    }

    /// A program may want to write where its author made room.
    #[test]
    fn empty_folders_are_copied_and_counted() {
        let (root, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let script = Script { folder: folder(root.path()) };
        let before = script.sha256().unwrap();
        for name in
            ["evaluation_code/deep/empty/within", "evaluation_code/deep-er", "task_context/out"]
        {
            fs::create_dir_all(script.folder.join(name)).unwrap();
        }
        let hash = script.sha256().unwrap();
        assert_ne!(hash, before);
        script.copy_whole(to.path(), &hash).unwrap();
        assert!(to.path().join("evaluation_code/deep/empty/within").is_dir());
        assert!(to.path().join("evaluation_code/deep-er").is_dir());
        assert!(!to.path().join("__pycache__").exists());
        let context = tempfile::tempdir().unwrap();
        script.copy_context(context.path()).unwrap();
        assert_eq!(names(context.path()), ["README.md", "out"]);
    }

    fn make_fifo(path: &Path) {
        let _ = fs::remove_file(path);
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn what_cannot_be_a_benchmark_is_told() {
        let told = |change: fn(&Path)| {
            let root = tempfile::tempdir().unwrap();
            let folder = folder(root.path());
            change(&folder);
            let e = Registry::load(&[root.path().to_owned()]).unwrap_err().to_string();
            e.replace(&root.path().display().to_string(), "")
        };
        let link = told(|dir| {
            std::os::unix::fs::symlink("/etc/passwd", dir.join("evaluation_code/link")).unwrap();
        });
        assert!(link.contains("evaluation_code/link is not a plain file"), "{link}");
        let nameless = told(|dir| fs::remove_file(dir.join(NAME)).unwrap());
        assert!(nameless.contains("neither benchmark.toml nor benchmark.txt"), "{nameless}");
        let empty = told(|dir| fs::write(dir.join(NAME), "\n \n").unwrap());
        assert!(empty.contains("benchmark.txt is empty; hint: write"), "{empty}");
        let colour = told(|dir| fs::write(dir.join(NAME), "a\u{1b}[31m").unwrap());
        assert!(colour.contains("control characters"), "{colour}");
        let large = told(|dir| {
            let file = fs::File::create(dir.join("big")).unwrap();
            file.set_len(MAX_BYTES + 1).unwrap();
        });
        assert!(large.contains("256 MiB"), "{large}");
        let deep = told(|dir| fs::create_dir_all(dir.join("d/".repeat(70))).unwrap());
        assert!(deep.contains("more than 32 folders deep") && !deep.contains("MiB"), "{deep}");
        for name in [EVALUATE, NAME] {
            let fifo = told(match name {
                EVALUATE => |dir| make_fifo(&dir.join(EVALUATE)),
                _ => |dir| make_fifo(&dir.join(NAME)),
            });
            assert!(fifo.contains(&format!("{name} is not a plain file")), "{fifo}");
        }
    }
}
