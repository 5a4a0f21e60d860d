//! The best and the last snapshot of a run, also through `kill -9` at any moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed test panics")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{check, write_model};
use ptb_core::files::{sha256_file, sha256_hex};
use ptb_gateway::snapshot::{Kept, Order, SnapshotError, SnapshotLimits, Snapshots, Source};
use tokio_util::sync::CancellationToken;

fn take(snapshots: &Snapshots, work: &Path, at: u64) -> Result<Kept, SnapshotError> {
    let source =
        Source { workspace: work.to_owned(), relative: "m".into(), shown: "final_model".into() };
    let limits = SnapshotLimits { bytes: 1 << 20, files: 10, entries: 100 };
    let cancel = CancellationToken::new();
    snapshots.take(&source, Order { limits, check: &check, cancel: &cancel }, at)
}

fn folders(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n != "snapshots.json").collect();
    names.sort();
    names
}

fn assert_whole(kept: &Kept) {
    let mut lines = String::new();
    for file in &kept.record.taken.files {
        assert_eq!(sha256_file(&kept.path.join(&file.name)).unwrap(), file.sha256);
        lines.push_str(&format!("{}  {}\n", file.sha256, file.name));
    }
    assert_eq!(sha256_hex(lines.as_bytes()), kept.record.taken.sha256);
}

#[test]
fn best_and_last_are_kept_and_equal_ones_once() {
    let dir = tempfile::tempdir().unwrap();
    let (work, store) = (dir.path().join("work"), dir.path().join("store"));
    let mut snapshots = Snapshots::open(&store).unwrap();
    assert!(snapshots.last_whole().is_none() && snapshots.best().is_none());
    // (content, score, samples) -> (content of the best, folders)
    let steps = [
        ("a", 0.4, 100, "a", 1),
        ("b", 0.3, 100, "a", 2),
        ("a", 0.4, 100, "a", 1),
        ("c", 0.9, 10, "a", 2),
        ("d", 0.5, 100, "d", 1),
        ("e", 0.1, 200, "e", 1),
    ];
    for (n, (text, score, samples, best, count)) in steps.into_iter().enumerate() {
        write_model(&work.join("m"), text);
        let kept = take(&snapshots, &work, n as u64).unwrap();
        snapshots.scored(&kept.record.taken.sha256, score, samples).unwrap();
        // What is kept does not depend on this process.
        snapshots = Snapshots::open(&store).unwrap();
        let last = snapshots.last_whole().unwrap();
        assert_eq!((last.record.consumed_seconds, last.record.score), (n as u64, Some(score)));
        assert_whole(&last);
        let kept_best = snapshots.best().unwrap();
        assert_whole(&kept_best);
        let config = std::fs::read_to_string(kept_best.path.join("config.json")).unwrap();
        assert_eq!(config, format!("{{\"text\":{best:?}}}"), "step {n}");
        assert_eq!(folders(&store).len(), count, "step {n}");
    }
    // A bad model changes nothing.
    std::fs::remove_file(work.join("m/config.json")).unwrap();
    assert!(matches!(take(&snapshots, &work, 9), Err(SnapshotError::NotWhole { .. })));
    assert_eq!(snapshots.last_whole().unwrap().record.consumed_seconds, 5);
}

const CHILD: &str = "PTB_TEST_SNAPSHOT_CHILD";

/// Takes ever new snapshots until it is killed.
fn take_for_ever(dir: &Path) {
    let work = dir.join("work");
    let snapshots = Snapshots::open(dir.join("store")).unwrap();
    for n in 0u64.. {
        write_model(&work.join("m"), &format!("{}-{n}", std::process::id()));
        let kept = take(&snapshots, &work, n).unwrap();
        snapshots.scored(&kept.record.taken.sha256, (n % 7) as f64, 10).unwrap();
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_snapshots() {
    if let Some(dir) = std::env::var_os(CHILD) {
        take_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let mut interrupted = 0;
    for n in 0..30 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_kill_at_any_moment_leaves_whole_snapshots"])
            .env(CHILD, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        common::eventually("the child has begun", || store.join("snapshots.json").exists());
        // Moments spread over start, copying, renaming and deleting; which one is hit is chance.
        std::thread::sleep(Duration::from_micros(20_000 + 2_347 * n));
        child.kill().unwrap();
        child.wait().unwrap();
        interrupted += usize::from(folders(&store).iter().any(|name| name.starts_with(".tmp-")));
        let snapshots = Snapshots::open(&store).unwrap();
        let (last, best) = (snapshots.last_whole().unwrap(), snapshots.best());
        assert_whole(&last);
        best.iter().for_each(assert_whole);
        let mut named = vec![last.record.name.clone()];
        named.extend(best.map(|b| b.record.name));
        named.sort();
        named.dedup();
        assert_eq!(folders(&store), named);
    }
    assert!(interrupted > 0, "no kill hit a copy in the making: this shows nothing");
}
