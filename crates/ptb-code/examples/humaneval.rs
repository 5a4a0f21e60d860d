//! Runs the reference solutions of a `HumanEval.jsonl` through the pool and prints how long it took,
//! the start of the pool included: `humaneval FILE [WORKERS]`. Used by `scripts/bench-code.sh`.
#![expect(clippy::print_stdout, reason = "a program that prints its result")]

use ptb_code::{Job, Pool, PoolOptions};
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

#[derive(serde::Deserialize)]
struct Record {
    task_id: String,
    prompt: String,
    entry_point: String,
    canonical_solution: String,
    test: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    ptb_sandbox::enter_if_helper();
    let mut args = std::env::args().skip(1);
    let text = std::fs::read_to_string(args.next().ok_or("name a HumanEval.jsonl")?)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<Vec<Record>, _>>()?;
    let mut options = PoolOptions::default();
    if let Some(workers) = args.next() {
        options.workers = workers.parse()?;
    }
    let began = Instant::now();
    let pool = Pool::start(&options)?;
    let started = began.elapsed();
    let (next, passed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..options.workers {
            scope.spawn(|| {
                while let Some(record) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match pool.run(&job(record)) {
                        Ok(verdict) if verdict.passed => {
                            passed.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(verdict) => println!("{}: {}", record.task_id, verdict.reason),
                        Err(error) => println!("{}: {error}", record.task_id),
                    }
                }
            });
        }
    });
    let (whole, n, passed) = (began.elapsed(), records.len(), passed.into_inner());
    println!(
        "{}",
        serde_json::json!({
            "passed": passed, "n": n, "seconds": whole.as_secs_f64(),
            "start_seconds": started.as_secs_f64(), "workers": options.workers,
            "python": pool.python().version, "library_alone": pool.reads_library_alone(),
        })
    );
    drop(pool);
    Ok(())
}

fn job(record: &Record) -> Job {
    Job {
        prelude: record.prompt.clone(),
        source: format!("{}{}", record.prompt, record.canonical_solution),
        entry_point: record.entry_point.clone(),
        tests: record.test.clone(),
    }
}
