//! The numeric scorer against a table of cases written by hand.

use ptb_core::registry::{Scorer, ScorerKind};
use ptb_tasks::score::score;
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
        let scorer = Scorer { kind: ScorerKind::Numeric, boxed: case.boxed };
        let graded = score(&scorer, &case.completion, &case.target).unwrap();
        if (graded.score == 1.0) != case.right {
            wrong.push(format!("{:?} against {}: {graded:?}", case.completion, case.target));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
