//! The training itself: from settings and data to the best model in its place.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ptb_model::{Checkpoint, Config, Links, ModelDir, TensorRole, expected_tensors};
use rayon::{ThreadPool, ThreadPoolBuilder};
use sha2::{Digest, Sha256};

use crate::adamw::{self, AdamW};
use crate::batch::{self, Batch, Shard};
use crate::clock::Clock;
use crate::data::{Data, Encoder, Example};
use crate::door::Door;
use crate::error::SftError;
use crate::events::{Begin, Criterion, End, Event, Outcome, Step};
use crate::gradient::batch_gradient;
use crate::save::Saver;
use crate::schedule;
use crate::settings::{Every, Length, Settings};
use crate::state::{Best, Position, Store};
use crate::stop::Stop;
use crate::text::shortened;
use crate::weights::Weights;

/// Tokens of a shard of held back examples.
const HELD_TOKENS: usize = 2048;

/// Trains as the settings say and leaves the best model in its place. `door` is asked for the time left and for
/// evaluations; `tell` hears what happens.
///
/// # Errors
/// A base or settings that cannot be used, a checkpoint of another training, or the machine's failure. Whatever
/// the error, `settings.out` holds a whole model or what it held before.
pub fn train(
    settings: &Settings,
    data: Data,
    encoder: &Encoder,
    door: Option<&Door>,
    stop: &Stop,
    tell: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, SftError> {
    let mut trainer = Trainer::prepare(settings, data, encoder, door, stop, tell)?;
    let end = trainer.run()?;
    trainer.finish(end)
}

/// Everything in reach while training.
pub(crate) struct Trainer<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) stop: &'a Stop,
    pub(crate) door: Option<&'a Door>,
    pub(crate) tell: &'a mut dyn FnMut(Event<'_>),
    pub(crate) criterion: Criterion,
    examples: Vec<Example>,
    widths: Vec<usize>,
    /// What was held back, ready to be computed.
    pub(crate) held: Vec<Shard>,
    pub(crate) pool: ThreadPool,
    pub(crate) weights: Weights,
    adam: AdamW,
    pub(crate) position: Position,
    /// The epoch under way.
    batches: Vec<Batch>,
    /// Steps in all, where they are known.
    total: Option<u64>,
    pub(crate) clock: Clock,
    store: Option<Store>,
    pub(crate) saver: Saver<'a>,
    /// Seconds of training before this process.
    before: f64,
    pub(crate) times: Times,
}

/// Measured times, in seconds, and when things were done last.
#[derive(Debug)]
pub(crate) struct Times {
    step: f64,
    pub(crate) tokens_per_second: f64,
    pub(crate) look: Option<f64>,
    pub(crate) looked: Instant,
    checkpointed: Instant,
    /// Whether it was told that the time is too short.
    short: bool,
}

/// Steps after which their speed is believed.
const MEASURED: u64 = 20;

