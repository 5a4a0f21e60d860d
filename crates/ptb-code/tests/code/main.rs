//! The pool, used and attacked.
//!
//! Files: `attacks` runs every program of `tests/attacks` and counts what is left of it; `honest` has
//! odd programs that must behave; `humaneval` runs the reference data; `life` is about the ends of
//! the pool and of the harness. One trial at a time, because they count processes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test program without the test harness that lints know"
)]

mod attacks;
mod honest;
mod humaneval;
mod life;
mod processes;

use libtest_mimic::{Arguments, Failed, Trial};
use ptb_code::{CodeError, Job, Pool, PoolOptions, Verdict};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    ptb_sandbox::enter_if_helper();
    if std::env::args().nth(1).as_deref() == Some("role") {
        return life::role();
    }
    let mut args = Arguments::from_args();
    args.test_threads = Some(1);
    let missing = match Pool::start(&options(1)) {
        Err(error) if error.is_missing_requirement() => Some(error),
        Err(error) => panic!("{error}"),
        Ok(_) => None,
    };
    let mut trials = Vec::new();
    match missing {
        Some(error) if required() || shared().is_some() => {
            trials.push(Trial::test("a pool", move || Err(Failed::from(error.to_string()))));
        }
        Some(error) => println!("skipped: {error}"),
        None => {
            trials.extend(attacks::trials());
            trials.extend(honest::trials());
            trials.extend(humaneval::trials());
            trials.extend(life::trials());
        }
    }
    libtest_mimic::run(&args, trials).exit_code()
}

/// Whether a test must not be left out for want of something.
fn required() -> bool {
    std::env::var_os("PTB_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// The folder of reference files. Where it is named, none of its tests may be left out.
fn shared() -> Option<PathBuf> {
    std::env::var_os("PTB_SHARED").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Limits that honest programs of these tests keep on a slow machine, and hostile ones soon reach.
fn options(workers: usize) -> PoolOptions {
    PoolOptions {
        workers,
        cpu: Duration::from_secs(1),
        wall_clock: Duration::from_secs(4),
        ..PoolOptions::default()
    }
}

/// A job on the function that the attacks are about.
fn length_job(source: &str) -> Job {
    let tests = "def check(candidate):\n    \
                 assert candidate('abcde') == 5\n    \
                 assert candidate('ab') == 2\n    \
                 assert candidate('') == 0\n    \
                 assert candidate('abcdefg') == 7\n";
    Job {
        source: source.to_owned(),
        entry_point: "length".to_owned(),
        tests: tests.to_owned(),
        ..Job::default()
    }
}

/// The right answer to [`length_job`].
const LENGTH: &str = "def length(text):\n    return len(text)\n";

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(Failed::from(what())) }
}

fn expect_verdict(
    verdict: Result<Verdict, CodeError>,
    passed: bool,
    reason: &str,
) -> Result<(), Failed> {
    let verdict = verdict?;
    ensure(verdict.passed == passed && verdict.reason.contains(reason), || {
        format!("{verdict:?}, not {passed} with {reason:?}")
    })
}
