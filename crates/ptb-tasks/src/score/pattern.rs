//! Regex: a reply has every required pattern and none of the forbidden ones (instructions that a program can check, as
//! in IFEval, arXiv 2311.07911).

use ptb_core::registry::Scorer;
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{Graded, thought};
use crate::data::Sample;
use crate::lines::kind;

/// Largest compiled pattern, in bytes.
const SIZE: usize = 1 << 20;

/// The patterns of a sample: required ones and forbidden ones.
pub(super) fn patterns(scorer: &Scorer, sample: &Sample) -> Result<[Vec<Regex>; 2], String> {
    let [required, forbidden] = [&scorer.required, &scorer.forbidden].map(|field| match field {
        Some(field) => of_field(field, sample),
        None => Ok(Vec::new()),
    });
    let both = [required?, forbidden?];
    match both.iter().all(Vec::is_empty) {
        true => Err("the record has no pattern".to_owned()),
        false => Ok(both),
    }
}

fn of_field(field: &str, sample: &Sample) -> Result<Vec<Regex>, String> {
    let texts: Vec<&str> = match sample.fields.get(field) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect()
        }
        Some(other) => {
            return Err(format!(
                "the field `{field}` holds {}, no pattern or list of patterns",
                kind(other)
            ));
        }
    };
    let compile = |text: &str| {
        let built = RegexBuilder::new(text).size_limit(SIZE).build();
        built.map_err(|e| {
            let e = e.to_string();
            let e = e.lines().last().unwrap_or_default().trim();
            format!("the pattern `{}` in the field `{field}`: {e}", crate::error::shorten(text))
        })
    };
    texts.into_iter().map(compile).collect()
}

pub(super) fn grade(scorer: &Scorer, reply: &str, sample: &Sample) -> Result<Graded, String> {
    let [required, forbidden] = patterns(scorer, sample)?;
    let reply = thought::said(reply);
    let kept = required.iter().filter(|p| p.is_match(&reply)).count()
        + forbidden.iter().filter(|p| !p.is_match(&reply)).count();
    let all = required.len() + forbidden.len();
    let answer = (!reply.trim().is_empty()).then(|| format!("{kept} of {all} instructions kept"));
    let score = f64::from(kept == all && answer.is_some());
    Ok(Graded::new(score, answer))
}
