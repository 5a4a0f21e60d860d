//! A command behind a wall, seen from the harness.

use crate::wire::{CANCEL, Cut, Event, Exit, Failure, KILL};
use crate::{Result, WallError, probe};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdout};

/// Upper bound of one message of the helper.
const MAX_LINE: usize = 64 << 10;

/// Why a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// It exited with this code.
    Exited(i32),
    /// It was ended by this signal, not by the harness.
    Signaled(i32),
    /// Its time was over.
    Deadline,
    /// The harness ended it.
    Cancelled,
    /// It never ran; the text says why and what to do.
    SetupFailed(String),
    /// The helper died, and with it the command; nobody saw how it ended.
    Lost,
}

/// How a command ended. Nothing it started is alive any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Why.
    pub reason: EndReason,
    /// Exit code of the command itself, also where the reason is another.
    pub code: Option<i32>,
    /// Signal that ended the command itself, also where the reason is another.
    pub signal: Option<i32>,
    /// Whether the helper had to kill by force from outside.
    pub killed: bool,
    /// Time between start and the end of the last process.
    pub ran_for: Duration,
}

/// A launched command. Dropping it kills the command and everything that it started.
#[derive(Debug)]
pub struct Running {
    /// Standard output, until taken.
    pub stdout: Option<ChildStdout>,
    /// Standard error, until taken.
    pub stderr: Option<ChildStderr>,
    helper: Child,
    control: Arc<UnixStream>,
    unread: Vec<u8>,
    main: Option<Exit>,
    started: bool,
    ended: Option<Ended>,
}

/// Ends a command from elsewhere. Holding one does not keep the command alive.
#[derive(Debug, Clone)]
pub struct Canceller(Weak<UnixStream>);

impl Canceller {
    /// Asks for the end: TERM, the grace, KILL. Nothing happens when it is over already.
    pub fn cancel(&self) {
        self.send(CANCEL);
    }

    /// Kills at once.
    pub fn kill(&self) {
        self.send(KILL);
    }

    fn send(&self, order: u8) {
        if let Some(control) = self.0.upgrade() {
            // One byte into an empty socket buffer: this fails only if the helper is gone.
            let _ = control.try_write(&[order]);
        }
    }
}

impl Running {
    pub(crate) fn new(mut helper: Child, control: UnixStream) -> Self {
        Self {
            stdout: helper.stdout.take(),
            stderr: helper.stderr.take(),
            helper,
            control: Arc::new(control),
            unread: Vec::new(),
            main: None,
            started: false,
            ended: None,
        }
    }

    /// Process id of the helper, as long as it runs. It is the one to measure, not to signal.
    #[must_use]
    pub fn helper_pid(&self) -> Option<u32> {
        self.helper.id()
    }

    /// A handle that can end the command from elsewhere.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::downgrade(&self.control))
    }

    /// Asks for the end: TERM to all, the grace, KILL.
    pub fn cancel(&self) {
        self.canceller().cancel();
    }

    /// Waits until the command runs.
    ///
    /// # Errors
    /// When the wall could not be built or the program not be executed.
    pub async fn started(&mut self) -> Result<()> {
        while !self.started && self.ended.is_none() {
            self.step().await;
        }
        match &self.ended {
            Some(Ended { reason: EndReason::SetupFailed(text), .. }) if !self.started => {
                let (why, hint) = text.split_once("\nhint: ").unwrap_or((text, "see above"));
                Err(WallError::bad_spec(why, hint))
            }
            _ => Ok(()),
        }
    }

    /// Waits for the end of the command itself, after which what it started may run for some seconds still
    /// ([`Canceller::kill`] ends that at once, and changes nothing about how the command ended).
    pub async fn main_ended(&mut self) {
        while self.main.is_none() && self.ended.is_none() {
            self.step().await;
        }
    }

    /// Waits for the end. Read the output at the same time: a command whose pipe is full does not end.
    /// May be called again and dropped half-way.
    pub async fn wait(&mut self) -> Ended {
        loop {
            if let Some(ended) = &self.ended {
                let ended = ended.clone();
                // The last message comes after the last process; what is left is the helper's exit.
                let _ = self.helper.wait().await;
                return ended;
            }
            self.step().await;
        }
    }

    /// Reads some of what the helper says, and takes what is whole.
    async fn step(&mut self) {
        let mut some = [0; 4096];
        match read_some(&self.control, &mut some).await {
            Ok(n) if n > 0 && self.unread.len() + n <= MAX_LINE => {
                self.unread.extend_from_slice(&some[..n]);
            }
            _ => return self.end(EndReason::Lost, false, Duration::ZERO),
        }
        while let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.unread.drain(..=at).collect();
            match serde_json::from_slice(&line) {
                Ok(event) => self.take(event),
                Err(_) => self.end(EndReason::Lost, false, Duration::ZERO),
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Started => self.started = true,
            Event::MainExited(exit) => self.main = Some(exit),
            Event::Failed(failure) => {
                self.end(EndReason::SetupFailed(explain(&failure)), false, Duration::ZERO);
            }
            Event::Ended { main, cut, killed, millis } => {
                self.main = main;
                let reason = match (cut, main) {
                    (Some(Cut::Deadline), _) => EndReason::Deadline,
                    (Some(Cut::Cancelled), _) => EndReason::Cancelled,
                    (None, Some(Exit::Code(code))) => EndReason::Exited(code),
                    (None, Some(Exit::Signal(signal))) => EndReason::Signaled(signal),
                    (None, None) => EndReason::Lost,
                };
                self.end(reason, killed, Duration::from_millis(millis));
            }
        }
    }

    fn end(&mut self, reason: EndReason, killed: bool, ran_for: Duration) {
        if self.ended.is_some() {
            return;
        }
        let (code, signal) = match self.main {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        self.ended = Some(Ended { reason, code, signal, killed, ran_for });
    }
}

/// The text for people: what failed, and what to do where a setting of the kernel is the cause.
fn explain(failure: &Failure) -> String {
    match probe::diagnose(failure) {
        Some(error) => error.to_string(),
        None => format!("{failure}\nhint: {}", probe::plain_hint(failure)),
    }
}

/// Reads through a shared reference: cancellers hold the stream too.
async fn read_some(stream: &UnixStream, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}
