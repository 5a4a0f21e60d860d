//! `ptb eval` of a benchmark that is a program: `evaluate.py` alone knows data, prompts and scoring, so that most
//! options have nothing to set.

use std::path::Path;

use ptb_core::failure::ExitCode;
use ptb_core::registry::{Benchmark, Entry};
use ptb_core::run::Metrics;
use ptb_eval::{EvalError, ScriptSpec, evaluate_script};
use ptb_model::Links;

use super::eval::{NOT_KEPT, fault};
use crate::args::EvalArgs;
use crate::fault::Fault;
use crate::{progress, signals};

/// What `evaluate.py` measures.
pub(super) fn run(
    args: &EvalArgs,
    benchmark: Entry<Benchmark>,
    scratch: &Path,
) -> Result<Metrics, Fault> {
    if let Some(option) = without_meaning(args) {
        return Err(Fault::usage(format!(
            "`{option}` means nothing to {}: it is a script, and its evaluate.py alone knows data, prompts and scoring; \
             hint: leave it out (--limit and --out work)",
            benchmark.id
        )));
    }
    let spec = ScriptSpec {
        benchmark,
        model_dir: args.model_path.clone(),
        links: Links::Follow,
        limit: args.limit.map(|n| n as usize),
        time: ScriptSpec::time_from_env().map_err(|e| fault(e.into()))?,
        out: args.out.clone().unwrap_or_else(|| scratch.to_owned()),
    };
    let runtime = signals::runtime().map_err(Fault::harness)?;
    runtime.block_on(async {
        let cancel = signals::token().map_err(Fault::harness)?;
        let tell = progress::progress(args.json);
        let name = args.benchmark.clone();
        let result = evaluate_script(spec, &|told| tell(&name, told.into()), &cancel).await;
        result.map_err(|e| match (&e, &args.out) {
            (EvalError::Cancelled, None) => Fault::new(ExitCode::Interrupted, NOT_KEPT),
            _ => fault(e),
        })
    })
}

/// The first option that was given and cannot be obeyed.
fn without_meaning(args: &EvalArgs) -> Option<&'static str> {
    let grader = &args.grader;
    let given = [
        ("--data", args.data.is_some()),
        ("--few-shot", args.few_shot),
        ("--seed", !args.seeds.is_empty()),
        ("--max-tokens", args.max_tokens.is_some()),
        ("--max-connections", args.max_connections.is_some()),
        ("--request-timeout", args.request_timeout.is_some()),
        ("--gpu-share", args.gpu_share.is_some()),
        ("--engine", args.engine != "builtin"),
        ("--grader", grader.grader.is_some()),
        ("--grader-model", grader.grader_model.is_some()),
        ("--grader-prompt", grader.grader_prompt.is_some()),
        ("--grader-limit", grader.grader_limit.is_some()),
        ("--grader-patience", grader.grader_patience.is_some()),
    ];
    given.into_iter().find(|(_, given)| *given).map(|(option, _)| option)
}
