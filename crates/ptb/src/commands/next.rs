//! What is said when the runs of an experiment have ended: how many, where the results lie, and the commands
//! that help next, each as it can be typed here.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ptb_core::failure::FailureKind;
use ptb_core::run::{RunDir, Stage};
use ptb_report::text::{MAX_SHOWN, shown};
use ptb_runner::Ended;
use ptb_sched::Outcome;

use crate::args::RegistryArgs;

/// Goes on in the workspace of an agent that was stopped.
const CONTINUE: &str = "--continue-solve";
/// Most commands that are named.
const MOST: usize = 3;

/// Where the user stands, and how they called this program.
#[derive(Debug, Clone)]
pub(super) struct Here {
    folder: PathBuf,
    /// As it can be typed.
    program: String,
    arguments: Vec<String>,
}

/// A command that helps, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) what: String,
    pub(super) command: String,
}

impl Here {
    pub(super) fn look() -> Self {
        let folder = std::env::current_dir().unwrap_or_default();
        let mut arguments = std::env::args_os();
        let called = PathBuf::from(arguments.next().unwrap_or_else(|| "ptb".into()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = quoted(&program(&called, &folder, path));
        let arguments = arguments.map(|a| a.to_string_lossy().into_owned()).collect();
        Self { folder, program, arguments }
    }

    /// A path as short as it can be typed here.
    pub(super) fn near(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.folder) {
            Ok(below) if below.as_os_str().is_empty() => PathBuf::from("."),
            Ok(below) => below.to_owned(),
            Err(_) => path.to_owned(),
        }
    }

    fn command(&self, words: &[&str]) -> String {
        let words = words.iter().map(|word| quoted(word));
        std::iter::once(self.program.clone()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// The command that was given, with or without `--continue-solve`.
    fn again(&self, continued: bool) -> String {
        let given = self.arguments.iter().map(String::as_str).filter(|a| *a != CONTINUE);
        self.command(&given.chain(continued.then_some(CONTINUE)).collect::<Vec<_>>())
    }
}

/// How a program is called from `folder`: by its name where `path` finds it, else by its path.
fn program(called: &Path, folder: &Path, path: OsString) -> String {
    let Some(name) = called.file_name().filter(|_| called.components().count() > 1) else {
        return called.display().to_string();
    };
    let is_it = |p: PathBuf| p.canonicalize().ok().zip(called.canonicalize().ok());
    let first = std::env::split_paths(&path).map(|p| p.join(name)).find(|p| p.is_file());
    if first.and_then(is_it).is_some_and(|(found, this)| found == this) {
        return name.to_string_lossy().into_owned();
    }
    let near = called.strip_prefix(folder).unwrap_or(called);
    match near.components().count() {
        1 => format!("./{}", near.display()),
        _ => near.display().to_string(),
    }
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

/// How many runs ended how, and where the results lie.
pub(super) fn counts(here: &Here, results: &Path, outcomes: &[Outcome]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for outcome in outcomes {
        let word = match &outcome.ended {
            Ended::Done(_) => "done",
            Ended::Already(_) => "done before",
            Ended::Failed(_, failure) if failure.kind == FailureKind::Scheduler => "stopped",
            Ended::Failed(..) => "failed",
            Ended::Held(_) => "held by another worker",
        };
        *counts.entry(word).or_default() += 1;
    }
    let all_before = counts.len() == 1 && counts.contains_key("done before");
    let mut counts: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
    let marked = outcomes.iter().filter(|o| is_marked(o)).count();
    if marked > 0 {
        counts.push(format!("{marked} of them with the base model's score"));
    }
    let repeated = if all_before { " (nothing was repeated)" } else { "" };
    let results = quoted(&here.near(results).display().to_string());
    format!("runs: {}{repeated}; results: {results}", counts.join(", "))
}

/// The commands that help next, the most useful first.
pub(super) fn steps(
    here: &Here,
    results: &Path,
    registry: &RegistryArgs,
    outcomes: &[Outcome],
) -> Vec<Step> {
    let step = |what: String, command: String| Step { what, command };
    let mut steps = Vec::new();
    if outcomes.iter().any(goes_on) {
        let cut = outcomes.iter().any(was_cut);
        let anew = if cut { "; a stopped agent begins anew" } else { "" };
        steps.push(step(format!("to go on with what is not done{anew}"), here.again(false)));
        if cut {
            steps.push(step(
                "or in the agent's workspace as it was left, with what is left of its time"
                    .to_owned(),
                here.again(true),
            ));
        }
    }
    if let Some(run) = telling(outcomes) {
        let path = here.near(&run.path).display().to_string();
        let (did, printed) = match &run.ended {
            Ended::Failed(..) | Ended::Held(_) => {
                ("how far it came, and why no further", "its agent")
            }
            _ => ("what was done, and why the score counts or not", "the agent"),
        };
        let name = shown(&run.slug, MAX_SHOWN);
        steps.push(step(format!("{name}: {did}"), here.command(&["show", &path])));
        if has_output(run) {
            steps.push(step(
                format!("what {printed} printed"),
                here.command(&["show", &path, "--output"]),
            ));
        }
    }
    let folders = registry.folders.iter().map(|f| f.display().to_string());
    let named: Vec<String> = folders.flat_map(|f| ["--registry".to_owned(), f]).collect();
    let results = here.near(results).display().to_string();
    let report = |format| {
        let named = named.iter().map(String::as_str);
        here.command(
            &["report", &results, "--format", format].into_iter().chain(named).collect::<Vec<_>>(),
        )
    };
    steps.push(step("the leaderboard, to put into a page".to_owned(), report("md")));
    steps.push(step("all numbers, for other programs".to_owned(), report("json")));
    steps.truncate(MOST);
    steps
}

/// The run that has most to tell: one that failed, else one that is marked, else the best of an agent.
fn telling(outcomes: &[Outcome]) -> Option<&Outcome> {
    let failed =
        |o: &&Outcome| matches!(&o.ended, Ended::Failed(_, f) if f.kind != FailureKind::Scheduler);
    let stopped = |o: &&Outcome| was_cut(o);
    let best = outcomes.iter().filter(|o| has_output(o)).max_by(|a, b| own(a).total_cmp(&own(b)));
    outcomes
        .iter()
        .find(failed)
        .or_else(|| outcomes.iter().find(stopped))
        .or_else(|| outcomes.iter().find(|o| is_marked(o)))
        .or(best)
        .or(outcomes.last())
}

fn own(outcome: &Outcome) -> f64 {
    match &outcome.ended {
        Ended::Done(score) | Ended::Already(score) => score.own_score.unwrap_or(-1.0),
        Ended::Failed(..) | Ended::Held(_) => -1.0,
    }
}

/// Whether the run counts with the base model's score.
fn is_marked(outcome: &Outcome) -> bool {
    matches!(&outcome.ended, Ended::Done(s) | Ended::Already(s) if s.mark.is_some())
}

/// Whether the same command may bring the run further.
fn goes_on(outcome: &Outcome) -> bool {
    match &outcome.ended {
        Ended::Failed(_, failure) => failure.retryable,
        Ended::Held(_) => true,
        Ended::Done(_) | Ended::Already(_) => false,
    }
}

/// Whether its agent was stopped at work.
fn was_cut(outcome: &Outcome) -> bool {
    let solve = matches!(&outcome.ended,
        Ended::Failed(Stage::Solve, f) if f.kind == FailureKind::Scheduler);
    solve && has_output(outcome)
}

/// Whether there is something that an agent printed.
fn has_output(outcome: &Outcome) -> bool {
    let dir = RunDir::new(&outcome.path);
    let attempts = std::fs::read_dir(dir.path().join("attempts")).into_iter().flatten().flatten();
    attempts.take(1000).any(|attempt| attempt.path().join("output.jsonl").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::run::{Counts, Mark, Score, StageFailure, Submission};

    fn here() -> Here {
        Here {
            folder: PathBuf::from("/home/me"),
            program: "ptb".to_owned(),
            arguments: ["run", "my file.toml", "--quiet"].map(str::to_owned).into(),
        }
    }

    fn score(own: f64, mark: Option<Mark>) -> Box<Score> {
        Box::new(Score {
            edition: "main".to_owned(),
            cell: String::new(),
            agent: "a".to_owned(),
            model: "m".to_owned(),
            benchmark: "b".to_owned(),
            repeat: 1,
            counts: if mark.is_some() { Counts::Base } else { Counts::Own },
            own_score: Some(own),
            own_stderr: None,
            mark,
            reason: String::new(),
            submission: Submission::Final,
        })
    }

    fn failed(stage: Stage, kind: FailureKind, retryable: bool) -> Ended {
        Ended::Failed(stage, StageFailure { kind, message: "no".to_owned(), retryable })
    }

    /// A run below `results`; an agent's has output.
    fn outcome(results: &Path, slug: &str, agent: bool, ended: Ended) -> Outcome {
        let path = results.join("runs").join(format!("{slug}-00000000"));
        if agent {
            let attempt = RunDir::new(&path).attempt(1);
            std::fs::create_dir_all(&attempt).unwrap();
            std::fs::write(attempt.join("output.jsonl"), "").unwrap();
        }
        Outcome { slug: slug.to_owned(), id: "00000000".to_owned(), path, ended }
    }

    /// What is said, with the place of the results taken out.
    fn said(results: &Path, outcomes: &[Outcome]) -> String {
        let registry = RegistryArgs { folders: vec![PathBuf::from("my reg")] };
        let steps = steps(&here(), results, &registry, outcomes);
        let lines = steps.iter().map(|s| format!("{}\n    {}\n", s.what, s.command));
        let all = format!("{}\n{}", counts(&here(), results, outcomes), lines.collect::<String>());
        all.replace(&results.display().to_string(), "RESULTS")
    }

    #[test]
    fn what_helps_next_depends_on_what_happened() {
        let dir = tempfile::tempdir().unwrap();
        let of = |slug, agent, ended| outcome(dir.path(), slug, agent, ended);
        let base = || of("base", false, Ended::Done(score(0.9, None)));
        let cases = [
            vec![of("base", false, Ended::Already(score(0.1, None)))],
            vec![
                of("worse", true, Ended::Done(score(0.2, None))),
                of("best", true, Ended::Done(score(0.5, None))),
                base(),
            ],
            vec![base(), of("marked", true, Ended::Done(score(0.0, Some(Mark::Judged))))],
            vec![of("cut", true, failed(Stage::Solve, FailureKind::Scheduler, true)), base()],
            vec![base(), of("full-disk", true, failed(Stage::Judge, FailureKind::Harness, true))],
            vec![of("broken", false, failed(Stage::Prepare, FailureKind::Harness, false))],
            vec![of("held", false, Ended::Held("by another".to_owned()))],
        ];
        let said: Vec<String> = cases.iter().map(|case| said(dir.path(), case)).collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn commands_can_be_typed_as_they_are() {
        let here = here();
        assert_eq!(here.again(false), "ptb run 'my file.toml' --quiet");
        let continued = "ptb run 'my file.toml' --quiet --continue-solve";
        assert_eq!(here.again(true), continued);
        let here_again = Here {
            arguments: [here.arguments.clone(), vec![CONTINUE.to_owned()]].concat(),
            ..here.clone()
        };
        assert_eq!(
            (here_again.again(true).as_str(), here_again.again(false)),
            (continued, here.again(false))
        );
        assert_eq!(here.near(Path::new("/home/me/results/e")), Path::new("results/e"));
        assert_eq!(here.near(Path::new("/home/me")), Path::new("."));
        assert_eq!(here.near(Path::new("/home/metoo")), Path::new("/home/metoo"));
        for (word, typed) in
            [("a b", "'a b'"), ("it's", "\"it's\""), ("", "''"), ("$(x)", "'$(x)'")]
        {
            assert_eq!(quoted(word), typed);
        }
    }

    #[test]
    fn the_program_is_called_as_it_can_be_found() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, bin) = (dir.path(), dir.path().join("target/bin"));
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::write(bin.join("ptb"), "").unwrap();
        std::fs::write(folder.join("ptb"), "").unwrap();
        let called = |called: &Path, path: &str| program(called, folder, path.into());
        let found = bin.display().to_string();
        assert_eq!(called(Path::new("ptb"), ""), "ptb");
        assert_eq!(called(&bin.join("ptb"), "/usr/bin"), "target/bin/ptb");
        assert_eq!(called(&bin.join("ptb"), &found), "ptb");
        assert_eq!(called(&folder.join("ptb"), &found), "./ptb");
        assert_eq!(called(Path::new("/no/where/ptb"), &found), "/no/where/ptb");
    }
}
