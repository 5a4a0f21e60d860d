//! The program: reads the command line, trains, and prints what is told.

mod args;
mod memory;
mod print;
mod solve;

use std::process::ExitCode;

use args::{Command, Train};
use print::Printer;
use ptb_sft::{Data, Door, Encoder, SftError, Stop};

fn main() -> ExitCode {
    let code = args::parse(lexopt::Parser::from_env()).and_then(|command| match command {
        Command::Help(text) => print::out(text),
        Command::Train(options) => train(&options),
        Command::Solve(options) => solve::solve(&options),
    });
    match code {
        Ok(code) => ExitCode::from(code),
        Err(e) => {
            print::note(&format!("error: {}", e.message));
            print::note(&format!("hint: {}", e.hint));
            ExitCode::from(e.exit_code())
        }
    }
}

fn train(options: &Train) -> Result<u8, SftError> {
    let stop = Stop::on_signals()?;
    let settings = &options.settings;
    let encoder = Encoder::new(&settings.base, options.max_length, options.too_long)?;
    let data = Data::read(&options.data, &encoder)?;
    let door = match &options.door {
        args::DoorChoice::Find => Door::find(),
        args::DoorChoice::None => None,
        args::DoorChoice::Program(path) => Some(Door::with_program(path)),
    };
    let mut printer = Printer::new(options.json);
    let mut tell = |event: ptb_sft::Event<'_>| printer.tell(&event);
    let outcome = ptb_sft::train(settings, data, &encoder, door.as_ref(), &stop, &mut tell)?;
    printer.end(&outcome, &settings.out);
    Ok(outcome.exit_code())
}
