//! What writing a log of Inspect costs: `cargo run --release -p ptb-eval --example inspect_log -- [SAMPLES] [EPOCHS] [FILE]`.
//!
//! Samples are like gsm8k's: ten solved examples before each question, and a worked answer. The prompts are the same
//! in all epochs, the answers are not.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use ptb_core::registry::Role;
use ptb_core::run::Metrics;
use ptb_eval::inspect::{Dataset, Entry, Log, write};
use ptb_tasks::prompt::ChatMessage;
use serde_json::{Map, json};

/// Words that question and answer are made of.
const WORDS: &str = "she buys three apples at the market for $2.50 each and sells half of them to her friend who pays \
    20 percent more than that so how many dollars does she have left after a week of work with 7 boxes";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut number = |or: usize| args.next().map_or(Ok(or), |a| a.parse());
    let (samples, epochs) = (number(1319)?, number(20)?);
    let path = args.next().map_or_else(|| std::env::temp_dir().join("ptb-log.eval"), PathBuf::from);
    let mut random = 1u64;
    let mut text = |words: usize| -> String {
        let all: Vec<&str> = WORDS.split(' ').collect();
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            all[(random >> 33) as usize % all.len()]
        };
        (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
    };
    let shots =
        (0..10).map(|_| format!("{}\n\nReasoning:\n{}\n\nANSWER: 7\n\n", text(46), text(60)));
    let shots: String = shots.collect();
    let ids: Vec<String> = (1..=samples).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let questions: Vec<(String, Vec<ChatMessage>)> = (0..samples)
        .map(|_| {
            let question = text(46);
            let system = ChatMessage { role: Role::System, content: shots.clone() };
            let user = ChatMessage { role: Role::User, content: format!("Solve:\n\n{question}") };
            (question, vec![system, user])
        })
        .collect();
    let completions: Vec<String> = (0..997).map(|_| format!("{}\n\nANSWER: 7", text(90))).collect();

    let seeds: Vec<_> =
        (0..epochs).map(|s| json!({ "seed": s, "accuracy": 1.0, "n": samples })).collect();
    let metrics: Metrics = serde_json::from_value(json!({
        "benchmark": "gsm8k", "accuracy": 1.0, "stderr": 0.0, "n": samples, "errors": 0, "truncated": 0,
        "unparsed": 0, "prompt_tokens": 0, "completion_tokens": 0, "complete": true, "seeds": seeds,
        "weights_sha256": "", "data_sha256": "", "sampling": { "temperature": 0.6 },
    }))?;
    let log = Log {
        metrics: &metrics,
        title: "GSM8K",
        run_id: "benchmark",
        model: "tiny",
        engine: "builtin",
        created: "2026-01-01T00:00:00Z".parse()?,
        started: "2026-01-01T00:00:00Z".parse()?,
        completed: "2026-01-01T00:01:00Z".parse()?,
        dataset: Dataset { name: "gsm8k", location: None, ids: &ids, shuffled: false },
        scorer: "numeric",
        pass_fail: true,
        packages: &[],
        revision: None,
        metadata: &Map::new(),
    };
    let entries = (0..epochs * samples).map(|n| {
        let (question, messages) = &questions[n % samples];
        Entry {
            id: ids[n % samples],
            epoch: (n / samples) as u32 + 1,
            question,
            messages: messages.into(),
            choices: &[],
            target: "7",
            completion: &completions[n % completions.len()],
            tool_calls: None,
            truncated: false,
            score: Some(1.0),
            answer: Some("7"),
            explanation: None,
            grades: None,
            error: None,
            prompt_tokens: 1000,
            completion_tokens: 120,
            seconds: Some(1.5),
            metadata: None,
        }
    });
    let before = memory("VmRSS")?;
    let (clock, busy) = (Instant::now(), cpu_seconds()?);
    write(&path, &log, entries)?;
    let (wall, busy) = (clock.elapsed().as_secs_f64(), cpu_seconds()? - busy);
    let (bytes, total) = (std::fs::metadata(&path)?.len(), (epochs * samples) as f64);
    println!(
        "{total} samples, {} bytes of prompt each",
        questions[0].1.iter().map(|m| m.content.len()).sum::<usize>()
    );
    println!("{wall:.2} s wall, {busy:.2} s CPU, {:.4} ms CPU a sample", busy * 1e3 / total);
    println!("{:.1} MB, {:.0} bytes a sample", bytes as f64 / 1e6, bytes as f64 / total);
    println!("{before} kB resident before, {} kB at most", memory("VmHWM")?);
    Ok(())
}

/// A line of `/proc/self/status`, in kB.
fn memory(key: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with(key)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// CPU time of this process so far, in seconds (`/proc/self/stat`, in hundredths).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
