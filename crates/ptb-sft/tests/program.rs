//! The program from outside: kills, signals, deadlines, the door, what it prints, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use common::{Home, Told, chats, copies, eventually, tensors, weights};
use rustix::process::{Pid, Signal, kill_process};

/// Reads the program's lines until one holds `part`.
fn until(child: &mut Child, part: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        lines.push(line.unwrap());
        if lines.last().unwrap().contains(part) {
            return lines;
        }
    }
    panic!("{part} did not come: {lines:#?}");
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn it_says_what_it_does_in_short_lines() {
    let home = Home::new();
    home.write_data(&chats(40));
    let told = home.run("--steps 6 --threads 2 --batch-tokens 600");
    assert_eq!((told.code, told.err.as_str()), (Some(0), ""), "{told:?}");
    let lines: Vec<&str> = told.out.lines().collect();
    assert_eq!(lines[0], "model base: trains all 55,600 parameters, 2 threads");
    assert!(
        lines[1].starts_with("data 40 examples, ") && lines[1].ends_with("% padding"),
        "{}",
        lines[1]
    );
    assert!(
        lines
            .iter()
            .any(|l| l.starts_with("step 6/6  loss ") && l.contains(" tokens/s  0:00 left")),
        "{lines:?}"
    );
    assert_eq!(lines.last(), Some(&"out is the model after step 6"));
    assert!(lines.iter().all(|l| l.len() < 80), "{lines:#?}");

    let json = home.run("--steps 6 --threads 2 --batch-tokens 600 --json");
    let events: Vec<serde_json::Value> =
        json.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(events[0]["event"], "begin");
    let last = events.last().unwrap();
    assert_eq!(
        (&last["event"], &last["end"], &last["best"]["step"]),
        (&"end".into(), &"finished".into(), &6.into())
    );
    assert!(events.iter().any(|e| e["event"] == "step" && e["step"] == 6 && e["loss"].is_number()));
}

#[test]
fn faults_of_the_command_the_data_and_the_base_are_code_2_with_a_hint() {
    let home = Home::new();
    home.write_data("{\"text\":\"fine\"}\nnot json\n");
    let told = home.run("--steps 3");
    assert_eq!(told.code, Some(2));
    assert!(told.err.contains("error: 1 line is faulty in data.jsonl\n  line 2: "), "{}", told.err);
    assert!(told.err.contains("\nhint: "), "{}", told.err);
    home.write_data(&copies(10));
    for (flags, part) in [
        ("--steps many", "--steps is \"many\""),
        ("--data none.jsonl", "failed to read the data in none.jsonl"),
        ("--data base", "no regular file"),
        ("--base nowhere", "nowhere"),
        ("--max-length 2", "longer than 2 tokens"),
        ("--out data.jsonl", "--out is data.jsonl, which contains the data"),
    ] {
        let told = home.run(&format!("--steps 2 {flags}"));
        assert_eq!(told.code, Some(2), "{flags}: {told:?}");
        assert!(told.err.contains(part) && told.err.contains("hint: "), "{flags}: {}", told.err);
        assert!(told.err.starts_with("error: "), "{flags}: {}", told.err);
    }
    assert_eq!(home.names(), ["base", "data.jsonl"]);
    let told = home.run("--steps 60 --lr 10 --clip 0 --warmup 0 --weight-decay 100");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.out.contains("diverged") && told.out.contains("out is as it was"), "{}", told.out);
    assert_eq!(home.names(), ["base", "data.jsonl"]);
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_bytes() {
    for method in ["", "--lora 4"] {
        let flags = format!(
            "--steps 120 --seed 4 --lr 3e-3 --batch-tokens 300 --validation 0.1 --evaluate-every 16 {method}"
        );
        let whole = Home::new();
        whole.write_data(&chats(60));
        assert_eq!(whole.run(&flags).code, Some(0));

        let home = Home::new();
        home.write_data(&chats(60));
        let flags = format!("{flags} --checkpoints state --checkpoint-every 7 --json");
        let mut reached = 0;
        for kill in 0..4 {
            let mut child = home.spawn(&flags);
            // Each life is longer than the one before, and dies wherever it is then.
            let mine = format!("\"checkpoint\",\"step\":{}", 7 * (2 + 4 * kill));
            let lines = until(&mut child, &mine);
            signal(&child, Signal::KILL);
            child.wait().unwrap();
            let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
            assert!(first["resumed"].as_u64().unwrap_or(0) >= reached, "{first}");
            reached = 7 * (2 + 4 * kill);
            let states = fs::read_dir(home.path("state")).unwrap().count();
            assert!((1..=3).contains(&states), "{states} checkpoints");
        }
        // A torn file of a later step is no checkpoint.
        fs::write(home.path("state/step-0000000999.safetensors"), b"torn").unwrap();
        let told = home.run(&flags);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(
            told.out.contains("passed over") && told.out.contains("\"resumed\":"),
            "{}",
            told.out
        );
        assert!(weights(&home.path("out")) == weights(&whole.path("out")), "{method}");
        assert_eq!(home.names(), ["base", "data.jsonl", "out"]);
    }
}

