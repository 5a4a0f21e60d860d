//! `kill -9` of the program in each stage of a run, at random moments: the same command run again ends with
//! the same bytes as a run that nobody disturbed, and nothing of the killed one is left running.
//!
//! `PTB_KILL_SEED=n` repeats the moments of another time; `PTB_KILLS=n` changes how many kills must land in
//! each stage (ten, if it is not set).

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a step that fails fails the test"
)]
#![expect(clippy::print_stderr, reason = "figures of a test are told on stderr")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::processes::{Process, assert_gone, below};
use support::runs::{assert_each_sample_once, json, only_run, results_of, runs, stage_state};
use support::{Answer, Place, wall};

const STAGES: [&str; 5] = ["prepare", "solve", "judge", "evaluate", "record"];

/// Asks for an evaluation, and leaves behind what would like to live on.
const BUSY: &str = r#"
echo "an attempt begins"
(trap '' TERM HUP INT; setsid bash -c 'exec -a MARKER sleep 300' &) > /dev/null 2>&1
mkdir half && cp -L "$PTB_BASE_MODEL"/* half/
printf '{"do_sample": true, "temperature": 0.7}\n' > half/generation_config.json
mv half final_model
ptb-door evaluate --model-path final_model --limit 2
echo "an attempt ends"
"#;

/// Submits at once.
const QUICK: &str = r#"
echo "an attempt begins"
mkdir final_model && cp -L "$PTB_BASE_MODEL"/* final_model/
printf '{"do_sample": true, "temperature": 0.7}\n' > final_model/generation_config.json
echo "an attempt ends"
"#;

/// One experiment, undisturbed: its results, and how long each stage takes.
struct Reference {
    place: Place,
    results: Vec<(String, String)>,
    durations: BTreeMap<&'static str, Duration>,
}

impl Reference {
    fn new(agent: &str) -> Self {
        let place = Place::new();
        place.agent("worker", &agent.replace("MARKER", place.marker()));
        place.experiment("k", &["worker"], "");
        let mut reference = Self { place, results: Vec::new(), durations: BTreeMap::new() };
        for n in 1..=3 {
            let results = reference.undisturbed(&format!("undisturbed-{n}"));
            assert!(n == 1 || results == reference.results, "two undisturbed runs differ");
            reference.results = results;
        }
        reference
    }

    /// Runs the experiment, and keeps the longest time that each stage took.
    fn undisturbed(&mut self, results: &str) -> Vec<(String, String)> {
        let dir = self.place.path().join(results);
        let mut child = self.place.start("k", &["--results", results]);
        for stage in STAGES {
            wait_for(&dir, stage, "running", &mut child);
            let begun = Instant::now();
            wait_for(&dir, stage, "done", &mut child);
            let longest = self.durations.entry(stage).or_default();
            *longest = begun.elapsed().max(*longest);
        }
        let answer = Answer::of(&self.place, child.wait_with_output().unwrap());
        assert_eq!(answer.code, 0, "{}", answer.shown());
        let run = only_run(&dir, "k");
        assert_each_sample_once(&run, 8);
        results_of(&run)
    }
}

/// Polls without pause, because some stages last a few milliseconds. Gives false when the program ended first.
fn wait_for(results: &Path, stage: &str, state: &str, child: &mut Child) -> bool {
    let begun = Instant::now();
    loop {
        let reached = runs(results, "k").first().and_then(|run| stage_state(run, stage));
        if reached.is_some_and(|s| s == state || s == "done") {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{stage} is not {state} after a minute");
    }
}

fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| {
        let given = std::env::var("PTB_KILL_SEED")
            .ok()
            .map(|s| s.parse().expect("PTB_KILL_SEED is a number"));
        let seed = given.unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
        eprintln!("PTB_KILL_SEED={seed}");
        seed
    })
}

fn wanted() -> usize {
    std::env::var("PTB_KILLS").map_or(10, |n| n.parse().expect("PTB_KILLS is a number"))
}

/// Kills in one stage until enough have landed in it.
fn kills_in(stage: &'static str, reference: &Reference) {
    let mut random = ChaCha8Rng::seed_from_u64(seed());
    random.set_stream(STAGES.iter().position(|s| *s == stage).unwrap() as u64);
    let (mut landed, mut tries, begun) = (0, 0, Instant::now());
    while landed < wanted() {
        tries += 1;
        assert!(tries <= 6 * wanted() + 6, "only {landed} of {tries} kills landed in {stage}");
        let delay = reference.durations[stage].mul_f64(random.random_range(0.0..1.0));
        landed +=
            usize::from(killed_and_rerun(reference, &format!("{stage}-{tries}"), stage, delay));
    }
    let (took, lasts) = (begun.elapsed().as_secs_f64(), reference.durations[stage]);
    eprintln!(
        "{stage} (lasts {lasts:.1?}): {landed} of {tries} kills landed inside; all runs recovered ({took:.1} s)"
    );
}

/// One kill and one rerun; whether the kill met the stage running.
fn killed_and_rerun(reference: &Reference, results: &str, stage: &str, delay: Duration) -> bool {
    let place = &reference.place;
    let dir = place.path().join(results);
    let mut child = place.start("k", &["--results", results]);
    wait_for(&dir, stage, "running", &mut child);
    let met = Instant::now();
    while met.elapsed() < delay {
        std::hint::spin_loop();
    }
    // Only these stages have processes; looking for some takes as long as a short stage.
    let known = if ["solve", "evaluate"].contains(&stage) { below(child.id()) } else { Vec::new() };
    let _ = child.kill();
    child.wait().unwrap();
    // The rerun starts at once: it must not mind what is still dying.
    let run = only_run(&dir, "k");
    let met_running = stage_state(&run, stage).as_deref() == Some("running");
    let before = Before::of(&run);
    let answer = Answer::of(place, place.run("k", &["--results", results]));
    assert_eq!(answer.code, 0, "{results} after {delay:?}: {}", answer.shown());
    assert_eq!(results_of(&run), reference.results, "{results} after {delay:?}");
    assert_each_sample_once(&run, 8);
    before.assert_kept(&run);
    assert_none_left(&known, results);
    // Disk space of some dozens of models is better given back.
    fs::remove_dir_all(&dir).unwrap();
    met_running
}

/// Attempts as the kill left them.
struct Before {
    attempts: u64,
    /// Whether the agent was at work. When it had ended, its work is taken, not done again.
    cut: bool,
    outputs: Vec<(PathBuf, Vec<u8>)>,
}

impl Before {
    fn of(run: &Path) -> Self {
        let record = json(&run.join("run.json"));
        let attempts = record["attempts"].as_u64().unwrap();
        let path = |n| PathBuf::from(format!("attempts/{n}/output.jsonl"));
        let read = |path: PathBuf| fs::read(run.join(&path)).ok().map(|bytes| (path, bytes));
        let ended = run.join(format!("attempts/{attempts}/end.json")).exists();
        let cut = !ended && stage_state(run, "solve").as_deref() == Some("running");
        Self { attempts, cut, outputs: (1..=attempts).map(path).filter_map(read).collect() }
    }

    /// A solve that was cut is followed by another attempt; what earlier ones printed stays.
    fn assert_kept(&self, run: &Path) {
        let attempts = json(&run.join("run.json"))["attempts"].as_u64().unwrap();
        let expected =
            if self.attempts == 0 || self.cut { self.attempts + 1 } else { self.attempts };
        assert_eq!(attempts, expected, "{}", run.display());
        for (path, bytes) in &self.outputs {
            let now = fs::read(run.join(path)).unwrap();
            assert!(now.starts_with(bytes), "{} has changed", path.display());
        }
        let last =
            fs::read_to_string(run.join(format!("attempts/{attempts}/output.jsonl"))).unwrap();
        assert!(last.contains("an attempt begins") && last.contains("an attempt ends"), "{last}");
    }
}

/// The results folder is in the command line of engines, the place's word in that of what agents leave.
fn assert_none_left(known: &[Process], results: &str) {
    assert_gone(&format!("/{results}/"), known, Duration::from_secs(10));
}

fn stage(stage: &'static str, agent: &str) {
    if !wall() {
        return;
    }
    let reference = Reference::new(agent);
    kills_in(stage, &reference);
    assert_gone(reference.place.marker(), &[], Duration::from_secs(10));
}

#[test]
fn killed_while_preparing() {
    stage("prepare", QUICK);
}

#[test]
fn killed_while_the_agent_works() {
    stage("solve", BUSY);
}

#[test]
fn killed_while_judging() {
    stage("judge", QUICK);
}

#[test]
fn killed_while_evaluating() {
    stage("evaluate", QUICK);
}

#[test]
fn killed_while_recording() {
    stage("record", QUICK);
}
