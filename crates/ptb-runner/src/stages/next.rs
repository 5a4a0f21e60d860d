//! What follows a launch. Most agents are launched once. One whose provider failed goes on when that is back, one that
//! is to use its time is told again, and so is one that stood still.

use std::time::{Duration, Instant};

use ptb_core::cell::AgentAction;
use ptb_core::run::{ApiFault, End, StageFailure};
use ptb_gateway::{Probe, Service};
use ptb_sandbox::{EndReason, Ended};

use super::Run;
use super::ends::{Finish, Launched, end_of, fault};
use super::launches::Stage;
use super::model_door::ModelDoor;
use super::solve::Attempt;
use super::standstill::TIMES;
use crate::context::Notice;
use crate::failure::{harness, stopped};

/// A launch that ended sooner did nothing; so many of them in a row are the last.
const SHORT: Duration = Duration::from_secs(10);
const SHORT_LAUNCHES: u32 = 3;
/// First and longest pause between two looks at a provider that is away, and how long it is waited for.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Of the time that scaffolds tried in vain before they gave up, so much is given back in all: what they had started in
/// the background worked on, and who asks too often makes a provider refuse.
const MOST_GIVEN_BACK: Duration = Duration::from_secs(600);

/// What follows a launch.
pub(super) enum Next {
    /// The attempt is over.
    Ends(Finish),
    /// The agent is launched again and told this.
    GoesOn(&'static str),
}

/// What an attempt's launches have used up.
pub(super) struct SoFar {
    /// Launches in a row that did nothing.
    short: u32,
    standstills: u32,
    to_give_back: Duration,
}

impl Default for SoFar {
    fn default() -> Self {
        Self { short: 0, standstills: 0, to_give_back: MOST_GIVEN_BACK }
    }
}

impl Run<'_> {
    /// What follows a launch; `got_on` tells whether the model generated anything in it.
    pub(super) async fn next(
        &mut self,
        stage: &Stage<'_>,
        door: Option<&mut ModelDoor>,
        launched: &Launched,
        got_on: bool,
        so_far: &mut SoFar,
    ) -> Result<Next, StageFailure> {
        let (ended, code) = (&launched.ended, launched.ended.code);
        let cancelled = self.context.cancel.is_cancelled();
        if launched.stood_still && ended.reason == EndReason::Cancelled && !cancelled {
            so_far.standstills += 1;
            let end = self.after_standstill(stage, so_far.standstills)?;
            return Ok(
                end.map_or(Next::GoesOn(AFTER_STANDSTILL), |end| Next::Ends(Finish { end, code }))
            );
        }
        let api = door.as_deref().and_then(ModelDoor::api);
        let limit = api.and_then(|api| api.limit_reached());
        let by_itself = matches!(ended.reason, EndReason::Exited(_) | EndReason::Signaled(_));
        if !by_itself || cancelled || limit.is_some() {
            let finish = end_of(launched, limit)?;
            return if cancelled { Err(stopped()) } else { Ok(Next::Ends(finish)) };
        }
        let down = fault_of_provider(door.as_deref());
        // One that its provider served for a while got on, however short that was.
        let idle = ended.ran_for < SHORT && !(down.is_some() && got_on);
        so_far.short = if idle { so_far.short + 1 } else { 0 };
        match down {
            // It says that it serves, and does not.
            Some(down) if so_far.short >= SHORT_LAUNCHES => {
                Ok(Next::Ends(Finish { end: down.end(), code }))
            }
            Some(down) => {
                let end = self.after_outage(stage.attempt, door, down, so_far).await?;
                Ok(end.map_or(Next::GoesOn(AFTER_OUTAGE), |end| Next::Ends(Finish { end, code })))
            }
            None if so_far.short < SHORT_LAUNCHES && self.uses_its_time(ended, stage.attempt) => {
                Ok(Next::GoesOn(GO_ON))
            }
            None => end_of(launched, None).map(Next::Ends),
        }
    }

    /// What follows the agent's standstill, the `times`th of the attempt: its end, or nothing where it is told again.
    fn after_standstill(
        &mut self,
        stage: &Stage<'_>,
        times: u32,
    ) -> Result<Option<End>, StageFailure> {
        let minutes = stage.seen.limit().unwrap_or_default().as_secs_f64() / 60.0;
        let line = format!("stood still: nothing happened for {minutes} min");
        self.tell(Notice::Line(format!("the agent {line}")));
        self.store.event("attempt", None, line)?;
        let goes_on = times <= TIMES && self.can_go_on();
        Ok((!goes_on).then_some(End::Standstill { minutes, times }))
    }