#[test]
fn checkpoints_of_another_training_are_refused() {
    let home = Home::new();
    home.write_data(&copies(50));
    let mut child = home.spawn("--steps 100000 --checkpoints state --checkpoint-every 2");
    until(&mut child, "checkpoint after");
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let told = home.run("--steps 100000 --checkpoints state --seed 9");
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(
        told.err.contains("settings are not those") && told.err.contains("remove state"),
        "{}",
        told.err
    );
    // So are those of another architecture over the same weights.
    let path = home.path("base/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["rms_norm_eps"] = 1e-3.into();
    fs::write(path, config.to_string()).unwrap();
    let told = home.run("--steps 100000 --checkpoints state");
    assert!(told.code == Some(2) && told.err.contains("settings are not those"), "{told:?}");
}

#[test]
fn a_first_signal_saves_and_a_second_ends_at_once() {
    for (number, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let home = Home::new();
        home.write_data(&copies(50));
        let mut child = home.spawn("--steps 100000 --checkpoints state --lr 1e-3");
        until(&mut child, "step ");
        signal(&child, number);
        let told = Told::of(&child.wait_with_output().unwrap());
        assert_eq!(told.code, Some(code), "{told:?}");
        assert!(
            told.out.contains("stopped by signal") && told.out.contains("out is the model after"),
            "{}",
            told.out
        );
        assert!(ptb_model::check_model_dir(home.path("out")).is_ok());
        assert!(tensors(&home.path("out")) != tensors(&home.path("base")));
        // What it had reached is not lost.
        let mut child = home.spawn("--steps 100000 --checkpoints state --lr 1e-3");
        until(&mut child, "continues after step");
        signal(&child, Signal::KILL);
        child.wait().unwrap();
    }
    // In the middle of an evaluation that does not end, the first signal ends that and keeps its model.
    let home = Home::new();
    home.write_data(&copies(50));
    door(&home, "echo generating 1/9 >&2; exec sleep 600");
    let mut child = home.spawn("--steps 100000 --evaluate-every 2 --door ./door");
    until(&mut child, "generating 1/9");
    signal(&child, Signal::TERM);
    let told = Told::of(&child.wait_with_output().unwrap());
    assert_eq!(told.code, Some(143), "{told:?}");
    assert!(ptb_model::check_model_dir(home.path("out")).is_ok());
}

/// A program that answers like ptb-door: `evaluate` by these lines of shell, `time` with an hour.
fn door(home: &Home, evaluate: &str) {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = time ]; then echo '{{\"remaining_seconds\": 3600}}'; exit; fi\n{evaluate}\n"
    );
    fs::write(home.path("door"), script).unwrap();
    fs::set_permissions(home.path("door"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_best_by_the_door_is_kept_and_patience_ends() {
    let home = Home::new();
    home.write_data(&copies(50));
    // The second look is the best; each look's model is kept aside to compare with.
    door(
        &home,
        "n=$(ls -d seen-* 2>/dev/null | wc -l); cp -r \"$3\" seen-$n; echo \"$@\" >>asked\n\
         set -- 0.25 0.5 0.375 0.125 0.0625; shift $n; echo \"{\\\"accuracy\\\": $1}\"",
    );
    let told =
        home.run("--steps 100 --evaluate-every 3 --evaluate-limit 7 --patience 3 --door ./door");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("look after step 6: accuracy 0.5000, saved"), "{}", told.out);
    assert!(told.out.contains("look after step 9: accuracy 0.3750, not better"), "{}", told.out);
    assert!(told.out.contains("ended early, nothing better came: 15 steps"), "{}", told.out);
    assert!(told.out.ends_with("out is the model after step 6, accuracy 0.5000\n"), "{}", told.out);
    assert_eq!(weights(&home.path("out")), weights(&home.path("seen-1")));
    assert_ne!(weights(&home.path("out")), weights(&home.path("seen-4")));
    let asked = fs::read_to_string(home.path("asked")).unwrap();
    let asked: Vec<&str> = asked.lines().collect();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[0], "evaluate --model-path out --limit 7");
    assert_eq!(asked[1], "evaluate --model-path out.candidate --limit 7");
    assert!(
        !home.names().iter().any(|n| n.contains("candidate") || n.contains("partial")),
        "{:?}",
        home.names()
    );
}

