//! `ptb run`.

use std::path::{Path, PathBuf};

use ptb_core::cell::RunSpec;
use ptb_core::failure::ExitCode;
use ptb_core::files::write_whole;
use ptb_core::run::Score;
use ptb_report::{Options, Report};
use ptb_runner::{Context, Ended, Programs};
use ptb_sched::{Experiment, ExperimentError, Outcome, experiment_dir, run_local};
use serde_json::{Value, json};

use super::next::{self, Here};
use super::registry;
use crate::args::RunArgs;
use crate::fault::{Fault, Outcome as Ending};
use crate::{print, progress, signals};

/// What is said at once when the runs are to stop.
const STOPPING: &str = "stopping: ending the agents, keeping what is done; the same command goes on later (Ctrl-C \
                        again ends at once)";

pub(crate) fn run(args: &RunArgs) -> Ending {
    let registry = registry(&args.registry)?;
    let mut experiment = Experiment::read(&args.file, &registry).map_err(|e| match e {
        ExperimentError::Folder(e) => Fault::usage(e),
        other => Fault::file(other),
    })?;
    if let Some(name) = &args.sandbox {
        ptb_sandbox::wall_by_name(name).map_err(Fault::usage)?;
        experiment.runs.iter_mut().for_each(|run| run.sandbox.clone_from(name));
    }
    if let Some(path) = &args.prompt {
        experiment.set_prompt(path).map_err(Fault::usage)?;
    }
    // One scaffold's own after what is for all.
    let (all, own): (Vec<&String>, Vec<&String>) =
        args.agent_versions.iter().partition(|given| !given.contains('='));
    for given in all.into_iter().chain(own) {
        experiment.set_version(given).map_err(Fault::usage)?;
    }
    if experiment.runs.iter().any(|run| run.sandbox == "none" && !run.agent.is_baseline()) {
        print::err("note: sandbox `none`: agents run without isolation, and results say so");
    }
    let script = |run: &RunSpec| run.benchmark.value.script().is_some();
    if let Some(run) = experiment.runs.iter().find(|r| script(r) && !r.agent.is_baseline()) {
        print::err(&format!(
            "note: {} is a script: agents see its evaluate.py, so their feedback is `open`, and results say so",
            run.benchmark.id
        ));
    }
    let results = results(&args.results)?;
    let folder = experiment_dir(&results, &experiment);
    let text = std::fs::read(&args.file).map_err(Fault::harness)?;
    write_whole(&folder.join("experiment.toml"), &text).map_err(Fault::harness)?;
    let outcomes = carry_out(args, experiment, &results)?;
    let code = exit_code(&outcomes);
    let report = |folder: &Path| Report::of(folder, &registry, &Options::default());
    if args.json {
        return json_out(&outcomes, report(&folder).ok(), code);
    }
    let here = Here::look();
    match report(&here.near(&folder)) {
        Ok(report) => print::out(&report.table(print::width()))?,
        Err(e) if code == ExitCode::Done => return Err(Fault::new(e.exit_code(), e)),
        Err(_) => code,
    };
    print::note(&next::counts(&here, &folder, &outcomes));
    print::err("next:");
    for step in next::steps(&here, &folder, &args.registry, &outcomes) {
        print::note(&format!("  {}", step.what));
        // Commands are copied: they are not wrapped.
        print::err(&format!("    {}", step.command));
    }
    Ok(code)
}

/// The results folder, absolute: a sandbox's binds and a resumed run must not depend on where we stand.
fn results(path: &Path) -> Result<PathBuf, Fault> {
    let fail = |e: std::io::Error| {
        Fault::harness(format!(
            "cannot use {} for results: {e}; hint: name a writable folder with --results",
            path.display()
        ))
    };
    std::fs::create_dir_all(path).map_err(fail)?;
    path.canonicalize().map_err(fail)
}

fn carry_out(
    args: &RunArgs,
    experiment: Experiment,
    results: &Path,
) -> Result<Vec<Outcome>, Fault> {
    let ptb = std::env::current_exe().map_err(Fault::harness)?;
    let programs = Programs::beside(&ptb).map_err(|e| Fault::new(ExitCode::Requirement, e))?;
    let registries = args.registry.folders.iter().filter_map(|p| p.canonicalize().ok());
    let secrets = registries.chain([results.to_owned()]).collect();
    signals::runtime().map_err(Fault::harness)?.block_on(async {
        let cancel = signals::token_saying(STOPPING).map_err(Fault::harness)?;
        let context = Context {
            programs,
            progress: progress::of_runs(
                args.quiet || args.json,
                experiment.runs.len(),
                cancel.clone(),
            ),
            cancel,
            continue_solve: args.continue_solve,
            secrets,
        };
        let outcomes = run_local(experiment, results, &context).await;
        outcomes.map_err(|e| Fault::new(e.code, e.message))
    })
}

/// The gravest outcome.
fn exit_code(outcomes: &[Outcome]) -> ExitCode {
    let of = |outcome: &Outcome| match &outcome.ended {
        Ended::Done(score) | Ended::Already(score) if score.mark.is_some() => ExitCode::Found,
        Ended::Done(_) | Ended::Already(_) => ExitCode::Done,
        Ended::Failed(_, failure) => failure.kind.into(),
        // Held runs are waited for: what is held at the end was interrupted.
        Ended::Held(_) => ExitCode::Interrupted,
    };
    let gravity = [ExitCode::Interrupted, ExitCode::Harness, ExitCode::Provider, ExitCode::Found];
    let codes: Vec<ExitCode> = outcomes.iter().map(of).collect();
    gravity.into_iter().find(|code| codes.contains(code)).unwrap_or(ExitCode::Done)
}

fn json_out(outcomes: &[Outcome], report: Option<Report>, code: ExitCode) -> Ending {
    let run = |outcome: &Outcome| {
        let (state, score): (&str, Option<&Score>) = match &outcome.ended {
            Ended::Done(score) => ("done", Some(score)),
            Ended::Already(score) => ("already", Some(score)),
            Ended::Failed(..) => ("failed", None),
            Ended::Held(_) => ("held", None),
        };
        json!({
            "slug": outcome.slug, "id": outcome.id, "path": outcome.path, "state": state, "score": score,
            "failure": match &outcome.ended {
                Ended::Failed(stage, failure) => json!({ "stage": stage, "failure": failure }),
                Ended::Held(message) => json!({ "failure": { "kind": "held", "message": message } }),
                _ => Value::Null,
            },
        })
    };
    let value = json!({
        "schema": 1,
        "exit_code": code as u8,
        "runs": outcomes.iter().map(run).collect::<Vec<_>>(),
        "report": report,
    });
    print::out(&format!("{}\n", serde_json::to_string_pretty(&value).map_err(Fault::harness)?))?;
    Ok(code)
}
