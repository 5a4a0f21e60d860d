//! An attempt behind the wall: its doors, and the launches of its agent. Most agents are launched once. One whose
//! provider failed goes on when that is back, and one that is told to use its time is told again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ptb_agents::{Connection, Installed, Places, Start, command, install_for};
use ptb_core::cell::AgentAction;
use ptb_core::failure::FailureKind;
use ptb_core::run::StageFailure;
use ptb_gateway::{Gateway, Probe, Service};
use ptb_llm::mask::Mask;
use ptb_sandbox::{EndReason, Ended, Running, Wall, WallSpec, format_hours_minutes};
use tokio_util::sync::CancellationToken;

use super::model_door::{ModelDoor, Port};
use super::solve::{Attempt, door_folder, grace};
use super::workspace::{Site, with_command, with_state};
use super::{Run, blocking};
use crate::context::Notice;
use crate::failure::{harness, stopped};
use crate::output::Recorder;
use crate::trial;

/// How often clock, deadline and news are looked at.
const TICK: Duration = Duration::from_secs(1);
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

/// What every launch of an attempt has in common.
struct Stage<'a> {
    attempt: &'a Attempt,
    doors: &'a Path,
    wall: Box<dyn Wall>,
    wanted: WallSpec,
    places: Places,
    task: String,
    recorder: Recorder,
}

