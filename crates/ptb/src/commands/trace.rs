//! `ptb trace`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use ptb_core::files::read_json;
use ptb_core::run::{RunDir, RunRecord, Stage, StageState};
use ptb_runner::trajectory;
use ptb_trace::{Follower, Look};

use super::show::locate;
use crate::args::TraceArgs;
use crate::fault::{Fault, Outcome};
use crate::print;

/// Pause between two looks at a file that is still growing.
const PAUSE: Duration = Duration::from_millis(300);
/// Longest line that is held; the recorder writes none so long.
const LONGEST: u64 = 16 << 20;

pub(crate) fn run(args: &TraceArgs) -> Outcome {
    let dir = RunDir::new(locate(&args.run)?);
    let record: RunRecord = read_json(&dir.record()).map_err(Fault::usage)?;
    let attempt = args.attempt.unwrap_or(record.attempts);
    let output = dir.attempt(attempt).join("output.jsonl");
    if record.spec.agent.is_baseline() {
        return Err(Fault::usage("the run's agent is a baseline: nothing ran"));
    }
    if attempt == 0 || attempt > record.attempts {
        let message = match record.attempts {
            0 => "no attempt was begun".to_owned(),
            n => format!("the run has no attempt {attempt}; hint: name one of 1 to {n}"),
        };
        return Err(Fault::usage(message));
    }
    if args.json {
        let mut text = Vec::new();
        trajectory::tell(&dir, &record, attempt, &mut text, std::io::sink())
            .map_err(Fault::harness)?;
        text.push(b'\n');
        return print::out(&String::from_utf8_lossy(&text));
    }
    let (format, about) = trajectory::about(&dir, &record, attempt);
    let look = Look::Terminal { color: print::colour_out() };
    let mut follower = Follower::new(format, &about, look).map_err(Fault::harness)?;
    let mut at = 0;
    loop {
        // Asked before the file is read: what was printed before the end is then read in any case.
        let goes_on = args.follow && works(&dir, attempt);
        at = read_on(&output, at, |line| print::out(&follower.line(line)))?;
        if !goes_on {
            let (rest, _) = follower.finish();
            return print::out(&rest);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether an attempt is under way.
fn works(dir: &RunDir, attempt: u32) -> bool {
    read_json::<RunRecord>(&dir.record()).is_ok_and(|record| {
        record.attempts == attempt && *record.stage(Stage::Solve) == StageState::Running
    })
}

/// Reads the whole lines from byte `at` on; gives where the next begins.
fn read_on(path: &Path, mut at: u64, mut take: impl FnMut(&[u8]) -> Outcome) -> Result<u64, Fault> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(at),
        Err(e) => return Err(Fault::harness(format!("{}: {e}", path.display()))),
    };
    file.seek(SeekFrom::Start(at)).map_err(Fault::harness)?;
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    loop {
        line.clear();
        let n = reader.by_ref().take(LONGEST).read_until(b'\n', &mut line);
        let n = n.map_err(Fault::harness)? as u64;
        if n == 0 || (line.last() != Some(&b'\n') && n < LONGEST) {
            return Ok(at);
        }
        at += n;
        take(line.strip_suffix(b"\n").unwrap_or(&line))?;
    }
}
