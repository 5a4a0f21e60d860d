//! Every hostile program fails in bounded time, leaves no process, and does not disturb the next job.
//!
//! A program whose head says `in one process: passes` is also run as the usual way does it, in one
//! process with the tests, and must pass there: else it would prove nothing.

use crate::{LENGTH, ensure, expect_verdict, length_job, options, processes};
use libtest_mimic::{Failed, Trial};
use ptb_code::Pool;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Two tries of the time on the clock, two new workers, and patience with a slow machine.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attacks");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 70, "attacks are missing");
    let mut trials: Vec<_> = paths.into_iter().map(trial).collect();
    trials.push(Trial::test("attack: marks for the next job", marks));
    trials.push(Trial::test("attack: programs of all lengths", lengths));
    trials.push(Trial::test("attack: every message that is no value", no_values));
    trials
}

/// One pool of one worker for all: each attack meets what the one before left.
fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::start(&options(1)).unwrap())
}

fn trial(path: PathBuf) -> Trial {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    Trial::test(format!("attack: {name}"), move || {
        let source = std::fs::read_to_string(&path)?;
        if path.ends_with("files_read.py") && !pool().reads_library_alone() {
            println!(
                "  skipped: this kernel has no Landlock, the wall alone decides what is readable"
            );
            return Ok(());
        }
        attack(&source)?;
        if source.lines().any(|line| line == "# in one process: passes") {
            naive(&source)
        } else {
            Ok(())
        }
    })
}

fn attack(source: &str) -> Result<(), Failed> {
    let began = Instant::now();
    let verdict = pool().run(&length_job(source))?;
    let took = began.elapsed();
    ensure(!verdict.passed, || "it passed".to_owned())?;
    let plain = verdict.reason.len() < 100 && !verdict.reason.contains(char::is_control);
    ensure(plain, || format!("not of our making: {:?}", verdict.reason))?;
    ensure(took < LIMIT, || format!("took {took:?}"))?;
    println!("  {} after {:.1} s", verdict.reason, took.as_secs_f32());
    // Two walls, each of helper, PID 1 and forking Python; and the tests' child may serve again.
    let left = processes::below(std::process::id());
    ensure((6..=7).contains(&left.len()), || format!("{} processes live: {left:?}", left.len()))?;
    expect_verdict(pool().run(&length_job(LENGTH)), true, "all tests passed")
}

/// The program and its tests in one process, by exit code.
fn naive(source: &str) -> Result<(), Failed> {
    let text = format!("{source}\n\n{}\ncheck(length)\n", length_job("").tests);
    let status = Command::new(&pool().python().program)
        .args(["-I", "-c", &text])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure(status.success(), || format!("it does not even pass in one process: {status}"))
}

/// What one job does to its world is not there for the next one.
fn marks() -> Result<(), Failed> {
    let leave = "import builtins, os, random, string, sys, threading, ctypes\n\
        builtins.mark = string.mark = sys.mark = random.mark = 1\n\
        os.environ['MARK'] = '1'\n\
        threading.Thread(target=threading.Event().wait).start()\n\
        sys.modules['mark'] = sys\n\
        for act in (lambda: os.mkdir('/tmp/mark'), lambda: os.chdir('/usr'), lambda: os.umask(0),\n\
        \u{20}           lambda: ctypes.CDLL(None).shmget(77, 4096, 0o1666)):\n\
        \u{20}   try: act()\n\
        \u{20}   except OSError: pass\n\
        def length(text):\n    return len(text)\n";
    let look = "import builtins, os, random, string, sys, threading, ctypes\n\
        found = [hasattr(place, 'mark') for place in (builtins, string, sys, random)]\n\
        found += ['MARK' in os.environ, threading.active_count() > 1, 'mark' in sys.modules]\n\
        found += [os.path.exists('/tmp/mark'), os.getcwd() == '/usr', os.umask(0o22) == 0]\n\
        found += [ctypes.CDLL(None).shmget(77, 4096, 0) >= 0]\n\
        def length(text):\n    return len(text) if not any(found) else -1\n";
    for source in [look, leave, look] {
        expect_verdict(pool().run(&length_job(source)), true, "all tests passed")?;
    }
    Ok(())
}

/// Programs of no length and of too much.
fn lengths() -> Result<(), Failed> {
    let long = format!("{LENGTH}#{}", "x".repeat(1 << 20));
    expect_verdict(pool().run(&length_job(&long)), false, "longer than 1 MiB")?;
    let within = format!("{LENGTH}#{}", "x".repeat(1 << 19));
    expect_verdict(pool().run(&length_job(&within)), true, "")?;
    expect_verdict(pool().run(&length_job("")), false, "not defined")?;
    expect_verdict(pool().run(&length_job("\0")), false, "does not compile")?;
    let deep = format!("length = {}1{}", "(".repeat(90_000), ")".repeat(90_000));
    expect_verdict(pool().run(&length_job(&deep)), false, "")
}

/// `frame_of_no_value` has more to try than one job can.
fn no_values() -> Result<(), Failed> {
    let source = include_str!("../attacks/frame_of_no_value.py");
    for number in 0..23 {
        let source = source.replace("TRY = 0", &format!("TRY = {number}"));
        let verdict = pool().run(&length_job(&source))?;
        let told = verdict.reason == "the answer is no plain value";
        ensure(!verdict.passed && told, || format!("{number}: {verdict:?}"))?;
    }
    Ok(())
}
