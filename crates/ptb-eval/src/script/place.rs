//! The place in which a benchmark's program runs: a copy of its folder, the model and chat templates to read, a
//! folder for its result, no network, nothing else of the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ptb_core::registry::Script;
use ptb_infer::{PythonHome, device_environment, gpu_devices, write_lscpu};
use ptb_sandbox::{Access, Identity, WallSpec, give_to_agent};
use ptb_tasks::data::hub::HubCache;
use tempfile::TempDir;
use walkdir::WalkDir;

use super::ScriptSpec;
use super::error::ScriptError;
use super::subject::Subject;
use crate::error::EvalError;

/// Where things lie behind the wall. Programs tell a model's family by words in its path before they look into it: no
/// path here holds one.
const MODEL: &str = "/opt/evaluation/final_model";
const TEMPLATES: &str = "/opt/evaluation/templates";
const OUT: &str = "/opt/evaluation/out";
const HUB: &str = "/opt/evaluation/hub";
const DATASETS: &str = "/opt/evaluation/datasets";
const KEPT_DATASETS: &str = "/opt/evaluation/kept-datasets";
const BIN: &str = "/opt/evaluation/bin";
const RESULT: &str = "metrics.json";
/// What places are called, in the evaluation's own folder.
const SCRATCH: &str = "script-place-";

const GIB: u64 = 1 << 30;
/// Largest file that a program may write.
const FILE_BYTES: u64 = 8 * GIB;
/// Threads and processes; servers start several for each core.
const PROCESSES: u64 = 32_768;
/// Time between TERM and KILL.
const GRACE: Duration = Duration::from_secs(10);
/// File systems in memory are this part of the machine's each, at most.
const SHARE: u64 = 4;
/// Files of a cache of datasets that are made to look writable.
const MAX_LINKS: usize = 20_000;

/// A place that is ready.
pub(super) struct Place {
    path: PathBuf,
    /// Removed with what was left in it.
    _scratch: TempDir,
}

impl Place {
    /// Makes the directories and fills them, in the evaluation's folder.
    pub(super) fn new(
        spec: &ScriptSpec,
        script: &Script,
        subject: &mut Subject,
    ) -> Result<Self, EvalError> {
        clear(&spec.out);
        let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&spec.out);
        let scratch = scratch.map_err(ScriptError::place("making a directory"))?;
        // A wall takes absolute paths.
        let path = scratch.path().canonicalize();
        let path = path.map_err(ScriptError::place("finding a directory"))?;
        let place = Self { path, _scratch: scratch };
        for name in ["work", "out", "copies", "datasets", "bin"] {
            fs::create_dir(place.at(name)).map_err(ScriptError::place("making a directory"))?;
        }
        let folder = |e| EvalError::from(ScriptError::from(e));
        script.copy_whole(&place.at("work"), &spec.benchmark.sha256).map_err(folder)?;
        script.write_templates(&place.at("templates")).map_err(folder)?;
        subject.make_ready(&place.at("copies"))?;
        write_lscpu(&place.at("bin")).map_err(ScriptError::place("writing lscpu"))?;
        if let Some(kept) = datasets() {
            mirror(&kept, &place.at("datasets"))
                .map_err(ScriptError::place("preparing the cache of datasets"))?;
        }
        for name in ["work", "out", "datasets"] {
            give_to_agent(&place.at(name), Identity::for_this_process())
                .map_err(ScriptError::from)?;
        }
        Ok(place)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where its result is found, outside.
    pub(super) fn result(&self) -> PathBuf {
        self.at("out").join(RESULT)
    }

    /// What the wall is to run and show.
    pub(super) fn wall(
        &self,
        spec: &ScriptSpec,
        subject: &Subject,
        python: &PythonHome,
    ) -> WallSpec {
        let mut wall = WallSpec::new(self.at("work"), command(&python.program, spec.limit));
        wall.hostname = "evaluation".to_owned();
        wall.grace = GRACE;
        wall.deadline = Some(spec.time);
        wall.limits.processes = PROCESSES;
        wall.limits.file_bytes = Some(FILE_BYTES);
        let most = memory().map_or(u64::MAX, |bytes| bytes / SHARE);
        wall.sizes.tmp = most.min(16 * GIB);
        wall.sizes.home = most.min(16 * GIB);
        wall.sizes.shm = most.min(32 * GIB);
        wall.env.extend(device_environment());
        for (key, value) in ENVIRONMENT {
            wall.env.insert(key.to_owned(), value.to_owned());
        }
        // An evaluation starts programs of its own environment (`vllm`).
        let mut path = BIN.to_owned();
        if let Some(bin) = python.program.parent() {
            path = format!("{path}:{}", bin.display());
        }
        let old = wall.env.remove("PATH").unwrap_or_default();
        wall.env.insert("PATH".to_owned(), format!("{path}:{old}"));
        wall = wall.bind_read(self.at("bin"), BIN);
        wall = wall.bind_read(self.at("templates"), TEMPLATES);
        wall = wall.bind(self.at("out"), OUT, Access::Write);
        wall = wall.bind(self.at("datasets"), DATASETS, Access::Write);
        for (name, file) in subject.files() {
            wall = wall.bind_read(file, Path::new(MODEL).join(name));
        }
        for place in &python.places {
            wall = wall.bind_read(place, place);
        }
        for (kept, target) in [(hub(), HUB), (datasets(), KEPT_DATASETS)] {
            if let Some(kept) = kept {
                wall = wall.bind_read(kept, target);
            }
        }
        for device in gpu_devices() {
            wall = wall.bind(&device, &device, Access::Device);
        }
        wall
    }
}

