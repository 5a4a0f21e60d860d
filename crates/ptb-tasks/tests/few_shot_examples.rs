//! The few-shot texts whose examples are this project's own: word for word, in the form that the scorer reads, and
//! nothing of the test data in them.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::path::Path;

use ptb_core::registry::{Benchmark, Entry, FewShotPrompt, Registry};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::prompt::FewShotPrompter;
use ptb_tasks::score::{Outcome, Reply, score};
use serde_json::json;

mod support;

fn samples(id: &str) -> (Entry<Benchmark>, Dataset) {
    let entry = Registry::load(&[]).unwrap().benchmark(id).unwrap().clone();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../registry/benchmarks");
    let dataset = load(&entry, Some(&folder.join(id).join("sample.jsonl"))).unwrap();
    (entry, dataset)
}

fn table(entry: &Entry<Benchmark>) -> &FewShotPrompt {
    entry.value.few_shot.as_ref().unwrap()
}

fn graded(entry: &Entry<Benchmark>, completion: &str, sample: &Sample) -> f64 {
    let outcome = score(&entry.value.scorer, &Reply::text(completion), sample).unwrap();
    outcome.graded().unwrap().score
}

/// A completion as an engine hands it over: what stands before the first text that ends it.
fn stopped<'t>(entry: &Entry<Benchmark>, completion: &'t str) -> &'t str {
    let ends = table(entry).stop.iter().filter_map(|stop| completion.find(stop.as_str()));
    &completion[..ends.min().unwrap_or(completion.len())]
}

#[test]
fn texts_word_for_word() {
    for id in ["aime2025", "gpqamain", "humaneval", "bfcl"] {
        let (entry, dataset) = samples(id);
        let prompter = FewShotPrompter::new(&entry, &dataset).unwrap();
        insta::assert_snapshot!(id, prompter.text(&dataset.samples[1]).unwrap());
    }
}

#[test]
fn every_benchmark_has_a_few_shot_text() {
    for entry in Registry::load(&[]).unwrap().benchmarks() {
        assert!(entry.value.few_shot.is_some(), "{}", entry.id);
    }
}

/// What a model writes that goes on as the examples do, a next example behind it.
#[test]
fn right_answers_in_the_examples_form_score_1() {
    for (id, next) in
        [("aime2025", "\n\nProblem: 1 + 1?"), ("gpqamain", "\n\nQuestion: Why?\nA) 1")]
    {
        let (entry, dataset) = samples(id);
        for sample in dataset.asked_under(42).iter() {
            let right = format!(" So it is.\nANSWER: {}{next}\nANSWER: 7", sample.target);
            assert_eq!(graded(&entry, stopped(&entry, &right), sample), 1.0, "{right}");
            let other = if id == "gpqamain" && sample.target == "A" { "B" } else { "A" };
            let wrong = format!(" So it is.\nANSWER: {other}{next}\nANSWER: {}", sample.target);
            assert_eq!(graded(&entry, stopped(&entry, &wrong), sample), 0.0, "{wrong}");
        }
    }
    let (entry, dataset) = samples("bfcl");
    let call =
        json!({"name": "find_platform", "arguments": {"destination": "Graz", "time": "09:40"}});
    let sample = dataset.samples.iter().find(|s| s.target.starts_with("find_platform")).unwrap();
    let right = format!("\n<tool_call>\n{call}\n</tool_call>\n\nFunction: {{}}\n<tool_call>{call}");
    assert_eq!(graded(&entry, stopped(&entry, &right), sample), 1.0);
    let (entry, dataset) = samples("humaneval");
    for sample in dataset.samples.iter() {
        let body = sample.fields["canonical_solution"].as_str().unwrap();
        for next in [
            "\n\ndef f():\n    pass\n",
            "\nprint(1)",
            "\n# Tests\nassert 1",
            "\n@cache\ndef f(): 1",
        ] {
            let completion = format!("{body}{next}");
            let reply = Reply::text(stopped(&entry, &completion));
            let Outcome::Run(program) = score(&entry.value.scorer, &reply, sample).unwrap() else {
                panic!("code is run")
            };
            assert_eq!(program.source.trim_end(), format!("{}{body}", sample.question).trim_end());
        }
    }
}

