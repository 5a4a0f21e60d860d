//! A pair of walls that runs one job at a time, and what their deaths mean.

use crate::frame::{Channel, Silence};
use crate::job::{Job, Verdict};
use crate::relay::{self, End};
use crate::zygote::{Death, Harmed, Role, Setup, Zygote};
use crate::{CodeError, Result};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Jobs that one child of the tests serves; `zygote.py` has the same number.
const MOST_JOBS: u32 = 100;
/// Longest program in bytes.
pub(crate) const MOST_SOURCE: usize = 1 << 20;

/// Runs jobs, one after another, in the thread that made it.
pub(crate) struct Worker {
    runtime: Runtime,
    setup: Arc<Setup>,
    wall_clock: Duration,
    pair: Option<Pair>,
}

struct Pair {
    program: Zygote,
    checker: Zygote,
    /// The tests' child and the jobs that it has served, while nothing speaks against serving more.
    serving: Option<(Channel, u32)>,
}

/// How both children of a job ended: the program's, and the tests' if it had to.
#[derive(Debug)]
struct Deaths {
    program: Death,
    checker: Option<Death>,
}

/// What a try came to.
enum Try {
    /// A verdict, or a failure that is no accident.
    Done(Result<Verdict>),
    /// Something of ours was harmed.
    Harmed {
        why: &'static str,
        /// Whether the program may have done it. Twice then is no accident.
        perhaps_the_program: bool,
    },
}

impl Worker {
    /// A worker with both Pythons running.
    pub(crate) fn start(setup: Arc<Setup>, wall_clock: Duration) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| {
            CodeError::start(error, "free descriptors or memory on this machine")
        })?;
        let pair = Pair::start(&runtime, &setup)?;
        Ok(Self { runtime, setup, wall_clock, pair: Some(pair) })
    }

    /// Whether programs can read nothing but the language's library.
    pub(crate) fn is_alone(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.program.alone)
    }

    /// The verdict over a job. One that harmed the worker is run again on a fresh one: what happens
    /// twice is the program's doing.
    pub(crate) fn run(&mut self, job: &Job) -> Result<Verdict> {
        if job.source.len() > MOST_SOURCE {
            return Ok(Verdict::failed("the program is longer than 1 MiB"));
        }
        if let Try::Done(result) = self.attempt(job)? {
            return result;
        }
        match self.attempt(job)? {
            Try::Done(result) => result,
            Try::Harmed { why, perhaps_the_program: true } => Ok(Verdict::failed(why)),
            Try::Harmed { why, .. } => Err(CodeError::Worker { why: why.to_owned() }),
        }
    }

    fn attempt(&mut self, job: &Job) -> Result<Try> {
        let mut pair = match self.pair.take() {
            Some(pair) => pair,
            None => Pair::start(&self.runtime, &self.setup)?,
        };
        let talk = pair.talk(job, Instant::now() + self.wall_clock);
        match talk {
            Ok((_, Some(_))) => self.pair = Some(pair),
            _ => pair.bury(&self.runtime),
        }
        Ok(match talk {
            Ok((end, Some(deaths))) => self.judge(end, &deaths, job),
            Ok((_, None)) => Try::Harmed {
                why: "it harmed the interpreter that started it",
                perhaps_the_program: true,
            },
            Err(NotReady) => Try::Harmed {
                why: "the process for it did not come up",
                perhaps_the_program: false,
            },
        })
    }

    /// What the end of the talk and the ends of both children mean.
    fn judge(&self, end: End, deaths: &Deaths, job: &Job) -> Try {
        let failed = |reason: String| Try::Done(Ok(Verdict::failed(reason)));
        let harmed = |why| Try::Harmed { why, perhaps_the_program: true };
        let (cpu, clock) = (self.setup.cpu_seconds, self.wall_clock.as_secs_f32());
        let too_long =
            |who: &str| failed(format!("{who} took longer than {cpu} s of processor time"));
        match end {
            End::Passed => Try::Done(Ok(Verdict::passed())),
            End::Failed(reason) | End::Broke(reason) => failed(reason),
            End::BadTests(why) => {
                Try::Done(Err(CodeError::BadTests { entry_point: job.entry_point.clone(), why }))
            }
            End::NoProgram(Silence::Late) => {
                failed(format!("the program took longer than {clock} s"))
            }
            End::NoProgram(Silence::Nonsense) => failed("the program spoke out of turn".to_owned()),
            End::NoProgram(Silence::Gone) => match deaths.program.signal {
                _ if deaths.program.ran_out(cpu) => too_long("the program"),
                0 => failed("the program ended itself".to_owned()),
                // By us, or by the kernel when memory of the machine ran out.
                libc::SIGKILL => harmed("the program hung up"),
                signal => failed(format!("the program crashed with signal {signal}")),
            },
            End::NoChecker(Silence::Late) => {
                failed(format!("the tests took longer than {clock} s"))
            }
            End::NoChecker(_) => match deaths.checker {
                Some(Death { signal: libc::SIGPROF, .. }) => too_long("the tests"),
                _ => harmed("the tests broke on the program's answers"),
            },
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(pair) = self.pair.take() {
            pair.bury(&self.runtime);
        }
    }
}

impl Death {
    /// Whether processor time ran out: the limit's signal, or the one that cannot be caught after it.
    fn ran_out(self, seconds: u64) -> bool {
        self.signal == libc::SIGXCPU
            || (self.signal == libc::SIGKILL && self.cpu_millis >= seconds.saturating_mul(1000))
    }
}

/// A child did not come as far as its job: our own failure.
struct NotReady;

impl Pair {
    fn start(runtime: &Runtime, setup: &Setup) -> Result<Self> {
        let program = Zygote::start(runtime, setup, Role::Program)?;
        let checker = Zygote::start(runtime, setup, Role::Checker)?;
        Ok(Self { program, checker, serving: None })
    }

    /// One job, and how the children ended: nothing, if a zygote did not answer.
    fn talk(&mut self, job: &Job, deadline: Instant) -> Result<(End, Option<Deaths>), NotReady> {
        let mut program = begin(&self.program, deadline)?;
        let (mut checker, served) = match self.serving.take() {
            Some(serving) => serving,
            None => (begin(&self.checker, deadline)?, 0),
        };
        checker.until(deadline);
        if !relay::is_ready(&mut program) || (served == 0 && !relay::is_ready(&mut checker)) {
            return Err(NotReady);
        }
        let end = relay::converse(job, &mut program, &mut checker);
        let ordinary = matches!(end, End::Passed | End::Failed(_));
        if ordinary && served + 1 < MOST_JOBS {
            self.serving = Some((checker, served + 1));
        }
        Ok((end, self.end().ok()))
    }

    /// Ends the program's child, and the tests' one unless it will serve again.
    fn end(&self) -> Result<Deaths, Harmed> {
        self.program.order_end()?;
        let checker = if self.serving.is_none() {
            self.checker.order_end()?;
            Some(self.checker.ended()?)
        } else {
            None
        };
        Ok(Deaths { program: self.program.ended()?, checker })
    }

    fn bury(self, runtime: &Runtime) {
        self.program.bury(runtime);
        self.checker.bury(runtime);
    }
}

fn begin(zygote: &Zygote, deadline: Instant) -> Result<Channel, NotReady> {
    let (ours, theirs) = UnixStream::pair().map_err(|_| NotReady)?;
    zygote.begin(&theirs).map_err(|_| NotReady)?;
    Ok(Channel::new(ours, deadline))
}
