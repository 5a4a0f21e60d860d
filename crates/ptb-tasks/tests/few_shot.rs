//! The few-shot text: word for word, and told when it cannot be made.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics, and says why it skips"
)]

use std::fs;
use std::path::PathBuf;

use ptb_core::registry::{Benchmark, Entry, FewShotPrompt, Registry};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::prompt::FewShotPrompter;
use ptb_tasks::score::{Reply, score};
use serde_json::Value;

fn benchmark(id: &str) -> Entry<Benchmark> {
    Registry::load(&[]).unwrap().benchmark(id).unwrap().clone()
}

/// gsm8k with the first two rows of a train split of two.
fn small() -> (Entry<Benchmark>, Dataset) {
    let dir = tempfile::tempdir().unwrap();
    let line = |question: &str, answer: &str| {
        format!("{}\n", serde_json::json!({ "question": question, "answer": answer }))
    };
    fs::write(dir.path().join("test.jsonl"), line("Tom has 3 {{ pens }}. <b>?", "x\n#### 3"))
        .unwrap();
    let train = [
        line("Ann has 2 dozen eggs. How many?", "2 x 12 = <<2*12=24>>24 eggs.\n#### 24"),
        line("Ben had $1,000 and spent 1. What is left?", "1,000 - 1 = 999\nIt is 999.\n#### 999"),
    ];
    fs::write(dir.path().join("train.jsonl"), train.concat()).unwrap();
    let mut gsm8k = benchmark("gsm8k");
    gsm8k.value.few_shot.as_mut().unwrap().examples.rows = vec![1, 0];
    let dataset = load(&gsm8k, Some(dir.path())).unwrap();
    dataset.train().unwrap();
    (gsm8k, dataset)
}

#[test]
fn the_text_of_gsm8k_word_for_word() {
    let (gsm8k, dataset) = small();
    let text = FewShotPrompter::new(&gsm8k, &dataset).unwrap().text(&dataset.samples[0]).unwrap();
    // What a question holds is text and not template.
    let expected = "Question: Ben had $1,000 and spent 1. What is left?\n\
        Reasoning: 1,000 - 1 = 999\nIt is 999.\n\
        ANSWER: 999\n\n\
        Question: Ann has 2 dozen eggs. How many?\n\
        Reasoning: 2 x 12 = <<2*12=24>>24 eggs.\n\
        ANSWER: 24\n\n\
        Question: Tom has 3 {{ pens }}. <b>?\n\
        Reasoning:";
    assert_eq!(text, expected);
}

/// All ten rows as the reference software has them, in the form of the benchmark's own file.
#[test]
fn the_examples_of_gsm8k_are_the_reference_rows() {
    let Some(shared) = shared() else { return };
    let gsm8k = benchmark("gsm8k");
    let few_shot = gsm8k.value.few_shot.as_ref().unwrap();
    assert_eq!(few_shot.examples.rows, gsm8k.value.prompt.few_shot.as_ref().unwrap().rows);
    let dataset = load(&gsm8k, Some(&shared.join("data/gsm8k"))).unwrap();
    let sample = &dataset.samples[0];
    let text = FewShotPrompter::new(&gsm8k, &dataset).unwrap().text(sample).unwrap();
    let reference = fs::read_to_string(shared.join("oracle/gsm8k_fewshot.json")).unwrap();
    let reference: Value = serde_json::from_str(&reference).unwrap();
    let mut expected = String::new();
    let mut rest = reference["system_message"].as_str().unwrap();
    for question in reference["questions"].as_array().unwrap() {
        let question = question.as_str().unwrap();
        rest = rest.trim_start().strip_prefix(question).unwrap();
        rest = rest.strip_prefix("\n\nReasoning:\n").unwrap();
        let (reasoning, after) = rest.split_once("\n\nANSWER: ").unwrap();
        let (target, after) = after.split_once('\n').unwrap_or((after, ""));
        rest = after;
        expected += &format!("Question: {question}\nReasoning: {reasoning}\nANSWER: {target}\n\n");
    }
    expected += &format!("Question: {}\nReasoning:", sample.question);
    assert_eq!(text, expected);
    assert_eq!(text.matches("\nANSWER: ").count(), 10);
    // An example's own text stops a completion nowhere but at a next example, and is scored like any other.
    let stop = &few_shot.stop[0];
    assert_eq!(text.matches(stop.as_str()).count(), 10);
    for row in &few_shot.examples.rows {
        let row = &dataset.train().unwrap()[*row];
        let completion = format!(" {}\nANSWER: {}", row.reasoning.as_deref().unwrap(), row.target);
        assert!(!completion.contains(stop.as_str()), "{completion}");
        assert_eq!(graded(&gsm8k, &completion, row), 1.0);
    }
}

