//! The wall, attacked.
//!
//! Every attempt runs twice: behind the whole wall, where it must fail, and with the one protection
//! it aims at taken away, where it must succeed; else it would prove nothing. The attacker is this
//! program itself, which appears inside as `/opt/ptb/bin/attack` (see `attack`). As root, the whole
//! suite runs again as an ordinary user. Files: `table` has the attempts, `place` the disposable
//! place they run in, `life` what ends and survives, `daily` what must keep working inside, `marks`
//! the search for what must not be visible, `telemetry` what a command uses.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program without the test harness that lints know"
)]

mod attack;
mod daily;
mod life;
mod marks;
mod place;
mod table;
mod telemetry;

use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;

fn main() -> ExitCode {
    ptb_sandbox::enter_if_helper();
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("attack") => return attack::main(&args[2..]),
        Some("role") => return life::role(&args[2..]),
        _ => {}
    }
    let ordinary = std::env::var_os("PTB_WALL_ORDINARY").is_some();
    let mut trials = table::trials();
    trials.extend(life::trials());
    trials.extend(daily::trials());
    trials.extend(marks::trials());
    trials.extend(telemetry::trials());
    if place::is_root() && !ordinary {
        trials.push(Trial::test("all of it as an ordinary user", place::again_as_ordinary_user));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    place::clean();
    conclusion.exit_code()
}
