//! An experiment, checked: its run specs in a fixed order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use ptb_agents::{FolderError, hash_folder};
use ptb_core::cell::{AgentAction, AgentSpec, Bind, Budget, Feedback, GraderChoice, RunSpec};
use ptb_core::names::{is_id, slug};
use ptb_core::registry::{
    Agent, Benchmark, ChosenGrader, Entry, Model, Registry, RegistryError, Submit,
};
use ptb_core::userfile::{UserFile, UserFileError};
use ptb_runner::unknown_engine;
use thiserror::Error;

use crate::file::ExperimentFile;
use crate::home::{hint_for, pointed};
use crate::values::{AgentRef, Axis, Choice};

/// An agent's options with the values that each takes.
type Options = BTreeMap<String, Axis<Choice>>;

/// Longest budget accepted, in hours (a month): larger numbers are slips of the pen.
const MAX_HOURS: f64 = 31.0 * 24.0;
/// Most runs that one experiment may have.
const MAX_RUNS: usize = 100_000;

/// What is wrong with an experiment.
#[derive(Debug, Error, Diagnostic)]
pub enum ExperimentError {
    /// The file says something wrong.
    #[error(transparent)]
    #[diagnostic(transparent)]
    File(#[from] Box<UserFileError>),
    /// A file of the registry does.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Registry(#[from] RegistryError),
    /// An agent folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// A checked experiment.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// Its name, an id.
    pub name: String,
    /// One spec for each run; [`crate::run_local`] completes them with what only this machine knows.
    pub runs: Vec<RunSpec>,
    /// Runs at once on this machine.
    pub slots: usize,
}

impl Experiment {
    /// Reads and checks an experiment file against a registry.
    pub fn read(path: &Path, registry: &Registry) -> Result<Self, ExperimentError> {
        let text = UserFile::read(path).map_err(Box::new)?;
        let file: ExperimentFile = text.parse().map_err(|e| Box::new(pointed(e)))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        Check { text: &text, file: &file, folder: &folder, registry }.experiment(path)
    }
}

struct Check<'a> {
    text: &'a UserFile,
    file: &'a ExperimentFile,
    folder: &'a Path,
    registry: &'a Registry,
}

type Checked<T> = Result<T, ExperimentError>;