/// Killed between checkpoints by the clock, when two models were kept: what the place holds is known to whoever
/// goes on, and a worse one does not replace it. Where nothing is measured any more, the newest does.
#[test]
fn the_best_before_a_kill_is_the_best_after_it() {
    for (flags, end) in [
        ("--door ./door", "out is the model after step 4, accuracy 0.7000\n"),
        ("--no-door", "out is the model after step 12\n"),
    ] {
        let home = Home::new();
        home.write_data(&copies(50));
        door(
            &home,
            "echo x >>asked; case $(wc -l <asked) in 1) a=0.5;; 2) a=0.7; cp -r \"$3\" second;;\n\
             3) echo third >&2; exec sleep 5;; *) a=0.6;; esac; echo \"{\\\"accuracy\\\": $a}\"",
        );
        let common = "--steps 12 --checkpoints state --checkpoint-every 1000";
        let mut child = home.spawn(&format!("{common} --evaluate-every 2 --door ./door"));
        until(&mut child, "evaluating: third");
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        assert_eq!(weights(&home.path("out")), weights(&home.path("second")));
        let _ = fs::remove_dir_all(home.path("out.candidate"));
        let told = home.run(&format!("{common} --evaluate-every 2 {flags}"));
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.out.contains("continues after step 4\n"), "{}", told.out);
        assert!(told.out.ends_with(end), "{}", told.out);
        let same = weights(&home.path("out")) == weights(&home.path("second"));
        assert_eq!(same, flags == "--door ./door");
    }
}

#[test]
fn looks_that_fail_do_not_use_up_patience() {
    let home = Home::new();
    home.write_data(&copies(50));
    door(
        &home,
        "echo x >>asked; case $(wc -l <asked) in 1) a=0.5;; 2|3|4) exit 3;; 5) a=0.6;; *) a=0.1;; esac\n\
         echo \"{\\\"accuracy\\\": $a}\"",
    );
    let told = home.run("--steps 100 --evaluate-every 3 --patience 2 --door ./door");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("look after step 15: accuracy 0.6000, saved"), "{}", told.out);
    assert!(told.out.contains("ended early, nothing better came: 21 steps"), "{}", told.out);
}

#[test]
fn a_door_that_fails_costs_no_model() {
    let home = Home::new();
    home.write_data(&copies(50));
    door(&home, "echo 'error: the engine is ill' >&2; exit 3");
    let told = home.run("--steps 6 --evaluate-every 2 --door ./door");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.out.contains("note: the evaluation failed: the engine is ill"), "{}", told.out);
    assert!(told.out.contains("out is the model after step 6"), "{}", told.out);
}

