//! Ends: a harness that is killed or loses patience, seen from another process, and a server told to end.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use ptb_infer::{Engine, Sandboxing};
use ptb_model::RandomModel;

use crate::help::{
    Outcome, TIME, Which, below, check, gone, model, request, runtime, spec, wait_until,
};

/// `be-a-harness ENGINE DIR [SECONDS] [plain | if-possible]`: starts an engine and waits to be killed; tells of an error and
/// whether it may pass.
pub(crate) fn harness() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(2).collect();
    let which = Which::of(args.first().map_or("", String::as_str));
    let mut spec = spec(args.get(1).map_or("", String::as_str).as_ref());
    if let Some(seconds) = args.get(2).and_then(|text| text.parse().ok()) {
        spec.start_timeout = Duration::from_secs(seconds);
    }
    if args.iter().any(|arg| arg == "plain") {
        spec.sandbox = Sandboxing::Never;
    }
    if args.iter().any(|arg| arg == "if-possible") {
        spec.sandbox = Sandboxing::IfPossible;
    }
    let Ok(runtime) = runtime() else { return ExitCode::FAILURE };
    println!("starting");
    match runtime.block_on(which.engine().start(&spec)) {
        Ok(running) => {
            println!("answers: {:?}", running.isolation());
            std::thread::sleep(TIME);
        }
        Err(e) => println!("{}: {e}", if e.retryable() { "retryable" } else { "final" }),
    }
    ExitCode::SUCCESS
}

/// A harness that starts an engine, with the engine's processes as they are soon after one that has `mark` in
/// its command line was seen.
struct Harness {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    processes: Vec<(u32, String)>,
    _dirs: [tempfile::TempDir; 2],
}

impl Harness {
    fn start(which: Which, args: &[&str], mark: &str) -> Result<Self, Failed> {
        Self::start_with(which, args, mark, |command| command)
    }

    fn start_with(
        which: Which,
        args: &[&str],
        mark: &str,
        change: impl Fn(&mut Command) -> &mut Command,
    ) -> Result<Self, Failed> {
        let home = model(&RandomModel::mini(1))?;
        // A harness that is killed leaves its directories behind.
        let scratch = tempfile::tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["be-a-harness", which.name()]).arg(home.path()).args(args);
        command.env("TMPDIR", scratch.path());
        let mut child = change(&mut command).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        check(lines.next().transpose()?.as_deref() == Some("starting"), "it does not start")?;
        let there = || below(child.id()).iter().any(|(_, line)| line.contains(mark));
        wait_until("its processes are there", Duration::from_secs(150), there)?;
        std::thread::sleep(Duration::from_millis(300));
        let processes = below(child.id());
        check(processes.len() >= 2, format!("{processes:?}"))?;
        Ok(Self { child, lines, processes, _dirs: [home, scratch] })
    }

    fn all_gone(&self) -> Outcome {
        all_gone(&self.processes)
    }
}

fn all_gone(all: &[(u32, String)]) -> Outcome {
    let left = || all.iter().filter(|(pid, _)| !gone(*pid)).collect::<Vec<_>>();
    let waited = wait_until("all of it has gone", Duration::from_secs(20), || left().is_empty());
    waited.map_err(|_| Failed::from(format!("{:?} live on", left())))
}

/// Killed in the middle of the start, when servers of several processes have started theirs.
pub(crate) fn killed_harness(which: Which) -> Outcome {
    // Without a sandbox nothing is different for vLLM, and its start takes long.
    let (mark, ways): (_, &[&[&str]]) = match which {
        Which::Vllm => ("EngineCore", &[&[]]),
        Which::Transformers => ("serve.py", &[&[], &["300", "plain"]]),
    };
    for args in ways {
        let mut harness = Harness::start(which, args, mark)?;
        harness.child.kill()?;
        harness.child.wait()?;
        harness.all_gone()?;
    }
    Ok(())
}

/// A server that takes too long is ended, with its last words told.
pub(crate) fn impatience(which: Which) -> Outcome {
    let mut harness = Harness::start(which, &["2"], " serve ")?;
    let said = harness.lines.next().transpose()?.unwrap_or_default();
    let expected = "retryable: the engine did not answer within 2 s; it last said: ";
    check(said.starts_with(expected), said)?;
    harness.child.wait()?;
    harness.all_gone()
}

/// Without a sandbox, as asked: it serves all the same, says so, and is ended whole.
pub(crate) fn plain(which: Which) -> Outcome {
    let home = model(&RandomModel::mini(1))?;
    let mut spec = spec(home.path());
    spec.sandbox = Sandboxing::Never;
    let runtime = runtime()?;
    let running = runtime.block_on(which.engine().start(&spec))?;
    let isolation = running.isolation();
    check(isolation.wall == "none" && isolation.reason.is_some(), format!("{isolation:?}"))?;
    let client = running.client(TIME)?;
    runtime.block_on(client.complete(&request("hello", 4, 1)))?;
    let all = below(running.pid().ok_or("no process")?);
    let socket = running.endpoint().to_string();
    let begin = Instant::now();
    runtime.block_on(running.stop());
    println!("{} was ended in {:.1?}", which.name(), begin.elapsed());
    all_gone(&all)?;
    let path = socket.trim_start_matches("unix:");
    check(!std::path::Path::new(path).exists(), format!("{path} is left"))
}

/// An installation that cannot live behind the wall (it wants to show a place that the wall builds itself) is
/// run without one where that is allowed, with the reason told, and refused where it is not.
pub(crate) fn fallback(which: Which) -> Outcome {
    fn odd(command: &mut Command) -> &mut Command {
        command.env("PYTHONPATH", "/etc/ssl")
    }
    let mut harness = Harness::start_with(which, &["200", "if-possible"], "serve.py", odd)?;
    let said = harness.lines.next().transpose()?.unwrap_or_default();
    check(said.contains(r#"wall: "none""#) && said.contains("/etc/ssl"), said)?;
    harness.child.kill()?;
    harness.child.wait()?;
    harness.all_gone()?;
    let home = model(&RandomModel::mini(1))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["be-a-harness", which.name()]).arg(home.path());
    let said = String::from_utf8(odd(&mut command).output()?.stdout)?;
    check(said.contains("final: failed to build the engine's sandbox: "), said)
}
