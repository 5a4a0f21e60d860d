//! What the tests of this crate share.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ptb_trace::{About, Format, Summary, convert};

/// A converted trace.
pub struct Made {
    pub summary: Summary,
    pub trajectory: String,
    pub transcript: String,
}

pub fn about() -> About {
    About { name: "scaffold".into(), version: "1.2.3".into(), ..About::default() }
}

pub fn made(input: &[u8], format: Format, about: &About) -> Made {
    made_with(input, format, None, about)
}

pub fn made_with(input: &[u8], format: Format, api: Option<&[u8]>, about: &About) -> Made {
    let (mut trajectory, mut transcript) = (Vec::new(), Vec::new());
    let mut record = api;
    let api = record.as_mut().map(|r| r as &mut dyn std::io::Read);
    let summary = convert(input, format, api, about, &mut trajectory, &mut transcript).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Made { summary, trajectory: text(trajectory), transcript: text(transcript) }
}

/// The folder of real traces, or none when there is no folder of reference files.
pub fn traces() -> Option<PathBuf> {
    let Some(shared) = std::env::var_os("PTB_SHARED") else {
        skip("PTB_SHARED is not set");
        return None;
    };
    Some(PathBuf::from(shared).join("oracle/traces"))
}

pub fn skip(why: &str) {
    assert!(std::env::var_os("PTB_REQUIRE_ALL").is_none(), "required: {why}");
    println!("skipped: {why}");
}

/// Has the format's own package read trajectories, and repeat what it read: steps, calls, results.
pub fn validated(trajectories: &[&str]) -> Option<Vec<(u64, u64, u64)>> {
    const PROGRAM: &str = "
import sys, atif
for line in sys.stdin:
    t = atif.Trajectory.model_validate_json(open(line.strip(), 'rb').read())
    calls = sum(len(s.tool_calls or []) for s in t.steps)
    results = sum(len(s.observation.results) if s.observation else 0 for s in t.steps)
    print(len(t.steps), calls, results)
";
    let python = std::env::var_os("PTB_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import atif"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|s| s.success()) {
        skip("PTB_PYTHON names no Python that has the package `atif`");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut names = String::new();
    for (n, text) in trajectories.iter().enumerate() {
        let path = folder.path().join(format!("{n}.json"));
        std::fs::write(&path, text).unwrap();
        names += &format!("{}\n", path.display());
    }
    let mut child = Command::new(&python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(names.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let rows = String::from_utf8(done.stdout).unwrap();
    let row = |line: &str| {
        let n: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        (n[0], n[1], n[2])
    };
    Some(rows.lines().map(row).collect())
}