/// Removes what an evaluation that was killed has left of its place. Nobody else evaluates into the same folder; who
/// did would find no result, rather than another's.
fn clear(out: &Path) {
    for entry in fs::read_dir(out).into_iter().flatten().flatten() {
        let is_place = entry.file_name().to_string_lossy().starts_with(SCRATCH);
        if is_place && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Bytes of the machine's memory, where the kernel says.
fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// Nothing is fetched or told to anybody, and nothing of the machine's user is read.
const ENVIRONMENT: [(&str, &str); 14] = [
    ("HF_HUB_CACHE", HUB),
    ("HF_DATASETS_CACHE", DATASETS),
    ("HF_HUB_OFFLINE", "1"),
    ("HF_DATASETS_OFFLINE", "1"),
    ("TRANSFORMERS_OFFLINE", "1"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
    ("DO_NOT_TRACK", "1"),
    ("VLLM_NO_USAGE_STATS", "1"),
    ("VLLM_DO_NOT_TRACK", "1"),
    // Without a network it cannot find its own address.
    ("VLLM_HOST_IP", "127.0.0.1"),
    ("PYTHONUNBUFFERED", "1"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONNOUSERSITE", "1"),
    // A word that programs and the servers they start agree on; nobody else can ask these.
    ("VLLM_API_KEY", "inspectai"),
];

/// The command line, as the original harness has it: all samples are a limit of -1.
fn command(python: &Path, limit: Option<usize>) -> Vec<String> {
    let limit = limit.map_or("-1".to_owned(), |n| n.to_string());
    let result = format!("{OUT}/{RESULT}");
    let python = python.display().to_string();
    let words = [
        &python,
        "evaluate.py",
        "--model-path",
        MODEL,
        "--templates-dir",
        TEMPLATES,
        "--limit",
        &limit,
        "--json-output-file",
        &result,
    ];
    words.map(str::to_owned).to_vec()
}

/// The hub's cache on this machine.
fn hub() -> Option<PathBuf> {
    let cache = HubCache::from_env();
    cache.root().canonicalize().ok().filter(|path| path.is_dir())
}

/// The cache of prepared datasets, beside that of the hub.
fn datasets() -> Option<PathBuf> {
    let named = std::env::var_os("HF_DATASETS_CACHE").filter(|name| !name.is_empty());
    let beside = || HubCache::from_env().root().parent().map(|home| home.join("datasets"));
    let path = named.map(PathBuf::from).or_else(beside)?;
    path.canonicalize().ok().filter(|path| path.is_dir())
}

/// The library `datasets` makes locks beside what it reads: it gets directories of its own, with links to the files.
fn mirror(kept: &Path, to: &Path) -> std::io::Result<()> {
    for entry in WalkDir::new(kept).min_depth(1).into_iter().filter_map(Result::ok).take(MAX_LINKS)
    {
        let Ok(relative) = entry.path().strip_prefix(kept) else { continue };
        let target = to.join(relative);
        if entry.file_type().is_dir() {
            fs::create_dir_all(target)?;
        } else if entry.path().extension().is_none_or(|ending| ending != "lock") {
            std::os::unix::fs::symlink(Path::new(KEPT_DATASETS).join(relative), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_that_of_the_original() {
        let line = |limit| command(Path::new("/usr/bin/python3"), limit).join(" ");
        assert_eq!(
            line(None),
            "/usr/bin/python3 evaluate.py --model-path /opt/evaluation/final_model --templates-dir \
             /opt/evaluation/templates --limit -1 --json-output-file /opt/evaluation/out/metrics.json"
        );
        assert!(line(Some(7)).contains("--limit 7 "));
        for family in ["qwen", "llama", "gemma", "smollm"] {
            assert!(!line(None).contains(family), "a path must not tell of a family");
        }
    }

    #[test]
    fn a_cache_of_datasets_becomes_one_that_can_be_locked() {
        let (kept, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(kept.path().join("openai___gsm8k/main")).unwrap();
        for name in ["main/a.arrow", "main/x.lock"] {
            fs::write(kept.path().join("openai___gsm8k").join(name), "x").unwrap();
        }
        mirror(kept.path(), to.path()).unwrap();
        let link = fs::read_link(to.path().join("openai___gsm8k/main/a.arrow")).unwrap();
        assert_eq!(link, Path::new(KEPT_DATASETS).join("openai___gsm8k/main/a.arrow"));
        assert!(!to.path().join("openai___gsm8k/main/x.lock").exists());
    }
}