    /// Gives the time back that went by in vain, and waits for the provider. Where that is in vain: the end.
    async fn after_outage(
        &mut self,
        attempt: &Attempt,
        door: Option<&mut ModelDoor>,
        down: Down,
        so_far: &mut SoFar,
    ) -> Result<Option<End>, StageFailure> {
        let back = down.since.elapsed().min(so_far.to_give_back);
        so_far.to_give_back -= back;
        attempt.clock.give_back(back).map_err(harness)?;
        let begun = Instant::now();
        let waited = self.wait_for_provider(attempt, door.as_deref(), down).await;
        if let Some(door) = door {
            door.went_without(back + begun.elapsed());
        }
        waited
    }

    /// Waits until the provider serves again; the clock stands still meanwhile. Where that is in vain: the end.
    async fn wait_for_provider(
        &mut self,
        attempt: &Attempt,
        door: Option<&ModelDoor>,
        mut down: Down,
    ) -> Result<Option<End>, StageFailure> {
        let (Some(api), true) = (door.and_then(ModelDoor::api), self.can_go_on()) else {
            return Ok(Some(down.end()));
        };
        attempt.clock.stop().map_err(harness)?;
        let line = format!(
            "the provider fails ({}): waiting for it, the clock stands still",
            down.message
        );
        self.tell(Notice::Line(line.clone()));
        self.store.event("attempt", None, line)?;
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            tokio::select! {
                () = self.context.cancel.cancelled() => return Err(stopped()),
                () = tokio::time::sleep(pause) => {}
            }
            match api.probe().await {
                Probe::Up => break,
                // Only a paid request can tell whether there is money again.
                Probe::Reachable if pause >= LONGEST_PAUSE => break,
                Probe::Down { message, .. } if begun.elapsed() > PATIENCE => {
                    down.message = message;
                    return Ok(Some(down.end()));
                }
                Probe::Reachable | Probe::Down { .. } => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        attempt.clock.start().map_err(harness)?;
        Ok(None)
    }

    /// Whether the scaffold can go on with a session.
    pub(super) fn can_go_on(&self) -> bool {
        matches!(&self.spec().agent.action, AgentAction::Command(agent) if agent.value.resume.is_some())
    }

    /// Whether an agent that has finished is to go on: it was asked to, and enough time is left.
    fn uses_its_time(&self, ended: &Ended, attempt: &Attempt) -> bool {
        let minutes = self.spec().agent.options.get("reprompt").and_then(|m| m.parse::<f64>().ok());
        minutes.is_some_and(|minutes| {
            ended.reason == EndReason::Exited(0)
                && self.can_go_on()
                && attempt.clock.remaining().as_secs_f64() > minutes * 60.0
        })
    }
}

/// What is wrong with the provider, if it was down when the agent ended.
fn fault_of_provider(door: Option<&ModelDoor>) -> Option<Down> {
    match door?.api()?.service().borrow().clone() {
        Service::Down { since, kind, message } => Some(Down { since, fault: fault(kind), message }),
        Service::Unused | Service::Up => None,
    }
}

/// Tokens that the model has generated so far.
pub(super) fn generated(door: Option<&ModelDoor>) -> u64 {
    door.and_then(ModelDoor::api).map_or(0, |api| api.totals().tokens.output)
}

/// A provider that is down.
struct Down {
    since: Instant,
    fault: ApiFault,
    message: String,
}

impl Down {
    fn end(self) -> End {
        End::Provider { fault: self.fault, message: self.message }
    }
}

/// What an agent is told where it goes on; the time left follows.
const GO_ON: &str = "There is time left, and the task is to use it. Look at what limits the score of final_model now, and \
                     improve it; keep final_model valid all the while.";
const AFTER_OUTAGE: &str = "Your model's provider was out of service and is back; the time in between was not counted. \
                            Go on where you were.";
const AFTER_STANDSTILL: &str = "You were ended because nothing had happened for long: no output, no work of a processor or \
                                GPU, no request. Processes that you had started are gone; look at what is there, do not \
                                wait for what does not come, and go on.";
pub(super) const AFTER_BREAK: &str = "You were interrupted and start again in the same workspace. Processes that you had started \
                           are gone; look at what is there, and go on.";
