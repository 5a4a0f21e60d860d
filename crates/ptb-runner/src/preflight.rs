//! Can these runs work on this machine? Asked before anything is made.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ptb_agents::{Connection, install_for, version_of};
use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::failure::ExitCode;
use ptb_core::files::{FileError, read_json, sha256_hex};
use ptb_core::registry::{Asking, PromptForm, Submit, Weights};
use ptb_core::run::{RunDir, RunRecord};
use ptb_eval::{
    EvalError, Grader, GraderSpec, PATIENCE, check_grader, check_script, knock_grader, weights_dir,
};
use ptb_model::{Links, ModelDir, check_opened};
use ptb_sandbox::{exposes, wall_by_name};
use ptb_tasks::data::{Dataset, load};
use ptb_tasks::prompt::{FewShotPrompter, Prompter};

use crate::engine::{check_engine, only_chats};
use crate::stages::weights_bytes;

/// Copies of the base model that one agent's run may keep at once: in the workspace, two snapshots, the
/// submission.
const COPIES: u64 = 4;
/// Bytes that are left free beside them; snapshots ask for this much (and a half) as well.
const SPARE: u64 = 384 << 20;

/// What stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// What to exit with.
    pub code: ExitCode,
    /// What is wrong and what to do next.
    pub message: String,
}

fn input(e: impl std::fmt::Display) -> Preflight {
    Preflight { code: ExitCode::Usage, message: e.to_string() }
}

fn requirement(e: impl std::fmt::Display) -> Preflight {
    Preflight { code: ExitCode::Requirement, message: e.to_string() }
}

/// Checks data, prompts, weights and walls of all specs, each distinct one once, and writes the data's hash
/// into them. `results` is where runs will lie.
pub fn preflight(specs: &mut [RunSpec], results: &Path) -> Result<(), Preflight> {
    data(specs)?;
    let specs = &*specs;
    let mut models = BTreeMap::new();
    let mut walls = BTreeSet::new();
    for spec in specs {
        let submit = spec.agent.submits();
        models.insert((&spec.model.id, submit == Some(Submit::Instruct)), spec);
        if submit.is_none() {
            walls.insert(&spec.sandbox);
        }
    }
    graders(specs)?;
    scripts(specs)?;
    // A script brings what serves its models.
    let served = specs.iter().filter(|spec| spec.benchmark.value.script().is_none());
    let engines: BTreeSet<&str> = served.map(|spec| spec.engine.as_str()).collect();
    engines.into_iter().try_for_each(check_engine).map_err(requirement)?;
    for name in &walls {
        wall_by_name(name).and_then(|wall| wall.probe()).map_err(requirement)?;
    }
    for ((id, instruct), spec) in &models {
        let model = &spec.model.value;
        usable(id, &model.base)?;
        model.instruct.as_ref().filter(|_| *instruct).map_or(Ok(()), |w| usable(id, w))?;
        if !walls.is_empty() {
            room(results, &model.base)?;
        }
    }
    let wanted =
        specs.iter().filter(|s| !s.agent.is_baseline()).map(|s| s.budget.gpus).max().unwrap_or(0);
    let seen = gpu_devices().len();
    if wanted as usize > seen {
        return Err(requirement(format!(
            "gpus = {wanted}, and this machine has {seen} NVIDIA device(s) below /dev; hint: set gpus = {seen}, or look at `nvidia-smi`"
        )));
    }
    temporary_folder()?;
    if walls.iter().any(|w| *w != "none") {
        let data = specs.iter().filter_map(|s| s.data.as_deref());
        data.chain([results]).try_for_each(hidden)?;
    }
    Ok(())
}

/// Reads each benchmark's data once and asks its first sample: whatever is wrong with data or prompts shows
/// here.
fn data(specs: &mut [RunSpec]) -> Result<(), Preflight> {
    let mut read: BTreeMap<(String, Option<PathBuf>), (Dataset, String)> = BTreeMap::new();
    for spec in specs {
        if spec.benchmark.value.script().is_some() {
            spec.data_sha256.clone_from(&spec.benchmark.sha256);
            continue;
        }
        let (dataset, hash) = match read.entry((spec.benchmark.id.clone(), spec.data.clone())) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(entry) => {
                let dataset = load(&spec.benchmark, spec.data.as_deref()).map_err(input)?;
                let prompter = Prompter::new(&spec.benchmark, &dataset).map_err(input)?;
                let first = dataset.samples.first().map(|s| prompter.messages(s));
                let prompt = serde_json::to_string(&first.transpose().map_err(input)?);
                let text = format!("{}:{}", dataset.sha256, prompt.map_err(input)?);
                entry.insert((dataset, sha256_hex(text.as_bytes())))
            }
        };
        spec.data_sha256.clone_from(hash);
        few_shot(spec, dataset)?;
        language_model(spec, dataset)?;
    }
    Ok(())
}

