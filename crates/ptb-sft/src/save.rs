//! Looks at the model, and the saving of the best.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ptb_model::{Config, ModelDir, expected_tensors, save_model};
use serde_json::{Map, Value};

use crate::door::Unevaluated;
use crate::error::SftError;
use crate::events::{Criterion, End, Event, Look, Outcome};
use crate::gradient::mean_loss;
use crate::place::{self, Kept, MARK};
use crate::settings::Settings;
use crate::state::Best;
use crate::train::{Trainer, waste};
use crate::weights::Weights;

const GENERATION: &str = "generation_config.json";
/// Bytes of it.
const LIMIT: u64 = 1 << 20;
/// The least time kept for the end.
const LEAST: Duration = Duration::from_secs(3);
/// Bytes a second that a disk is trusted with before it was measured.
const DISK: f64 = 100e6;
/// Seconds that a first evaluation is taken to need.
const FIRST_LOOK: f64 = 15.0;

/// Where models go, and what they hold beside weights.
pub(crate) struct Saver<'a> {
    base: ModelDir,
    out: &'a Path,
    candidate: PathBuf,
    generation: Option<Vec<u8>>,
    parameters: usize,
    /// Seconds of the longest saving so far.
    seconds: Option<f64>,
}

impl<'a> Saver<'a> {
    /// Judges the place and the base. `turn_end` is to end generations, too; `data` is the file of the examples.
    pub(crate) fn new(
        base: ModelDir,
        settings: &'a Settings,
        data: Option<&Path>,
        turn_end: Option<u32>,
        criterion: Criterion,
    ) -> Result<Self, SftError> {
        let config = Config::read(&base)?;
        let checkpoints = settings.checkpoints.as_ref().map(|c| c.dir.as_path());
        place::judge(&settings.out, &base, &Kept { data, checkpoints })?;
        let generation = match turn_end {
            Some(id) => ended_by(&base, &config, id)?,
            None => None,
        };
        let shapes = expected_tensors(&config);
        let parameters = shapes.iter().map(|(_, _, shape)| shape.iter().product::<usize>()).sum();
        let out = settings.out.as_path();
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".candidate");
        let candidate = out.with_file_name(name);
        if criterion == Criterion::Accuracy {
            place::claim(&candidate)?;
        }
        Ok(Self { base, out, candidate, generation, parameters, seconds: None })
    }

    /// Values in the model.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    fn save(&mut self, weights: &Weights, target: &Path) -> Result<(), SftError> {
        let begun = Instant::now();
        let mut replaced: Vec<(&str, &[u8])> =
            self.generation.iter().map(|bytes| (GENERATION, bytes.as_slice())).collect();
        if target == self.candidate {
            replaced.push((MARK, b""));
        }
        save_model(target, &self.base, &replaced, |name| weights.values(name))?;
        let seconds = begun.elapsed().as_secs_f64();
        self.seconds = Some(self.seconds.map_or(seconds, |longest| longest.max(seconds)));
        Ok(())
    }

    /// Seconds that a saving takes, measured or guessed.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(4.0 * self.parameters as f64 / DISK + 0.5)
    }
}

/// The base's generation settings with one more token that ends a generation, or nothing when it has it.
fn ended_by(base: &ModelDir, config: &Config, id: u32) -> Result<Option<Vec<u8>>, SftError> {
    let mut settings: Map<String, Value> = if base.has(GENERATION) {
        serde_json::from_slice(&base.read(GENERATION, LIMIT)?).map_err(|e| {
            let path = base.path().join(GENERATION);
            let message = format!("failed to read {}: it is no JSON object: {e}", path.display());
            SftError::input(message, "save the base model's generation settings again")
        })?
    } else {
        Map::new()
    };
    let mut ids: Vec<Value> = match settings.get("eos_token_id") {
        Some(Value::Array(ids)) => ids.clone(),
        None | Some(Value::Null) => config.eos.iter().map(|id| Value::from(*id)).collect(),
        Some(one) => vec![one.clone()],
    };
    if settings.contains_key("eos_token_id") && ids.contains(&Value::from(id)) {
        return Ok(None);
    }
    if !ids.contains(&Value::from(id)) {
        ids.push(id.into());
    }
    settings.insert("eos_token_id".to_owned(), ids.into());
    Ok(serde_json::to_string_pretty(&settings).ok().map(|text| (text + "\n").into_bytes()))
}

