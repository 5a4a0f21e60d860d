//! What a mistyped flag or a second training could cost, and does not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Home, Told, copies, eventually, weights};
use ptb_model::RandomModel;
use rustix::process::{Pid, Signal, kill_process};

/// Everything below a directory, with what is in it.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            all.push((format!("{name}/"), Vec::new()));
            all.extend(tree(&path).into_iter().map(|(n, c)| (format!("{name}/{n}"), c)));
        } else {
            all.push((name, fs::read(path).unwrap_or_default()));
        }
    }
    all.sort();
    all
}

/// A folder with a base in three places, data and a project, and links to them.
fn crowded() -> Home {
    let home = Home::new();
    home.write_data(&copies(20));
    for dir in ["proj/src", "with/base", "data", "with-config", "empty", "logs"] {
        fs::create_dir_all(home.path(dir)).unwrap();
    }
    for (name, _) in tree(&home.path("base")) {
        for to in ["with/base", "with"] {
            fs::copy(home.path("base").join(&name), home.path(to).join(&name)).unwrap();
        }
    }
    fs::copy(home.path("data.jsonl"), home.path("data/tokenizer.json")).unwrap();
    for dir in ["proj", "data", "with-config", "logs"] {
        fs::write(home.path(dir).join("config.json"), "{}").unwrap();
    }
    fs::write(home.path("proj/src/main.rs"), "fn main() {}").unwrap();
    fs::write(home.path("with-config/notes.txt"), "mine").unwrap();
    symlink("base", home.path("link")).unwrap();
    home
}

#[test]
fn places_whose_loss_would_hurt_are_refused_before_training() {
    let home = crowded();
    let before = tree(home.0.path());
    for (flags, part) in [
        ("--out proj", "`src` is no file of one"),
        ("--out with-config", "`notes.txt` is no file of one"),
        ("--out base", "is the base model"),
        ("--out base/", "is the base model"),
        ("--out ./data/../base", "is the base model"),
        ("--out link", "is the base model"),
        ("--base link --out link", "is the base model"),
        ("--base link --out base", "is the base model"),
        ("--base with/base --out with", "contains the base model"),
        ("--out base/new", "lies inside of the base model"),
        ("--out link/new", "lies inside of the base model"),
        ("--data data/tokenizer.json --out data", "contains the data"),
        ("--checkpoints logs/state --out logs", "contains the checkpoints"),
        ("--checkpoints logs --out logs", "contains the checkpoints"),
        ("--out /", "contains the base model"),
        ("--out .", "contains the base model"),
        ("--out ..", "contains the base model"),
        ("--out empty/..", "contains the base model"),
        ("--out data.jsonl", "contains the data"),
        ("--out data.jsonl/x", "make the directory data.jsonl"),
        ("--out proj/src/main.rs", "it is a file"),
    ] {
        let told = home.run(&format!("--steps 2 {flags}"));
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{flags}: {told:?}");
        assert!(told.err.contains(part) && told.err.contains("hint: "), "{flags}: {}", told.err);
        assert!(tree(home.0.path()) == before, "{flags}");
    }
    // A place that begins with one that is not there yet leads where it leads.
    let told = home.run("--steps 2 --out nowhere/../base");
    assert!(told.code == Some(2) && told.err.contains("is the base"), "{told:?}");
    fs::remove_dir(home.path("nowhere")).unwrap();
    assert!(tree(home.0.path()) == before);
    // An empty directory, a new one, and a model are places.
    for out in ["empty", "empty", "new/deep"] {
        assert_eq!(home.run(&format!("--steps 2 --out {out}")).code, Some(0), "{out}");
        assert!(ptb_model::check_model_dir(home.path(out)).is_ok());
    }
}

