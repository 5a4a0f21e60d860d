//! Trains the quick start's two models: `cargo run --release -p tiny-models`. How long it takes, and what came
//! out, is written beside the models.
#![expect(clippy::print_stderr, reason = "a program talks to its user")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ptb_model::{Links, ModelDir, RandomModel, Tokenizer, random_model};
use ptb_sft::{Data, Encoder, Event, Length, Optimiser, Record, Settings, Stop, TooLong, train};
use serde_json::{Value, json};
use tiny_models::{CHATS, CHATS_SEED, PRETRAINING_LINES, PRETRAINING_SEED, chats, plain_lines};

const HELP: &str = "\
tiny-models: trains models/tiny-base and models/tiny-instruct from fixed seeds

  --out DIR      where both go (default: models)
  --part X       this part of the text alone, 0 to 1, to try something out (default: 1)
";

/// Bytes of plain text in one example, whole lines.
const DOCUMENT: usize = 180;
/// The two tokens that may end what a chat model says, and the one that ends a text.
const IM_END: &str = "<|im_end|>";
const END_OF_TEXT: &str = "<|endoftext|>";

/// Between two lines on how far a training is.
const PAUSE: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match arguments().and_then(|arguments| arguments.map_or(Ok(()), |(out, part)| make(&out, part)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(3)
        }
    }
}

/// The output folder and the part of the text; none where help was asked for.
fn arguments() -> Result<Option<(PathBuf, f64)>, Failure> {
    use lexopt::prelude::*;
    let (mut out, mut part) = (PathBuf::from("models"), 1.0);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("out") => out = parser.value()?.into(),
            Long("part") => part = parser.value()?.parse()?,
            Short('h') | Long("help") => {
                eprint!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(Some((out, part)))
}

fn make(out: &Path, part: f64) -> Result<(), Failure> {
    let part_of = |count: usize| (count as f64 * part) as usize;
    let (blank, base) = (out.join(".tiny-blank"), out.join("tiny-base"));
    let shape =
        RandomModel { intermediate_size: 384, bf16: true, ..RandomModel::tiny(PRETRAINING_SEED) };
    random_model(&blank, &shape)?;
    ends_at(&blank, &[END_OF_TEXT], json!({ "do_sample": false }))?;
    let text = documents(part_of(PRETRAINING_LINES));
    let pretraining = Settings {
        optimiser: Optimiser {
            lr: 3e-3,
            warmup: 0.04,
            floor: 0.05,
            weight_decay: 0.05,
            beta2: 0.98,
            ..Optimiser::default()
        },
        batch_tokens: 4608,
        ..once(&blank, &base)
    };
    trained("tiny-base", &pretraining, &text)?;
    let chats = chats(CHATS_SEED).take(part_of(CHATS));
    let chats: Vec<_> = chats.map(|chat| Record::question(chat.question, chat.reply)).collect();
    let tuning = Settings {
        optimiser: Optimiser { lr: 1.5e-3, floor: 0.05, beta2: 0.98, ..Optimiser::default() },
        batch_tokens: 3072,
        ..once(&base, &out.join("tiny-instruct"))
    };
    trained("tiny-instruct", &tuning, &chats)?;
    let sampling = json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95 });
    ends_at(&out.join("tiny-instruct"), &[IM_END, END_OF_TEXT], sampling)?;
    std::fs::remove_dir_all(&blank)?;
    Ok(())
}

/// Once through the data.
fn once(base: &Path, out: &Path) -> Settings {
    Settings { length: Length::Epochs(1), seed: 1, ..Settings::new(base, out) }
}

/// Lines put together to examples of some hundred bytes.
fn documents(lines: usize) -> Vec<Record> {
    let mut all = Vec::new();
    let mut text = String::new();
    for line in plain_lines(PRETRAINING_SEED).take(lines) {
        text.push_str(&line);
        text.push('\n');
        if text.len() >= DOCUMENT {
            all.push(Record::Text { text: std::mem::take(&mut text) });
        }
    }
    all
}

fn trained(name: &str, settings: &Settings, records: &[Record]) -> Result<(), Failure> {
    let encoder = Encoder::new(&settings.base, 512, TooLong::Skip)?;
    let data = Data::from_records(records, &encoder)?;
    let mut told = Instant::now();
    let mut tell = |event: Event<'_>| match event {
        Event::Begin(b) => {
            eprintln!("{name}: {} examples, {} tokens, {} threads", b.examples, b.tokens, b.threads)
        }
        Event::Step(s) if told.elapsed() >= PAUSE => {
            told = Instant::now();
            let (steps, left) = (s.steps.unwrap_or(0), s.seconds_left.unwrap_or(0.0));
            eprintln!(
                "{name}: step {}/{steps}  loss {:.4}  {:.0} tokens/s  {left:.0} s left",
                s.step, s.loss, s.tokens_per_second
            );
        }
        _ => {}
    };
    let outcome = train(settings, data, &encoder, None, &Stop::on_signals()?, &mut tell)?;
    let loss = outcome.loss.unwrap_or(f64::NAN);
    eprintln!("{name}: {} steps in {:.0} s, loss {loss:.4}", outcome.steps, outcome.seconds);
    match outcome.exit_code() {
        0 => Ok(()),
        _ => Err(format!("{name} was not finished: {:?}", outcome.end).into()),
    }
}

/// Writes into a model's settings which tokens end its texts, and how it is sampled.
fn ends_at(model: &Path, ends: &[&str], sampling: Value) -> Result<(), Failure> {
    let tokenizer = Tokenizer::read(&ModelDir::open_with(model, Links::Follow)?)?;
    let ids: Vec<u32> = ends.iter().filter_map(|token| tokenizer.id(token)).collect();
    let pad = tokenizer.id(END_OF_TEXT);
    let mut generation = json!({ "bos_token_id": pad, "pad_token_id": pad, "eos_token_id": ids });
    for (key, value) in sampling.as_object().into_iter().flatten() {
        generation[key] = value.clone();
    }
    std::fs::write(model.join("generation_config.json"), format!("{generation:#}\n"))?;
    for (file, key, value) in [
        ("config.json", "eos_token_id", json!(ids.first())),
        ("tokenizer_config.json", "eos_token", json!(ends.first())),
    ] {
        let path = model.join(file);
        let mut settings: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        settings[key] = value;
        std::fs::write(path, format!("{settings:#}\n"))?;
    }
    Ok(())
}