impl<'a> Trainer<'a> {
    fn prepare(
        settings: &'a Settings,
        mut data: Data,
        encoder: &Encoder,
        door: Option<&'a Door>,
        stop: &'a Stop,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Result<Self, SftError> {
        // The base is the harness's or the user's own: links may lead to a cache.
        let base = ModelDir::open_with(&settings.base, Links::Follow)?;
        let config = Config::read(&base)?;
        config.check_trainable()?;
        let checkpoint = Checkpoint::open(&base)?;
        let held = data.hold_back(settings.validation, settings.seed);
        let criterion = match (settings.look, door) {
            _ if !held.is_empty() => Criterion::Loss,
            (Some(_), Some(_)) => Criterion::Accuracy,
            _ => Criterion::Newest,
        };
        let turn_end = encoder.turn_end().filter(|_| data.chat);
        let saver = Saver::new(base, settings, data.file.as_deref(), turn_end, criterion)?;
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
            SftError::failure(format!("failed to start {threads} threads: {e}"), "see --threads")
        })?;
        let mut weights = Weights::load(&config, &checkpoint, settings.method, settings.seed)?;
        let mut adam = AdamW::new(&weights.params);
        let (mut store, mut position) = (None, Position::default());
        if let Some(checkpoints) = &settings.checkpoints {
            let fingerprint = fingerprint(settings, &data, &config, &checkpoint)?;
            let opened = Store::open(&checkpoints.dir, fingerprint)?;
            let mut note = |text: String| tell(Event::Note(&text));
            let restored = opened.restore(&mut weights.params, &mut adam, &mut note)?;
            position = restored.unwrap_or_default();
            store = Some(opened);
        }
        if position.step > 0 {
            weights.publish();
        }
        if !settings.out.is_dir() {
            position.best = None;
        }
        let before = position.seconds;
        let spent = Duration::try_from_secs_f64(before).unwrap_or_default();
        let clock = Clock::start(settings, spent, door);
        let now = Instant::now();
        let mut trainer = Self {
            settings,
            stop,
            door,
            tell,
            criterion,
            widths: data.examples.iter().map(batch::width).collect(),
            held: held.chunks(64).flat_map(held_shards).collect(),
            examples: data.examples,
            pool,
            weights,
            adam,
            position,
            batches: Vec::new(),
            total: None,
            clock,
            store,
            saver,
            before,
            times: Times {
                step: 0.0,
                tokens_per_second: 0.0,
                look: None,
                looked: now,
                checkpointed: now,
                short: false,
            },
        };
        trainer.batches = trainer.epoch(trainer.position.epoch);
        trainer.plan_length()?;
        trainer.stop.orderly();
        trainer.begin(threads, (data.skipped, data.cut, held.len()));
        if let Some(text) = unused(&config, &checkpoint) {
            trainer.note(&text);
        }
        Ok(trainer)
    }

    fn plan_length(&mut self) -> Result<(), SftError> {
        self.total = match self.settings.length {
            Length::Steps(steps) => Some(steps),
            Length::Epochs(n) => Some((0..n).map(|e| self.epoch(e).len() as u64).sum()),
            Length::Time if self.clock.left().is_some() => None,
            Length::Time => {
                let message = "training up to the deadline was asked for, and there is none";
                return Err(SftError::input(message, "give --minutes, --steps or --epochs"));
            }
        };
        Ok(())
    }

    fn begin(&mut self, threads: usize, (skipped, cut, held_back): (usize, usize, usize)) {
        let first = if self.position.epoch == 0 { self.batches.clone() } else { self.epoch(0) };
        let widest = |b: &Batch| b.iter().map(|i| self.widths[*i]).max().unwrap_or(0);
        let area: usize = first.iter().map(|b| b.len() * widest(b)).sum();
        let tokens: usize = self.widths.iter().sum();
        let begin = Begin {
            base: self.settings.base.display().to_string(),
            parameters: self.saver.parameters(),
            trained: self.weights.trained(),
            examples: self.examples.len(),
            held_back,
            skipped,
            cut,
            tokens,
            waste: waste(tokens as u64, area as u64),
            batch_tokens: self.settings.batch_tokens,
            threads,
            steps: self.total,
            resumed: Some(self.position.step).filter(|step| *step > 0),
            seconds_left: self.clock.left().map(|left| left.as_secs_f64()),
            criterion: self.criterion,
        };
        (self.tell)(Event::Begin(&begin));
        let door_missing = self.settings.look.is_some() && self.criterion == Criterion::Newest;
        if door_missing {
            self.note("no door and no held back examples: the newest model is kept");
        }
    }

    pub(crate) fn note(&mut self, text: &str) {
        (self.tell)(Event::Note(text));
    }

    fn epoch(&self, number: u32) -> Vec<Batch> {
        batch::epoch(&self.widths, self.settings.batch_tokens, self.settings.seed, number)
    }

    /// Share of the training that will be done after the coming step.
    fn progress(&mut self) -> f64 {
        let done = (self.position.step + 1) as f64;
        match self.total {
            Some(total) => done / self.affordable(total).max(1.0),
            None => {
                let (spent, left) = (self.seconds(), self.left().unwrap_or(0.0));
                spent / (spent + left).max(f64::MIN_POSITIVE)
            }
        }
    }

    /// Steps of the training: those wanted, or, where the time is too short for them at the speed so far, those that
    /// fit. So the schedule ends with the time instead of being cut where the rate is still high.
    fn affordable(&mut self, wanted: u64) -> f64 {
        let (step, wanted) = (self.position.step, wanted as f64);
        let Some(left) = self.left().filter(|_| step >= MEASURED) else { return wanted };
        let fits = step as f64 + left / self.times.step.max(1e-9);
        if fits < wanted && !std::mem::replace(&mut self.times.short, true) {
            self.note(&format!(
                "the time is too short for {wanted} steps: the schedule is shortened to end with it"
            ));
        }
        fits.min(wanted)
    }

    /// Seconds until the time kept for the end, none without a deadline.
    fn left(&mut self) -> Option<f64> {
        let left = self.clock.left()?;
        Some(left.saturating_sub(self.reserve()).as_secs_f64())
    }

    /// Seconds of training, those before an interruption included.
    pub(crate) fn seconds(&self) -> f64 {
        self.before + self.clock.elapsed().as_secs_f64()
    }

    /// Why to end before the next step, if anything.
    fn ended(&mut self) -> Option<End> {
        if let Some(signal) = self.stop.asked() {
            return Some(End::Stopped(signal));
        }
        if self.total.is_some_and(|total| self.position.step >= total) {
            return Some(End::Finished);
        }
        if self.settings.patience.is_some_and(|patience| self.position.stale >= patience) {
            return Some(End::Patience);
        }
        // A schedule by time is over when the time is; one by steps is cut.
        let end = if self.total.is_some() { End::Deadline } else { End::Finished };
        self.left().is_some_and(|left| left <= 1.5 * self.times.step).then_some(end)
    }

    fn run(&mut self) -> Result<End, SftError> {
        loop {
            if let Some(end) = self.ended() {
                return Ok(end);
            }
            if !self.step()? {
                return Ok(End::Diverged);
            }
            let since = self.times.looked.elapsed();
            let due = self.settings.look.is_some_and(|every| self.due(every, since));
            let best = self.position.best;
            // The last step's look is part of the end.
            if due && self.total != Some(self.position.step) && !self.look()? {
                return Ok(End::Diverged);
            }
            let since = self.times.checkpointed.elapsed();
            let every = self.settings.checkpoints.as_ref().map(|c| c.every);
            let left = self.left();
            if every.is_some_and(|every| self.due(every, since)) || self.unknown(best, left) {
                self.checkpoint();
            }
        }
    }

    fn due(&self, every: Every, since: Duration) -> bool {
        match every {
            Every::Steps(n) => self.position.step.is_multiple_of(n.max(1)),
            Every::Seconds(seconds) => since.as_secs_f64() >= seconds,
        }
    }

    /// One step of the optimiser; false when numbers are none any more, and then nothing has moved.
    fn step(&mut self) -> Result<bool, SftError> {
        let begun = Instant::now();
        if self.position.batch >= self.batches.len() {
            self.position.epoch += 1;
            self.position.batch = 0;
            self.batches = self.epoch(self.position.epoch);
        }
        let progress = self.progress();
        let lr = schedule::rate(&self.settings.optimiser, progress);
        let rows = self.batches.get(self.position.batch).map_or(&[][..], Vec::as_slice);
        let shards = batch::shards(&self.examples, rows);
        let sums = batch_gradient(&self.pool, &self.weights, &shards)?;
        let loss = sums.loss / sums.counted.max(1) as f64;
        let mean = 1.0 / sums.counted.max(1) as f64;
        let weights = &mut self.weights;
        let gradients = self.pool.install(|| weights.pull_back(sums.gradient));
        let gradients = gradients.each();
        let norm = mean * self.pool.install(|| adamw::norm(&gradients));
        if !loss.is_finite() || !norm.is_finite() {
            self.note(&format!(
                "loss {loss} and gradient norm {norm} after {} steps",
                self.position.step
            ));
            return Ok(false);
        }
        let o = &self.settings.optimiser;
        let clip = if o.clip > 0.0 && norm > o.clip { o.clip / norm } else { 1.0 };
        let adam = &mut self.adam;
        self.pool.install(|| {
            adam.step(o, lr, &mut weights.params, &gradients, mean * clip);
            weights.publish();
        });
        self.position.step += 1;
        self.position.batch += 1;
        self.position.loss = Some(loss);
        let tokens: usize = shards.iter().map(|s| s.tokens).sum();
        self.position.tokens += tokens as u64;
        self.position.area += shards.iter().map(|s| s.area() as u64).sum::<u64>();
        self.position.seconds = self.seconds();
        self.times.measured(begun.elapsed().as_secs_f64(), tokens);
        self.tell_step(loss, lr, norm);
        Ok(true)
    }

    fn tell_step(&mut self, loss: f64, lr: f64, norm: f64) {
        let steps = self.total.map(|total| total.saturating_sub(self.position.step));
        let by_steps = steps.map(|steps| steps as f64 * self.times.step);
        let by_clock = self.left();
        let step = Step {
            step: self.position.step,
            steps: self.total,
            epoch: self.position.epoch + 1,
            loss,
            lr,
            norm,
            tokens_per_second: self.times.tokens_per_second,
            seconds_left: [by_steps, by_clock].into_iter().flatten().reduce(f64::min),
        };
        (self.tell)(Event::Step(&step));
    }

    /// Whether checkpoints know another best than the one in the place, and there is time to tell them (`left`, in
    /// seconds). A training that went on from such a checkpoint would put a worse one there.
    pub(crate) fn unknown(&self, best: Option<Best>, left: Option<f64>) -> bool {
        // Three numbers of four bytes for each that is saved in two or four.
        let needed = 6.0 * self.saver.seconds();
        self.criterion != Criterion::Newest
            && self.position.best != best
            && left.is_none_or(|left| left > needed)
    }

    /// Keeps the state. What cannot be kept is told: training itself does not need it.
    pub(crate) fn checkpoint(&mut self) {
        let Some(store) = &self.store else { return };
        self.position.seconds = self.before + self.clock.elapsed().as_secs_f64();
        match store.write(&self.position, &self.weights.params, &self.adam) {
            Ok(()) => (self.tell)(Event::Checkpoint(self.position.step)),
            Err(e) => (self.tell)(Event::Note(&format!("training goes on: {}", e.message))),
        }
        self.times.checkpointed = Instant::now();
    }

    /// Removes the checkpoints of a training that has nothing left to do.
    pub(crate) fn forget_checkpoints(&mut self) {
        if let Some(store) = &self.store {
            store.clear();
        }
    }
}

