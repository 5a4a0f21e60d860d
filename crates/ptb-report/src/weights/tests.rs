//! Precedence as a table of cases, and what must hold for any weights.

use proptest::prelude::*;

use super::*;

fn claims(benchmark: &str, table: Option<f64>, own: Option<f64>, gap: Option<f64>) -> Claims {
    Claims {
        benchmark: benchmark.to_owned(),
        table: table.map(|w| ("main".to_owned(), w)),
        own,
        baselines: gap.map(|gap| Baselines { base: 0.125, instruct: 0.125 + gap, models: 4 }),
    }
}

fn edition() -> Origin {
    Origin::Edition { edition: "main".to_owned() }
}

fn baselines() -> Origin {
    Origin::Baselines { models: 4 }
}

#[test]
fn precedence_case_by_case() {
    use Rule::{Baselines as B, Equal, Precedence as P};
    type Claim = (Option<f64>, Option<f64>, Option<f64>);
    type Case = (&'static str, Rule, Vec<Claim>, Vec<(Origin, f64)>);
    let cases: Vec<Case> = vec![
        (
            "the edition's table is first",
            P,
            vec![(Some(0.1), Some(9.0), Some(0.5)), (Some(0.3), None, None)],
            vec![(edition(), 0.25), (edition(), 0.75)],
        ),
        (
            "[weight] before baselines",
            P,
            vec![(None, Some(1.0), Some(0.5)), (None, Some(3.0), None)],
            vec![(Origin::Benchmark, 0.25), (Origin::Benchmark, 0.75)],
        ),
        (
            "baselines last",
            P,
            vec![(None, None, Some(0.75)), (None, None, Some(0.25))],
            vec![(baselines(), 0.25), (baselines(), 0.75)],
        ),
        (
            "a table and [weight] share a scale",
            P,
            vec![(Some(0.1), None, None), (None, Some(0.3), None)],
            vec![(edition(), 0.25), (Origin::Benchmark, 0.75)],
        ),
        (
            "a table that follows the rule gives the rule's weights",
            P,
            vec![(Some(0.02), None, Some(0.75)), (None, None, Some(0.25))],
            vec![(edition(), 0.25), (baselines(), 0.75)],
        ),
        (
            "several anchors set the scale together",
            P,
            vec![
                (Some(0.1), None, Some(0.5)),
                (None, Some(0.3), Some(0.5)),
                (None, None, Some(0.25)),
            ],
            vec![(edition(), 0.125), (Origin::Benchmark, 0.375), (baselines(), 0.5)],
        ),
        (
            "an anchor without gain is passed over",
            P,
            vec![
                (Some(0.1), None, Some(0.5)),
                (Some(0.2), None, Some(-0.1)),
                (None, None, Some(0.5)),
            ],
            vec![(edition(), 0.25), (edition(), 0.5), (baselines(), 0.25)],
        ),
        (
            "equal by choice",
            Equal,
            vec![(Some(0.1), Some(9.0), Some(0.5)), (None, None, None)],
            vec![(Origin::Equal, 0.5), (Origin::Equal, 0.5)],
        ),
        (
            "baselines by choice, over everything",
            B,
            vec![(Some(0.1), Some(9.0), Some(0.75)), (None, Some(1.0), Some(0.25))],
            vec![(baselines(), 0.25), (baselines(), 0.75)],
        ),
        (
            "a single benchmark weighs 1 without baselines",
            P,
            vec![(None, None, None)],
            vec![(Origin::Single, 1.0)],
        ),
        (
            "a single benchmark weighs 1 even where instruct lost",
            B,
            vec![(None, None, Some(-0.1))],
            vec![(Origin::Single, 1.0)],
        ),
    ];
    for (name, rule, given, expected) in cases {
        let given: Vec<_> = given
            .iter()
            .enumerate()
            .map(|(i, (t, o, g))| claims(&format!("b{i}"), *t, *o, *g))
            .collect();
        let got = resolve(&given, rule).unwrap();
        assert_eq!(got.len(), expected.len(), "{name}");
        for (got, (origin, weight)) in got.iter().zip(&expected) {
            assert_eq!(got.origin, *origin, "{name}");
            assert!((got.weight.unwrap() - weight).abs() < 1e-12, "{name}: {got:?}");
        }
    }
}

#[test]
fn where_instruct_does_not_beat_base_the_benchmark_is_named() {
    for gap in [0.0, -0.05] {
        let given = [claims("easy", None, None, Some(gap)), claims("b", None, None, Some(0.5))];
        let e = resolve(&given, Rule::Precedence).unwrap_err().to_string();
        assert!(e.contains("`easy`") && e.contains("hint: ") && e.contains("[weight]"), "{e}");
        assert!(e.contains("registry/benchmarks/easy/benchmark.toml"), "{e}");
        assert!(resolve(&given, Rule::Equal).is_ok());
    }
}

#[test]
fn what_is_missing_makes_all_weights_unknown_and_says_why() {
    let missing = [claims("a", Some(0.5), None, None), claims("new", None, None, None)];
    let got = resolve(&missing, Rule::Precedence).unwrap();
    assert!(got.iter().all(|w| w.weight.is_none()));
    assert!(
        matches!(&got[1].origin, Origin::Unknown { reason } if reason.contains("`new`")),
        "{got:?}"
    );
    let no_anchor = [claims("a", Some(0.5), None, None), claims("new", None, None, Some(0.5))];
    let got = resolve(&no_anchor, Rule::Precedence).unwrap();
    assert!(got.iter().all(|w| w.weight.is_none()));
    assert!(
        matches!(&got[1].origin, Origin::Unknown { reason } if reason.contains("scale")),
        "{got:?}"
    );
    assert!(resolve(&[], Rule::Precedence).unwrap().is_empty());
}

fn positive() -> impl Strategy<Value = f64> {
    0.01..1.0f64
}

proptest! {
    #[test]
    fn weights_sum_to_one_and_ignore_scale_and_order(
        gaps in prop::collection::vec((positive(), prop::option::of(positive())), 2..9), factor in 0.1..10.0f64
    ) {
        let make = |k: f64| -> Vec<Claims> {
            let each = gaps.iter().enumerate();
            each.map(|(i, (gap, fixed))| claims(&i.to_string(), None, fixed.map(|w| w * k), Some(*gap))).collect()
        };
        let weights = |c: &[Claims]| -> Vec<f64> {
            resolve(c, Rule::Precedence).unwrap().iter().map(|w| w.weight.unwrap()).collect()
        };
        let one = weights(&make(1.0));
        prop_assert!((one.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        for (a, b) in one.iter().zip(weights(&make(factor))) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        let mut turned = make(1.0);
        turned.reverse();
        for (a, b) in one.iter().rev().zip(weights(&turned)) {
            prop_assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn a_smaller_gain_weighs_more(a in positive(), b in positive()) {
        let got = resolve(&[claims("a", None, None, Some(a)), claims("b", None, None, Some(b))], Rule::Precedence).unwrap();
        prop_assert_eq!(a < b, got[0].weight > got[1].weight);
    }
}
