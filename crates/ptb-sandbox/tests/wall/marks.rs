//! Marks planted where answers and other people's things lie, searched for from inside.

use crate::place::{Place, run, run_behind};
use libtest_mimic::{Failed, Trial};
use ptb_sandbox::NoWall;
use std::time::{SystemTime, UNIX_EPOCH};

/// Places like those of a real machine, all open to every user.
const PLANTED: [&str; 6] = [
    "clone/registry/benchmarks/answers.toml",
    "data/test.jsonl",
    "cache/huggingface/hub/blobs/blob",
    "results/experiment/runs/other-run/eval/samples.jsonl",
    "home/.config/token",
    "workspace-of-another/final_model/model.safetensors",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("marks: planted outside, not found inside", marks)]
}

fn marks() -> Result<(), Failed> {
    let place = Place::new();
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 2;
    let mut marks = Vec::new();
    for (at, path) in PLANTED.iter().enumerate() {
        let mark = format!("{}-planted-{at}", place.mark);
        let path_here = place.at(path);
        std::fs::create_dir_all(path_here.parent().unwrap())?;
        std::fs::write(&path_here, format!("something {mark} more"))?;
        marks.push(mark.chars().rev().collect::<String>());
    }
    // The environment and arguments of a neighbour count too.
    let neighbour = crate::place::Victim::new(&format!("{}-neighbour", place.mark));
    marks.push(format!("{}-neighbour", place.mark).chars().rev().collect());
    let args = |roots: &[&str]| {
        let fixed = ["search".to_owned(), since.to_string(), marks.join(",")];
        fixed.into_iter().chain(roots.iter().map(|root| (*root).to_owned())).collect::<Vec<_>>()
    };
    let inside = run_behind(place.attack(&args(&["/"]), &[]));
    println!("inside: {}", inside.stdout.trim());
    if !inside.held() {
        return Err(format!("inside: {inside:#?}").into());
    }
    let here = place.text("");
    let outside = place.attack(
        &args(&[&here, &format!("/proc/{}", neighbour.pid())]),
        &[ptb_sandbox::Weakness::HostRoot],
    );
    let outside = run(&NoWall::new(), outside);
    drop(neighbour);
    let found = (0..PLANTED.len())
        .filter(|at| outside.stdout.contains(&format!("{}-planted-{at} ", place.mark)))
        .count();
    let met = outside.stdout.contains("-neighbour in /proc/");
    if found == PLANTED.len() && met {
        Ok(())
    } else {
        Err(format!("without a wall all should be found: {outside:#?}").into())
    }
}
