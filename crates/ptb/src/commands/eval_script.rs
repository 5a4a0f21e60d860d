//! `ptb eval` of a benchmark that is a program: `evaluate.py` alone knows data, prompts and scoring, so that most
//! options have nothing to set.

use std::path::{Path, PathBuf};

use ptb_core::registry::{Benchmark, Entry};
use ptb_core::run::Metrics;
use ptb_eval::{EvalError, ScriptSpec, evaluate_script};
use ptb_model::Links;

use super::eval::fault;
use crate::args::EvalArgs;
use crate::fault::Fault;
use crate::{progress, signals};

/// Said at the first signal: nothing of an unfinished program is kept.
const STOPPING: &str = "stopping evaluate.py (Ctrl-C again ends at once)";

/// What `evaluate.py` measures.
pub(super) fn run(
    args: &EvalArgs,
    benchmark: Entry<Benchmark>,
    base: Option<PathBuf>,
) -> Result<Metrics, Fault> {
    if let Some(option) = without_meaning(args) {
        return Err(Fault::usage(format!(
            "`{option}` means nothing to {}: it is a script, and its evaluate.py alone knows data, prompts and scoring; \
             hint: leave it out (--limit and --out work)",
            benchmark.id
        )));
    }
    let scratch = tempfile::Builder::new().prefix("ptb-eval-").tempdir().map_err(Fault::harness)?;
    let spec = ScriptSpec {
        benchmark,
        base,
        model_dir: args.model_path.clone(),
        links: Links::Follow,
        limit: args.limit.map(|n| n as usize),
        time: ScriptSpec::time_from_env().map_err(|e| fault(e.into()))?,
        out: args.out.clone().unwrap_or_else(|| scratch.path().to_owned()),
    };
    let runtime = signals::runtime().map_err(Fault::harness)?;
    runtime.block_on(async {
        let cancel = signals::token_saying(STOPPING).map_err(Fault::harness)?;
        let tell = progress::progress(args.json);
        let name = args.benchmark.clone();
        let result = evaluate_script(spec, &|told| tell(&name, told.into()), &cancel).await;
        let kept = args.out.is_none() && result.as_ref().is_err_and(|e| has_log(scratch.path(), e));
        if kept {
            // The message names its output, which is somewhere then.
            let _ = scratch.keep();
        }
        result.map_err(fault)
    })
}

/// Whether a program's output tells more of a failure than its message.
fn has_log(out: &Path, e: &EvalError) -> bool {
    !matches!(e, EvalError::Stopped) && out.join("script.log").is_file()
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
