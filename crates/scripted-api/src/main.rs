//! The scripted model API as a program, for trials by hand and for shell scripts.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use scripted_api::Plan;

const HELP: &str = r#"scripted-api: a model API on loopback that plays an agent's model from a plan

  --plan FILE    the plan, as JSON
  --port N       the port (default: 0, any); the address is the first line of stdout

A plan, every field optional:
  {"key": "the key that requests must have", "models": ["listed"],
   "turns": [{"think": "..", "say": "..", "run": ["a shell command", ".."], "before_ms": 0, "between_ms": 0,
              "fault": {"name": "internal"}, "times": 2}],
   "repeat_last": false,
   "faults": [{"fault": {"name": "rate-limited", "retry_after": 1}, "next": 3},
              {"fault": {"status": 403, "kind": "permission_error", "message": ".."}, "from_turn": 2}]}

Faults: rate-limited, internal, overloaded, cut-stream, error-in-stream, closed, hang (with "seconds"), credit-gone,
key-revoked, forbidden; or any status with kind and message.

GET /script/ledger tells what was asked and what it cost, GET /script/requests what was sent.
It serves until it is killed.
"#;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut port, mut plan) = (0, None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("port") => port = parser.value()?.parse()?,
            Long("plan") => plan = Some(PathBuf::from(parser.value()?)),
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let plan = plan.map_or_else(|| Ok(Plan::default()), |path| Plan::read(&path))?;
    let api = plan.start(port)?;
    println!("{}", api.url());
    loop {
        std::thread::park();
    }
}
