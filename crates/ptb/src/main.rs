//! `ptb`: parse, call, print. One file per subcommand, no logic.

mod args;
mod commands;
mod fault;
mod print;
mod progress;
mod screen;
mod signals;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::fault::Fault;

fn main() -> std::process::ExitCode {
    // Re-executed as the sandbox's helper: single-threaded, before anything else happens.
    ptb_sandbox::enter_if_helper();
    let cli = Cli::parse();
    print::set_up(cli.verbose);
    let json = cli.command.wants_json();
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::Show(args) => commands::show::run(&args),
        Command::Trace(args) => commands::trace::run(&args),
        Command::Install(args) => commands::install::run(&args),
        Command::List(args) => commands::list::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Score(args) => commands::score::run(&args),
        Command::Contamination(args) => commands::contamination::run(&args),
        Command::Lineage(args) => commands::lineage::run(&args),
        Command::Fingerprint(args) => commands::fingerprint::run(&args),
        Command::Render(args) => commands::render::run(&args),
        Command::ServeModel(args) => commands::serve_model::run(args),
        Command::RandomModel(args) => commands::random_model::run(&args),
    };
    match outcome {
        Ok(code) => code.into(),
        Err(fault) => {
            print::take_down();
            fault.tell(json);
            Fault::code(&fault).into()
        }
    }
}
