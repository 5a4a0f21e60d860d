//! A server's process, ours alone: watched until it answers, and ended when it is dropped.

use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ptb_sandbox::{Canceller, EndReason, Ended};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::sync::watch;

use super::faults::{self, End};
use super::output::{self, Output};
use super::{ServeSpec, StartError};
use crate::client::{Client, Endpoint};

/// Times between two questions whether a starting server answers.
const POLL_CHILD: Duration = Duration::from_millis(20);
const POLL_WALLED: Duration = Duration::from_millis(200);
/// Time that a server has to end once it was told to.
const END_TIME: Duration = Duration::from_secs(5);
/// Time that a wall may take to end everything in it, its grace included.
const WALL_TIME: Duration = Duration::from_secs(15);
/// Exit code of the built-in server when it refuses its model.
const BAD_MODEL: i32 = 2;
/// Bytes of output in messages.
const SHOWN: usize = 2000;

/// A server's process with its socket's directory. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Process {
    kind: Kind,
    output: Output,
    _scratch: TempDir,
}

#[derive(Debug)]
enum Kind {
    /// Our own program, ended by closing its standard input.
    Child(Mutex<Child>),
    /// A command behind a wall (or without isolation, supervised all the same).
    Walled(Walled),
}

#[derive(Debug)]
struct Walled {
    engine: &'static str,
    pid: Option<u32>,
    canceller: Canceller,
    ended: watch::Receiver<Option<Ended>>,
}

impl Drop for Walled {
    fn drop(&mut self) {
        self.canceller.kill();
    }
}

impl Process {
    pub(super) fn child(mut child: Child, scratch: TempDir, spec: &ServeSpec) -> Self {
        let mut output = Output::new(spec.log.as_deref());
        output.collect(child.stderr.take());
        Self { kind: Kind::Child(Mutex::new(child)), output, _scratch: scratch }
    }

    /// Takes over a command that runs; a task of its own waits for its end.
    pub(super) fn walled(
        engine: &'static str,
        mut running: ptb_sandbox::Running,
        scratch: TempDir,
        spec: &ServeSpec,
    ) -> Self {
        let mut output = Output::new(spec.log.as_deref());
        output.collect(running.stdout.take());
        output.collect(running.stderr.take());
        let (pid, canceller) = (running.helper_pid(), running.canceller());
        let (say_ended, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = say_ended.send(Some(running.wait().await));
        });
        let walled = Walled { engine, pid, canceller, ended };
        Self { kind: Kind::Walled(walled), output, _scratch: scratch }
    }

    /// The process that holds the others: our program's, or the wall's helper.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Child(child) => child.lock().unwrap_or_else(PoisonError::into_inner).id(),
            Kind::Walled(walled) => walled.pid.filter(|_| walled.ended.borrow().is_none()),
        }
    }

    /// How it ended, if it has.
    pub(super) fn exited(&self) -> Option<String> {
        match &self.kind {
            Kind::Child(child) => {
                let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
                child.try_wait().ok().flatten().map(|status| status.to_string())
            }
            Kind::Walled(walled) => walled.ended.borrow().as_ref().map(in_words),
        }
    }

    /// Waits until it answers.
    pub(super) async fn wait_ready(
        &mut self,
        endpoint: &Endpoint,
        time: Duration,
        own_tokenizer: bool,
    ) -> Result<(), StartError> {
        let client = Client::new(endpoint.clone(), Duration::from_secs(2))?;
        let poll = if matches!(self.kind, Kind::Child(_)) { POLL_CHILD } else { POLL_WALLED };
        let start = Instant::now();
        loop {
            if self.exited().is_some() {
                return Err(self.why_ended(own_tokenizer).await);
            }
            if client.health().await.is_ok() {
                return Ok(());
            }
            if start.elapsed() > time {
                let last = self.output.so_far();
                let last = last
                    .lines()
                    .rev()
                    .map(|line| output::tidy(line, 200))
                    .find(|line| !line.is_empty());
                let last = last.unwrap_or_else(|| "nothing".to_owned());
                return Err(StartError::Timeout { time, last });
            }
            tokio::time::sleep(poll).await;
        }
    }

    /// What its end and its output tell.
    async fn why_ended(&self, own_tokenizer: bool) -> StartError {
        let output = self.output.whole().await;
        match &self.kind {
            Kind::Child(child) => {
                let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
                ended_child(child.try_wait().ok().flatten(), &output)
            }
            Kind::Walled(walled) => {
                let ended = walled.ended.borrow().clone();
                let signal = ended.as_ref().and_then(|ended| match ended.reason {
                    EndReason::Signaled(signal) => Some(signal),
                    _ => None,
                });
                let status = ended.as_ref().map(in_words).unwrap_or_default();
                let end = End { status, signal, own_tokenizer };
                faults::classify(walled.engine, &end, &output).into()
            }
        }
    }

    /// How it ended and the line of its output that tells why, if it has ended.
    pub(super) async fn last_words(&self) -> Option<String> {
        let status = self.exited()?;
        let why = match self.why_ended(true).await {
            StartError::Fault(fault) => fault.message,
            StartError::Model { message } | StartError::Ended { output: message, .. } => {
                message.lines().last().map(|line| output::tidy(line, 300)).unwrap_or_default()
            }
            other => other.to_string(),
        };
        Some(format!("{status}: {why}"))
    }

    /// Ends it and waits until it has gone.
    pub(super) async fn stop(mut self) {
        match &mut self.kind {
            Kind::Child(child) => {
                let child = child.get_mut().unwrap_or_else(PoisonError::into_inner);
                // Closing its standard input is the signal to end.
                drop(child.stdin.take());
                if tokio::time::timeout(END_TIME, child.wait()).await.is_err() {
                    let _ = child.kill().await;
                }
            }
            Kind::Walled(walled) => {
                walled.canceller.cancel();
                let over = walled.ended.wait_for(Option::is_some);
                if tokio::time::timeout(WALL_TIME, over).await.is_err() {
                    walled.canceller.kill();
                    let over = walled.ended.wait_for(Option::is_some);
                    let _ = tokio::time::timeout(END_TIME, over).await;
                }
            }
        }
    }
}

fn ended_child(status: Option<ExitStatus>, output: &str) -> StartError {
    let from = output.len().saturating_sub(SHOWN);
    let from = (from..output.len()).find(|at| output.is_char_boundary(*at)).unwrap_or(from);
    let output = output[from..].trim().trim_start_matches("error: ").to_owned();
    if status.and_then(|status| status.code()) == Some(BAD_MODEL) {
        return StartError::Model { message: output };
    }
    let status = status.map_or_else(|| "unknown".to_owned(), |status| status.to_string());
    StartError::Ended { status, output }
}

fn in_words(ended: &Ended) -> String {
    match &ended.reason {
        EndReason::Exited(code) => format!("exit status: {code}"),
        EndReason::Signaled(signal) => format!("signal: {signal}"),
        EndReason::Deadline => "its time was over".to_owned(),
        EndReason::Cancelled => "it was ended by us".to_owned(),
        EndReason::SetupFailed(why) => format!("it never ran: {why}"),
        EndReason::Lost => "its supervisor was lost".to_owned(),
    }
}
