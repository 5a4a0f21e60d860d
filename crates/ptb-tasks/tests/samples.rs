//! The samples that come with each benchmark: written for this project, in the columns of the real data.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ptb_core::registry::{Benchmark, Entry, Registry, ScorerKind};
use ptb_tasks::data::{Dataset, load};
use ptb_tasks::prompt::Prompter;
use ptb_tasks::score::{Outcome, Reply, score};
use serde_json::{Map, Value, json};

mod support;

const ROWS: usize = 5;

fn file(id: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../registry/benchmarks/{id}/sample.jsonl"))
}

fn samples(id: &str) -> (Entry<Benchmark>, Dataset) {
    let entry = Registry::load(&[]).unwrap().benchmark(id).unwrap().clone();
    let dataset = load(&entry, Some(&file(id))).unwrap();
    assert_eq!(dataset.samples.len(), ROWS);
    (entry, dataset)
}

/// A reply that is right, as each benchmark wants it, scores 1; another one 0.
#[test]
fn right_replies_are_right() {
    for (id, reply) in [
        ("aime2025", (|target| format!("So it is\nANSWER: {target}")) as fn(&str) -> String),
        ("gpqamain", |target| format!("Because.\n\nANSWER: {target}")),
        ("bfcl", |target| {
            let (name, arguments) = target.split_once('(').unwrap();
            let arguments = match name {
                "driving_range" => json!({"per_100_km": 5.0, "fuel": 12.5}),
                "order_numbers" => json!({"numbers": [4, 19, 7], "descending": true}),
                "find_platform" => json!({"destination": "Graz", "time": "09:40"}),
                "map_distance" => json!({"start": [2, -3], "end": [5, 1]}),
                "add_order" => json!({"items": {"rye bread": 3}, "customer": "0042"}),
                other => panic!("{other} {arguments}"),
            };
            format!("<tool_call>\n{}\n</tool_call>", json!({"name": name, "arguments": arguments}))
        }),
    ] {
        let (entry, dataset) = samples(id);
        for sample in dataset.asked_under(42).iter() {
            let graded = |text: &str| {
                let outcome = score(&entry.value.scorer, &Reply::text(text), sample).unwrap();
                outcome.graded().unwrap().score
            };
            assert_eq!(graded(&reply(&sample.target)), 1.0, "{}", sample.id);
            assert_eq!(graded("I do not know."), 0.0);
        }
    }
}

#[test]
fn solutions_make_programs() {
    let (entry, dataset) = samples("humaneval");
    assert_eq!(entry.value.scorer.kind, ScorerKind::Code);
    for sample in dataset.samples.iter() {
        let solution = sample.fields["canonical_solution"].as_str().unwrap();
        let Outcome::Run(program) =
            score(&entry.value.scorer, &Reply::text(solution), sample).unwrap()
        else {
            panic!("code is run")
        };
        assert_eq!(program.source, format!("{}{solution}", sample.question));
        assert!(program.source.contains(&format!("def {}(", program.entry_point)));
        assert!(program.tests.contains("def check(candidate):\n    assert candidate("));
    }
}

/// One prompt of each, whole.
#[test]
fn prompts_word_for_word() {
    for id in ["aime2025", "gpqamain", "humaneval", "bfcl"] {
        let (entry, dataset) = samples(id);
        let prompter = Prompter::new(&entry, &dataset).unwrap();
        let sample = &dataset.asked_under(42)[1];
        let prompt = json!({"messages": prompter.messages(sample).unwrap(), "tools": sample.tools});
        insta::assert_json_snapshot!(id, prompt);
    }
}

/// The samples' columns are those of the real data.
#[test]
fn columns_are_those_of_the_real_data() {
    for (id, real) in [
        ("aime2025", "data/aime2025/test.jsonl"),
        ("humaneval", "data/humaneval/HumanEval.jsonl"),
        ("bfcl", "data/bfcl/BFCL_v3_exec_simple.jsonl"),
    ] {
        let Some(real) = support::shared(real) else { return };
        let columns = |path: &Path| -> BTreeSet<String> {
            let text = std::fs::read_to_string(path).unwrap();
            let lines =
                text.lines().map(|l| serde_json::from_str::<Map<String, Value>>(l).unwrap());
            lines.flat_map(|record| record.into_iter().map(|(name, _)| name)).collect()
        };
        assert_eq!(columns(&file(id)), columns(&real), "{id}");
    }
}