#[test]
fn the_deadline_cuts_the_schedule_and_the_model_lies_there_before() {
    let home = Home::new();
    home.write_data(&copies(200));
    let begun = Instant::now();
    let told = home.run("--steps 10000000 --minutes 0.1 --reserve 2");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(begun.elapsed().as_secs_f64() < 6.0, "{:?}", begun.elapsed());
    assert!(told.out.contains("ended by the clock"), "{}", told.out);
    assert!(ptb_model::check_model_dir(home.path("out")).is_ok());
    // A run's clock counts as well, and a schedule by time fills what there is.
    fs::write(home.path("door"), "#!/bin/sh\necho '{\"remaining_seconds\": 5}'\n").unwrap();
    fs::set_permissions(home.path("door"), fs::Permissions::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    let told = home.run("--minutes 60 --door ./door");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(begun.elapsed().as_secs_f64() < 5.0, "{:?}", begun.elapsed());
    assert!(
        told.out.contains("time 0:04 left in all") && told.out.contains("\ndone: "),
        "{}",
        told.out
    );
}

#[test]
fn a_look_never_leaves_the_place_empty_or_half() {
    let home = Home::new();
    home.write_data(&copies(50));
    let mut child = home.spawn("--steps 100000 --evaluate-every 1 --validation 0.1");
    let mut seen = 0;
    eventually("models come", || {
        // A model that is replaced while it is read loses its files; the one that is there then is looked at next.
        if let Some(before) = identity(&home.path("out")) {
            let facts = ptb_model::check_model_dir(home.path("out"));
            let after = identity(&home.path("out")).expect("a model stays in the place");
            assert!(facts.is_ok() || after != before, "{facts:?}");
            seen += u32::from(facts.is_ok());
        }
        seen > 300
    });
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    assert!(ptb_model::check_model_dir(home.path("out")).is_ok());
}

/// What tells a folder from the one that took its place: inode numbers alone are used again.
fn identity(path: &Path) -> Option<(u64, i64, i64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

#[test]
fn the_agent_makes_its_data_and_leaves_a_model() {
    let home = Home::new();
    let run = |benchmark: &str, flags: &str| {
        let mut command = std::process::Command::new(common::PROGRAM);
        command.arg("solve").args(flags.split_whitespace()).current_dir(home.0.path());
        command.env("PTB_DOOR_SOCKET", home.path("no.sock")).env("PTB_BENCHMARK", benchmark);
        command.env("PTB_BASE_MODEL", home.path("base")).env("PTB_HOURS", "0.5");
        Told::of(&command.output().unwrap())
    };
    let told = run("gsm8k", "");
    assert_eq!(told.code, Some(2));
    assert!(
        told.err.contains("knows how to solve arithmetic, and the benchmark is gsm8k"),
        "{}",
        told.err
    );
    let told = run("arithmetic", "--steps 3 --examples 200 --lr 0");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(tensors(&home.path("final_model")), tensors(&home.path("base")));
    let data = fs::read_to_string(home.path("sft-data.jsonl")).unwrap();
    assert_eq!(data.lines().count(), 200);
    let told = run("arithmetic", "--steps 3 --examples 200 --seed 1");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_ne!(tensors(&home.path("final_model")), tensors(&home.path("base")));
    assert_ne!(fs::read_to_string(home.path("sft-data.jsonl")).unwrap(), data);
    assert_eq!(home.names(), ["base", "final_model", "sft-data.jsonl"]);
}

/// Too many steps for the time: the rate has fallen to its floor when the clock ends the training.
#[test]
fn a_schedule_too_long_for_its_time_is_shortened() {
    let home = Home::new();
    home.write_data(&copies(200));
    let told = home.run("--steps 10000000 --minutes 0.1 --reserve 1 --lr 1e-3 --json");
    assert_eq!(told.code, Some(0), "{told:?}");
    let events: Vec<serde_json::Value> =
        told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = events.iter().rfind(|event| event["event"] == "step").unwrap();
    assert!(last["lr"].as_f64().unwrap() < 3e-4, "{last}");
    assert!(told.out.contains("shortened"), "{}", told.out);
}
