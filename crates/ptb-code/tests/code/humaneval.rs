//! The reference data: solutions pass, bodies that do nothing do not, the oracle's verdicts are ours.

use crate::ensure;
use libtest_mimic::{Failed, Trial};
use ptb_code::{Job, Pool, PoolOptions};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

#[derive(Deserialize)]
struct Record {
    task_id: String,
    prompt: String,
    entry_point: String,
    canonical_solution: String,
    test: String,
}

#[derive(Deserialize)]
struct Reference {
    id: String,
    task_id: String,
    extracted_answer: String,
    correct_fixed: bool,
    why_interesting: String,
}

pub(crate) fn trials() -> Vec<Trial> {
    let Some(shared) = crate::shared() else {
        println!("skipped: the trials of HumanEval's data need PTB_SHARED");
        let missing = Trial::test("humaneval", || Err(Failed::from("PTB_SHARED is not set")));
        return if crate::required() { vec![missing] } else { Vec::new() };
    };
    let shared = Arc::new(shared);
    let trial = |name: &str, run: fn(&Path) -> Result<(), Failed>| {
        let shared = Arc::clone(&shared);
        Trial::test(format!("humaneval: {name}"), move || run(&shared))
    };
    vec![
        trial("164 reference solutions pass", |shared| {
            all(shared, |record| record.canonical_solution.clone(), true)
        }),
        trial("164 bodies of raise fail", |shared| {
            all(shared, |_| "    raise ValueError\n".to_owned(), false)
        }),
        trial("164 bodies of pass fail", |shared| all(shared, |_| "    pass\n".to_owned(), false)),
        trial("the oracle's verdicts", oracle),
    ]
}

fn lines<T: DeserializeOwned>(path: PathBuf) -> Result<Vec<T>, Failed> {
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn records(shared: &Path) -> Result<Vec<Record>, Failed> {
    lines(shared.join("data/humaneval/HumanEval.jsonl"))
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::start(&PoolOptions { workers: 2, ..PoolOptions::default() }).unwrap())
}

fn job(record: &Record, completion: &str) -> Job {
    Job {
        prelude: record.prompt.clone(),
        source: format!("{}{completion}", record.prompt),
        entry_point: record.entry_point.clone(),
        tests: record.test.clone(),
    }
}

fn all(shared: &Path, body: fn(&Record) -> String, passed: bool) -> Result<(), Failed> {
    let records = records(shared)?;
    ensure(records.len() == 164, || format!("{} records", records.len()))?;
    let jobs =
        records.iter().map(|record| (record.task_id.clone(), job(record, &body(record)), passed));
    judge(jobs.collect())
}

fn oracle(shared: &Path) -> Result<(), Failed> {
    let records = records(shared)?;
    let rows: Vec<Reference> = lines(shared.join("oracle/code_humaneval.jsonl"))?;
    ensure(rows.len() > 100, || format!("{} rows", rows.len()))?;
    let jobs = rows.iter().map(|row| {
        let record = records.iter().find(|record| record.task_id == row.task_id).unwrap();
        let name = format!("{} ({})", row.id, row.why_interesting);
        (name, job(record, &row.extracted_answer), row.correct_fixed)
    });
    judge(jobs.collect())
}

/// Runs all and tells every verdict that is not the expected one.
fn judge(jobs: Vec<(String, Job, bool)>) -> Result<(), Failed> {
    let (first, second) = jobs.split_at(jobs.len() / 2);
    let run = |jobs: &[(String, Job, bool)]| {
        let wrong = jobs.iter().filter_map(|(name, job, passed)| match pool().run(job) {
            Ok(verdict) if verdict.passed == *passed => None,
            other => Some(format!("{name}: {other:?}\n")),
        });
        wrong.collect::<String>()
    };
    let wrong = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(second));
        run(first) + &other.join().unwrap()
    });
    ensure(wrong.is_empty(), || wrong)
}
