//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use serde_json::{Map, json};

use crate::{FAULT, Failure};

pub(crate) const HELP: &str = "\
ptb-door: asks the harness around this run

  ptb-door evaluate [FLAGS]   evaluate a model directory on this task's benchmark
  ptb-door time [--json]      the time left as H:MM (or everything, as JSON)
  ptb-door release            give the warm inference engine up, so that its memory is free
  ptb-door evaluate --help    the flags

The socket is /run/ptb/door.sock, or $PTB_DOOR_SOCKET.
Exit codes: 0 done; 2 the request or the model is at fault; 3 it failed otherwise.
";

pub(crate) const EVALUATE_HELP: &str = "\
ptb-door evaluate: evaluate a model directory on this task's benchmark

  --model-path DIR              the model (default: final_model); it must lie below the task's
                                directory and hold the files themselves, not links
  --limit N                     evaluate the first N samples alone
  --max-tokens N                new tokens allowed per answer
  --max-connections N           samples answered at one time
  --gpu-memory-utilization X    share of the GPU's memory for the engine, 0 to 1
  --json-output-file FILE       write the metrics there too
  --samples-output-file FILE    write what may be known of each sample, one JSON a line
  --templates-dir DIR           accepted and ignored: the chat template is the base model's

  ptb-door evaluate --model-path checkpoints/a --limit 50 --json-output-file a.json

The model is copied when the evaluation begins: training may go on. One evaluation runs at a time, its
time counts, and ending this program cancels it. Progress goes to standard error, the metrics as JSON
to standard output. Exit codes: 0 done; 2 the request or the model is at fault; 3 it failed otherwise.
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Command {
    Help(&'static str),
    Evaluate(Evaluate),
    Time {
        json: bool,
    },
    Release,
    /// For the harness alone: see `listen`.
    Listen {
        port: u16,
        command: Vec<OsString>,
    },
}

/// `ptb-door evaluate`.
#[derive(Debug, PartialEq)]
pub(crate) struct Evaluate {
    pub(crate) model_path: PathBuf,
    /// Further fields of the request.
    pub(crate) fields: Map<String, serde_json::Value>,
    pub(crate) metrics_file: Option<PathBuf>,
    pub(crate) samples_file: Option<PathBuf>,
}

const HINT: &str = "see ptb-door --help";
const EVALUATE_HINT: &str = "see ptb-door evaluate --help";

pub(crate) fn parse(mut parser: lexopt::Parser) -> Result<Command, Failure> {
    let usage = |e: lexopt::Error| Failure::new(FAULT, e.to_string(), HINT);
    let word = match parser.next().map_err(usage)? {
        None | Some(Short('h') | Long("help")) => return Ok(Command::Help(HELP)),
        Some(Value(word)) => word.to_string_lossy().into_owned(),
        Some(other) => return Err(usage(other.unexpected())),
    };
    match word.as_str() {
        "help" => Ok(Command::Help(HELP)),
        "evaluate" => {
            evaluate(parser).map_err(|e| Failure::new(FAULT, e.to_string(), EVALUATE_HINT))
        }
        "time" => time(parser).map_err(usage),
        "release" => release(parser).map_err(usage),
        "listen" => listen(parser).map_err(usage),
        other => Err(Failure::new(FAULT, format!("there is no command {other:?}"), HINT)),
    }
}

fn time(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut json = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => json = true,
            Short('h') | Long("help") => return Ok(Command::Help(HELP)),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Time { json })
}

fn release(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    match parser.next()? {
        None => Ok(Command::Release),
        Some(Short('h') | Long("help")) => Ok(Command::Help(HELP)),
        Some(other) => Err(other.unexpected()),
    }
}

fn listen(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let port = parser.value()?.parse()?;
    let mut command: Vec<OsString> = parser.raw_args()?.collect();
    if command.first().is_some_and(|word| word == "--") {
        command.remove(0);
    }
    Ok(Command::Listen { port, command })
}

fn evaluate(mut parser: lexopt::Parser) -> Result<Command, lexopt::Error> {
    let mut options = Evaluate {
        model_path: "final_model".into(),
        fields: Map::new(),
        metrics_file: None,
        samples_file: None,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("model-path") => options.model_path = parser.value()?.into(),
            Long("json-output-file") => options.metrics_file = Some(parser.value()?.into()),
            Long("samples-output-file") => options.samples_file = Some(parser.value()?.into()),
            Long(name @ ("limit" | "max-tokens" | "max-connections")) => {
                let name = name.replace('-', "_");
                let number: u64 = parser.value()?.parse()?;
                options.fields.insert(name, json!(number));
            }
            Long("gpu-memory-utilization") => {
                let share: f64 = parser.value()?.parse()?;
                options.fields.insert("gpu_memory_utilization".to_owned(), json!(share));
            }
            Long("templates-dir") => {
                let dir: OsString = parser.value()?;
                let dir = dir.to_string_lossy();
                options.fields.insert("templates_dir".to_owned(), json!(dir));
            }
            Short('h') | Long("help") => return Ok(Command::Help(EVALUATE_HELP)),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Evaluate(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        let parser = lexopt::Parser::from_args(line.split_whitespace().map(String::from));
        parse(parser).map_err(|f| format!("{} {} {}", f.code, f.message, f.hint))
    }

    #[test]
    fn every_flag_that_agents_know() {
        let line = "evaluate --model-path m --limit 5 --max-tokens=64 --max-connections 2 \
                    --gpu-memory-utilization 0.3 --json-output-file f --templates-dir t";
        let Ok(Command::Evaluate(options)) = parsed(line) else { panic!("{:?}", parsed(line)) };
        let fields = json!({"limit": 5, "max_tokens": 64, "max_connections": 2,
            "gpu_memory_utilization": 0.3, "templates_dir": "t"});
        assert_eq!(options.model_path, PathBuf::from("m"));
        assert_eq!(options.metrics_file, Some(PathBuf::from("f")));
        assert_eq!(serde_json::Value::Object(options.fields), fields);
        assert_eq!(parsed("time --json"), Ok(Command::Time { json: true }));
        assert_eq!(parsed("release"), Ok(Command::Release));
        let command = ["claude", "--print", "--", "x"].map(OsString::from).to_vec();
        let listen = Command::Listen { port: 8377, command };
        assert_eq!(parsed("listen 8377 -- claude --print -- x"), Ok(listen));
        for help in ["", "--help", "help", "time -h"] {
            assert_eq!(parsed(help), Ok(Command::Help(HELP)), "{help}");
        }
        assert_eq!(parsed("evaluate --help"), Ok(Command::Help(EVALUATE_HELP)));
    }

    #[test]
    fn wrong_usage_is_code_2_with_a_hint() {
        for line in [
            "evalute",
            "--json",
            "evaluate x",
            "evaluate --limit",
            "evaluate --limit many",
            "evaluate --limits 5",
            "time --limit 5",
            "release now",
            "evaluate --limit -3",
        ] {
            let message = parsed(line).unwrap_err();
            assert!(message.starts_with("2 ") && message.contains("see ptb-door"), "{message}");
        }
    }
}
