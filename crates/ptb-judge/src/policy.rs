//! From evidence to a verdict. One rule for now: the gravest mark that a fact carries.

use ptb_core::run::{Evidence, Mark, Verdict};

/// Marks, gravest first.
const GRAVITY: [Mark; 3] = [Mark::Judged, Mark::NotSubmitted, Mark::EvaluationFailed];

/// The verdict over evidence. Baselines are exempt: they submit what nobody else may.
pub fn decide(evidence: &[Evidence], baseline: bool) -> Verdict {
    let judge = "facts".to_owned();
    if baseline {
        return Verdict { judge, mark: None, reason: "a baseline is exempt".to_owned() };
    }
    let gravest = GRAVITY.into_iter().find_map(|mark| {
        let facts: Vec<&str> =
            evidence.iter().filter(|e| e.mark == Some(mark)).map(|e| e.fact.as_str()).collect();
        (!facts.is_empty()).then(|| (mark, facts.join("; ")))
    });
    match gravest {
        Some((mark, reason)) => Verdict { judge, mark: Some(mark), reason },
        None => Verdict { judge, mark: None, reason: "no fact speaks against the run".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(mark: Option<Mark>) -> Evidence {
        Evidence { check: "c".into(), fact: format!("{mark:?}"), mark, place: "p".into() }
    }

    #[test]
    fn the_gravest_mark_counts_and_baselines_are_exempt() {
        let cases = [
            (vec![None], None),
            (vec![None, Some(Mark::EvaluationFailed)], Some(Mark::EvaluationFailed)),
            (vec![Some(Mark::EvaluationFailed), Some(Mark::Judged)], Some(Mark::Judged)),
            (vec![Some(Mark::NotSubmitted)], Some(Mark::NotSubmitted)),
        ];
        for (marks, expected) in cases {
            let all: Vec<_> = marks.into_iter().map(evidence).collect();
            assert_eq!(decide(&all, false).mark, expected);
            assert_eq!(decide(&all, true).mark, None);
        }
    }
}
