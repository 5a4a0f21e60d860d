//! `ptb-sft solve`: the agent `sft`, a trivial but honest one. It knows one benchmark, by its description.

use std::path::PathBuf;
use std::time::Duration;

use ptb_sft::{
    Data, Door, Encoder, Every, Length, Optimiser, Record, Settings, SftError, Stop, TooLong,
    arithmetic,
};

use crate::args::Solve;
use crate::print::{Printer, note};

/// What was trained on lies here, for whoever looks at the run.
const DATA: &str = "sft-data.jsonl";
/// Small batches: with one minute to learn in, more steps are worth more than smoother ones.
const BATCH_TOKENS: usize = 2048;
/// Looks at the model while training.
const LOOKS: u64 = 3;

/// Runs the agent; gives its exit code.
pub(crate) fn solve(options: &Solve) -> Result<u8, SftError> {
    let benchmark = variable("PTB_BENCHMARK")?;
    if !benchmark.eq_ignore_ascii_case("arithmetic") {
        let message = format!(
            "the agent sft knows how to solve arithmetic, and the benchmark is {benchmark}"
        );
        return Err(SftError::input(
            message,
            "run it on arithmetic, or write an agent of your own",
        ));
    }
    let base = PathBuf::from(variable("PTB_BASE_MODEL")?);
    let stop = Stop::on_signals()?;
    let door = Door::find();
    let mut settings = Settings::new(&base, &options.out);
    settings.seed = options.seed;
    settings.threads = options.threads;
    settings.length = Length::Steps(options.steps);
    settings.optimiser = Optimiser { lr: options.lr, ..Optimiser::default() };
    settings.look = (options.evaluate_limit > 0 && door.is_some())
        .then_some(Every::Steps(options.steps.div_ceil(LOOKS)));
    settings.evaluate_limit = Some(options.evaluate_limit).filter(|n| *n > 0);
    settings.batch_tokens = BATCH_TOKENS;
    settings.limit = hours()?;
    let encoder = Encoder::new(&base, 1024, TooLong::Skip)?;
    let records = arithmetic::records(options.seed, options.examples);
    keep(&records);
    let data = Data::from_records(&records, &encoder)?;
    drop(records);
    let mut printer = Printer::new(options.json);
    let mut tell = |event: ptb_sft::Event<'_>| printer.tell(&event);
    let outcome = ptb_sft::train(&settings, data, &encoder, door.as_ref(), &stop, &mut tell)?;
    printer.end(&outcome, &settings.out);
    Ok(outcome.exit_code())
}

fn variable(name: &str) -> Result<String, SftError> {
    std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
        let hint =
            "it is set inside of a run; to try it by hand, set PTB_BENCHMARK and PTB_BASE_MODEL";
        SftError::input(format!("the environment has no {name}"), hint)
    })
}

/// The run's budget; the door's clock tells better what is left of it.
fn hours() -> Result<Option<Duration>, SftError> {
    let Ok(text) = std::env::var("PTB_HOURS") else { return Ok(None) };
    let hours = text.parse().ok().filter(|hours: &f64| (0.0..1e6).contains(hours));
    match hours.and_then(|hours| Duration::try_from_secs_f64(3600.0 * hours).ok()) {
        Some(time) => Ok(Some(time)),
        None => Err(SftError::input(format!("PTB_HOURS is {text:?}"), "give hours such as 0.5")),
    }
}

/// Writes the data down. They are trained on from memory, so what fails here is told and no more.
fn keep(records: &[Record]) {
    let lines: String = records
        .iter()
        .filter_map(|record| serde_json::to_string(record).ok())
        .flat_map(|line| [line, "\n".to_owned()])
        .collect();
    if let Err(e) = std::fs::write(DATA, lines) {
        note(&format!("note: {DATA} was not written: {e}"));
        let _ = std::fs::remove_file(DATA);
    }
}
