//! What agents leave behind to hinder the harness: the score is recorded all the same.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::runs::{only_run, score};
use support::{Answer, Place, program, wall};

const SUBMIT: &str = "mkdir -p final_model && cp -rL \"$PTB_BASE_MODEL\"/. final_model/\n";
/// A user that owns nothing, for harnesses that are not root.
const NOBODY: u32 = 65534;

/// Runs one agent with few open files, as an ordinary user where `ordinary`.
fn run(script: &str, ordinary: bool) -> Option<(Answer, Value)> {
    if !wall() {
        return None;
    }
    let place = Place::new();
    place.agent("agent", script);
    place.experiment("e", &["agent"], "");
    let folder = place.path();
    for name in ["ptb", "ptb-door"] {
        fs::copy(program().with_file_name(name), folder.join(name)).unwrap();
    }
    let root = rustix::process::geteuid().is_root();
    let as_nobody = ordinary && root;
    if as_nobody {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let owner = format!("{NOBODY}:{NOBODY}");
        assert!(Command::new("chown").args(["-R", &owner]).arg(folder).status().unwrap().success());
    }
    let usual = place.run_command("e", &[]);
    let mut command = Command::new(if as_nobody { "setpriv" } else { "env" });
    if as_nobody {
        command.args([
            format!("--reuid={NOBODY}"),
            format!("--regid={NOBODY}"),
            "--clear-groups".to_owned(),
        ]);
    }
    command.args(["bash", "-c", "ulimit -n 1024; exec \"$@\"", "limited"]).arg(folder.join("ptb"));
    command.args(usual.get_args()).current_dir(folder).env_clear();
    command.envs(usual.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let answer = Answer::of(&place, command.output().unwrap());
    let run = only_run(&folder.join("results"), "e");
    assert!(
        !run.join("attempts/1/task").exists(),
        "the workspace is tidied up: {}",
        answer.shown()
    );
    Some((answer, score(&run)))
}

#[test]
fn folders_without_end() {
    let script = format!("{SUBMIT}perl -e 'for (1..1200) {{ mkdir \"d\"; chdir \"d\" }}'");
    if !Path::new("/usr/bin/perl").exists() {
        return support::skip("perl is not here");
    }
    for ordinary in [false, true] {
        let Some((answer, score)) = run(&script, ordinary) else { return };
        assert_eq!((answer.code, score["mark"].as_str()), (0, None), "{score} {}", answer.shown());
    }
}

#[test]
fn rights_taken_away() {
    for locked in [
        "mkdir -p p/q/r; chmod 000 p/q/r p/q p",
        "chmod 000 final_model/model.safetensors final_model/config.json",
        "chmod 000 final_model",
        "chmod 000 .",
    ] {
        for ordinary in [false, true] {
            let Some((answer, score)) = run(&format!("{SUBMIT}{locked}"), ordinary) else { return };
            let marked = score["mark"].as_str();
            assert_eq!((answer.code, marked), (0, None), "{locked}: {score} {}", answer.shown());
        }
    }
}

#[test]
fn what_is_refused_is_told_by_its_own_fault() {
    for (script, fault) in [
        ("ln -s \"$PTB_BASE_MODEL\" final_model", "symbolic link"),
        ("echo text > final_model", "final_model"),
        ("mkfifo final_model", "final_model"),
    ] {
        let Some((answer, score)) = run(script, false) else { return };
        assert_eq!((answer.code, score["mark"].as_str()), (1, Some("†")), "{}", answer.shown());
        let reason = score["reason"].as_str().unwrap();
        assert!(reason.contains("was refused") && reason.contains(fault), "{reason}");
        assert!(!reason.contains("/runs/"), "no path of the host: {reason}");
    }
}