/// Writes into each spec which version of its scaffold is meant by number: what `latest` is today is part of the cell.
/// Of runs that are the same then, one stays, and `tell` is told.
///
/// # Errors
/// npm's, where a version is none by number and npm does not say what it is.
pub fn versions(specs: &mut Vec<RunSpec>, tell: &dyn Fn(String)) -> Result<(), Preflight> {
    let mut known: BTreeMap<(String, Option<String>), Option<String>> = BTreeMap::new();
    for spec in specs.iter_mut() {
        let AgentAction::Command(agent) = &spec.agent.action else { continue };
        let wanted = spec.agent.options.get("version").cloned();
        let version = match known.entry((agent.id.clone(), wanted.clone())) {
            MapEntry::Occupied(entry) => entry.into_mut(),
            MapEntry::Vacant(entry) => {
                let found = version_of(agent, wanted.as_deref()).map_err(requirement)?;
                if let (Some(wanted), Some(found)) = (&wanted, &found)
                    && wanted != found
                {
                    tell(format!("{} {wanted} is {found}", agent.id));
                }
                entry.insert(found)
            }
        };
        let own = agent.value.install.as_ref().map(|install| &install.version);
        if let Some(version) = version.as_ref().filter(|v| wanted.is_some() || Some(*v) != own) {
            spec.agent.options.insert("version".to_owned(), version.clone());
        }
    }
    let before = specs.len();
    let mut seen = BTreeSet::new();
    specs.retain(|spec| seen.insert(spec.id()));
    if specs.len() < before {
        let fewer = before - specs.len();
        tell(format!("{fewer} of {before} runs are left out: versions turned out to be the same"));
    }
    Ok(())
}

/// Whether there is a key for each agent of a run that is not done, and its scaffold, which is installed where it is not
/// there: that may take minutes, of which `tell` is told. `places` are the runs' directories, in the order of the specs.
///
/// # Errors
/// A key that is missing, or what npm says.
pub fn agents(
    specs: &[RunSpec],
    places: &[PathBuf],
    tell: &dyn Fn(String),
) -> Result<(), Preflight> {
    let version = |spec: &RunSpec| spec.agent.options.get("version").cloned();
    let open = specs.iter().zip(places).filter(|(_, place)| !is_done(place));
    let agents: BTreeMap<_, &RunSpec> =
        open.map(|(s, _)| ((s.agent.name.as_str(), version(s)), s)).collect();
    for ((name, _), spec) in agents {
        if let Some(connection) = Connection::of(spec) {
            connection.key(name).map_err(requirement)?;
        }
        install_for(spec, tell).map_err(requirement)?;
    }
    Ok(())
}

fn is_done(place: &Path) -> bool {
    read_json::<RunRecord>(&RunDir::new(place).record()).is_ok_and(|record| record.is_done())
}

/// Whether scripts can be run here, and whether they are asked for what they can do.
fn scripts(specs: &[RunSpec]) -> Result<(), Preflight> {
    let mut scripts =
        specs.iter().filter(|spec| spec.benchmark.value.script().is_some()).peekable();
    if scripts.peek().is_none() {
        return Ok(());
    }
    if let Some(spec) = scripts.find(|spec| spec.agent.asking() != Asking::default()) {
        return Err(input(format!(
            "the baseline `{}` sets prompt or sampling, and {} is a script: its evaluate.py asks models in its own way; \
             hint: leave one of them out, or give the benchmark an experiment of its own",
            spec.agent.name, spec.benchmark.id
        )));
    }
    check_script().map_err(requirement)
}

/// Starts what grades each benchmark once: after hours of work it is late to learn that there is no Python.
fn graders(specs: &[RunSpec]) -> Result<(), Preflight> {
    let benchmarks: BTreeMap<&str, &RunSpec> =
        specs.iter().map(|spec| (spec.benchmark.id.as_str(), spec)).collect();
    benchmarks.into_values().try_for_each(|spec| {
        let form = spec.model.value.chat.tool_calls;
        let scorer = &spec.benchmark.value.scorer;
        Grader::start(scorer, form).map(drop).map_err(requirement)
    })
}

/// Where a language model grades: its address, key and prompt.
fn language_model(spec: &RunSpec, dataset: &Dataset) -> Result<(), Preflight> {
    let grader = spec.grader.clone().map(|choice| GraderSpec::from_env(choice, PATIENCE));
    let grader = grader.transpose().map_err(input)?;
    check_grader(grader.as_ref(), &spec.benchmark, dataset.samples.first()).map_err(|e| match e {
        EvalError::NoGrader(_) => requirement(e),
        e => input(e),
    })
}

