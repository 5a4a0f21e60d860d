//! `ptb score`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use ptb_core::failure::ExitCode;
use ptb_core::files::read_json;
use ptb_core::registry::ToolForm;
use ptb_core::run::{RunDir, RunRecord};
use ptb_eval::{CodeError, EvalError, Grader, rescore};
use ptb_tasks::completions::{GradedLine, score_completions};
use ptb_tasks::data::{Sample, load};
use ptb_tasks::score::Reply;
use serde::Serialize;

use super::{registry, show};
use crate::args::ScoreArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

pub(crate) fn run(args: &ScoreArgs) -> Outcome {
    match &args.completions {
        Some(file) => completions(args, file),
        None => kept(args),
    }
}

fn completions(args: &ScoreArgs, file: &Path) -> Outcome {
    let registry = registry(&args.registry)?;
    let benchmark = registry.benchmark(&args.target).map_err(Fault::file)?;
    let dataset = load(benchmark, args.data.as_deref()).map_err(Fault::usage)?;
    let (name, reader): (String, Box<dyn BufRead>) = if file.as_os_str() == "-" {
        ("stdin".to_owned(), Box::new(std::io::stdin().lock()))
    } else {
        let open = |e| Fault::usage(format!("cannot read {}: {e}", file.display()));
        (file.display().to_string(), Box::new(BufReader::new(File::open(file).map_err(open)?)))
    };
    let evaluate = &benchmark.value.evaluate;
    let seed = args.seed.or(evaluate.seeds.first().copied()).unwrap_or_default();
    let samples = dataset.asked_under(seed);
    let grader = Grader::start(&benchmark.value.scorer, ToolForm::default()).map_err(code_fault)?;
    let grade = |sample: &Sample, reply: &Reply<'_>| grader.grade(sample, reply);
    let (lines, metrics) =
        score_completions(benchmark, &samples, reader, &name, args.partial, &grade)
            .map_err(Fault::usage)?;
    tell(args.json, &lines)?;
    last(&metrics)
}

/// The kept completions of a run's final evaluation.
fn kept(args: &ScoreArgs) -> Outcome {
    if registry(&args.registry)?.benchmark(&args.target).is_ok() {
        return Err(Fault::usage(format!(
            "`{0}` is a benchmark and there are no completions; hint: ptb score {0} --completions FILE",
            args.target
        )));
    }
    let path = show::locate(Path::new(&args.target))?;
    let dir = RunDir::new(&path);
    let record: RunRecord = read_json(&dir.record()).map_err(|e| {
        Fault::usage(format!(
            "{e}; hint: name a run directory, or a benchmark together with --completions FILE"
        ))
    })?;
    let data = args.data.as_deref().or(record.spec.data.as_deref());
    let form = record.spec.model.value.chat.tool_calls;
    let (records, metrics) = rescore(&record.spec.benchmark, form, data, &dir.eval("final"))
        .map_err(|e| match e {
            EvalError::Code(e) => code_fault(e),
            e => Fault::usage(e),
        })?;
    let lines: Vec<GradedLine> = records
        .into_iter()
        .map(|r| GradedLine {
            id: r.id,
            score: r.score.unwrap_or(0.0),
            answer: r.answer,
            error: r.error,
        })
        .collect();
    tell(args.json, &lines)?;
    last(&metrics)
}

/// Programs cannot be run here: something that grading needs is missing, or the machine failed.
fn code_fault(e: CodeError) -> Fault {
    let missing = e.is_missing_requirement();
    Fault::new(if missing { ExitCode::Requirement } else { ExitCode::Harness }, e)
}

/// With `--json` a line per sample, else nothing: the metrics say it.
fn tell(json: bool, lines: &[GradedLine]) -> Outcome {
    if !json {
        return Ok(ExitCode::Done);
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(&serde_json::to_string(line).map_err(Fault::harness)?);
        text.push('\n');
    }
    print::out(&text)
}

/// The metrics are the last line of stderr, with and without `--json`.
fn last(metrics: &impl Serialize) -> Outcome {
    print::err(&serde_json::to_string(metrics).map_err(Fault::harness)?);
    Ok(ExitCode::Done)
}
