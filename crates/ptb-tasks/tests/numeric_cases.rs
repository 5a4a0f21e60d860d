//! The numeric scorer against a table of cases written by hand.

use ptb_core::registry::{Scorer, ScorerKind};
use ptb_tasks::data::Sample;
use ptb_tasks::score::{Reply, score};
use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    completion: String,
    target: String,
    #[serde(default)]
    boxed: bool,
    right: bool,
}

#[test]
fn every_case_has_its_verdict() {
    let table: Table = toml::from_str(include_str!("numeric_cases.toml")).unwrap();
    assert!(table.case.len() >= 100);
    let mut wrong = Vec::new();
    for case in &table.case {
        let scorer = Scorer { boxed: case.boxed, ..Scorer::new(ScorerKind::Numeric) };
        let sample = Sample { target: case.target.clone(), ..Sample::default() };
        let outcome = score(&scorer, &Reply::text(&case.completion), &sample).unwrap();
        let graded = outcome.graded().unwrap();
        if (graded.score == 1.0) != case.right {
            wrong.push(format!("{:?} against {}: {graded:?}", case.completion, case.target));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
