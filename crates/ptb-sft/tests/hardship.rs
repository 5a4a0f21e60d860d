//! Disks without room and memory that ends: the model that was there before stays whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::process::Command;

use common::{Home, PROGRAM, Told, copies, skipped, weights};

/// Runs lines of shell in this folder, with the program's path as `$0`.
fn shell(home: &Home, lines: &str, inside: &[&str]) -> Told {
    let words = inside.iter().copied().chain(["sh", "-c", lines, PROGRAM]);
    let words: Vec<&str> = words.collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(home.0.path());
    command.env("PTB_DOOR_SOCKET", home.path("no.sock"));
    Told::of(&command.output().unwrap())
}

#[test]
fn a_full_disk_is_told_and_costs_no_model() {
    let namespaces =
        Command::new("unshare").args(["-Urm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !namespaces.is_ok_and(|o| o.status.success()) {
        return skipped("user and mount namespaces cannot be had");
    }
    let home = Home::new();
    home.write_data(&copies(60));
    std::fs::create_dir(home.path("disk")).unwrap();
    // Room for one model, and not for a second beside it, which replacing it whole needs.
    let lines = "mount -t tmpfs -o size=400k none disk
        \"$0\" --base base --data data.jsonl --out disk/out --steps 3 || exit 90
        cp disk/out/model.safetensors before; ls -A disk >names
        \"$0\" --base base --data data.jsonl --out disk/out --steps 9 --evaluate-every 4 --seed 5
        echo code $?; ls -A disk | cmp - names && cmp before disk/out/model.safetensors && echo as before
        \"$0\" --base base --data data.jsonl --out there --steps 9 --checkpoints disk --checkpoint-every 4
        echo code $?; ls -A disk | cmp - names && echo as before";
    let told = shell(&home, lines, &["unshare", "-Urm"]);
    let lines: Vec<&str> = told.out.lines().collect();
    let at = lines.iter().position(|l| *l == "code 3").unwrap_or_else(|| panic!("{told:?}"));
    assert_eq!(lines.get(at + 1), Some(&"as before"), "{told:?}");
    assert!(told.err.contains("error: failed to save the model to disk/out: "), "{}", told.err);
    assert!(told.err.contains("hint: the disk is full: "), "{}", told.err);
    // Checkpoints are a help that training does without.
    assert!(
        told.out.contains("note: training goes on: failed to write the checkpoint"),
        "{}",
        told.out
    );
    assert_eq!(lines[lines.len() - 2..], ["code 0", "as before"], "{told:?}");
    assert!(ptb_model::check_model_dir(home.path("there")).is_ok());
}

#[test]
fn a_limit_on_files_is_told_and_costs_no_model() {
    let home = Home::new();
    home.write_data(&copies(60));
    // Blocks of 512 bytes: a model has 223 KB, a checkpoint three times as many.
    let lines = "run() { \"$0\" --base base --data data.jsonl --steps 9 \"$@\"; echo code $?; }
        ulimit -f 900; run --out out --checkpoints state --checkpoint-every 4
        ulimit -f 300; run --out out --seed 5; run --out new";
    let told = shell(&home, lines, &["env"]);
    let codes: Vec<&str> = told.out.lines().filter(|l| l.starts_with("code ")).collect();
    assert_eq!(codes, ["code 0", "code 3", "code 3"], "{told:?}");
    let note = "note: training goes on: failed to write the checkpoint state/step-0000000004";
    assert!(told.out.contains(note), "{}", told.out);
    assert!(told.err.contains("hint: files may not be so large here"), "{}", told.err);
    assert!(ptb_model::check_model_dir(home.path("out")).is_ok());
    assert_eq!(home.names(), ["base", "data.jsonl", "out"]);
}

#[test]
fn memory_that_ends_costs_no_model() {
    let home = Home::new();
    home.write_data(&copies(60));
    assert_eq!(home.run("--steps 3").code, Some(0));
    let before = weights(&home.path("out"));
    // One row cannot be split into shards, and its activations do not fit.
    let long = format!("{{\"text\":\"{}\"}}\n", "lorem ipsum ".repeat(2600));
    home.write_data(&long);
    let lines = "export RUST_BACKTRACE=1; ulimit -v 550000; exec \"$0\" --base base --data data.jsonl --out out --steps 3 \
                 --max-length 32000 --threads 2 --checkpoints state --checkpoint-every 1";
    let told = shell(&home, lines, &["env"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.err.starts_with("error: memory ran out: "), "{}", told.err);
    assert!(!told.err.contains("backtrace") && told.err.lines().count() <= 3, "{}", told.err);
    assert_eq!(weights(&home.path("out")), before);
    // Whatever it left is out of the way of the next.
    home.write_data(&copies(60));
    assert_eq!(home.run("--steps 3 --seed 8 --checkpoints state").code, Some(0));
    assert_eq!(home.names(), ["base", "data.jsonl", "out"]);
}
