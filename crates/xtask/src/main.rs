//! Chores of this repository that cargo alone cannot do.
//!
//! `cargo quickstart` builds all programs in release (the main one finds the small ones beside itself)
//! and runs the quick start's experiment. Further arguments go to `ptb run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
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
    let Some(target) = target() else {
        say("cannot tell where cargo builds; hint: run it as `cargo quickstart`");
        return ExitCode::from(3);
    };
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(&root).args(["build", "--release", "--target-dir"]).arg(&target);
    // What cargo told this program of its own package would look like a change to build scripts that ask for it.
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_of_package(name)) {
        build.env_remove(name);
    }
    for program in PROGRAMS {
        build.args(["--package", program]);
    }
    if let Err(code) = run(&mut build) {
        return code;
    }
    say("Four agents on one tiny model: about a minute. Results go to results/quickstart.\n");
    let mut experiment = Command::new(target.join("release/ptb"));
    // In the place of this process: Ctrl-C is for one program, and the shell waits for it.
    let failed = experiment
        .current_dir(&root)
        .arg("run")
        .arg("examples/quickstart.toml")
        .args(arguments)
        .exec();
    say(&format!("cannot start {}: {failed}", experiment.get_program().display()));
    ExitCode::from(3)
}

fn is_of_package(variable: &OsStr) -> bool {
    let name = variable.to_string_lossy();
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Where cargo builds, however that was set: this program lies in `TARGET/PROFILE/`.
fn target() -> Option<PathBuf> {
    let this = std::env::current_exe().ok()?;
    Some(this.parent()?.parent()?.to_owned())
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
