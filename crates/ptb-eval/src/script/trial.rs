//! Whose fault a program's failure is.
//!
//! An exit code tells nothing of that: a broken program fails on every model, and a submission can be made so that a
//! sound program fails on it, which must not keep its score open for ever. So the program is tried on the base model,
//! shortly, and again on the submission. What fails on the base model too is the harness's failure, and so is what
//! went well the second time round in a short trial alone.

use std::time::Duration;

use super::error::ScriptError;
use super::subject::Subject;
use super::written::Written;
use super::{Harness, ScriptSpec};
use crate::error::EvalError;
use crate::serve::Told;

/// Output of the trial on the base model.
pub(super) const BASE_LOG: &str = "script-base.log";
/// Output of the second run on the submission.
pub(super) const AGAIN_LOG: &str = "script-again.log";
/// Samples of a trial.
const SAMPLES: usize = 2;
/// Time of a trial, at most.
const TIME: Duration = Duration::from_secs(3600);

/// What comes of a first run that failed: the second one's result, or whose fault it is.
///
/// Time and memory depend on how much there is to do: then the submission, too, is tried shortly.
pub(super) async fn of_failure(
    harness: &Harness<'_>,
    spec: &ScriptSpec,
    subject: &Subject,
    first: EvalError,
) -> Result<Written, EvalError> {
    let EvalError::Script(why) = &first else { return Err(first) };
    let Some(base) = spec.base.clone().filter(|_| why.is_of_program()) else { return Err(first) };
    let said = |text: &str| (harness.tell)(Told::Said(text.to_owned()));
    let short = ScriptSpec {
        limit: Some(spec.limit.map_or(SAMPLES, |n| n.min(SAMPLES))),
        time: spec.time.min(TIME),
        ..spec.clone()
    };
    let on_base = ScriptSpec {
        model_dir: base,
        links: ptb_model::Links::Follow,
        base: None,
        ..short.clone()
    };
    let seen = on_base.clone();
    let Ok(base) = super::blocking(move || Subject::read(&seen)).await else { return Err(first) };
    if base.shown == subject.shown {
        return Err(first);
    }
    said("evaluate.py failed: trying it on the base model");
    match harness.run(&on_base, &base, BASE_LOG).await {
        Ok(_) => {}
        Err(EvalError::Stopped) => return Err(EvalError::Stopped),
        Err(_) => {
            said("evaluate.py fails on the base model, too: the failure is not the submission's");
            return Err(first);
        }
    }
    said("evaluate.py works on the base model: trying the submission again");
    let again = if why.is_of_size() { &short } else { spec };
    match harness.run(again, subject, AGAIN_LOG).await {
        Ok(written) if !why.is_of_size() => Ok(written),
        Ok(_) => Err(first),
        Err(EvalError::Script(second)) if second.is_of_program() => {
            Err(EvalError::Model(of_model(&second)))
        }
        Err(e) => Err(e),
    }
}

/// A reason that a score carries: what was said, without a place on this machine.
fn of_model(second: &ScriptError) -> String {
    let second = second.to_string();
    let said = second.split("\nhint: ").next().unwrap_or_default();
    format!(
        "the benchmark's program works on the base model and failed twice on this one: {said}\nhint: its output is in \
         {AGAIN_LOG} beside the metrics"
    )
}