impl Trainer<'_> {
    /// Time to keep for the end: the last look and saving, by what they took before.
    pub(crate) fn reserve(&mut self) -> Duration {
        if let Some(reserve) = self.settings.reserve {
            return reserve;
        }
        let look = match (self.criterion, self.times.look) {
            (Criterion::Newest, _) => 0.0,
            (_, Some(measured)) => 1.5 * measured,
            // A pass forward takes a third of a step's time; the rest is for surprises. Before the first step
            // nothing is known.
            (Criterion::Loss, None) if self.times.tokens_per_second > 0.0 => {
                let tokens: usize = self.held.iter().map(|shard| shard.tokens).sum();
                tokens as f64 / self.times.tokens_per_second
            }
            (Criterion::Loss, None) => 1.0,
            (Criterion::Accuracy, None) => {
                let left = self.clock.left().map_or(FIRST_LOOK, |left| left.as_secs_f64());
                FIRST_LOOK.min(0.2 * left)
            }
        };
        let needed = look + 2.0 * self.saver.seconds();
        LEAST.max(Duration::try_from_secs_f64(needed).unwrap_or(LEAST))
    }

    fn keep(&mut self, value: Option<f64>) -> Result<(), SftError> {
        let out = self.saver.out;
        self.saver.save(&self.weights, out)?;
        self.position.best = Some(Best { step: self.position.step, value });
        Ok(())
    }

    /// Looks at the model and keeps it when it is the best; false when its loss is no number.
    pub(crate) fn look(&mut self) -> Result<bool, SftError> {
        let begun = Instant::now();
        let before = self.position.best;
        self.position.looked = Some(self.position.step);
        let value = match self.criterion {
            Criterion::Newest => None,
            Criterion::Loss => Some(mean_loss(&self.pool, &self.weights, &self.held)?),
            Criterion::Accuracy => self.evaluate()?,
        };
        if value.is_some_and(|value| !value.is_finite()) {
            self.note("the loss on held back examples is no number");
            return Ok(false);
        }
        let old = before.and_then(|best| best.value);
        let better = match (value, old) {
            (Some(new), Some(old)) => self.criterion.better(new, old),
            (Some(_), None) => true,
            (None, _) => false,
        };
        // Without a measure every model counts as better, whatever an interrupted training measured.
        let better = better || self.criterion == Criterion::Newest;
        // Equal ones are replaced as well: the later one has learnt from more.
        let keep = better || old.is_none() || value.is_some() && value == old;
        if keep && self.position.best.is_some_and(|best| Some(best) != before) {
            // The first model was put into its place before it was evaluated.
            self.position.best = Some(Best { step: self.position.step, value });
        } else if keep {
            self.keep(value)?;
        }
        // A look that failed says nothing about the model.
        self.position.stale = match value {
            _ if better => 0,
            Some(_) => self.position.stale + 1,
            None => self.position.stale,
        };
        let seconds = begun.elapsed().as_secs_f64();
        self.times.look = Some(self.times.look.map_or(seconds, |longest| longest.max(seconds)));
        self.times.looked = Instant::now();
        let (step, criterion) = (self.position.step, self.criterion);
        (self.tell)(Event::Look(&Look { step, value, criterion, kept: keep, seconds }));
        Ok(true)
    }

    /// Asks the door. The first model goes into its place before, so that there is one whatever happens.
    fn evaluate(&mut self) -> Result<Option<f64>, SftError> {
        let Some(door) = self.door else { return Ok(None) };
        let first = self.position.best.is_none();
        let path = if first { self.saver.out.to_owned() } else { self.saver.candidate.clone() };
        if first {
            self.keep(None)?;
        } else {
            self.saver.save(&self.weights, &path)?;
        }
        let saving = 2.0 * self.saver.seconds() + 0.5;
        let saving = Duration::try_from_secs_f64(saving).unwrap_or_default();
        let until = self.clock.deadline().and_then(|at| at.checked_sub(saving));
        let tell = &mut *self.tell;
        let mut hear = |line: &str| tell(Event::Evaluating(line));
        let limit = self.settings.evaluate_limit;
        let result = door.evaluate(&path, limit, self.stop, until, &mut hear);
        if !first {
            let _ = fs::remove_dir_all(&path);
        }
        match result {
            Ok(accuracy) => return Ok(Some(accuracy)),
            Err(Unevaluated::Stopped) => {}
            Err(Unevaluated::Late) => self.note("no time is left for this evaluation"),
            Err(Unevaluated::Failed(reason)) => {
                self.note(&format!("the evaluation failed: {reason}"));
            }
        }
        Ok(None)
    }

    /// Leaves the best model in its place and tells how it ended.
    pub(crate) fn finish(mut self, mut end: End) -> Result<Outcome, SftError> {
        let looked = self.position.looked == Some(self.position.step);
        let unjudged = self.criterion == Criterion::Newest
            || self.position.best.is_none_or(|best| best.value.is_none());
        match end {
            End::Diverged => {}
            End::Stopped(_) => {
                if unjudged && self.position.best.map(|b| b.step) != Some(self.position.step) {
                    self.keep(None)?;
                }
                self.checkpoint();
            }
            End::Finished | End::Patience | End::Deadline => {
                let best = self.position.best;
                if (!looked || self.position.best.is_none()) && !self.look()? {
                    end = End::Diverged;
                }
                if let Some(signal) = self.stop.asked() {
                    end = End::Stopped(signal);
                }
                let left = self.clock.left().map(|left| left.as_secs_f64());
                if end == End::Deadline && self.unknown(best, left) {
                    self.checkpoint();
                }
            }
        }
        if matches!(end, End::Finished | End::Patience) {
            self.forget_checkpoints();
        }
        Ok(Outcome {
            end,
            steps: self.position.step,
            best: self.position.best,
            criterion: self.criterion,
            seconds: self.seconds(),
            tokens: self.position.tokens,
            waste: waste(self.position.tokens, self.position.area),
            loss: self.position.loss,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ptb_model::{RandomModel, random_model};

    fn extended(generation: Option<&str>) -> Option<Value> {
        let home = tempfile::tempdir().unwrap();
        random_model(home.path(), &RandomModel::mini(1)).unwrap();
        let path = home.path().join(GENERATION);
        match generation {
            Some(text) => fs::write(path, text).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let base = ModelDir::open(home.path()).unwrap();
        let config = Config::read(&base).unwrap();
        let bytes = ended_by(&base, &config, 258).unwrap()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn turns_end_generations_and_nothing_else_changes() {
        let plain = extended(Some(r#"{"eos_token_id": 256, "temperature": 0.60, "x": [1, null]}"#));
        let expected = r#"{"eos_token_id":[256,258],"temperature":0.6,"x":[1,null]}"#;
        assert_eq!(plain.unwrap().to_string(), expected);
        assert_eq!(extended(Some(r#"{"eos_token_id": [258, 256]}"#)), None);
        let absent = extended(Some(r#"{"top_p": 0.5}"#)).unwrap().to_string();
        assert_eq!(absent, r#"{"top_p":0.5,"eos_token_id":[258]}"#);
        assert_eq!(extended(None).unwrap().to_string(), r#"{"eos_token_id":[258]}"#);
    }
}
