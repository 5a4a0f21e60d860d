//! Rubric: the points of the criteria that are met over all positive points (HealthBench, arXiv 2505.08775, section 2).

use super::grade::{Grade, Verdict, Which};
use super::thought::said;
use super::{Graded, fenced};
use crate::data::{Criterion, Sample};

/// Whether each of the sample's criteria is met; none for one without a verdict.
///
/// # Errors
/// Grades that are not those of the sample's criteria, each once.
pub fn met(sample: &Sample, grades: &[Grade]) -> Result<Vec<Option<bool>>, String> {
    let mut met: Vec<Option<Option<bool>>> = vec![None; sample.criteria.len()];
    let places = grades.iter().filter_map(|g| match g.criterion {
        Some(Which::Place(place)) => Some(place),
        _ => None,
    });
    let first = u64::from(places.min().unwrap_or(0) > 0);
    for grade in grades {
        let place = match &grade.criterion {
            Some(Which::Place(place)) => usize::try_from(place - first).ok(),
            Some(Which::Text(text)) => open_place(&sample.criteria, &met, text),
            None => return Err("a grade names no `criterion`".to_owned()),
        };
        let count = sample.criteria.len();
        let slot = place.and_then(|place| met.get_mut(place));
        let slot = slot.ok_or_else(|| format!("a grade is of none of the {count} criteria"))?;
        let verdict = match &grade.verdict {
            Verdict::Met(met) => Some(*met),
            Verdict::None => None,
            Verdict::Better(text) => {
                let text = crate::error::shorten(text);
                return Err(format!("the verdict on a criterion is `{text}`, not true or false"));
            }
        };
        if slot.replace(verdict).is_some() {
            return Err("two grades are of the same criterion".to_owned());
        }
    }
    Ok(met.into_iter().map(Option::flatten).collect())
}

/// The first criterion of this text that has no grade yet: a text may be there twice.
fn open_place(criteria: &[Criterion], met: &[Option<Option<bool>>], text: &str) -> Option<usize> {
    criteria.iter().zip(met).position(|(c, met)| c.text == text && met.is_none())
}

pub(super) fn grade(sample: &Sample, grades: &[Grade]) -> Result<Graded, String> {
    let met = met(sample, grades)?;
    let count = met.len();
    let open = met.iter().filter(|m| m.is_none()).count();
    if open > 0 {
        return Err(format!("{open} of {count} criteria have no verdict"));
    }
    let met: Vec<&Criterion> = sample
        .criteria
        .iter()
        .zip(met)
        .filter(|(_, met)| *met == Some(true))
        .map(|(c, _)| c)
        .collect();
    let points: f64 = met.iter().map(|c| c.points).sum();
    let answer = format!("{} of {count} criteria met", met.len());
    Ok(Graded::new(points / positive(&sample.criteria), Some(answer)))
}

/// All positive points.
fn positive<'a>(criteria: impl IntoIterator<Item = &'a Criterion>) -> f64 {
    criteria.into_iter().map(|c| c.points.max(0.0)).sum()
}

/// What a grader's reply says of a criterion: a JSON object, alone or fenced as such, whose last `criteria_met` is
/// true or false, with its `explanation`.
///
/// # Errors
/// What is wrong with it.
pub fn verdict(reply: &str) -> Result<(bool, Option<String>), String> {
    let reply = said(reply);
    let value: serde_json::Value = serde_json::from_str(fenced(&reply))
        .map_err(|e| format!("the grader's reply is not JSON ({e})"))?;
    let met = value.get("criteria_met").and_then(serde_json::Value::as_bool);
    let met = met.ok_or("the grader's reply has no `criteria_met` that is true or false")?;
    Ok((met, value["explanation"].as_str().map(str::to_owned)))
}

/// The part of the points that criteria with a tag give, over all replies: points met, and positive points.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Points {
    /// Points of criteria that were met.
    pub met: f64,
    /// All positive points.
    pub positive: f64,
}

impl Points {
    /// Adds the criteria with a tag, of a reply with these grades. Whether there were any.
    pub fn add(&mut self, sample: &Sample, grades: &[Grade], tag: &str) -> bool {
        let Ok(met) = met(sample, grades) else { return false };
        let mut any = false;
        for (criterion, met) in sample.criteria.iter().zip(met) {
            if criterion.tags.iter().any(|t| t == tag) {
                any = true;
                self.positive += criterion.points.max(0.0);
                self.met += if met == Some(true) { criterion.points } else { 0.0 };
            }
        }
        any
    }

    /// Points met over positive points, no lower than 0 and no higher than 1; none without positive points.
    pub fn share(self) -> Option<f64> {
        (self.positive > 0.0).then(|| (self.met / self.positive).clamp(0.0, 1.0))
    }
}
