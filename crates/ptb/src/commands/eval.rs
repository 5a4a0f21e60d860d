//! `ptb eval`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ptb_core::failure::ExitCode;
use ptb_core::files::{write_json, write_json_line};
use ptb_core::registry::{
    Architecture, Asking, Benchmark, ChosenGrader, Entry, PromptForm, Registry, Weights,
};
use ptb_core::run::Metrics;
use ptb_eval::{
    EvalError, EvalSpec, GraderSpec, PATIENCE, Prepared, ScriptError, Serve, Told, weights_dir,
};
use ptb_infer::StartError;
use ptb_judge::architecture_faults;
use ptb_model::{Config, Links, ModelDir};
use ptb_report::measured;
use ptb_runner::{Notice, Served, Server, only_chats, unknown_engine};
use serde_json::json;

use super::{eval_script, registry};
use crate::args::{EvalArgs, GraderArgs};
use crate::fault::{Fault, Outcome};
use crate::{print, progress, signals};

const NOT_KEPT: &str = "the evaluation was stopped; hint: with --out DIR answers are kept, and the same command goes on";

pub(crate) fn run(args: &EvalArgs) -> Outcome {
    check(args)?;
    let scratch = tempfile::tempdir().map_err(Fault::harness)?;
    let registry = registry(&args.registry)?;
    let benchmark = registry.benchmark(&args.benchmark).map_err(Fault::file)?.clone();
    let metrics = match benchmark.value.script() {
        Some(_) => {
            let model = registry.model(&args.model).map_err(Fault::file)?;
            note_other_network(args, &model.value.architecture);
            eval_script::run(args, benchmark, base_of(&model.value.base))?
        }
        None => measure(args, spec(args, &registry, benchmark, scratch.path())?)?,
    };
    if let Some(file) = &args.json_output_file {
        let file = std::path::absolute(file).map_err(Fault::harness)?;
        let written = match metrics.script {
            Some(_) => write_json_line(&file, &metrics),
            None => write_json(&file, &metrics),
        };
        written.map_err(Fault::harness)?;
    }
    if args.json {
        let mut value = json!({ "schema": 1 });
        if let (Some(out), Ok(serde_json::Value::Object(fields))) =
            (value.as_object_mut(), serde_json::to_value(&metrics))
        {
            out.extend(fields);
        }
        return print::out(&format!(
            "{}\n",
            serde_json::to_string_pretty(&value).map_err(Fault::harness)?
        ));
    }
    print::out(&measured(&metrics, args.few_shot.then_some("few-shot")))?;
    if let Some(out) = &args.out {
        print::err(&format!("kept in {}", out.display()));
    }
    Ok(ExitCode::Done)
}

/// What an engine's completions come to.
fn measure(args: &EvalArgs, spec: EvalSpec) -> Result<Metrics, Fault> {
    let mut prepared = Prepared::new(spec.clone()).map_err(fault)?.without_samples();
    if let Some(seconds) = args.request_timeout {
        prepared = prepared.with_request_time(Duration::from_secs(seconds.into()));
    }
    signals::runtime().map_err(Fault::harness)?.block_on(evaluate(args, &spec, prepared))
}

/// What would otherwise show only after an evaluation.
fn check(args: &EvalArgs) -> Result<(), Fault> {
    if !args.model_path.is_dir() {
        let path = args.model_path.display();
        return Err(Fault::usage(format!(
            "there is no folder {path}; hint: --model-path names a model's folder"
        )));
    }
    if let Some((fault, hint)) = unknown_engine(&args.engine) {
        return Err(Fault::usage(format!("{fault}; hint: {hint}")));
    }
    if args.few_shot && only_chats(&args.engine) {
        return Err(fault(EvalError::ChatOnly));
    }
    if let Some(file) = &args.json_output_file {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = tempfile::tempfile_in(folder);
        made.map_err(|e| {
            Fault::usage(format!(
                "cannot write {}: {e}; hint: name a file in a writable folder",
                file.display()
            ))
        })?;
    }
    Ok(())
}

fn spec(
    args: &EvalArgs,
    registry: &Registry,
    benchmark: Entry<Benchmark>,
    scratch: &Path,
) -> Result<EvalSpec, Fault> {
    let model = registry.model(&args.model).map_err(Fault::file)?;
    let template = model.value.chat.template_for(benchmark.value.has_tools());
    let chat_template = registry.chat_template(template).map_err(Fault::file)?.value.clone();
    let base = base_of(&model.value.base);
    note_other_network(args, &model.value.architecture);
    let evaluate = &benchmark.value.evaluate;
    let seeds = if args.seeds.is_empty() { evaluate.seeds.clone() } else { args.seeds.clone() };
    let mut distinct = seeds.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < seeds.len() {
        return Err(Fault::usage(
            "a seed is given twice; hint: each seed makes its own completions",
        ));
    }
    let connections = args.max_connections.map_or(evaluate.max_connections, |n| n as usize);
    let grading = grading(args, registry, &benchmark)?;
    Ok(EvalSpec {
        grading,
        data: args.data.clone(),
        chat_template,
        chat: model.value.chat.clone(),
        asking: asking(args, registry)?,
        model_dir: args.model_path.clone(),
        links: Links::Follow,
        tokenizer_dir: base,
        seeds,
        limit: args.limit.map(|n| n as usize),
        max_tokens: args.max_tokens.unwrap_or(benchmark.value.generation.max_tokens),
        max_connections: connections,
        out: args.out.clone().unwrap_or_else(|| scratch.to_owned()),
        benchmark,
    })
}