#[test]
fn only_candidates_of_its_own_are_removed() {
    let home = Home::new();
    home.write_data(&copies(20));
    let door = "#!/bin/sh\nif [ \"$1\" = time ]; then echo '{\"remaining_seconds\": 3600}'; exit; fi\n\
                ls -A \"$3\" >>seen; echo '{\"accuracy\": 0.5}'\n";
    fs::write(home.path("door"), door).unwrap();
    fs::set_permissions(home.path("door"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(home.path("out.candidate/deep")).unwrap();
    for name in ["config.json", "generation_config.json", "mine"] {
        fs::write(home.path("out.candidate").join(name), "mine").unwrap();
    }
    let before = tree(&home.path("out.candidate"));
    let told = home.run("--steps 4 --evaluate-every 2 --door ./door");
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{told:?}");
    assert!(told.err.contains("out.candidate to be evaluated, which is there already"), "{told:?}");
    // Without looks, or where the data decide, it is not needed.
    assert_eq!(home.run("--steps 2 --door ./door").code, Some(0));
    assert_eq!(home.run("--steps 2 --evaluate-every 1 --validation 0.1").code, Some(0));
    assert!(tree(&home.path("out.candidate")) == before);
    // One that a killed training left.
    fs::remove_dir_all(home.path("out.candidate")).unwrap();
    fs::create_dir(home.path("out.candidate")).unwrap();
    fs::write(home.path("out.candidate/.ptb-sft-candidate"), "").unwrap();
    let told = home.run("--steps 4 --evaluate-every 2 --door ./door");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(!home.path("out.candidate").exists());
    assert!(!home.path("out/.ptb-sft-candidate").exists());
    let seen = fs::read_to_string(home.path("seen")).unwrap();
    assert_eq!(seen.matches(".ptb-sft-candidate").count(), 1, "{seen}");
}

#[test]
fn bases_that_do_not_hold_together_are_named() {
    let home = Home::new();
    home.write_data(&copies(20));
    let config = fs::read_to_string(home.path("base/config.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&config).unwrap();
    for (key, value, part) in [
        ("hidden_size", Some(1), "tensor `model.embed_tokens.weight` has shape"),
        ("intermediate_size", Some(1), "gate_proj.weight` has shape [80, 48], and config.json"),
        ("num_key_value_heads", Some(1), "k_proj.weight` has shape [32, 48], and config.json"),
        (
            "head_dim",
            None,
            "q_proj.weight` has shape [64, 48], and config.json calls for [512, 48]",
        ),
        ("num_hidden_layers", Some(3), "layers.2.input_layernorm.weight` is missing"),
    ] {
        let mut changed = whole.clone();
        match value {
            Some(value) => changed[key] = value.into(),
            None => drop(changed.as_object_mut().unwrap().remove(key)),
        }
        fs::write(home.path("base/config.json"), changed.to_string()).unwrap();
        let told = home.run("--steps 2");
        assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{key}: {told:?}");
        assert!(told.err.contains(part) && told.err.contains("hint: "), "{key}: {}", told.err);
        assert!(told.err.lines().count() <= 3, "{key}: {}", told.err);
    }
    // Fewer layers than there are: the rest would be lost in silence.
    let mut fewer = whole.clone();
    fewer["num_hidden_layers"] = 1.into();
    fs::write(home.path("base/config.json"), fewer.to_string()).unwrap();
    let told = home.run("--steps 2");
    let part = "note: 11 tensors of the base are not called for by its config.json (1 layers)";
    assert!(told.code == Some(0) && told.out.contains(part), "{told:?}");
    fs::write(home.path("base/config.json"), config).unwrap();
    assert!(!home.run("--steps 2").out.contains("note:"));
    // What is copied at the end is looked at before.
    let pipe = home.path("base/tokenizer_config.json");
    let _ = fs::remove_file(&pipe);
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let told = home.run("--steps 2");
    assert_eq!((told.code, told.out.as_str()), (Some(2), ""), "{told:?}");
    assert!(told.err.contains("tokenizer_config.json: it is not a regular file"), "{told:?}");
}

#[test]
fn two_trainings_do_not_share_checkpoints_and_a_kill_leaves_nothing_else() {
    let home = Home::with(&RandomModel { hidden_size: 256, ..RandomModel::mini(1) });
    home.write_data(&copies(50));
    let flags = "--checkpoints state --checkpoint-every 1 --batch-tokens 30";
    for _ in 0..8 {
        let mut first = home.spawn(&format!("{flags} --steps 100000 --minutes 1"));
        let names = || tree(&home.path("state")).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
        let mut told = BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(told.any(|line| line.starts_with("checkpoint after")));
        // Somebody must listen, or the first would wait for that.
        let listener = std::thread::spawn(move || told.count());
        let second = home.run(&format!("{flags} --steps 3"));
        assert_eq!(second.code, Some(2), "{second:?}");
        assert!(
            second.err.contains("another training uses the checkpoints in state"),
            "{second:?}"
        );
        first.kill().unwrap();
        first.wait().unwrap();
        listener.join().unwrap();
        let known = |n: &String| {
            n.starts_with("step-") && (n.ends_with(".safetensors") || n.ends_with(".partial"))
        };
        assert!(names().iter().all(known), "{:?}", names());
    }
}

#[test]
fn a_first_signal_ends_the_reading_of_data() {
    let home = Home::new();
    let mut data = fs::File::create(home.path("data.jsonl")).unwrap();
    let lines = copies(20_000);
    for _ in 0..40 {
        data.write_all(lines.as_bytes()).unwrap();
    }
    let mut command = home.command("--steps 2 --threads 1");
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The handlers are there before the data are opened.
    let open = |fd: fs::DirEntry| fs::read_link(fd.path()).is_ok_and(|p| p.ends_with("data.jsonl"));
    eventually("the data are open", || {
        let fds = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        fds.flatten().any(open)
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!((told.code, told.out.as_str()), (Some(143), ""), "{told:?}");
    assert!(!home.path("out").exists());
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_told() {
    let home = Home::new();
    home.write_data(&copies(50));
    let flags = "--steps 300 --checkpoints state --checkpoint-every 4 --lr 1e-3";
    assert_eq!(home.run(&flags.replace("state", "other")).code, Some(0));
    let whole = weights(&home.path("out"));
    let mut child = home.spawn(&flags.replace("--steps 300", "--steps 300 --threads 1"));
    eventually("checkpoints come", || {
        home.path("state").exists() && fs::read_dir(home.path("state")).unwrap().count() > 1
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let mut names: Vec<_> =
        fs::read_dir(home.path("state")).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    names.sort();
    let newest = names.last().unwrap();
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, bytes).unwrap();
    let told = home.run(flags);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("its bytes are not those that were written"), "{}", told.out);
    assert!(weights(&home.path("out")) == whole);
}
