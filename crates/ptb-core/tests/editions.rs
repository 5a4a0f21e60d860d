//! The built-in editions: their benchmarks, seeds and weights.
#![allow(clippy::unwrap_used, reason = "a test panics")]

use ptb_core::registry::Registry;

const SEEDS: [u64; 5] = [72332, 87681, 38992, 92201, 13818];

#[test]
fn the_built_in_editions() {
    let registry = Registry::load(&[]).unwrap();
    let edition = |id: &str| registry.edition(id).unwrap().value.clone();
    let (v1, newer, main) = (edition("v1"), edition("v1.2"), edition("main"));
    assert_eq!((v1.benchmarks.len(), v1.seeds.as_deref()), (7, Some(&[42][..])));
    assert_eq!(
        (newer.seeds.as_deref(), main.seeds.as_deref()),
        (Some(&SEEDS[..]), Some(&SEEDS[..]))
    );
    assert_eq!((&main.benchmarks, &main.weights), (&v1.benchmarks, &v1.weights));
    let total: f64 = newer.weights.values().sum();
    let percent = |id: &str| (1000.0 * newer.weights[id] / total).round() / 10.0;
    let ids = ["aime2025", "gpqamain", "healthbench", "humaneval", "gsm8k", "arenahardwriting"];
    assert_eq!(ids.map(percent), [24.5, 24.3, 19.9, 11.5, 10.1, 9.8]);
    assert_eq!(newer.weights.len(), 6);
    for edition in [v1, newer, main] {
        assert!(edition.description.contains("not with published ones"), "{}", edition.name);
    }
}

#[test]
fn an_editions_seeds_are_for_its_own_benchmarks() {
    let registry = Registry::load(&[]).unwrap();
    let main = &registry.edition("main").unwrap().value;
    assert_eq!(main.seeds_of(registry.benchmark("gsm8k").unwrap()), SEEDS);
    assert_eq!(main.seeds_of(registry.benchmark("arithmetic").unwrap()), [42]);
}
