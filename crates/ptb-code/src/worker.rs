//! A pair of walls that runs one job at a time, and what their deaths mean.

use crate::frame::{Channel, Silence};
use crate::job::{Job, Verdict};
use crate::relay::{self, End};
use crate::zygote::{Death, Role, Setup, Zygote};
use crate::{CodeError, Result};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

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
        let pair = match self.pair.take() {
            Some(pair) => pair,
            None => Pair::start(&self.runtime, &self.setup)?,
        };
        let (end, deaths) = pair.talk(job, Instant::now() + self.wall_clock);
        match deaths {
            Some(_) => self.pair = Some(pair),
            None => pair.bury(&self.runtime),
        }
        Ok(self.judge(end, deaths, job))
    }

    /// What the end of the talk and the ends of both children (program, tests) mean.
    fn judge(&self, end: End, deaths: Option<[Death; 2]>, job: &Job) -> Try {
        let harmed = |why, perhaps_the_program| Try::Harmed { why, perhaps_the_program };
        let failed = |reason: String| Try::Done(Ok(Verdict::failed(reason)));
        let Some([program, checker]) = deaths else {
            if end == End::NotReady {
                return harmed("the process for it did not come up", false);
            }
            return harmed("it harmed the interpreter that started it", true);
        };
        let (cpu, clock) = (self.setup.cpu_seconds, self.wall_clock.as_secs_f32());
        let too_long =
            |who: &str| failed(format!("{who} took longer than {cpu} s of processor time"));
        match end {
            End::Passed => Try::Done(Ok(Verdict::passed())),
            End::Failed(reason) => failed(reason),
            End::BadTests(why) => {
                Try::Done(Err(CodeError::BadTests { entry_point: job.entry_point.clone(), why }))
            }
            End::NoProgram(Silence::Late) => {
                failed(format!("the program took longer than {clock} s"))
            }
            End::NoProgram(Silence::Nonsense) => failed("the program spoke out of turn".to_owned()),
            End::NoProgram(Silence::Gone) => match program.signal {
                _ if program.ran_out(cpu) => too_long("the program"),
                0 => failed("the program ended itself".to_owned()),
                // By us, or by the kernel when memory of the machine ran out.
                libc::SIGKILL => harmed("the program hung up", true),
                signal => failed(format!("the program crashed with signal {signal}")),
            },
            End::NoChecker(Silence::Late) => {
                failed(format!("the tests took longer than {clock} s"))
            }
            End::NoChecker(_) if checker.ran_out(cpu) => too_long("the tests"),
            End::NoChecker(_) => harmed("the tests broke on the program's answers", true),
            End::NotReady => harmed("the process for it did not come up", false),
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

impl Pair {
    fn start(runtime: &Runtime, setup: &Setup) -> Result<Self> {
        let program = Zygote::start(runtime, setup, Role::Program)?;
        let checker = Zygote::start(runtime, setup, Role::Checker)?;
        Ok(Self { program, checker })
    }

    /// One job, and how both children ended: nothing, if a zygote did not answer.
    fn talk(&self, job: &Job, deadline: Instant) -> (End, Option<[Death; 2]>) {
        let end = match (self.begin(&self.program, deadline), self.begin(&self.checker, deadline)) {
            (Some(program), Some(checker)) => relay::converse(job, &program, &checker),
            _ => End::NotReady,
        };
        let ordered = [&self.program, &self.checker].map(Zygote::order_end);
        let deaths = match ordered {
            [Ok(()), Ok(())] => match [&self.program, &self.checker].map(Zygote::ended) {
                [Ok(program), Ok(checker)] => Some([program, checker]),
                _ => None,
            },
            _ => None,
        };
        (end, deaths)
    }

    fn begin(&self, zygote: &Zygote, deadline: Instant) -> Option<Channel> {
        let (ours, theirs) = UnixStream::pair().ok()?;
        zygote.begin(&theirs).ok()?;
        Some(Channel::new(ours, deadline))
    }

    fn bury(self, runtime: &Runtime) {
        self.program.bury(runtime);
        self.checker.bury(runtime);
    }
}