/// The examples themselves, read as completions: each ends where the next begins, and is answered in the scorer's
/// form. That the answers are right was worked out by hand.
#[test]
fn examples_are_answered_in_the_scorers_form() {
    for (id, ask, answer, letters) in [
        ("aime2025", "Problem: ", "\nSolution:", ["43", "277", "205", "641"]),
        ("gpqamain", "Question: ", "\nReasoning:", ["C", "A", "D", "B"]),
    ] {
        let (entry, dataset) = samples(id);
        let text = &table(&entry).text;
        let examples: Vec<&str> = text.split(ask).skip(1).collect();
        assert_eq!(examples.len(), letters.len() + 1, "{id}");
        for (example, target) in examples.iter().zip(letters) {
            let (_, completion) = example.split_once(answer).unwrap();
            assert_eq!(stopped(&entry, completion), completion);
            let sample = Sample { target: target.to_owned(), ..dataset.samples[0].clone() };
            assert_eq!(graded(&entry, completion, &sample), 1.0, "{completion}");
        }
    }
    let (entry, dataset) = samples("bfcl");
    let text = &table(&entry).text;
    let targets = [
        "paint_needed(area=17.5, coats=2)",
        "book_table(name='Okafor', guests=5, outside=True)",
        "mean_of(values=[31, 29.5, 33])",
    ];
    let examples: Vec<&str> = text.split("\nCall:").skip(1).collect();
    assert_eq!(examples.len(), targets.len() + 1);
    for (completion, target) in examples.iter().zip(targets) {
        let sample = Sample { target: target.to_owned(), ..dataset.samples[0].clone() };
        assert_eq!(graded(&entry, stopped(&entry, completion), &sample), 1.0, "{completion}");
    }
    // Functions are shown as those of samples are.
    for line in text.lines().filter_map(|l| l.strip_prefix("Function: {\"")) {
        assert!(line.ends_with(", \"additionalProperties\": false}}"), "{line}");
    }
    let (entry, _) = samples("humaneval");
    let functions: Vec<&str> = table(&entry).text.split("    \"\"\"\n").skip(1).collect();
    assert_eq!(functions.len(), 3);
    for function in functions {
        let (body, _) = function.split_once("\n\n\n").unwrap();
        assert!(stopped(&entry, function).starts_with(body) && stopped(&entry, body) == body);
        assert!(body.lines().all(|line| line.starts_with("    ")), "{body}");
    }
}

/// No line of an example stands in the real test data, nor in the samples that come with the benchmark.
#[test]
fn nothing_of_the_test_data_is_in_an_example() {
    for (id, real) in [
        ("aime2025", Some("data/aime2025/test.jsonl")),
        ("humaneval", Some("data/humaneval/HumanEval.jsonl")),
        ("bfcl", Some("data/bfcl/BFCL_v3_exec_simple.jsonl")),
        ("gpqamain", None),
    ] {
        let (entry, dataset) = samples(id);
        let mut questions: Vec<String> =
            dataset.samples.iter().map(|s| s.question.clone()).collect();
        if let Some(real) = real {
            let Some(path) = support::shared(real) else { continue };
            questions.extend(
                load(&entry, Some(&path)).unwrap().samples.iter().map(|s| s.question.clone()),
            );
        }
        let lines = table(&entry).text.lines().map(str::trim).filter(|line| line.len() > 20);
        for line in lines.filter(|line| !line.starts_with("from typing")) {
            assert!(!questions.iter().any(|q| q.contains(line)), "{id}: {line}");
        }
    }
}

#[test]
fn a_text_that_shows_rows_which_nobody_named_is_told() {
    let (mut entry, dataset) = samples("aime2025");
    entry.value.few_shot.as_mut().unwrap().text = "{{ examples }}\n{{ question }}".to_owned();
    let e = FewShotPrompter::new(&entry, &dataset).unwrap().text(&dataset.samples[0]).unwrap_err();
    let told = e.to_string();
    assert!(told.contains("few-shot text for sample s0") && told.contains("names rows"), "{told}");
}