/// The generated benchmark, whose chat prompt has no examples.
#[test]
fn the_text_of_arithmetic_word_for_word() {
    let arithmetic = benchmark("arithmetic");
    let dataset = load(&arithmetic, None).unwrap();
    let prompter = FewShotPrompter::new(&arithmetic, &dataset).unwrap();
    insta::assert_snapshot!(prompter.text(&dataset.samples[0]).unwrap());
    let few_shot = arithmetic.value.few_shot.as_ref().unwrap();
    for row in &few_shot.examples.rows {
        let row = &dataset.train().unwrap()[*row];
        let completion = format!(" {} = {}", row.reasoning.as_deref().unwrap(), row.target);
        assert!(few_shot.stop.iter().all(|stop| !completion.contains(stop)), "{completion}");
        assert_eq!(graded(&arithmetic, &completion, row), 1.0);
    }
}

#[test]
fn what_stands_in_the_way_is_told() {
    let (gsm8k, dataset) = small();
    let told = |change: &dyn Fn(&mut Entry<Benchmark>)| {
        let mut changed = gsm8k.clone();
        change(&mut changed);
        match FewShotPrompter::new(&changed, &dataset) {
            Ok(prompter) => prompter.text(&dataset.samples[0]).unwrap_err().to_string(),
            Err(e) => e.to_string(),
        }
    };
    let few_shot = |b: &mut Entry<Benchmark>| b.value.few_shot.take().unwrap();
    let e = told(&|b| drop(few_shot(b)));
    assert_eq!(
        e,
        "benchmark gsm8k: it has no few-shot prompt; hint: add a table [few_shot] to a copy of its file, \
         ./registry/benchmarks/gsm8k/benchmark.toml, or leave few-shot baselines out"
    );
    let e = told(&|b| {
        few_shot(b);
        b.source = "r/benchmarks/gsm8k/benchmark.toml".to_owned();
    });
    assert!(e.contains("[few_shot] to r/benchmarks/gsm8k/benchmark.toml, or"), "{e}");
    let table =
        |change: fn(&mut FewShotPrompt)| told(&move |b| change(b.value.few_shot.as_mut().unwrap()));
    let e = table(|t| t.examples.rows.push(2));
    assert!(e.contains("few-shot row 2 is not in the train split, which has 2 rows"), "{e}");
    let e = table(|t| t.text = "{{ qestion }}".to_owned());
    assert!(e.contains("no variable `qestion`") && e.contains("hint: correct it in"), "{e}");
    let e = table(|t| t.text = "{{ question.text }}".to_owned());
    assert!(e.contains("fill in the few-shot text for sample 1") && e.contains("hint:"), "{e}");
    let e = table(|t| t.text = "{{ question".to_owned());
    assert!(e.contains("read the template of the few-shot text of benchmark gsm8k"), "{e}");
    let e = table(|t| t.examples.example = "{{ answer }}".to_owned());
    assert!(e.contains("fill in the template of the example"), "{e}");
    let e = table(|t| {
        t.text = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
            .to_owned()
    });
    assert!(e.contains("hint:"), "{e}");
}

fn graded(benchmark: &Entry<Benchmark>, completion: &str, sample: &Sample) -> f64 {
    let outcome = score(&benchmark.value.scorer, &Reply::text(completion), sample).unwrap();
    outcome.graded().unwrap().score
}

/// The folder of reference files; none (with a printed reason) where there is none, which `PTB_REQUIRE_ALL=1`
/// forbids.
fn shared() -> Option<PathBuf> {
    let root = std::env::var_os("PTB_SHARED").filter(|v| !v.is_empty()).map(PathBuf::from);
    if root.is_none() {
        let required = std::env::var("PTB_REQUIRE_ALL").is_ok_and(|v| v == "1");
        assert!(!required, "PTB_REQUIRE_ALL=1, but PTB_SHARED names no folder of reference files");
        println!("skipped: PTB_SHARED does not name the folder of reference files");
    }
    root
}