impl Check<'_> {
    fn fault<T>(
        &self,
        at: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Checked<T> {
        Err(Box::new(self.text.error_at(at, message, Some(hint.into()))).into())
    }

    /// Points an unknown name at its place in the file.
    fn named<T>(&self, name: &str, found: Result<T, RegistryError>) -> Checked<T> {
        match found {
            Err(RegistryError::Unknown { kind, name: word, hint }) => {
                let message = format!("unknown {kind} `{word}`");
                Err(Box::new(self.text.error_at(&format!("\"{name}\""), message, hint)).into())
            }
            other => Ok(other?),
        }
    }

    fn experiment(&self, path: &Path) -> Checked<Experiment> {
        let name = match &self.file.name {
            Some(name) if is_id(name) => name.clone(),
            Some(name) => {
                let hint = format!("use `{}`", slug(name));
                return self.fault(
                    "name",
                    format!("`{name}` cannot be an experiment's name"),
                    hint,
                );
            }
            None => slug(&path.file_stem().unwrap_or_default().to_string_lossy()),
        };
        self.numbers()?;
        let runs = self.runs(&name)?;
        self.duplicates(&runs)?;
        Ok(Experiment { name, runs, slots: self.file.scheduler.slots })
    }

    fn numbers(&self) -> Checked<()> {
        let file = self.file;
        for hours in &file.hours.0 {
            if !(hours.is_finite() && *hours > 0.0 && *hours <= MAX_HOURS) {
                let message = format!("hours = {hours} is not above 0 and at most {MAX_HOURS}");
                return self.fault(
                    "hours",
                    message,
                    "fractions are fine: hours = 0.5 is half an hour",
                );
            }
        }
        let zeros = [
            ("repeats", file.repeats == 0),
            ("slots", file.scheduler.slots == 0),
            ("limit", file.evaluate.limit == Some(0)),
            ("max_tokens", file.evaluate.max_tokens == Some(0)),
        ];
        for (word, zero) in zeros {
            if zero {
                return self.fault(
                    word,
                    format!("{word} is 0"),
                    "give a number above 0, or leave it out",
                );
            }
        }
        if file.grader.spend_limit.is_some_and(|limit| !(limit.is_finite() && limit > 0.0)) {
            let hint = "give US dollars above 0, such as 2.5, or leave it out";
            return self.fault("spend_limit", "spend_limit is no amount of money", hint);
        }
        if file.grader.model.as_deref().is_some_and(|model| model.trim().is_empty()) {
            return self.fault(
                "[grader]",
                "the grader's model has no name",
                "leave `model` out, or name one",
            );
        }
        if file.evaluate.gpu_share.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            let hint = "give a number above 0 and at most 1, such as 0.4";
            return self.fault("gpu_share", "gpu_share is no share of a GPU's memory", hint);
        }
        let lists = [
            ("agents", file.agents.0.is_empty()),
            ("models", file.models.0.is_empty()),
            ("benchmarks", file.benchmarks.0.is_empty()),
            ("hours", file.hours.0.is_empty()),
            ("seeds", file.evaluate.seeds.as_ref().is_some_and(Vec::is_empty)),
        ];
        for (word, empty) in lists {
            if empty {
                return self.fault(word, format!("{word} is empty"), "name at least one");
            }
        }
        let seeds = file.evaluate.seeds.iter().flatten();
        if seeds.clone().collect::<BTreeSet<_>>().len() < seeds.count() {
            return self.fault(
                "seeds",
                "a seed occurs twice",
                "each seed makes its own completions",
            );
        }
        if !["namespaces", "none"].contains(&file.sandbox.as_str()) {
            let message = format!("unknown sandbox `{}`", file.sandbox);
            return self.fault("sandbox", message, "known: namespaces, none");
        }
        if let Some((message, hint)) = unknown_engine(&file.engine) {
            return self.fault("engine", message, &hint);
        }
        Ok(())
    }

    fn runs(&self, name: &str) -> Checked<Vec<RunSpec>> {
        let file = self.file;
        let agents = self.agents()?;
        let benchmarks = self.benchmarks()?;
        let prompt = self.prompt()?;
        let binds = self.binds()?;
        let edition = self.named(&file.edition, self.registry.edition(&file.edition))?;
        let count = agents.len() * file.models.0.len() * benchmarks.len() * file.hours.0.len();
        if count.saturating_mul(file.repeats as usize) > MAX_RUNS {
            return self.fault(
                "",
                format!("the experiment has more than {MAX_RUNS} runs"),
                "split it",
            );
        }
        let mut runs = Vec::new();
        for agent in &agents {
            for model in &file.models.0 {
                let model = self.model(model, agent)?;
                for id in &benchmarks {
                    let benchmark = self.named(id, self.registry.benchmark(id))?;
                    let template = model.value.chat.template_for(benchmark.value.has_tools());
                    let template = &self.registry.chat_template(template)?.value;
                    let evaluate = &file.evaluate;
                    let grader = self.grader(benchmark)?;
                    let seeds = evaluate.seeds.clone();
                    let seeds = seeds.unwrap_or_else(|| edition.value.seeds_of(benchmark));
                    let own = benchmark.value.generation.max_tokens;
                    let max_tokens = evaluate.max_tokens.unwrap_or(own);
                    // A script is run once, in its own way, and agents see all of it.
                    let (seeds, max_tokens, feedback) = match benchmark.value.script() {
                        Some(_) => (benchmark.value.evaluate.seeds.clone(), own, Feedback::Open),
                        None => (seeds, max_tokens, file.feedback),
                    };
                    for hours in &file.hours.0 {
                        runs.extend((1..=file.repeats).map(|repeat| RunSpec {
                            experiment: name.to_owned(),
                            agent: agent.clone(),
                            model: model.clone(),
                            benchmark: benchmark.clone(),
                            chat_template: template.clone(),
                            data: file.data.get(id).map(|p| self.folder.join(p)),
                            data_sha256: String::new(),
                            budget: Budget { hours: *hours, gpus: file.gpus, nodes: 1 },
                            feedback,
                            binds: binds.clone(),
                            sandbox: file.sandbox.clone(),
                            engine: file.engine.clone(),
                            gpu_share: evaluate.gpu_share,
                            grader: grader.clone(),
                            edition: edition.id.clone(),
                            seeds: seeds.clone(),
                            limit: evaluate.limit,
                            max_tokens,
                            prompt: prompt.clone(),
                            repeat,
                        }));
                    }
                }
            }
        }
        Ok(runs)
    }

    fn grader(&self, benchmark: &Entry<Benchmark>) -> Checked<Option<GraderChoice>> {
        let table = &self.file.grader;
        let prompt = table.prompt_file.as_ref().map(|path| self.folder.join(path));
        let chosen = ChosenGrader {
            url: table.url.as_deref(),
            model: table.model.as_deref(),
            prompt: prompt.as_deref(),
            spend_limit: table.spend_limit,
        };
        Ok(self.registry.grader(&benchmark.value, &chosen)?)
    }

    fn agents(&self) -> Checked<Vec<AgentSpec>> {
        let mut agents = Vec::new();
        for reference in &self.file.agents.0 {
            let AgentRef { scaffold, models, options } = reference;
            let (id, model) = match scaffold.split_once('/') {
                Some((id, model)) if models.is_empty() && self.registry.agent(id).is_ok() => {
                    (id, Some(model))
                }
                _ => (scaffold.as_str(), None),
            };
            let Ok(entry) = self.registry.agent(id) else {
                agents.push(self.agent_folder(scaffold, options)?);
                continue;
            };
            self.options(id, &entry.value, options)?;
            let models: Vec<Option<String>> = match (model, models.as_slice()) {
                (Some(model), _) => vec![Some(model.to_owned())],
                (None, []) if entry.value.wants_model() => {
                    let message = format!("`{id}` needs a model that drives it");
                    return self.fault(id, message, format!("name one: `{id}/MODEL`"));
                }
                (None, []) => vec![None],
                (None, many) => many.iter().cloned().map(Some).collect(),
            };
            let action = AgentAction::of(entry);
            for model in models {
                let name = model.as_ref().map_or(id.to_owned(), |m| format!("{id}/{m}"));
                agents.extend(product(options).into_iter().map(|options| AgentSpec {
                    name: name.clone(),
                    action: action.clone(),
                    model: model.clone(),
                    options,
                }));
            }
        }
        Ok(agents)
    }

    /// Whether an agent has these options, and may be given these values.
    fn options(&self, id: &str, agent: &Agent, options: &Options) -> Checked<()> {
        for (name, Axis(values)) in options {
            for Choice(value) in values {
                if let Some((message, hint)) = agent.option_fault(name, value) {
                    return self.fault(name, format!("{id}: {message}"), &hint);
                }
            }
        }
        Ok(())
    }

    fn agent_folder(&self, name: &str, options: &Options) -> Checked<AgentSpec> {
        let path = self.folder.join(name);
        if !path.is_dir() {
            let unknown = self.registry.agent(name).map(drop);
            self.named(name, unknown)?;
        }
        if let Some(option) = options.keys().next() {
            let message = format!("the agent `{name}` is a folder, which has no option `{option}`");
            return self.fault(option, message, "leave it out; solve.sh may read AGENT_CONFIG");
        }
        let sha256 = hash_folder(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let action = AgentAction::Folder { path, sha256 };
        Ok(AgentSpec { name, action, model: None, options: BTreeMap::new() })
    }

    /// The model's entry, its paths made absolute.
    fn model(&self, id: &str, agent: &AgentSpec) -> Checked<Entry<Model>> {
        let mut model = self.named(id, self.registry.model(id))?.clone();
        let instruct = agent.submits() == Some(Submit::Instruct);
        if instruct && model.value.instruct.is_none() {
            let message = format!("`{id}` has no instruct counterpart");
            return self.fault(
                id,
                message,
                "leave the agent `instruct` out, or add [instruct] to the model's file",
            );
        }
        for weights in
            [Some(&mut model.value.base), model.value.instruct.as_mut()].into_iter().flatten()
        {
            if let Some(path) = &mut weights.path {
                *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
            }
        }
        Ok(model)
    }

    /// `"all"` means the edition's benchmarks that the registry has.
    fn benchmarks(&self) -> Checked<Vec<String>> {
        let file = self.file;
        for id in file.data.keys() {
            if let (Err(_), Some(hint)) = (self.registry.benchmark(id), hint_for(id)) {
                return self.fault(id, format!("`{id}` is no benchmark"), hint);
            }
            if self.named(id, self.registry.benchmark(id))?.value.script().is_some() {
                let message = format!("{id} is a script, whose evaluate.py brings its own data");
                return self.fault(id, message, "leave the line out");
            }
        }
        if file.benchmarks.0 == ["all"] {
            let edition = self.named(&file.edition, self.registry.edition(&file.edition))?;
            for id in &edition.value.benchmarks {
                self.registry.benchmark(id)?;
            }
            return Ok(edition.value.benchmarks.clone());
        }
        Ok(file.benchmarks.0.clone())
    }

    fn prompt(&self) -> Checked<Option<String>> {
        let Some(path) = &self.file.prompt else { return Ok(None) };
        let file = UserFile::read(&self.folder.join(path)).map_err(Box::new)?;
        Ok(Some(file.text().to_owned()))
    }

    fn binds(&self) -> Checked<Vec<Bind>> {
        let mut binds = Vec::new();
        for bind in &self.file.binds {
            let host: PathBuf = self.folder.join(&bind.host);
            if !host.exists() {
                let message = format!("{} does not exist", host.display());
                return self.fault(
                    "host",
                    message,
                    "name an existing file or folder of this machine",
                );
            }
            if !bind.inside.is_absolute() {
                let message = format!("{} is not absolute", bind.inside.display());
                return self.fault(
                    "inside",
                    message,
                    "give the path that the agent shall see, from /",
                );
            }
            binds.push(Bind { host, inside: bind.inside.clone(), writable: bind.writable });
        }
        Ok(binds)
    }

    fn duplicates(&self, runs: &[RunSpec]) -> Checked<()> {
        let mut seen = BTreeSet::new();
        match runs.iter().find(|run| !seen.insert(run.id())) {
            None => Ok(()),
            Some(run) => {
                let (agent, model, benchmark) = (&run.agent.name, &run.model.id, &run.benchmark.id);
                let message = format!(
                    "the cell {agent} x {model} x {benchmark} x {} h occurs twice",
                    run.budget.hours
                );
                self.fault("", message, "name each agent, model, benchmark and budget once; `repeats` runs a cell again")
            }
        }
    }
}

/// Every combination of options.
fn product(options: &Options) -> Vec<BTreeMap<String, String>> {
    options.iter().fold(vec![BTreeMap::new()], |all, (name, Axis(values))| {
        let with = |chosen: &BTreeMap<String, String>, Choice(value): &Choice| {
            let mut chosen = chosen.clone();
            chosen.insert(name.clone(), value.clone());
            chosen
        };
        all.iter().flat_map(|chosen| values.iter().map(move |value| with(chosen, value))).collect()
    })
}