/// The base model's folder, where it can be had.
fn base_of(base: &Weights) -> Option<PathBuf> {
    let found = weights_dir(base).map(|(dir, _)| dir);
    if let Err(e) = &found {
        print::err(&format!(
            "note: the model's own tokenizer is used, because the base model is not here ({e})"
        ));
    }
    found.ok()
}

/// Who grades, where a language model does.
fn grading(
    args: &EvalArgs,
    registry: &Registry,
    benchmark: &Entry<Benchmark>,
) -> Result<Option<GraderSpec>, Fault> {
    let GraderArgs { grader, grader_model, grader_prompt, grader_limit, grader_patience } =
        &args.grader;
    let chosen = ChosenGrader {
        url: grader.as_deref(),
        model: grader_model.as_deref(),
        prompt: grader_prompt.as_deref(),
        spend_limit: *grader_limit,
    };
    let given = grader.is_some() || grader_model.is_some() || grader_prompt.is_some();
    let Some(choice) = registry.grader(&benchmark.value, &chosen).map_err(Fault::file)? else {
        return match given || grader_limit.is_some() || grader_patience.is_some() {
            true => Err(Fault::usage(format!(
                "no language model grades {}; hint: leave the --grader options out",
                benchmark.id
            ))),
            false => Ok(None),
        };
    };
    let patience = grader_patience.map_or(PATIENCE, |s| Duration::from_secs(s.into()));
    GraderSpec::from_env(choice, patience).map(Some).map_err(fault)
}

/// Says where the model is no fine-tune of the base model that was named. Its faults are told later.
fn note_other_network(args: &EvalArgs, architecture: &Architecture) {
    let config =
        ModelDir::open_with(&args.model_path, Links::Follow).and_then(|d| Config::read(&d));
    let faults =
        config.map(|config| architecture_faults(&config, architecture)).unwrap_or_default();
    if !faults.is_empty() {
        print::err(&format!(
            "note: {} is another network than {} ({}); is --model right?",
            args.model_path.display(),
            args.model,
            faults.join(", ")
        ));
    }
}

/// With `--few-shot` as the registry's agent of that name is asked, so that both mean the same.
fn asking(args: &EvalArgs, registry: &Registry) -> Result<Asking, Fault> {
    if !args.few_shot {
        return Ok(Asking::default());
    }
    let agent = registry.agent("few-shot").map_err(Fault::file)?;
    let asking = agent.value.asking();
    if asking.prompt != PromptForm::FewShot {
        return Err(Fault::usage(format!(
            "the agent `few-shot` of {} has no few-shot prompt, so --few-shot means nothing; hint: give it \
             submit = \"base\" and prompt = \"few-shot\", or another name",
            agent.source
        )));
    }
    Ok(asking)
}

async fn evaluate(args: &EvalArgs, spec: &EvalSpec, prepared: Prepared) -> Result<Metrics, Fault> {
    let cancel = signals::token().map_err(Fault::harness)?;
    let tell = progress::progress(args.json);
    let name = args.benchmark.clone();
    let ptb = std::env::current_exe().map_err(Fault::harness)?;
    let log = args.out.as_ref().map(|out| out.join("server.log"));
    let served = Served {
        model: &spec.model_dir,
        links: spec.links,
        base: spec.tokenizer_dir.as_deref(),
        log: log.as_deref(),
        context: prepared.context_needed(),
        gpu_share: args.gpu_share,
    };
    let mut server = Server::new(&args.engine, &ptb, served);
    if prepared.missing() > 0 && server.starts() {
        tell(&name, Notice::Line(format!("starting the engine {}", args.engine)));
    }
    let (shown, label) = (std::sync::Arc::clone(&tell), name.clone());
    let told = move |told: Told| shown(&label, told.into());
    let result = prepared.evaluate(&mut server, &told, &cancel).await;
    server.stop().await;
    let evaluation = result.map_err(|e| match (&e, &args.out) {
        (EvalError::Cancelled, None) => Fault::new(ExitCode::Interrupted, NOT_KEPT),
        _ => fault(e),
    })?;
    tell(&name, Notice::Ended("evaluated".to_owned()));
    Ok(evaluation.metrics)
}

/// Here a model that cannot be evaluated is bad input: nobody is judged.
pub(super) fn fault(e: EvalError) -> Fault {
    let code = match &e {
        EvalError::Start(e) if e.is_model_fault() => ExitCode::Usage,
        EvalError::Start(StartError::Missing { .. }) | EvalError::NoGrader(_) => {
            ExitCode::Requirement
        }
        EvalError::Grader(e) if e.kind().is_none() => ExitCode::Usage,
        EvalError::Code(e) if e.is_missing_requirement() => ExitCode::Requirement,
        EvalError::Script(e) if e.is_missing_requirement() => ExitCode::Requirement,
        EvalError::Script(ScriptError::Time { .. }) => ExitCode::Usage,
        EvalError::Task(_)
        | EvalError::Model(_)
        | EvalError::Tokenizer { .. }
        | EvalError::ChatOnly => ExitCode::Usage,
        other => other.kind().into(),
    };
    Fault::new(code, e)
}