impl Run<'_> {
    /// Opens the doors, starts the agent, as often as it goes on, and waits for its end.
    pub(super) async fn behind_the_wall(
        &mut self,
        attempt: &Attempt,
    ) -> Result<Ended, StageFailure> {
        let hall = door_folder()?;
        let scaffold = self.scaffold().await?;
        let site = Site {
            spec: self.spec(),
            programs: &self.context.programs,
            task: &attempt.task,
            door: hall.path(),
            base: &attempt.base,
            secrets: &self.context.secrets,
            scaffold: scaffold.as_ref().map(|installed| installed.folder.as_path()),
        };
        let (wall, wanted, places) = site.build()?;
        let task = fs::read_to_string(self.dir().prompt()).map_err(harness)?;
        let (mut door, mask) = self.connected(attempt)?;
        let output = attempt.dir.join("output.jsonl");
        let recorder = Recorder::open(&output, Instant::now(), mask).map_err(harness)?;
        let evaluator = self.evaluator(attempt);
        let (evaluation, doors) = self.doors(attempt, &places, &evaluator);
        let shutdown = CancellationToken::new();
        let gateway =
            Gateway::serve(&hall.path().join("door.sock"), doors, &shutdown).map_err(harness)?;
        let stage = Stage { attempt, doors: hall.path(), wall, wanted, places, task, recorder };
        let outcome = self.launches(&stage, door.as_mut()).await;
        gateway.stop().await;
        evaluation.close().await;
        evaluator.cool().await;
        if let Some(door) = door
            && let Err(e) = self.settle(door).await
        {
            // A disk that the agent filled must not cost it its score.
            self.tell(Notice::Line(format!("what was used is not on record: {}", e.message)));
        }
        outcome
    }

    /// Launches until the agent has ended for good.
    async fn launches(
        &mut self,
        stage: &Stage<'_>,
        mut door: Option<&mut ModelDoor>,
    ) -> Result<Ended, StageFailure> {
        let again = |words: &str| {
            format!(
                "{words} {} of your time remain.",
                format_hours_minutes(stage.attempt.clock.remaining())
            )
        };
        let continued = stage.attempt.continued && self.can_go_on();
        let mut told = continued.then(|| again(AFTER_BREAK));
        let (mut short, mut to_give_back) = (0, MOST_GIVEN_BACK);
        loop {
            let before = generated(door.as_deref());
            let ended = self.launch(stage, door.as_deref_mut(), told.as_deref()).await?;
            let by_itself = matches!(ended.reason, EndReason::Exited(_) | EndReason::Signaled(_));
            if !by_itself || self.context.cancel.is_cancelled() {
                return Ok(ended);
            }
            let fault = self.fault_of_provider(door.as_deref());
            // One that its provider served for a while got on, however short that was.
            let got_on = fault.is_some() && generated(door.as_deref()) > before;
            short = if ended.ran_for < SHORT && !got_on { short + 1 } else { 0 };
            let words = match fault {
                // It says that it serves, and does not.
                Some((_, message)) if short >= SHORT_LAUNCHES => return Err(failed(&message)),
                None if short >= SHORT_LAUNCHES => return Ok(ended),
                Some((since, message)) => {
                    let back = since.elapsed().min(to_give_back);
                    to_give_back -= back;
                    stage.attempt.clock.give_back(back).map_err(harness)?;
                    self.wait_for_provider(stage.attempt, door.as_deref(), &message).await?;
                    AFTER_OUTAGE
                }
                None if self.uses_its_time(&ended, stage.attempt) => GO_ON,
                None => return Ok(ended),
            };
            told = Some(again(words));
            self.store.event("attempt", None, format!("goes on: {words}"))?;
        }
    }

    /// One launch to its end; `told` is what the agent is told where it goes on.
    async fn launch(
        &self,
        stage: &Stage<'_>,
        door: Option<&mut ModelDoor>,
        told: Option<&str>,
    ) -> Result<Ended, StageFailure> {
        let own_network = stage.places.home == Places::default().home;
        let port = door.is_some().then(|| Port::new(stage.doors, own_network)).transpose()?;
        let start = Start {
            prompt: told.unwrap_or(&stage.task),
            api: port.as_ref().map(|port| port.url.as_str()),
            resume: told.is_some(),
        };
        let mut launch = command(self.spec(), &stage.task, &stage.places, start)
            .ok_or_else(|| harness("a baseline has no command"))?;
        if let Some(port) = &port {
            launch.argv.splice(0..0, port.prefix.iter().cloned());
        }
        let home = stage.attempt.dir.join("home");
        let wanted = with_state(stage.wanted.clone(), &launch, (&home, &stage.places))?;
        let mut wanted = with_command(wanted, launch, &stage.places);
        let left = stage.attempt.clock.remaining();
        wanted.grace = grace(self.spec().budget.hours).min(left);
        wanted.deadline = Some(left.saturating_sub(wanted.grace));
        let running = stage.wall.launch(wanted).map_err(harness)?;
        let mut watched = std::pin::pin!(self.watch(stage, running));
        if let (Some(door), Some(port)) = (door, port) {
            tokio::select! {
                ended = &mut watched => return ended,
                served = door.serve(port) => served?,
            }
        }
        watched.await
    }

    /// The scaffold of the run, installed; it was looked for before the run began.
    pub(super) async fn scaffold(&self) -> Result<Option<Installed>, StageFailure> {
        let (spec, progress) = (self.spec().clone(), Arc::clone(&self.context.progress));
        let slug = self.store.record.slug.clone();
        let found =
            blocking(move || install_for(&spec, &|line| progress(&slug, Notice::Line(line))));
        found.await?.map_err(harness)
    }

    /// What stands between the agent and its model, where it has one, and what hides the key in all that is kept.
    fn connected(&mut self, attempt: &Attempt) -> Result<(Option<ModelDoor>, Mask), StageFailure> {
        let masked = trial::masks();
        if !masked {
            self.tell(Notice::Line(trial::ANNOUNCEMENT.to_owned()));
            self.store.event("secrets", None, trial::ANNOUNCEMENT.to_owned())?;
        }
        let none: [(&str, &str); 0] = [];
        let Some(connection) = Connection::of(self.spec()) else {
            return Ok((None, Mask::new(none).map_err(harness)?));
        };
        let key = connection.key(&self.spec().agent.name).map_err(harness)?;
        let name = connection.keys.first().map_or("KEY", String::as_str);
        let mask =
            if masked { Mask::of_keys([(name, &key)]).map_err(harness)? } else { Mask::off() };
        let hides = mask.clone();
        let hide = Arc::new(move |line: Vec<u8>| hides.whole(&line).into_owned());
        let door = ModelDoor::new((connection, key), (self.dir(), &attempt.dir), (hide, masked))?;
        Ok((Some(door), mask))
    }

    /// Ends the model API, and tells what was used.
    async fn settle(&mut self, door: ModelDoor) -> Result<(), StageFailure> {
        let Some(totals) = door.close().await? else { return Ok(()) };
        let cost = totals.cost_usd.map_or("unknown".to_owned(), |usd| format!("{usd:.2} USD"));
        let tokens = totals.tokens.all();
        self.store.event(
            "model api",
            None,
            format!("{} requests, {tokens} tokens, cost {cost}", totals.requests),
        )
    }

    /// Whether the provider was down when the agent ended, since when, and its words.
    fn fault_of_provider(&self, door: Option<&ModelDoor>) -> Option<(Instant, String)> {
        match door?.api()?.service().borrow().clone() {
            Service::Down { since, message, .. } => Some((since, message)),
            Service::Unused | Service::Up => None,
        }
    }

    /// Waits until the provider serves again; the clock stands still meanwhile.
    async fn wait_for_provider(
        &mut self,
        attempt: &Attempt,
        door: Option<&ModelDoor>,
        message: &str,
    ) -> Result<(), StageFailure> {
        let (Some(api), true) = (door.and_then(ModelDoor::api), self.can_go_on()) else {
            return Err(failed(message));
        };
        attempt.clock.stop().map_err(harness)?;
        let line =
            format!("the provider fails ({message}): waiting for it, the clock stands still");
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
                    return Err(failed(&message));
                }
                Probe::Reachable | Probe::Down { .. } => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
        attempt.clock.start().map_err(harness)
    }

    /// Whether the scaffold can go on with a session.
    fn can_go_on(&self) -> bool {
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

    /// Records the agent's output and keeps the clock until nothing of the agent is left.
    async fn watch(&self, stage: &Stage<'_>, mut running: Running) -> Result<Ended, StageFailure> {
        let (attempt, recorder) = (stage.attempt, &stage.recorder);
        let out = running.stdout.take().map(|s| tokio::spawn(recorder.clone().record("out", s)));
        let err = running.stderr.take().map(|s| tokio::spawn(recorder.clone().record("err", s)));
        running.started().await.map_err(harness)?;
        let canceller = running.canceller();
        let mut tick = tokio::time::interval(TICK);
        let mut cancelled = false;
        let ended = loop {
            tokio::select! {
                ended = running.wait() => break ended,
                () = self.context.cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    canceller.cancel();
                }
                _ = tick.tick() => {
                    let clock = Arc::clone(&attempt.clock);
                    // A disk that is full for a while must not end the agent.
                    if let Err(e) = blocking(move || clock.tick()).await? {
                        tracing::warn!("the clock's journal is behind: {e}");
                    }
                    self.tell(Notice::TimeLeft(attempt.clock.remaining()));
                    if let Some(line) = recorder.news() {
                        self.tell(Notice::Output(line));
                    }
                }
            }
        };
        for recorded in [out, err].into_iter().flatten() {
            if let Err(e) = recorded.await.map_err(harness)? {
                self.tell(Notice::Line(format!("output.jsonl is not complete: {e}")));
            }
        }
        Ok(ended)
    }
}

/// Tokens that the model has generated so far.
fn generated(door: Option<&ModelDoor>) -> u64 {
    door.and_then(ModelDoor::api).map_or(0, |api| api.totals().tokens.output)
}

/// The provider's failure: the agent's work stays where it is.
fn failed(why: &str) -> StageFailure {
    StageFailure {
        kind: FailureKind::Provider,
        message: format!(
            "the agent's provider: {why}; hint: the same command goes on where it was"
        ),
        retryable: true,
    }
}

/// What an agent is told where it goes on; the time left follows.
const GO_ON: &str = "There is time left, and the task is to use it. Look at what limits the score of final_model now, and \
                     improve it; keep final_model valid all the while.";
const AFTER_OUTAGE: &str = "Your model's provider was out of service and is back; the time in between was not counted. \
                            Go on where you were.";
const AFTER_BREAK: &str = "You were interrupted and start again in the same workspace. Processes that you had started \
                           are gone; look at what is there, and go on.";
