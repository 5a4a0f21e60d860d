//! How an attempt ended, told from how its last launch did.

use std::time::{Duration, Instant};

use ptb_core::failure::FailureKind;
use ptb_core::run::{ApiFault, End, StageFailure};
use ptb_gateway::LimitReached;
use ptb_llm::protocol::ProviderFault;
use ptb_sandbox::telemetry::MemoryKills;
use ptb_sandbox::{EndReason, Ended};

use crate::failure::{harness, stopped};

/// An agent that fails so soon after the kernel ended one of its processes failed by that.
const SOON: Duration = Duration::from_secs(60);
/// What a shell makes of a command that signal 9 ended.
const KILLED: i32 = 128 + 9;

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finish {
    pub(super) end: End,
    /// Exit code of the agent, where it had one.
    pub(super) code: Option<i32>,
}

/// How a launch ended.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    pub(super) ended: Ended,
    /// Whether it was ended because it stood still.
    pub(super) stood_still: bool,
    pub(super) starved: Starved,
}

/// What the kernel ended for want of memory while a launch went on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Starved {
    /// Processes.
    pub(super) kills: u64,
    /// Whether one was ended shortly before the launch's end.
    pub(super) lately: bool,
}

/// Watches for such ends.
#[derive(Debug)]
pub(super) struct StarvedWatch {
    kills: MemoryKills,
    seen: u64,
    last: Option<Instant>,
}

impl StarvedWatch {
    pub(super) fn begin() -> Self {
        Self { kills: MemoryKills::begin(), seen: 0, last: None }
    }

    /// To be called about every second, and at the end.
    pub(super) fn look(&mut self) -> Starved {
        let kills = self.kills.so_far();
        if kills > self.seen {
            (self.seen, self.last) = (kills, Some(Instant::now()));
        }
        Starved { kills: self.seen, lately: self.last.is_some_and(|at| at.elapsed() < SOON) }
    }
}

/// The end that a launch's end comes to; failures of the harness and of whoever stopped it are errors. `limit` is the
/// limit that refused the agent's last requests.
pub(super) fn end_of(
    launched: &Launched,
    limit: Option<LimitReached>,
) -> Result<Finish, StageFailure> {
    let Starved { kills, lately } = launched.starved;
    let limited =
        limit.map(|reached| End::Limit { limit: reached.limit, message: reached.message });
    let starved = |hit: bool| (hit && kills > 0).then_some(End::OutOfMemory { kills });
    let end = match &launched.ended.reason {
        EndReason::Exited(0) => limited.unwrap_or(End::Finished),
        EndReason::Exited(code) => limited
            .or_else(|| starved(lately || *code == KILLED))
            .unwrap_or(End::Failed { code: *code }),
        EndReason::Signaled(9) => starved(true).unwrap_or(End::Killed { signal: 9 }),
        EndReason::Signaled(signal) => End::Killed { signal: *signal },
        EndReason::Deadline => End::Deadline,
        EndReason::Cancelled => return Err(stopped()),
        EndReason::SetupFailed(why) => return Err(harness(why)),
        EndReason::Lost => {
            return Err(harness(
                "the sandbox's helper was killed; hint: look for memory pressure, then run again",
            ));
        }
    };
    Ok(Finish { end, code: launched.ended.code })
}

/// The gateway's word for what is wrong with a provider, as files have it.
pub(super) fn fault(kind: ProviderFault) -> ApiFault {
    match kind {
        ProviderFault::Outage => ApiFault::Outage,
        ProviderFault::Key => ApiFault::Key,
        ProviderFault::Credit => ApiFault::Credit,
    }
}

/// The provider's failure: the agent's work stays where it is.
pub(super) fn provider_failed(why: &str) -> StageFailure {
    StageFailure {
        kind: FailureKind::Provider,
        message: format!(
            "the agent's provider: {why}; hint: the same command goes on where it was"
        ),
        retryable: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_core::run::ApiLimit;

    fn launched(reason: EndReason, kills: u64, lately: bool) -> Launched {
        let (code, signal) = match reason {
            EndReason::Exited(code) => (Some(code), None),
            EndReason::Signaled(signal) => (None, Some(signal)),
            _ => (None, None),
        };
        let ended = Ended { reason, code, signal, killed: false, ran_for: Duration::ZERO };
        Launched { ended, stood_still: false, starved: Starved { kills, lately } }
    }

    #[test]
    fn ends_are_told_by_what_was_seen() {
        use EndReason::{Deadline, Exited, Signaled};
        let reached = LimitReached { limit: ApiLimit::Tokens, message: "no more".to_owned() };
        let limit = End::Limit { limit: ApiLimit::Tokens, message: "no more".to_owned() };
        let starved = End::OutOfMemory { kills: 2 };
        let table = [
            (Exited(0), 0, false, false, End::Finished),
            // It got over what was ended.
            (Exited(0), 2, true, false, End::Finished),
            (Exited(0), 0, false, true, limit.clone()),
            (Exited(1), 2, true, true, limit),
            (Exited(7), 0, false, false, End::Failed { code: 7 }),
            (Exited(7), 2, false, false, End::Failed { code: 7 }),
            (Exited(7), 2, true, false, starved.clone()),
            (Exited(137), 2, false, false, starved.clone()),
            (Exited(137), 0, false, false, End::Failed { code: 137 }),
            (Signaled(9), 0, false, false, End::Killed { signal: 9 }),
            (Signaled(9), 2, false, true, starved),
            (Signaled(11), 2, true, false, End::Killed { signal: 11 }),
            (Deadline, 2, true, true, End::Deadline),
        ];
        for (reason, kills, lately, limited, end) in table {
            let limit = limited.then(|| reached.clone());
            let told = end_of(&launched(reason.clone(), kills, lately), limit).unwrap();
            assert_eq!(told.end, end, "{reason:?}, {kills} kills, lately {lately}");
        }
        let fault = |reason| end_of(&launched(reason, 0, false), None).unwrap_err().kind;
        assert_eq!(fault(EndReason::Lost), FailureKind::Harness);
        assert_eq!(fault(EndReason::Cancelled), stopped().kind);
    }
}
