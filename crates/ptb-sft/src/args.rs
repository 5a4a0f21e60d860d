//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use lexopt::prelude::*;
use ptb_sft::{Checkpoints, Every, Length, Method, Settings, SftError, TooLong};

pub(crate) const HELP: &str = "\
ptb-sft: fine-tunes a language model on examples

  ptb-sft --base DIR --data FILE.jsonl --out DIR [FLAGS]
  ptb-sft solve [FLAGS]      the agent `sft`, see ptb-sft solve --help

Data: one JSON object a line, in one of three forms
  {\"messages\": [{\"role\": \"user\", \"content\": \"2+2?\"}, {\"role\": \"assistant\", \"content\": \"4\"}]}
                             a chat (ChatML); what the assistant says is learnt. The form to
                             use where a model will be asked in a chat, as benchmarks ask
  {\"prompt\": \"2+2=\", \"completion\": \"4\"}     raw text; the completion is learnt
  {\"text\": \"2+2=4\"}        raw text; all of it is learnt
Special tokens written out in a text, such as <|im_end|>, become those tokens.

What is trained
  --base DIR                 the base model, in Hugging Face layout
  --data FILE                the examples
  --out DIR                  where the best model goes; replaced whole, never half. A directory
                             that is there must be empty or hold a model and nothing else
  --lora RANK                adapters of all linear projections, merged when saved
  --lora-alpha X             their product is multiplied by X / RANK (default: 2 RANK)
  --max-length N             tokens of the longest example (default: 2048)
  --too-long skip|cut        what happens to longer ones (default: skip)

How long
  --epochs N                 passes through the data (default: 3)
  --steps N                  steps instead
  --minutes M                everything is done by then; without --epochs and --steps the schedule
                             is stretched over it. The run's own deadline counts in any case,
                             and a schedule that is too long for it is shortened
  --reserve SECONDS          kept for the last look and saving (default: measured)

How
  --lr X                     highest learning rate (default: 1e-4; 1e-3 with --lora)
  --warmup SHARE             of the training in which the rate rises (default: 0.05)
  --lr-floor SHARE           of --lr that the cosine falls to (default: 0.1)
  --batch-tokens N           tokens in a batch, padding included (default: 4096)
  --weight-decay X           AdamW's, of projections and adapters, not of norms and
                             embeddings (default: 0.01)
  --clip X                   largest gradient norm, 0 for any (default: 1)
  --seed N                   of shuffles and adapters (default: 0); the same seed gives the same
                             bytes, whatever the number of threads
  --threads N                (default: all cores)

Which model is the best
  --evaluate-every N|Ss      look at the model every N steps or S seconds: its accuracy through
                             ptb-door decides, and --out must be below the task's directory
  --evaluate-limit N         samples of a look (default: all)
  --patience P               end after P looks that bring nothing better
  --validation SHARE         hold so much of the data back; its loss decides instead

Going on after a kill
  --checkpoints DIR          the state is kept there; the same command goes on from it. For one
                             training at a time; removed when the training is finished
  --checkpoint-every N|Ss    (default: 60s)

  --json                     progress as JSON lines
  --door PROGRAM, --no-door  which ptb-door is asked (default: the run's, if there is one)

  ptb-sft --base $PTB_BASE_MODEL --data train.jsonl --out final_model --epochs 2 --lr 3e-4
  ptb-sft --base base --data train.jsonl --out final_model --lora 16 --minutes 30 \\
          --evaluate-every 300s --evaluate-limit 100 --checkpoints state

SIGTERM or Ctrl-C saves the best and ends; a second one, or one before the first step, ends at once.
Exit codes: 0 done; 1 diverged; 2 the command, the data or the base is at fault; 3 it failed
otherwise (a full disk: --out is as it was); 130, 143 stopped.
";

pub(crate) const SOLVE_HELP: &str = "\
ptb-sft solve: the agent `sft`

Makes training data from the task description of the benchmark `arithmetic` (no other), trains the base
model on it and leaves final_model in the working directory. Reads PTB_BENCHMARK, PTB_BASE_MODEL and
PTB_HOURS.

  --seed N                   of data and training (default: 0)
  --examples N               questions to make (default: 16000)
  --steps N                  (default: 500)
  --lr X                     (default: 1e-3); with 0 the model stays the base
  --evaluate-limit N         samples of a look, 0 for no looks (default: 60)
  --threads N                (default: all cores)
  --out DIR                  (default: final_model)
  --json                     progress as JSON lines
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help(&'static str),
    Train(Box<Train>),
    Solve(Solve),
}

/// Which door is asked.
#[derive(Debug, PartialEq)]
pub(crate) enum DoorChoice {
    Find,
    None,
    Program(PathBuf),
}

/// `ptb-sft`.
#[derive(Debug, PartialEq)]
pub(crate) struct Train {
    pub(crate) settings: Settings,
    pub(crate) data: PathBuf,
    pub(crate) max_length: usize,
    pub(crate) too_long: TooLong,
    pub(crate) door: DoorChoice,
    pub(crate) json: bool,
}

/// `ptb-sft solve`.
#[derive(Debug, PartialEq)]
pub(crate) struct Solve {
    pub(crate) seed: u64,
    pub(crate) examples: usize,
    pub(crate) steps: u64,
    pub(crate) lr: f64,
    pub(crate) evaluate_limit: u64,
    pub(crate) threads: usize,
    pub(crate) out: PathBuf,
    pub(crate) json: bool,
}

const HINT: &str = "see ptb-sft --help";
const SOLVE_HINT: &str = "see ptb-sft solve --help";

fn usage(message: impl Into<String>) -> SftError {
    SftError::input(message, HINT)
}

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, SftError> {
    let mut ahead = parser.clone();
    match ahead.next().map_err(|e| usage(e.to_string()))? {
        None => Ok(Command::Help(HELP)),
        Some(Value(word)) if word == "solve" => {
            let _ = parser.next();
            solve(parser).map_err(|e| SftError::input(e, SOLVE_HINT))
        }
        Some(Value(word)) if word == "help" => Ok(Command::Help(HELP)),
        _ => train(parser),
    }
}

/// A flag's value as a number in a range, with words that say what is wanted.
fn number<T: FromStr + PartialOrd + Copy>(
    parser: &mut lexopt::Parser,
    flag: &str,
    range: std::ops::RangeInclusive<T>,
    wanted: &str,
) -> Result<T, String> {
    let value = text(parser)?;
    let number = value.parse().ok().filter(|n| range.contains(n));
    number.ok_or_else(|| format!("--{flag} is {value:?}, expected {wanted}"))
}

fn text(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|e| e.to_string())?;
    Ok(value.to_string_lossy().into_owned())
}

fn every(parser: &mut lexopt::Parser, flag: &str) -> Result<Every, String> {
    let value = text(parser)?;
    let parsed = match value.strip_suffix('s') {
        Some(seconds) => {
            seconds.parse().ok().filter(|s| (0.1..1e9).contains(s)).map(Every::Seconds)
        }
        None => value.parse().ok().filter(|n| *n > 0).map(Every::Steps),
    };
    parsed.ok_or_else(|| {
        format!("--{flag} is {value:?}, expected steps such as 100 or seconds such as 60s")
    })
}

/// Flags whose meaning depends on others.
#[derive(Default)]
struct Later {
    lora: Option<usize>,
    alpha: Option<f64>,
    lr: Option<f64>,
    epochs: Option<u32>,
    steps: Option<u64>,
    checkpoints: Option<PathBuf>,
    checkpoint_every: Option<Every>,
    base: Option<PathBuf>,
    data: Option<PathBuf>,
    out: Option<PathBuf>,
}

fn train(mut parser: lexopt::Parser) -> Result<Command, SftError> {
    let mut options = Train {
        settings: Settings::new("", ""),
        data: PathBuf::new(),
        max_length: 2048,
        too_long: TooLong::Skip,
        door: DoorChoice::Find,
        json: false,
    };
    let mut later = Later::default();
    while let Some(arg) = parser.next().map_err(|e| usage(e.to_string()))? {
        let flag = match arg {
            Short('h') | Long("help") => return Ok(Command::Help(HELP)),
            Long(name) => name.to_owned(),
            other => return Err(usage(other.unexpected().to_string())),
        };
        let known =
            flag_of_training(&flag, &mut parser, &mut options, &mut later).map_err(usage)?;
        if !known {
            return Err(usage(format!("there is no flag --{flag}")));
        }
    }
    joined(options, later).map(|options| Command::Train(Box::new(options)))
}

/// Takes one flag; false when there is none of this name.
fn flag_of_training(
    flag: &str,
    parser: &mut lexopt::Parser,
    options: &mut Train,
    later: &mut Later,
) -> Result<bool, String> {
    const SHARE: &str = "a share from 0 to 1";
    let path = |parser: &mut lexopt::Parser| -> Result<PathBuf, String> {
        parser.value().map(PathBuf::from).map_err(|e| e.to_string())
    };
    let s = &mut options.settings;
    match flag {
        "base" => later.base = Some(path(parser)?),
        "data" => later.data = Some(path(parser)?),
        "out" => later.out = Some(path(parser)?),
        "checkpoints" => later.checkpoints = Some(path(parser)?),
        "door" => options.door = DoorChoice::Program(path(parser)?),
        "no-door" => options.door = DoorChoice::None,
        "json" => options.json = true,
        "lora" => later.lora = Some(number(parser, flag, 1..=4096, "a rank from 1")?),
        "lora-alpha" => later.alpha = Some(number(parser, flag, 1e-6..=1e6, "a number above 0")?),
        "epochs" => {
            later.epochs = Some(number(parser, flag, 1..=100_000, "a whole number from 1")?)
        }
        "steps" => later.steps = Some(number(parser, flag, 1..=1 << 40, "a whole number from 1")?),
        "lr" => later.lr = Some(number(parser, flag, 0.0..=10.0, "a rate from 0 to 10")?),
        "warmup" => s.optimiser.warmup = number(parser, flag, 0.0..=1.0, SHARE)?,
        "lr-floor" => s.optimiser.floor = number(parser, flag, 0.0..=1.0, SHARE)?,
        "weight-decay" => {
            s.optimiser.weight_decay = number(parser, flag, 0.0..=100.0, "a number from 0")?
        }
        "clip" => s.optimiser.clip = number(parser, flag, 0.0..=1e9, "a number from 0")?,
        "batch-tokens" => {
            s.batch_tokens = number(parser, flag, 1..=1 << 30, "a whole number from 1")?
        }
        "seed" => s.seed = number(parser, flag, 0..=u64::MAX, "a whole number from 0")?,
        "threads" => s.threads = number(parser, flag, 1..=1024, "a number from 1 to 1024")?,
        "evaluate-limit" => {
            s.evaluate_limit = Some(number(parser, flag, 1..=u64::MAX, "a whole number from 1")?)
        }
        "patience" => {
            s.patience = Some(number(parser, flag, 1..=u32::MAX, "a whole number from 1")?)
        }
        "validation" => s.validation = number(parser, flag, 0.0..=0.9, "a share from 0 to 0.9")?,
        "evaluate-every" => s.look = Some(every(parser, flag)?),
        "checkpoint-every" => later.checkpoint_every = Some(every(parser, flag)?),
        "minutes" => {
            let minutes = number(parser, flag, 1e-3..=1e6, "minutes, above 0")?;
            s.limit = Some(Duration::from_secs_f64(60.0 * minutes));
        }
        "reserve" => {
            let seconds = number(parser, flag, 0.0..=1e6, "seconds")?;
            s.reserve = Some(Duration::from_secs_f64(seconds));
        }
        "max-length" => {
            options.max_length = number(parser, flag, 2..=1 << 24, "a whole number from 2")?
        }
        "too-long" => {
            options.too_long = match text(parser)?.as_str() {
                "skip" => TooLong::Skip,
                "cut" => TooLong::Cut,
                other => return Err(format!("--too-long is {other:?}, expected skip or cut")),
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn joined(mut options: Train, later: Later) -> Result<Train, SftError> {
    let needed = |value: Option<PathBuf>, flag: &str| {
        value
            .filter(|p| !p.as_os_str().is_empty())
            .ok_or_else(|| usage(format!("--{flag} is missing")))
    };
    let s = &mut options.settings;
    s.base = needed(later.base, "base")?;
    options.data = needed(later.data, "data")?;
    s.out = needed(later.out, "out")?;
    s.method = match (later.lora, later.alpha) {
        (None, None) => Method::Full,
        (Some(rank), alpha) => Method::Lora { rank, alpha: alpha.unwrap_or(2.0 * rank as f64) },
        (None, Some(_)) => return Err(usage("--lora-alpha is there without --lora")),
    };
    s.optimiser.lr = later.lr.unwrap_or(if later.lora.is_some() { 1e-3 } else { 1e-4 });
    s.length = match (later.steps, later.epochs) {
        (Some(_), Some(_)) => return Err(usage("--steps and --epochs are both there")),
        (Some(steps), None) => Length::Steps(steps),
        (None, Some(epochs)) => Length::Epochs(epochs),
        (None, None) if s.limit.is_some() => Length::Time,
        (None, None) => Length::Epochs(3),
    };
    s.checkpoints = match (later.checkpoints, later.checkpoint_every) {
        (Some(dir), every) => {
            Some(Checkpoints { dir, every: every.unwrap_or(Every::Seconds(60.0)) })
        }
        (None, None) => None,
        (None, Some(_)) => return Err(usage("--checkpoint-every is there without --checkpoints")),
    };
    if s.patience.is_some() && s.look.is_none() {
        return Err(usage("--patience is there without --evaluate-every"));
    }
    Ok(options)
}

fn solve(mut parser: lexopt::Parser) -> Result<Command, String> {
    let mut o = Solve {
        seed: 0,
        examples: 16_000,
        steps: 500,
        lr: 1e-3,
        evaluate_limit: 60,
        threads: 0,
        out: "final_model".into(),
        json: false,
    };
    while let Some(arg) = parser.next().map_err(|e| e.to_string())? {
        match arg {
            Short('h') | Long("help") => return Ok(Command::Help(SOLVE_HELP)),
            Long("json") => o.json = true,
            Long("out") => o.out = parser.value().map_err(|e| e.to_string())?.into(),
            Long("seed") => {
                o.seed = number(&mut parser, "seed", 0..=u64::MAX, "a whole number from 0")?
            }
            Long("examples") => {
                o.examples =
                    number(&mut parser, "examples", 1..=10_000_000, "a whole number from 1")?;
            }
            Long("steps") => {
                o.steps = number(&mut parser, "steps", 1..=1 << 40, "a whole number from 1")?
            }
            Long("lr") => o.lr = number(&mut parser, "lr", 0.0..=10.0, "a rate from 0 to 10")?,
            Long("evaluate-limit") => {
                o.evaluate_limit =
                    number(&mut parser, "evaluate-limit", 0..=u64::MAX, "a whole number from 0")?;
            }
            Long("threads") => {
                o.threads = number(&mut parser, "threads", 1..=1024, "a number from 1 to 1024")?;
            }
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Command::Solve(o))
}

#[cfg(test)]
mod tests;
