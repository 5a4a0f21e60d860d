//! The small program inside the wall: it asks the harness through its doors.
//!
//! It holds no benchmark, no registry and no answer, links no other crate of the house, and starts in
//! milliseconds. What it prints came through a socket and is made harmless for terminals first.

mod args;
mod http;
mod listen;
mod print;
mod talk;

use std::process::ExitCode;

use args::Command;

/// What to say, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
    hint: String,
}

/// The request or the model is at fault.
const FAULT: u8 = 2;
/// Something else failed.
const FAILED: u8 = 3;

impl Failure {
    fn new(code: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: hint.into() }
    }
}

fn main() -> ExitCode {
    let result = args::parse(lexopt::Parser::from_env()).and_then(|command| match command {
        Command::Help(text) => print::out(text),
        Command::Evaluate(options) => talk::evaluate(&options),
        Command::Time { json } => talk::time(json),
        Command::Release => talk::release(),
        Command::Listen { port, command } => Err(listen::listen(port, &command)),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::note(&format!("error: {}", failure.message));
            if !failure.hint.is_empty() {
                print::note(&format!("hint: {}", failure.hint));
            }
            ExitCode::from(failure.code)
        }
    }
}