impl Times {
    fn measured(&mut self, seconds: f64, tokens: usize) {
        let speed = tokens as f64 / seconds.max(1e-9);
        let mix = |old: f64, new: f64| if old == 0.0 { new } else { 0.9 * old + 0.1 * new };
        self.step = mix(self.step, seconds);
        self.tokens_per_second = mix(self.tokens_per_second, speed);
    }
}

/// What to say of the base's tensors that the architecture has no place for: they would be lost in silence.
fn unused(config: &Config, base: &Checkpoint) -> Option<String> {
    let mut known: HashSet<String> =
        expected_tensors(config).into_iter().map(|(_, name, _)| name).collect();
    // Some write a tied head out, which is the embedding again.
    known.insert(TensorRole::Head.name(0));
    let lost: Vec<&String> = base.tensors().keys().filter(|name| !known.contains(*name)).collect();
    let first = lost.first()?;
    Some(format!(
        "{} tensors of the base are not called for by its config.json ({} layers) and will not be in the model, \
         such as {}",
        lost.len(),
        config.num_layers,
        shortened(first, 100)
    ))
}

/// Share of padding.
pub(crate) fn waste(tokens: u64, area: u64) -> f64 {
    1.0 - tokens as f64 / area.max(tokens).max(1) as f64
}

/// Held back examples in shards of like length.
fn held_shards(part: &[Example]) -> Vec<Shard> {
    let widths: Vec<usize> = part.iter().map(batch::width).collect();
    let batches = batch::epoch(&widths, HELD_TOKENS, 0, 0);
    batches.iter().flat_map(|rows| batch::shards(part, rows)).collect()
}

/// Hash of everything that the numbers depend on; threads, places and times are not among it.
fn fingerprint(
    settings: &Settings,
    data: &Data,
    config: &Config,
    base: &Checkpoint,
) -> Result<String, SftError> {
    let s = settings;
    let told = format!(
        "2 {config:?} {} {} {:?} {:?} {:?} {} {} {}",
        base.weights_hash()?,
        data.hash(),
        s.length,
        s.method,
        s.optimiser,
        s.batch_tokens,
        s.validation,
        s.seed
    );
    Ok(Sha256::digest(told).iter().map(|byte| format!("{byte:02x}")).collect())
}
