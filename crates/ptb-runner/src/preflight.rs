//! Can these runs work on this machine? Asked before anything is made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ptb_core::cell::{AgentAction, RunSpec};
use ptb_core::failure::ExitCode;
use ptb_core::registry::Submit;
use ptb_eval::weights_dir;
use ptb_sandbox::{exposes, wall_by_name};
use ptb_tasks::data::load;
use ptb_tasks::prompt::Prompter;

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

/// Checks data, prompts, weights and walls of all specs, each distinct one once. `results` is where runs
/// will lie.
pub fn preflight(specs: &[RunSpec], results: &Path) -> Result<(), Preflight> {
    let mut benchmarks: BTreeMap<(&str, &Option<PathBuf>), &RunSpec> = BTreeMap::new();
    let mut models = BTreeMap::new();
    let mut walls = BTreeSet::new();
    for spec in specs {
        benchmarks.insert((&spec.benchmark.id, &spec.data), spec);
        let submit = match spec.agent.action {
            AgentAction::Submit(submit) => Some(submit),
            _ => None,
        };
        models.insert((&spec.model.id, submit == Some(Submit::Instruct)), spec);
        if submit.is_none() {
            walls.insert(&spec.sandbox);
        }
    }
    for name in &walls {
        wall_by_name(name).and_then(|wall| wall.probe()).map_err(requirement)?;
    }
    for spec in models.values() {
        weights_dir(&spec.model.value.base).map_err(requirement)?;
    }
    for ((_, instruct), spec) in &models {
        if let Some(weights) = spec.model.value.instruct.as_ref().filter(|_| *instruct) {
            weights_dir(weights).map_err(requirement)?;
        }
    }
    for ((_, data), spec) in &benchmarks {
        let dataset = load(&spec.benchmark, data.as_deref()).map_err(input)?;
        Prompter::new(&spec.benchmark, &dataset).map_err(input)?;
    }
    if walls.iter().any(|w| *w != "none") {
        let data = specs.iter().filter_map(|s| s.data.as_deref());
        data.chain([results]).try_for_each(hidden)?;
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
