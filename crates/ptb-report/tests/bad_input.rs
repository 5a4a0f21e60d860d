//! Results that are corrupt, half written, newer or somebody else's: told by name, and the others are
//! reported all the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says no by a panic"
)]

mod common;

use std::fs;

use common::{End, World, agent};
use ptb_core::failure::ExitCode;
use ptb_core::run::RunDir;
use ptb_report::{Options, Report, RunSummary};

/// A change to a sound run, and what is said of it.
type Case = (&'static str, fn(&RunDir), &'static str);

fn edit(path: &std::path::Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

const CASES: &[Case] = &[
    ("newer record", |run| edit(&run.record(), "\"schema\": ", "\"schema\": 99"), "schema 99"),
    (
        "newer score",
        |run| edit(&run.score("main"), "\"schema\": 1", "\"schema\": 99"),
        "hint: read these results with the newer ptb",
    ),
    (
        "torn record",
        |run| {
            let bytes = fs::read(run.record()).unwrap();
            fs::write(run.record(), &bytes[..bytes.len() / 2]).unwrap();
        },
        "not a valid run record file",
    ),
    (
        "torn score",
        |run| fs::write(run.score("main"), "{\"schema\": 1, \"edi").unwrap(),
        "not a valid score file",
    ),
    (
        "not JSON",
        |run| fs::write(run.record(), [0xff, 0, 1]).unwrap(),
        "not a valid run record file",
    ),
    ("empty", |run| fs::write(run.record(), "").unwrap(), "not a valid run record file"),
    (
        "deep nesting",
        |run| fs::write(run.record(), "[".repeat(100_000)).unwrap(),
        "not a valid run record file",
    ),
    ("no schema", |run| edit(&run.record(), "\"schema\": ", "\"scheme\": "), "no `schema`"),
    ("no record", |run| fs::remove_file(run.record()).unwrap(), "no run.json"),
    (
        "a folder for a record",
        |run| {
            fs::remove_file(run.record()).unwrap();
            fs::create_dir(run.record()).unwrap();
        },
        "not a regular file",
    ),
    ("no score", |run| fs::remove_file(run.score("main")).unwrap(), "no scores/main.json"),
    (
        "another cell's score",
        |run| edit(&run.score("main"), "\"cell\": \"", "\"cell\": \"0"),
        "belongs to another run",
    ),
    (
        "another benchmark's score",
        |run| edit(&run.score("main"), "gsm8k", "humaneval"),
        "belongs to another run",
    ),
    ("a score above 1", |run| edit(&run.score("main"), "0.25", "25.0"), "not within 0 and 1"),
    ("a score below 0", |run| edit(&run.score("main"), "0.25", "-0.25"), "not within 0 and 1"),
    (
        "a number too large",
        |run| edit(&run.score("main"), "0.25", "1e999"),
        "not a valid score file",
    ),
    (
        "no number where one counts",
        |run| edit(&run.score("main"), "0.25", "null"),
        "counts the run's own score but has none",
    ),
    (
        "negative time",
        |run| edit(&run.record(), "\"solve_seconds\": 3600.0", "\"solve_seconds\": -1.0"),
        "-1 seconds",
    ),
];

#[test]
fn each_fault_is_told_by_name_and_hides_nothing() {
    for (name, spoil, expected) in CASES {
        let world = World::new();
        let spoiled = world.add(agent("bad", "m", "gsm8k", End::Own(0.25)));
        world.add(agent("good", "m", "gsm8k", End::Own(0.5)));
        spoil(&spoiled);
        let report = world.report().unwrap();
        let told: Vec<_> =
            report.problems.iter().map(|p| (p.path.as_str(), p.message.as_str())).collect();
        let [(path, message)] = told[..] else { panic!("{name}: {told:?}") };
        assert_eq!(path, spoiled.path().to_str().unwrap(), "{name}");
        assert!(message.contains(expected), "{name}: {message}");
        assert_eq!(report.exit_code(), ExitCode::Usage, "{name}");
        assert_eq!((report.rows.len(), report.rows[0].average), (1, Some(0.5)), "{name}");
        for form in [report.table(Some(80)), report.markdown(), report.json().unwrap()] {
            assert!(form.contains("bad-m-gsm8k"), "{name}: {form}");
        }
    }
}

#[test]
fn the_same_faults_never_break_the_summary_of_a_run() {
    for (name, spoil, expected) in CASES {
        let world = World::new();
        let spoiled = world.add(agent("bad", "m", "gsm8k", End::Own(0.25)));
        spoil(&spoiled);
        match RunSummary::read(spoiled.path()) {
            Err(e) => assert!(e.to_string().contains("hint:"), "{name}: {e}"),
            Ok(summary) => {
                let text = summary.text();
                // What is wrong with numbers alone is the report's to tell; broken files are told here too.
                if expected.contains("valid score") || expected.contains("newer ptb") {
                    assert!(text.contains("problems"), "{name}: {text}");
                }
            }
        }
    }
}

#[test]
fn links_hidden_folders_and_strangers_are_left_alone() {
    let world = World::new();
    let run = world.add(agent("a", "m", "gsm8k", End::Own(0.5)));
    let runs = run.path().parent().unwrap();
    std::os::unix::fs::symlink(run.path(), runs.join("again")).unwrap();
    std::os::unix::fs::symlink("/", world.dir.path().join("root")).unwrap();
    fs::create_dir(runs.join(".tmp-half")).unwrap();
    fs::create_dir_all(world.dir.path().join("exp/notes/more")).unwrap();
    let report = world.report().unwrap();
    assert_eq!((report.runs.len(), report.problems.len()), (1, 0), "{:?}", report.problems);
}

#[test]
fn no_results_is_a_report_and_no_folder_is_an_error() {
    let world = World::new();
    let report = world.report().unwrap();
    assert!(report.table(None).starts_with("no runs to report"));
    assert!(report.markdown().starts_with("no runs to report"));
    assert_eq!(report.csv().unwrap().lines().count(), 1);
    let missing = world.dir.path().join("nowhere");
    let e = Report::of(&missing, &world.registry, &Options::default()).unwrap_err();
    assert!(e.to_string().contains("nowhere") && e.to_string().contains("hint:"), "{e}");
    assert_eq!(e.exit_code(), ExitCode::Usage);
    let e = RunSummary::read(&missing).unwrap_err();
    assert!(e.to_string().contains("is not a run directory"), "{e}");
}

#[test]
fn one_experiment_and_one_run_can_be_named() {
    let world = World::new();
    let run = world.add(agent("a", "m", "gsm8k", End::Own(0.5)));
    world.add(agent("b", "m", "gsm8k", End::Own(0.5)).with(|s| s.experiment = "other".to_owned()));
    for (path, runs) in [(world.dir.path(), 2), (&world.dir.path().join("exp"), 1), (run.path(), 1)]
    {
        let report = Report::of(path, &world.registry, &Options::default()).unwrap();
        assert_eq!((report.runs.len(), report.problems.len()), (runs, 0), "{}", path.display());
    }
}
