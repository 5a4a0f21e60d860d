//! An evaluation that is cut short, and evaluations whose server is in trouble: what is answered is never asked
//! again, and numbers do not change.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "a test that skips says why")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::processes::{signal, until};
use support::server::{Server, Then, answer, completion, whole};
use support::{Answer, Place, shared};

/// Questions of GSM8K's test split.
const QUESTIONS: usize = 1319;
/// Requests in flight at once.
const AT_ONCE: usize = 16;

/// `ptb eval gsm8k` of the place's base model, kept in `out`.
fn evaluation<'a>(data: &'a str, url: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut args = vec!["eval", "gsm8k", "--model", "mini", "--model-path", "base"];
    args.extend(["--data", data, "--engine", url, "--out", out, "--max-connections", "16"]);
    args
}

/// Samples that are kept, whole lines alone, by their requests' seeds.
fn kept(place: &Place, out: &str) -> BTreeSet<u64> {
    let text = fs::read(place.path().join(out).join("42/samples.jsonl")).unwrap_or_default();
    let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let seed = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap()["seed"].as_u64();
    text[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()).filter_map(seed).collect()
}

/// Metrics and samples of an evaluation, byte by byte.
fn results(place: &Place, out: &str) -> [Vec<u8>; 2] {
    ["metrics.json", "42/samples.jsonl"]
        .map(|name| fs::read(place.path().join(out).join(name)).unwrap())
}

fn assert_done(answer: &Answer) {
    assert_eq!(answer.code, 0, "{}", answer.shown());
}

/// The server's requests, each of which was made once.
fn once(server: &Server) -> BTreeSet<u64> {
    let seeds = server.seeds();
    assert!(seeds.values().all(|n| *n == 1), "asked twice: {seeds:?}");
    seeds.into_keys().collect()
}

#[test]
fn a_killed_evaluation_asks_for_the_missing_alone_and_flipped_weights_for_all() {
    let Some(shared) = shared() else { return };
    let place = Place::new();
    let data = shared.join("data/gsm8k");
    let data = data.to_str().unwrap();

    // Undisturbed.
    let calm = Server::good(Duration::ZERO);
    assert_done(&place.output(&evaluation(data, &calm.url, "calm")));
    let all = once(&calm);
    assert_eq!((all.len(), kept(&place, "calm").len()), (QUESTIONS, QUESTIONS));
    let expected = results(&place, "calm");

    // Killed on the way, by what no program can prepare for.
    let slow = Server::good(Duration::from_millis(15));
    let mut command = place.ptb(&evaluation(data, &slow.url, "out"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("600 samples", Duration::from_secs(60), || kept(&place, "out").len() >= 600);
    signal(&child, Signal::KILL);
    assert!(!child.wait().unwrap().success());
    let before = kept(&place, "out");
    assert!((600..1200).contains(&before.len()), "{} kept", before.len());
    let first = once(&slow);
    assert!(before.is_subset(&first), "what is kept was asked");

    // The same command goes on with the missing ones, and repeats only what was in flight.
    let next = Server::good(Duration::ZERO);
    assert_done(&place.output(&evaluation(data, &next.url, "out")));
    let second = once(&next);
    assert_eq!(second.len(), QUESTIONS - before.len());
    assert!(second.is_disjoint(&before), "a kept sample was asked for again");
    let twice = first.intersection(&second).count();
    assert!(twice <= AT_ONCE, "{twice} were asked for twice");
    assert_eq!(results(&place, "out"), expected);
    eprintln!("{} kept at the kill, {} asked after it, {twice} twice", before.len(), second.len());

    // One bit of one weight: another model, and none of its completions is there.
    flip(&place.path().join("base/model.safetensors"));
    let other = Server::good(Duration::ZERO);
    assert_done(&place.output(&evaluation(data, &other.url, "out")));
    assert_eq!(once(&other), all);
    assert_ne!(results(&place, "out"), expected, "the weights' hash is in the metrics");

    // And back: all are there, so that nobody needs to be asked.
    flip(&place.path().join("base/model.safetensors"));
    let unused = Server::good(Duration::ZERO);
    assert_done(&place.output(&evaluation(data, &unused.url, "out")));
    assert!(unused.asked().is_empty());
    assert_eq!(results(&place, "out"), expected);
}

/// Turns the lowest bit of the file's last byte but one.
fn flip(file: &Path) {
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let (mut byte, at) = ([0], file.metadata().unwrap().len() - 2);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// The five ways in which a struggling server, or the proxy before it, fails.
fn trouble(kind: usize, stream: &mut TcpStream) -> std::io::Result<Then> {
    let (ok, json) = ("200 OK", &["content-type: application/json"]);
    let good = completion("ANSWER: 1");
    let half = &good[..good.len() / 2];
    match kind % 5 {
        0 => whole(stream, "500 Internal Server Error", &[], "oops"),
        1 => whole(stream, "429 Too Many Requests", &["retry-after: 1"], "slow down"),
        2 => {
            write!(stream, "HTTP/1.1 {ok}\r\ncontent-length: {}\r\n\r\n{half}", good.len())?;
            Ok(Then::Close)
        }
        3 => whole(stream, ok, json, half),
        _ => whole(stream, ok, json, r#"{"error": {"message": "overloaded", "code": 503}}"#),
    }
}

#[test]
fn a_fifth_of_requests_failing_in_five_ways_changes_no_byte_of_the_metrics() {
    let place = Place::new();
    let eval = |url: &str, out: &str| {
        let args =
            ["eval", "arithmetic", "--model", "mini", "--model-path", "base", "--limit", "200"];
        place.output(&[&args[..], &["--engine", url, "--out", out]].concat())
    };
    let calm = Server::good(Duration::ZERO);
    assert_done(&eval(&calm.url, "calm"));
    // By what is asked and how often, so that the same fail in every run of the test.
    let rough = Server::start(|asked, stream| {
        let mut hasher = std::hash::DefaultHasher::new();
        (asked.seed(), asked.before).hash(&mut hasher);
        let chance = hasher.finish() as usize;
        match chance % 5 {
            0 => trouble(chance / 5, stream),
            _ => answer(stream, asked),
        }
    });
    assert_done(&eval(&rough.url, "rough"));
    assert_eq!(results(&place, "rough"), results(&place, "calm"));
    let accuracy = &support::runs::json(&place.path().join("calm/metrics.json"))["accuracy"];
    assert!((0.01..0.5).contains(&accuracy.as_f64().unwrap()), "{accuracy}");
    // Two hundred answers, and a failure for each four of them, more or less.
    let again = rough.seeds().values().map(|n| n - 1).sum::<usize>();
    assert!((30..80).contains(&again), "{again} requests were made again");
    assert_eq!(rough.seeds().len(), calm.seeds().len());
}
