//! What is left when a pool ends, in order or not.

use crate::{LENGTH, ensure, expect_verdict, length_job, options, processes};
use libtest_mimic::{Failed, Trial};
use ptb_code::Pool;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("life: a dropped pool leaves no process", dropped),
        Trial::test("life: kill -9 of the harness leaves no process", killed),
        Trial::test("life: a worker that is harmed is replaced and its job run again", harmed),
        Trial::test("life: many threads share few workers", shared),
        Trial::test("life: a pool works within an asynchronous program", within_tokio),
    ]
}

const ENDLESS: &str = "def length(text):\n    while True:\n        pass\n";

/// The part of the harness that will be killed: says when it is in the middle of a job.
pub(crate) fn role() -> ExitCode {
    let mut options = options(2);
    options.cpu = std::time::Duration::from_secs(600);
    options.wall_clock = options.cpu;
    let pool = Pool::start(&options).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pool.run(&length_job(ENDLESS)));
        }
        // Two walls of three processes for each worker, and one child in each.
        while processes::below(std::process::id()).len() < 16 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        println!("ready");
    });
    ExitCode::FAILURE
}

fn killed() -> Result<(), Failed> {
    let mut harness = Command::new("/proc/self/exe").arg("role").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(harness.stdout.take().unwrap()).read_line(&mut line)?;
    let inside = processes::below(harness.id());
    harness.kill()?;
    harness.wait()?;
    ensure(line == "ready\n" && inside.len() == 16, || format!("{line:?} with {inside:?}"))?;
    let left = processes::gone(&inside);
    ensure(left.is_empty(), || format!("{left:?} live"))
}

fn dropped() -> Result<(), Failed> {
    let before = processes::below(std::process::id());
    let pool = Pool::start(&options(2))?;
    expect_verdict(pool.run(&length_job(LENGTH)), true, "")?;
    // Of two workers, one with a child of the tests that waits for more.
    let inside = loop {
        let mut inside = processes::below(std::process::id());
        inside.retain(|process| !before.contains(process));
        if inside.len() >= 13 {
            break inside;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    ensure(inside.len() == 13, || format!("{inside:?}"))?;
    drop(pool);
    let left: Vec<_> =
        processes::below(std::process::id()).intersection(&inside).copied().collect();
    ensure(left.is_empty(), || format!("{left:?} live"))
}

fn shared() -> Result<(), Failed> {
    let pool = Pool::start(&options(2))?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16)
            .map(|at| {
                let pool = &pool;
                let wrong = "def length(text):\n    return -1\n";
                scope.spawn(move || {
                    let source = if at % 2 == 0 { LENGTH } else { wrong };
                    expect_verdict(pool.run(&length_job(source)), at % 2 == 0, "")
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

fn within_tokio() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pool = Pool::start(&options(1))?;
        let verdict = pool.run(&length_job(LENGTH));
        drop(pool);
        expect_verdict(verdict, true, "")
    })
}

/// Kills the forking Pythons in the middle of a job, as a machine without memory would.
fn harmed() -> Result<(), Failed> {
    let before = processes::below(std::process::id());
    let pool = Pool::start(&options(1))?;
    let slow = format!("import time\ntime.sleep(0.5)\n{LENGTH}");
    for _ in 0..2 {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| pool.run(&length_job(&slow)));
            std::thread::sleep(std::time::Duration::from_millis(200));
            for (pid, _) in processes::below(std::process::id()).difference(&before) {
                let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                if name.starts_with("python") {
                    let pid = i32::try_from(*pid).ok().and_then(rustix::process::Pid::from_raw);
                    rustix::process::kill_process(pid.unwrap(), rustix::process::Signal::KILL)?;
                }
            }
            expect_verdict(run.join().unwrap(), true, "")
        })?;
    }
    let mut inside = processes::below(std::process::id());
    inside.retain(|process| !before.contains(process));
    ensure(inside.len() == 7, || format!("{inside:?}"))
}
