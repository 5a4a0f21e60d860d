//! `ptb score`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ptb_core::failure::ExitCode;
use ptb_core::files::read_json;
use ptb_core::registry::{Benchmark, Entry, ScorerKind, ToolForm};
use ptb_core::run::{Metrics, RunDir, RunRecord};
use ptb_eval::{CodeError, EvalError, Grader, rescore};
use ptb_report::measured;
use ptb_runner::Notice;
use ptb_tasks::completions::{GradedLine, ScoreMetrics, score_completions};
use ptb_tasks::data::{Sample, load};
use ptb_tasks::score::Reply;
use serde::Serialize;

use super::{registry, show};
use crate::args::ScoreArgs;
use crate::fault::{Fault, Outcome};
use crate::{print, progress};

const METRICS: &str = "metrics.json";

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
    let graded = AtomicU64::new(0);
    // Programs take their time.
    let progress = progress::progress(args.json || benchmark.value.scorer.kind != ScorerKind::Code);
    let grade = |sample: &Sample, reply: &Reply<'_>| {
        let grade = grader.grade(sample, reply);
        let (done, total) = (graded.fetch_add(1, Relaxed) + 1, samples.len() as u64);
        progress(&benchmark.id, Notice::Count { what: "samples".to_owned(), done, total });
        grade
    };
    let (lines, metrics) =
        score_completions(benchmark, &samples, reader, &name, args.partial, &grade)
            .map_err(Fault::usage)?;
    tell(args.json, &lines, || in_words(&metrics))?;
    last(&metrics)
}

fn in_words(metrics: &ScoreMetrics) -> String {
    let score = match (metrics.accuracy, metrics.stderr) {
        (Some(accuracy), Some(stderr)) => format!("accuracy {accuracy:.4} ± {stderr:.4}"),
        _ => "nothing could be scored".to_owned(),
    };
    format!(
        "{}: {score} over {} samples; {} without a readable answer, {} errors, {} missing\n",
        metrics.benchmark, metrics.n, metrics.unparsed, metrics.errors, metrics.missing
    )
}

/// The kept completions of a run's final evaluation, or of a folder that `ptb eval --out` made.
fn kept(args: &ScoreArgs) -> Outcome {
    let registry = registry(&args.registry)?;
    if registry.benchmark(&args.target).is_ok() {
        return Err(Fault::usage(format!(
            "`{0}` is a benchmark and there are no completions; hint: ptb score {0} --completions FILE",
            args.target
        )));
    }
    let target = Path::new(&args.target);
    if target.join(METRICS).is_file() {
        let metrics: Metrics = read_json(&target.join(METRICS)).map_err(Fault::usage)?;
        let benchmark = registry.benchmark(&metrics.benchmark).map_err(Fault::file)?;
        return again(args, benchmark, ToolForm::Gemma, args.data.as_deref(), target);
    }
    let path = show::locate(target)?;
    let dir = RunDir::new(&path);
    let record: RunRecord = read_json(&dir.record()).map_err(|e| {
        Fault::usage(format!(
            "{e}; hint: name a run directory, a folder of `ptb eval --out`, or a benchmark together with \
             --completions FILE"
        ))
    })?;
    let folder = dir.eval("final");
    if !folder.join(METRICS).is_file() {
        return Err(Fault::usage(format!(
            "{} has no final evaluation that ended; hint: `ptb show` tells how far it is, and why",
            path.display()
        )));
    }
    let data = args.data.as_deref().or(record.spec.data.as_deref());
    let form = record.spec.model.value.chat.tool_calls;
    again(args, &record.spec.benchmark, form, data, &folder)
}

/// Grades what an evaluation's folder holds.
fn again(
    args: &ScoreArgs,
    benchmark: &Entry<Benchmark>,
    form: ToolForm,
    data: Option<&Path>,
    folder: &Path,
) -> Outcome {
    let (records, metrics) = rescore(benchmark, form, data, folder).map_err(|e| match e {
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
            rows: r.rows,
        })
        .collect();
    tell(args.json, &lines, || measured(&metrics, None))?;
    last(&metrics)
}

/// Programs cannot be run here: something that grading needs is missing, or the machine failed.
fn code_fault(e: CodeError) -> Fault {
    let missing = e.is_missing_requirement();
    Fault::new(if missing { ExitCode::Requirement } else { ExitCode::Harness }, e)
}

/// With `--json` a line per sample, else the metrics in words.
fn tell(json: bool, lines: &[GradedLine], words: impl FnOnce() -> String) -> Outcome {
    if !json {
        return print::out(&words());
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
