//! The harness's doors, asked through `ptb-door`: how much time is left, and how well a model does.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stop::Stop;
use crate::text::shortened;

/// A clock that does not answer in this time is not there.
const CLOCK: Duration = Duration::from_secs(10);
/// How often a child is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// Bytes of an answer.
const BOUND: u64 = 1 << 20;
/// Bytes of a line that are looked at, and characters that are told.
const LINE: u64 = 4096;
const WIDTH: usize = 160;
/// Lines that wait to be told before the door waits.
const WAITING: usize = 64;

/// The program that talks to the doors, and the socket that it talks through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    program: PathBuf,
}

/// Why an evaluation gave no accuracy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unevaluated {
    /// Somebody asked for the end.
    Stopped,
    /// It would have gone on past the deadline.
    Late,
    /// The door's reason.
    Failed(String),
}

impl Door {
    /// A door asked through this program.
    pub fn with_program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// The door of the run that this process is in: where a socket is, and `ptb-door` beside this program or in
    /// `PATH`.
    pub fn find() -> Option<Self> {
        let socket = std::env::var_os("PTB_DOOR_SOCKET");
        let socket = socket.map_or_else(|| "/run/ptb/door.sock".into(), PathBuf::from);
        if !socket.exists() {
            return None;
        }
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = beside.into_iter().chain(std::env::split_paths(&path));
        let program = places.map(|dir| dir.join("ptb-door")).find(|program| program.is_file())?;
        Some(Self { program })
    }

    /// Time left in the run, or nothing when the clock cannot be read.
    pub fn remaining(&self) -> Option<Duration> {
        let mut command = Command::new(&self.program);
        command.args(["time", "--json"]).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = Owned(command.stdout(Stdio::piped()).spawn().ok()?);
        let out = child.0.stdout.take()?;
        let (sender, answer) = channel();
        aside(move || {
            let mut text = String::new();
            let _ = out.take(BOUND).read_to_string(&mut text);
            let _ = sender.send(text);
        });
        let text = answer.recv_timeout(CLOCK).ok()?;
        let clock: Value = serde_json::from_str(&text).ok()?;
        let seconds = clock.get("remaining_seconds")?.as_f64()?;
        Duration::try_from_secs_f64(seconds.max(0.0)).ok()
    }