/// Asks each grader whether it lets its key in, which costs nothing, where a run is not done: after hours of work it is
/// late to learn that it does not. `places` are the runs' directories, in the order of the specs. Gives what may pass
/// by itself, to be told.
///
/// # Errors
/// A key that is refused, an account without credit.
pub async fn knock_graders(
    specs: &[RunSpec],
    places: &[PathBuf],
) -> Result<Vec<String>, Preflight> {
    let mut graders = BTreeMap::new();
    for (spec, place) in specs.iter().zip(places) {
        if let Some(choice) = spec.grader.as_ref().filter(|_| !is_done(place)) {
            graders.insert(&choice.url, choice);
        }
    }
    let mut told = Vec::new();
    for choice in graders.into_values() {
        let spec = GraderSpec::from_env(choice.clone(), PATIENCE).map_err(input)?;
        told.extend(
            knock_grader(&spec)
                .await
                .map_err(|e| Preflight { code: ExitCode::Provider, message: e.to_string() })?,
        );
    }
    Ok(told)
}

/// Of a few-shot baseline the first sample is asked, and the text's hash written into the spec.
fn few_shot(spec: &mut RunSpec, dataset: &Dataset) -> Result<(), Preflight> {
    let AgentAction::Baseline(baseline) = &mut spec.agent.action else { return Ok(()) };
    if baseline.asking.prompt != PromptForm::FewShot {
        return Ok(());
    }
    if only_chats(&spec.engine) {
        return Err(input(EvalError::ChatOnly));
    }
    let prompter = FewShotPrompter::new(&spec.benchmark, dataset).map_err(input)?;
    let first = dataset.samples.first().map(|sample| prompter.text(sample));
    let text = first.transpose().map_err(input)?.unwrap_or_default();
    baseline.few_shot_sha256 = sha256_hex(text.as_bytes());
    Ok(())
}

/// `/dev/nvidia0` and so on, in order: one for each GPU (NVIDIA driver documentation, device nodes).
pub(crate) fn gpu_devices() -> Vec<PathBuf> {
    let path = |n: u32| PathBuf::from(format!("/dev/nvidia{n}"));
    (0..64).map(path).filter(|p| p.exists()).collect()
}

/// Weights must be here, whole and of a form that engines know.
fn usable(id: &str, weights: &Weights) -> Result<(), Preflight> {
    let (path, _) = weights_dir(weights).map_err(requirement)?;
    // Fetched models are links into the hub's cache.
    let checked = ModelDir::open_with(&path, Links::Follow).and_then(|dir| check_opened(&dir));
    checked.map(drop).map_err(|e| {
        let text = e.to_string();
        let fault = text.split("; hint: ").next().unwrap_or(&text).split("\nhint: ").next();
        input(format!(
            "the weights of `{id}` ({}) cannot be used: {}: {}; hint: fetch them again",
            weights.hub,
            path.display(),
            fault.unwrap_or(&text),
        ))
    })
}

/// A submission must find room when its agent is done, or hours of work are for nothing.
fn room(results: &Path, base: &Weights) -> Result<(), Preflight> {
    let (dir, _) = weights_dir(base).map_err(requirement)?;
    let needed = weights_bytes(&dir).saturating_mul(COPIES).saturating_add(SPARE);
    let Ok(disk) = rustix::fs::statvfs(results) else { return Ok(()) };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= needed {
        return Ok(());
    }
    Err(requirement(format!(
        "the disk of {} has {} MiB free, and an agent's run takes {} MiB (the workspace's model, snapshots, the submission); hint: make room, or name another folder with --results",
        results.display(),
        free >> 20,
        needed >> 20,
    )))
}

/// Refuses to touch runs that a newer version of this program wrote.
pub fn readable<'a>(runs: impl Iterator<Item = &'a Path>) -> Result<(), Preflight> {
    for run in runs {
        if let Err(e @ FileError::Newer { .. }) = read_json::<RunRecord>(&RunDir::new(run).record())
        {
            return Err(input(e));
        }
    }
    Ok(())
}

/// Sockets of doors and engines lie in the folder for temporary files; their paths have 107 bytes at most.
fn temporary_folder() -> Result<(), Preflight> {
    let folder = std::env::temp_dir();
    let long = folder.as_os_str().len() > 70;
    if long || tempfile::tempdir_in(&folder).is_err() {
        let fault =
            if long { "its path is too long for a socket" } else { "nothing can be made in it" };
        return Err(requirement(format!(
            "the folder for temporary files {} cannot be used: {fault}; hint: set TMPDIR=/tmp",
            folder.display()
        )));
    }
    Ok(())
}

/// A place with answers must not lie where the wall shows the host.
fn hidden(path: &Path) -> Result<(), Preflight> {
    if !exposes(path) {
        return Ok(());
    }
    Err(input(format!(
        "{} lies where every agent can read (the sandbox shows the system's folders); hint: move it, for example below your home directory",
        path.display()
    )))
}
