//! In what runs may differ beside agent, base model, benchmark and repeat. An axis is shown only where it
//! tells rows apart.

use std::collections::{BTreeMap, BTreeSet};

use ptb_core::cell::{AgentAction, Baseline, RunSpec};
use ptb_core::files::sha256_hex;
use ptb_core::registry::PromptForm;
use serde::Serialize;

use crate::read::Run;

/// Axis to value.
pub(crate) type Axes = BTreeMap<String, String>;

/// What an agent met, without base model and benchmark. Nothing for baselines: without a solve, budget and
/// sandbox change nothing.
pub(crate) fn agent_axes(spec: &RunSpec) -> Axes {
    let files = match &spec.agent.action {
        AgentAction::Submit(_) => return Axes::new(),
        AgentAction::Baseline(baseline) => return asked(baseline, spec),
        AgentAction::Command(entry) => short(&entry.sha256),
        AgentAction::Folder { sha256, .. } => short(sha256),
    };
    let prompt = spec.prompt.as_ref().map(digest);
    let fixed = [
        ("files", files),
        ("model", spec.agent.model.clone().unwrap_or_else(|| "none".to_owned())),
        ("hours", spec.budget.hours.to_string()),
        ("gpus", spec.budget.gpus.to_string()),
        ("nodes", spec.budget.nodes.to_string()),
        ("feedback", word(&spec.feedback)),
        ("sandbox", spec.sandbox.clone()),
        ("prompt", prompt.unwrap_or_else(|| "default".to_owned())),
        ("binds", digest(&spec.binds)),
    ];
    // An option may have any name; the fixed axes win over one that is called like them.
    let options = spec.agent.options.iter().map(|(k, v)| (k.clone(), v.clone()));
    options.chain(fixed.map(|(axis, value)| (axis.to_owned(), value))).collect()
}

/// Axis of baselines alone: how they are asked, in words.
pub(crate) const ASKED: &str = "asked";

/// Axis whose values are a benchmark's own: compared within one benchmark alone.
const FEW_SHOT: &str = "few-shot prompt";

/// Axes of benchmarks that a language model grades alone: what others scored stands beside any of their values.
const GRADER: &str = "grader";
const GRADER_PROMPT: &str = "grader's prompt";

/// How a baseline is asked where that is not how submissions are.
fn asked(baseline: &Baseline, spec: &RunSpec) -> Axes {
    let mut axes = Axes::from([(ASKED.to_owned(), baseline.asking.to_string())]);
    if baseline.asking.prompt == PromptForm::FewShot {
        let few_shot = (&baseline.few_shot_sha256, &spec.benchmark.value.few_shot);
        axes.insert(FEW_SHOT.to_owned(), digest(&few_shot));
    }
    axes
}

/// How a submission was evaluated, for one base model and benchmark.
pub(crate) fn evaluation_axes(spec: &RunSpec) -> Axes {
    let benchmark = &spec.benchmark.value;
    let seeds: Vec<String> = spec.seeds.iter().map(u64::to_string).collect();
    let stop = &benchmark.generation.stop;
    // Where a script lies says nothing; what is in it is its data's hash.
    let scorer = benchmark.script().is_none().then_some(&benchmark.scorer);
    let definition = (&benchmark.data, &benchmark.prompt, stop, scorer, &spec.chat_template);
    let axes = [
        ("engine", spec.engine.clone()),
        ("seeds", seeds.join(" ")),
        ("limit", spec.limit.map_or("none".to_owned(), |n| n.to_string())),
        ("max_tokens", spec.max_tokens.to_string()),
        ("data", short(&spec.data_sha256)),
        ("definition", digest(&definition)),
    ];
    let mut axes: Axes = axes.map(|(axis, value)| (axis.to_owned(), value)).into();
    if let Some(grader) = &spec.grader {
        // Each benchmark names one, which says nothing of rows.
        let own = benchmark.scorer.grader.as_ref().map(|grading| &grading.prompt);
        let prompt = &grader.prompt;
        let prompt = match own == Some(&prompt.id) && prompt.source == "built-in" {
            true => "default".to_owned(),
            false => digest(&prompt.value.messages),
        };
        axes.extend([
            (GRADER.to_owned(), grader.model.clone()),
            (GRADER_PROMPT.to_owned(), prompt),
        ]);
    }
    axes
}