    /// The accuracy of a model directory below the task's. `tell` gets the door's words as they come; `stop`,
    /// and `until` going by, cancel the evaluation.
    pub(crate) fn evaluate(
        &self,
        model: &Path,
        limit: Option<u64>,
        stop: &Stop,
        until: Option<Instant>,
        tell: &mut dyn FnMut(&str),
    ) -> Result<f64, Unevaluated> {
        let failed = |text: String| Unevaluated::Failed(text);
        let cancelled = || match stop.asked() {
            Some(_) => Err(Unevaluated::Stopped),
            None if until.is_some_and(|until| Instant::now() >= until) => Err(Unevaluated::Late),
            None => Ok(()),
        };
        let mut command = Command::new(&self.program);
        command.arg("evaluate").arg("--model-path").arg(model);
        if let Some(limit) = limit {
            command.args(["--limit", &limit.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let name = self.program.display();
        let mut child = Owned(child.map_err(|e| failed(format!("cannot start {name}: {e}")))?);
        let (sender, words) = sync_channel(WAITING);
        let (metrics_sender, metrics) = channel();
        let out = child.0.stdout.take();
        aside(move || {
            let mut text = String::new();
            let _ = out.map(|out| out.take(BOUND).read_to_string(&mut text));
            let _ = metrics_sender.send(text);
        });
        let errors = child.0.stderr.take();
        aside(move || {
            let Some(errors) = errors else { return };
            for line in lines(errors) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut last = String::new();
        let status = loop {
            match words.recv_timeout(GLANCE) {
                Ok(line) => {
                    tell(&line);
                    if !line.starts_with("hint: ") {
                        last = line;
                    }
                }
                // A door may go on without its standard error, and its children may keep that after it.
                Err(silent) => {
                    if let Some(status) = child.0.try_wait().map_err(|e| failed(e.to_string()))? {
                        break status;
                    }
                    if silent == RecvTimeoutError::Disconnected {
                        std::thread::sleep(GLANCE);
                    }
                }
            }
            cancelled()?;
        };
        if !status.success() {
            let reason = last.strip_prefix("error: ").unwrap_or(&last);
            return Err(failed(if reason.is_empty() { status.to_string() } else { reason.into() }));
        }
        let ended = Instant::now();
        let text = loop {
            match metrics.recv_timeout(GLANCE) {
                Err(RecvTimeoutError::Timeout) if ended.elapsed() < CLOCK => cancelled()?,
                told => break told.unwrap_or_default(),
            }
        };
        let metrics: Option<Value> = serde_json::from_str(&text).ok();
        let accuracy = metrics.as_ref().and_then(|m| m.get("accuracy")).and_then(Value::as_f64);
        match accuracy {
            Some(accuracy) if (0.0..=1.0).contains(&accuracy) => Ok(accuracy),
            Some(other) => Err(failed(format!("its accuracy is {other:e}, no share from 0 to 1"))),
            None => Err(failed("its metrics hold no accuracy".to_owned())),
        }
    }
}

/// Runs beside; where no thread can be had, what it would send is missing, as if nothing had come.
fn aside(work: impl FnOnce() + Send + 'static) {
    let _ = std::thread::Builder::new().spawn(work);
}

/// A child that does not outlive its use here.
struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lines cut to a terminal's, whatever is in them.
fn lines(from: impl Read) -> impl Iterator<Item = String> {
    let mut reader = BufReader::new(from);
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return None;
        }
        if !line.ends_with(b"\n") {
            let _ = reader.skip_until(b'\n');
        }
        Some(shortened(String::from_utf8_lossy(&line).trim_end(), WIDTH))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A door that runs these lines of shell.
    fn door(dir: &Path, script: &str) -> Door {
        let program = dir.join("door");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Door::with_program(program)
    }

    fn evaluate(
        door: &Door,
        stop: &Stop,
        until: Option<Instant>,
    ) -> (Result<f64, Unevaluated>, String) {
        let mut told = String::new();
        let result = door.evaluate(Path::new("m"), Some(5), stop, until, &mut |line| {
            told.push_str(line);
            told.push('|');
        });
        (result, told)
    }

    #[test]
    fn the_clock_and_what_is_no_clock() {
        let dir = tempfile::tempdir().unwrap();
        let clock = door(dir.path(), r#"echo '{"remaining_seconds": 90, "x": 1}'"#);
        assert_eq!(clock.remaining(), Some(Duration::from_secs(90)));
        for script in ["echo '{\"remaining_seconds\": \"90\"}'", "echo nonsense", "exit 3"] {
            assert_eq!(door(dir.path(), script).remaining(), None, "{script}");
        }
        assert_eq!(
            door(dir.path(), "echo '{\"remaining_seconds\": -3}'").remaining(),
            Some(Duration::ZERO)
        );
        assert_eq!(Door::with_program(dir.path().join("none")).remaining(), None);
    }

    #[test]
    fn accuracies_and_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let stop = Stop::new();
        let good = door(
            dir.path(),
            "echo generating 3/5 >&2; echo \"$@\" >&2; echo '{\"accuracy\": 0.25}'",
        );
        let (result, told) = evaluate(&good, &stop, None);
        assert_eq!(result, Ok(0.25));
        assert_eq!(told, "generating 3/5|evaluate --model-path m --limit 5|");
        for (script, reason) in [
            ("echo 'error: no such model' >&2; echo 'hint: make one' >&2; exit 2", "no such model"),
            ("exit 3", "exit status: 3"),
            ("echo '{}'", "no accuracy"),
            ("echo '{\"accuracy\": null}'", "no accuracy"),
            ("echo '{\"accuracy\": 1e308}'", "its accuracy is 1e308, no share from 0 to 1"),
            ("echo '{\"accuracy\": -5}'", "its accuracy is -5e0"),
            ("echo '{\"accuracy\": 1e999}'", "no accuracy"),
        ] {
            let (result, _) = evaluate(&door(dir.path(), script), &stop, None);
            let Err(Unevaluated::Failed(text)) = result else { panic!("{script}: {result:?}") };
            assert!(text.contains(reason), "{script}: {text}");
        }
    }

    #[test]
    fn long_lines_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let loud =
            "head -c 5000000 /dev/zero | tr '\\0' x >&2; printf '\\nl\\033[2Jast\\n' >&2; exit 1";
        let (result, told) = evaluate(&door(dir.path(), loud), &Stop::new(), None);
        assert_eq!(result, Err(Unevaluated::Failed("l\\u{1b}[2Jast".to_owned())));
        assert_eq!(told, format!("{}...|l\\u{{1b}}[2Jast|", "x".repeat(WIDTH)));
    }

    #[test]
    fn a_door_that_falls_silent_is_left_and_one_whose_children_stay_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let silent = door(dir.path(), "exec 2>&- >&-; exec sleep 60");
        let soon = Some(Instant::now() + Duration::from_millis(300));
        assert_eq!(evaluate(&silent, &Stop::new(), soon).0, Err(Unevaluated::Late));
        let stop = Stop::new();
        stop.ask(15);
        assert_eq!(evaluate(&silent, &stop, None).0, Err(Unevaluated::Stopped));
        let stays = door(dir.path(), "sleep 60 >/dev/null & echo '{\"accuracy\": 0.5}'");
        let begun = Instant::now();
        let (result, _) = evaluate(&stays, &Stop::new(), None);
        assert_eq!(result, Ok(0.5));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn stops_and_deadlines_cancel_it() {
        let dir = tempfile::tempdir().unwrap();
        let slow = door(dir.path(), "exec sleep 60");
        let slow = Door { program: slow.program };
        let soon = Some(Instant::now() + Duration::from_millis(200));
        assert_eq!(evaluate(&slow, &Stop::new(), soon).0, Err(Unevaluated::Late));
        let stop = Stop::new();
        stop.ask(15);
        assert_eq!(evaluate(&slow, &stop, None).0, Err(Unevaluated::Stopped));
    }
}
