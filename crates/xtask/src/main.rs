//! Chores of this repository that cargo alone cannot do.
//!
//! `cargo quickstart` builds all programs in release (the main one finds the small ones beside itself)
//! and runs the quick start's experiment. Further arguments go to `ptb run`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Programs that a working installation has side by side.
const PROGRAMS: &[&str] = &["ptb", "ptb-door", "ptb-sft"];
fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_deref().and_then(OsStr::to_str) {
        Some("quickstart") => quickstart(arguments.collect()),
        _ => {
            say("usage: cargo quickstart [arguments of `ptb run`]");
            ExitCode::from(2)
        }
    }
}

fn quickstart(arguments: Vec<OsString>) -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(&root).args(["build", "--release"]);
    for program in PROGRAMS {
        build.args(["--package", program]);
    }
    if let Err(code) = run(&mut build) {
        return code;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let ptb = target.join("release/ptb");
    let mut experiment = Command::new(&ptb);
    experiment
        .arg("run")
        .arg(root.join("examples/quickstart.toml"))
        .arg("--registry")
        .arg(root.join("registry"));
    match run(experiment.args(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

/// Runs a command to its end; its exit code is ours.
fn run(command: &mut Command) -> Result<(), ExitCode> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            Err(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(130)))
        }
        Err(e) => {
            say(&format!("cannot start {}: {e}", command.get_program().display()));
            Err(ExitCode::from(3))
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program talks to its user")]
fn say(text: &str) {
    eprintln!("{text}");
}
