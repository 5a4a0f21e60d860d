//! Completions made elsewhere: ids, grades, metrics, and everything that can be wrong with them.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs;

use ptb_core::registry::{Benchmark, Entry, Registry};
use ptb_tasks::completions::{GradedLine, ScoreMetrics, score_completions};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::score::{Reply, score};

/// Four questions; the answers are 1, 2, 3 and 4, the third has an id of its own.
fn four() -> (Entry<Benchmark>, Dataset) {
    let mut benchmark = Registry::load(&[]).unwrap().benchmark("gsm8k").unwrap().clone();
    benchmark.value.data.answer_after = None;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.jsonl");
    let record = |i: i32| match i {
        3 => format!("{{\"task_id\":\"T/3\",\"question\":\"q\",\"answer\":{i}}}\n"),
        _ => format!("{{\"question\":\"q\",\"answer\":\"{i}\"}}\n"),
    };
    fs::write(&path, (1..=4).map(record).collect::<String>()).unwrap();
    let dataset = load(&benchmark, Some(&path)).unwrap();
    (benchmark, dataset)
}

fn run(lines: &str, partial: bool) -> Result<(Vec<GradedLine>, ScoreMetrics), String> {
    let (benchmark, dataset) = four();
    graded(&benchmark, &dataset.samples, lines, partial)
}

fn graded(
    benchmark: &Entry<Benchmark>,
    samples: &[Sample],
    lines: &str,
    partial: bool,
) -> Result<(Vec<GradedLine>, ScoreMetrics), String> {
    let scorer = &benchmark.value.scorer;
    let grade = |sample: &Sample, reply: &Reply<'_>| match score(scorer, reply, sample) {
        Ok(outcome) => outcome.graded().ok_or_else(|| "not graded".to_owned()),
        Err(e) => Err(e.to_string()),
    };
    score_completions(benchmark, samples, lines.as_bytes(), "c.jsonl", partial, &grade)
        .map_err(|e| e.to_string())
}

#[test]
fn grades_come_in_the_order_of_the_data_with_their_metrics() {
    let lines = "\u{feff}{\"prompt_id\":\"T/3\",\"completion\":\"so 3\"}\r\n\r\n\
                 {\"id\":4,\"completion\":\"5\",\"tool_calls\":[]}\n\
                 {\"id\":\"1\",\"task_id\":\"T/3\",\"completion\":\"ANSWER: 1\"}\n{\"id\":2,\"completion\":\"two\"}";
    let (lines, metrics) = run(lines, false).unwrap();
    let json: Vec<String> = lines.iter().map(|l| serde_json::to_string(l).unwrap()).collect();
    assert_eq!(
        json,
        [
            r#"{"id":"1","score":1.0,"answer":"1"}"#,
            r#"{"id":"2","score":0.0,"answer":null}"#,
            r#"{"id":"T/3","score":1.0,"answer":"3"}"#,
            r#"{"id":"4","score":0.0,"answer":"5"}"#
        ]
    );
    // Standard deviation of 1, 0, 1, 0 is the root of 1/3; over the root of 4.
    let stderr = metrics.stderr.unwrap();
    assert!((stderr - (1.0f64 / 12.0).sqrt()).abs() < 1e-15, "{stderr}");
    let expected = ScoreMetrics {
        benchmark: "gsm8k".to_owned(),
        accuracy: Some(0.5),
        stderr: metrics.stderr,
        n: 4,
        errors: 0,
        unparsed: 1,
        missing: 0,
    };
    assert_eq!(metrics, expected);
}

#[test]
fn without_ids_line_numbers_count() {
    let (lines, metrics) = run("{\"completion\":\"1\"}\n\n", true).unwrap();
    assert_eq!(
        (lines[0].id.as_str(), lines[0].score, metrics.n, metrics.missing),
        ("1", 1.0, 1, 3)
    );
    let (lines, metrics) = run("", true).unwrap();
    assert!(lines.is_empty());
    assert_eq!((metrics.accuracy, metrics.stderr, metrics.n, metrics.missing), (None, None, 0, 4));
}

#[test]
fn a_scorer_that_cannot_work_is_an_error_and_never_a_wrong_answer() {
    let (benchmark, dataset) = four();
    let mut samples = dataset.samples.to_vec();
    samples[0].target = "no number".to_owned();
    let lines = "{\"id\":1,\"completion\":\"1\"}\n{\"id\":2,\"completion\":\"2\"}";
    let (lines, metrics) = graded(&benchmark, &samples, lines, true).unwrap();
    assert!(
        lines[0].error.as_deref().is_some_and(|e| e.contains("cannot score against the target"))
    );
    assert_eq!((metrics.accuracy, metrics.n, metrics.errors), (Some(1.0), 1, 1));
}

#[test]
fn bad_input_is_refused_with_its_place() {
    let cases = [
        ("{\"id\":\"9\",\"completion\":\"1\"}", "c.jsonl:1: `9` is not a sample of gsm8k"),
        (
            "{\"id\":1,\"completion\":\"1\"}\n{\"id\":\"1\",\"completion\":\"1\"}",
            "c.jsonl:2: sample `1` has a completion already",
        ),
        ("{\"id\":1}", "c.jsonl:1: the line has no `completion`"),
        ("{\"id\":1,\"completion\":null}", "c.jsonl:1: `completion` holds null, not a string"),
        ("{\"id\":1,\"completion\":1}", "c.jsonl:1: `completion` holds a number, not a string"),
        ("{\"id\":[],\"completion\":\"\"}", "c.jsonl:1: the field `id` holds a list"),
        ("\n{\"id\":1,", "c.jsonl:2: the line is not JSON"),
        ("\"x\"", "c.jsonl:1: the line holds a string, not an object"),
        (
            "{\"id\":1,\"completion\":\"1\"}",
            "3 of 4 samples of gsm8k have no completion (2, T/3, 4)",
        ),
        ("", "4 of 4 samples of gsm8k have no completion (1, 2, T/3, 4)"),
    ];
    for (lines, expected) in cases {
        let e = run(lines, false).unwrap_err();
        assert!(e.contains(expected) && e.contains("hint:"), "{e} instead of {expected}");
    }
    let unknown = "{\"id\":\"\\u001b[31m9\",\"completion\":\"1\"}";
    assert!(!run(unknown, true).unwrap_err().contains('\u{1b}'));
}
