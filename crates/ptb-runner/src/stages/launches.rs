//! An attempt behind the wall: its doors, and the launches of its agent. What follows a launch is in `next`.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ptb_agents::{Connection, Installed, Places, Start, command, install_for};
use ptb_core::run::StageFailure;
use ptb_gateway::{EvaluationDoor, Gateway, Traffic};
use ptb_llm::mask::Mask;
use ptb_sandbox::{Running, Wall, WallSpec, format_hours_minutes};
use tokio_util::sync::CancellationToken;

use super::ends::{Finish, Launched, StarvedWatch};
use super::model_door::{ModelDoor, Port};
use super::next::{AFTER_BREAK, Next, SoFar, generated};
use super::solve::{Attempt, door_folder, grace};
use super::telemetry::{Observatory, Signs};
use super::workspace::{Site, with_command, with_state};
use super::{Run, blocking};
use crate::context::Notice;
use crate::failure::harness;
use crate::output::Recorder;
use crate::trial;

/// How often clock, deadline and news are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often what was used of the model API is written down: so much is lost of the books when the harness is killed.
const BOOKS: Duration = Duration::from_secs(5);
/// What every launch of an attempt has in common.
pub(super) struct Stage<'a> {
    pub(super) attempt: &'a Attempt,
    doors: &'a Path,
    wall: Box<dyn Wall>,
    wanted: WallSpec,
    places: Places,
    task: String,
    recorder: Recorder,
    evaluation: Arc<EvaluationDoor>,
    traffic: Arc<OnceLock<Traffic>>,
    pub(super) seen: &'a Observatory,
}

impl Run<'_> {
    /// Opens the doors, starts the agent, as often as it goes on, and waits for its end.
    pub(super) async fn behind_the_wall(
        &mut self,
        attempt: &Attempt,
        seen: &Observatory,
    ) -> Result<Finish, StageFailure> {
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
        let stage = Stage {
            attempt,
            doors: hall.path(),
            wall,
            wanted,
            places,
            task,
            recorder,
            evaluation: Arc::clone(&evaluation),
            traffic: door.as_ref().map(ModelDoor::traffic).unwrap_or_default(),
            seen,
        };
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
    ) -> Result<Finish, StageFailure> {
        let continued = stage.attempt.continued && self.can_go_on();
        let mut told = continued.then_some(AFTER_BREAK);
        let mut so_far = SoFar::default();
        loop {
            let words = told.map(|words| {
                let left = format_hours_minutes(stage.attempt.clock.remaining());
                format!("{words} {left} of your time remain.")
            });
            let before = generated(door.as_deref());
            let launched = self.launch(stage, door.as_deref_mut(), words.as_deref()).await?;
            let got_on = generated(door.as_deref()) > before;
            match self.next(stage, door.as_deref_mut(), &launched, got_on, &mut so_far).await? {
                Next::Ends(finish) => return Ok(finish),
                Next::GoesOn(words) => {
                    self.store.event("attempt", None, format!("goes on: {words}"))?;
                    told = Some(words);
                }
            }
        }
    }

    /// One launch to its end; `told` is what the agent is told where it goes on.
    async fn launch(
        &self,
        stage: &Stage<'_>,
        door: Option<&mut ModelDoor>,
        told: Option<&str>,
    ) -> Result<Launched, StageFailure> {
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
            let mut tick = tokio::time::interval(BOOKS);
            loop {
                tokio::select! {
                    ended = &mut watched => return ended,
                    _ = tick.tick() => door.keep_books().await?,
                }
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

    /// Records the agent's output and keeps the clock until nothing of the agent is left.
    async fn watch(
        &self,
        stage: &Stage<'_>,
        mut running: Running,
    ) -> Result<Launched, StageFailure> {
        let (attempt, recorder) = (stage.attempt, &stage.recorder);
        let out = running.stdout.take().map(|s| tokio::spawn(recorder.clone().record("out", s)));
        let err = running.stderr.take().map(|s| tokio::spawn(recorder.clone().record("err", s)));
        running.started().await.map_err(harness)?;
        let canceller = running.canceller();
        let mut tick = tokio::time::interval(TICK);
        let (mut cancelled, mut stood_still) = (false, false);
        let mut starved = StarvedWatch::begin();
        let mut seen = std::pin::pin!(self.observe(stage, running.helper_pid()));
        let ended = loop {
            tokio::select! {
                ended = running.wait() => break ended,
                () = self.context.cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    canceller.cancel();
                }
                () = &mut seen, if !stood_still => {
                    stood_still = true;
                    canceller.cancel();
                }
                _ = tick.tick() => {
                    starved.look();
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
        Ok(Launched { ended, stood_still, starved: starved.look() })
    }

    /// Samples a launch; returns only when the agent has stood still for too long.
    async fn observe(&self, stage: &Stage<'_>, helper: Option<u32>) {
        let signs = Signs {
            recorder: &stage.recorder,
            evaluation: &stage.evaluation,
            traffic: &stage.traffic,
        };
        let tell = |line| self.tell(Notice::Line(line));
        if let Some(helper) = helper {
            match stage.seen.watch(helper, signs, tell).await {
                Ok(()) => return,
                Err(e) => tracing::error!("no more telemetry: {}", e.message),
            }
        }
        std::future::pending().await
    }
}