fn digest(value: &impl Serialize) -> String {
    short(&sha256_hex(&serde_json::to_vec(value).unwrap_or_default()))
}

fn short(sha256: &str) -> String {
    sha256.chars().take(8).collect()
}

fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

/// Which axes tell rows apart.
pub(crate) struct Differing {
    /// By agent name.
    agent: BTreeMap<String, BTreeSet<String>>,
    /// For all rows: one benchmark was evaluated in several ways.
    evaluation: BTreeSet<String>,
}

impl Differing {
    /// Agent axes with several values among runs of one agent name, and evaluation axes with several
    /// values among runs of one benchmark and base model.
    pub(crate) fn of(runs: &[Run]) -> Self {
        let mut agents: BTreeMap<&str, Vec<&Axes>> = BTreeMap::new();
        let mut on_benchmark: BTreeMap<(&str, &str), Vec<&Axes>> = BTreeMap::new();
        let mut evaluations: BTreeMap<(&str, &str), Vec<&Axes>> = BTreeMap::new();
        for run in runs {
            if run.plain.is_none() {
                agents.entry(&run.agent).or_default().push(&run.agent_axes);
                let of_agent = on_benchmark.entry((&run.agent, &run.benchmark)).or_default();
                of_agent.push(&run.agent_axes);
            }
            let evaluated = evaluations.entry((&run.benchmark, &run.model)).or_default();
            evaluated.push(&run.evaluation_axes);
        }
        let told = |name: &str, all: &[&Axes]| {
            let mut axes = several(all);
            let mut groups = on_benchmark.iter().filter(|((agent, _), _)| *agent == name);
            if !groups.any(|(_, all)| several(all).contains(FEW_SHOT)) {
                axes.remove(FEW_SHOT);
            }
            axes
        };
        Self {
            agent: agents.iter().map(|(name, all)| ((*name).to_owned(), told(name, all))).collect(),
            evaluation: evaluations.values().flat_map(|all| several(all)).collect(),
        }
    }

    /// The axes of the run's row; without those that do not apply to its benchmark (see [`belongs`]).
    pub(crate) fn axes(&self, run: &Run) -> Axes {
        let empty = BTreeSet::new();
        let agent = self.agent.get(&run.agent).unwrap_or(&empty);
        let pick = |names: &BTreeSet<String>, axes: &Axes| -> Axes {
            let value = |name: &String| match axes.get(name) {
                None if [GRADER, GRADER_PROMPT].contains(&name.as_str()) => None,
                // An option that is not set is a value of its own.
                value => Some((name.clone(), value.map_or("default", String::as_str).to_owned())),
            };
            names.iter().filter_map(value).collect()
        };
        let mut all = if run.plain.is_some() { Axes::new() } else { pick(agent, &run.agent_axes) };
        all.extend(pick(&self.evaluation, &run.evaluation_axes));
        all
    }
}

/// Whether a run with these axes is one of the row with those: it has all of the row's that apply to it.
pub(crate) fn belongs(axes: &Axes, row: &Axes) -> bool {
    axes.iter().all(|(axis, value)| row.get(axis) == Some(value))
}

fn several(all: &[&Axes]) -> BTreeSet<String> {
    let names: BTreeSet<&String> = all.iter().flat_map(|axes| axes.keys()).collect();
    let differs = |name: &&String| {
        let values: BTreeSet<Option<&String>> = all.iter().map(|axes| axes.get(*name)).collect();
        values.len() > 1
    };
    names.into_iter().filter(differs).cloned().collect()
}
