//! Benchmarks that a language model grades: formulas, verdicts and what is shown, as the reference has them, and what
//! is told of grades that are wrong.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::path::Path;

use ptb_core::registry::{Benchmark, Entry, Registry, ScorerKind};
use ptb_tasks::completions::{GradedLine, ScoreMetrics, score_completions};
use ptb_tasks::data::{Dataset, Sample, load};
use ptb_tasks::metrics::Formula;
use ptb_tasks::score::rubric::Points;
use ptb_tasks::score::{
    Grade, Outcome, Reply, Verdict, Which, limit_repetitions, pairwise, read_verdict, score, shown,
};
use serde_json::{Value, json};

mod support;
use support::{rows, shared};

fn benchmark(id: &str) -> Entry<Benchmark> {
    Registry::load(&[]).unwrap().benchmark(id).unwrap().clone()
}

fn data(id: &str, folder: &str) -> Option<(Entry<Benchmark>, Dataset)> {
    let entry = benchmark(id);
    let dataset = load(&entry, Some(&shared(folder)?)).unwrap();
    Some((entry, dataset))
}

fn oracle(path: &str) -> Option<Value> {
    Some(serde_json::from_str(&std::fs::read_to_string(shared(path)?).unwrap()).unwrap())
}

/// Lines graded as `ptb score --partial` grades them.
fn graded(
    entry: &Entry<Benchmark>,
    samples: &[Sample],
    lines: &[Value],
) -> Result<(Vec<GradedLine>, ScoreMetrics), String> {
    let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
    let grade = |sample: &Sample, reply: &Reply<'_>| match score(&entry.value.scorer, reply, sample)
    {
        Ok(Outcome::Graded(graded)) => Ok(graded),
        Ok(Outcome::Run(_)) => Err("nothing is run".to_owned()),
        Err(e) => Err(e.to_string()),
    };
    score_completions(entry, samples, text.as_bytes(), "lines", true, &grade)
        .map_err(|e| e.to_string())
}

fn ids(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

fn close(a: f64, b: &Value) -> bool {
    (a - b.as_f64().unwrap()).abs() < 1e-9
}

#[test]
fn scores_of_healthbench_equal_the_reference() {
    let Some((entry, dataset)) = data("healthbench", "data/healthbench") else { return };
    let oracle = oracle("oracle/healthbench/scoring_oracle.json").unwrap();
    let order: Vec<&str> = dataset.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(order, ids(&oracle["order"]["order_after_random42_shuffle"]));
    assert_eq!(oracle["cases"].as_array().unwrap().len(), 6);
    for case in oracle["cases"].as_array().unwrap() {
        let (ids, met) = (ids(&case["example_ids"]), case["criteria_met"].as_array().unwrap());
        let grades = |met: &Value| -> Vec<Value> {
            let met = met.as_array().unwrap().iter().enumerate();
            met.map(|(i, met)| json!({ "criterion": i, "verdict": met })).collect()
        };
        let lines: Vec<Value> = ids
            .iter()
            .zip(met)
            .map(|(id, met)| json!({ "id": id, "grades": grades(met) }))
            .collect();
        let (scores, metrics) = graded(&entry, &dataset.samples, &lines).unwrap();
        let expected = &case["expected"];
        assert!(close(metrics.accuracy.unwrap(), &expected["accuracy"]), "{metrics:?}");
        // Resampling draws others, so the deviations agree within their own spread, about 1 / sqrt(2 * 1000).
        let (stderr, theirs) = (metrics.stderr.unwrap(), expected["stderr"].as_f64().unwrap());
        assert!((stderr - theirs).abs() <= 0.15 * theirs, "{}: {stderr} {theirs}", case["case"]);
        let of = |id: &str| scores.iter().find(|s| s.id == id).unwrap().score;
        for (id, score) in ids.iter().zip(case["normalized_scores"].as_array().unwrap()) {
            assert!(close(of(id), score), "{id}");
        }
        let calls: usize = met.iter().map(|m| m.as_array().unwrap().len()).sum();
        assert_eq!(json!(calls), expected["total_grader_calls"]);
        parts_equal(&dataset, &lines, &scores, expected);
    }
}

/// The parts by theme and by axis.
fn parts_equal(dataset: &Dataset, lines: &[Value], scores: &[GradedLine], expected: &Value) {
    let sample = |id: &str| dataset.samples.iter().find(|s| s.id == id).unwrap();
    for (theme, accuracy) in expected["by_theme"].as_object().unwrap() {
        let here = scores.iter().filter(|s| sample(&s.id).tags.contains(&format!("theme:{theme}")));
        let here: Vec<f64> = here.map(|s| s.score).collect();
        assert!(close(Formula::of(ScorerKind::Rubric).accuracy(&here), accuracy), "{theme}");
    }
    for (axis, accuracy) in expected["by_axis"].as_object().unwrap() {
        let mut points = Points::default();
        for line in lines {
            let grades: Vec<Grade> = serde_json::from_value(line["grades"].clone()).unwrap();
            points.add(sample(line["id"].as_str().unwrap()), &grades, &format!("axis:{axis}"));
        }
        assert!(close(points.share().unwrap(), accuracy), "{axis}");
    }
}

#[test]
fn scores_of_arena_hard_equal_the_reference() {
    let Some((entry, dataset)) = data("arenahardwriting", "data/arenahard") else { return };
    let oracle = oracle("oracle/arenahard/scoring_oracle.json").unwrap();
    let order: Vec<&str> = dataset.samples.iter().map(|s| s.id.as_str()).collect();
    assert_eq!(order, ids(&oracle["order_limit_-1"]));
    assert_eq!(order[..32], ids(&oracle["order_limit_32"])[..]);
    let mut cases = 0;
    for case in oracle["battles"].as_array().unwrap() {
        let records = case["records"].as_array().unwrap();
        let mut left_out = 0;
        let mut lines = Vec::new();
        for (sample, record) in dataset.samples.iter().zip(records) {
            if record.is_null() {
                left_out += 1;
                continue;
            }
            left_out += usize::from(record.as_array().unwrap().contains(&Value::Null));
            let grades =
                json!([{ "game": 1, "verdict": record[0] }, { "game": 2, "verdict": record[1] }]);
            lines.push(json!({ "id": sample.id, "grades": grades }));
        }
        let result = graded(&entry, &dataset.samples, &lines);
        let Some(expected) = case["metrics"].as_object() else {
            // Where the reference fails, a label that is none is bad input, and nothing scored is no score.
            match case["case"].as_str().unwrap() {
                "invalid_label" => {
                    assert!(result.unwrap_err().contains("the verdict `A` is none of"))
                }
                _ => assert_eq!(result.unwrap().1.accuracy, None),
            }
            continue;
        };
        cases += 1;
        let (scores, metrics) = result.unwrap();
        assert!(close(metrics.accuracy.unwrap(), &expected["accuracy"]), "{}", case["case"]);
        assert!(close(metrics.stderr.unwrap(), &expected["stderr"]), "{}", case["case"]);
        assert_eq!(metrics.n, records.len() - left_out);
        let rows: usize = scores.iter().map(|s| s.rows.len()).sum();
        assert_eq!(json!(rows), case["n_battle_rows"]);
    }
    assert!(cases >= 9, "{cases}");
}

#[test]
fn verdicts_are_read_as_the_reference_reads_them() {
    let Some(oracle) = oracle("oracle/arenahard/scoring_oracle.json") else { return };
    for case in oracle["get_score"].as_array().unwrap() {
        let judgment = case["judgment"].as_str().unwrap();
        assert_eq!(json!(pairwise::bracketed(judgment)), case["score"], "{judgment}");
    }
    for row in rows("oracle/healthbench/grader_parse.jsonl").unwrap() {
        let reply = row["grader_response"].as_str().unwrap();
        let met = match read_verdict(ScorerKind::Rubric, reply) {
            Ok((Verdict::Met(met), _)) => json!(met),
            Ok(other) => panic!("{other:?}"),
            Err(_) => Value::Null,
        };
        assert_eq!(met, row["criteria_met"], "{reply}");
    }
}

#[test]
fn repetitions_are_cut_as_the_reference_cuts_them() {
    let Some(rows) = rows("oracle/limit_repetitions.jsonl") else { return };
    assert!(rows.len() >= 22);
    for row in rows {
        let text = row["input"].as_str().unwrap();
        assert_eq!(limit_repetitions(text), row["output"].as_str().unwrap(), "{text:?}");
    }
}

#[test]
fn thought_is_not_shown() {
    assert_eq!(shown("<think>hm\nhm</think>\n\nA poem.\n"), "A poem.");
    assert_eq!(
        shown("no end, no end, no end, no end, no end, no end, no end, no"),
        "no end, no end, no end, no end, no end, no"
    );
    assert_eq!(shown(""), "");
}

#[test]
fn a_reply_made_to_take_time_is_shown_in_time() {
    // Nearly periodic with a long period: every unit is compared at every place.
    let line = format!("{}b", "a".repeat(4000));
    let text: String = (0..6).map(|i| format!("{line}{i}")).collect();
    let shown = limit_repetitions(&text);
    assert!(shown.len() < text.len());
    let blank = "\n".repeat(2_000_000);
    assert_eq!(limit_repetitions(&blank), "\n\n\n\n");
}

fn one_sample(criteria: &str) -> (Entry<Benchmark>, Vec<Sample>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.jsonl");
    let prompt = r#"[{"role": "user", "content": "hm"}]"#;
    let line = format!(
        r#"{{"prompt_id": "x", "prompt": {prompt}, "rubrics": {criteria}, "example_tags": []}}"#
    );
    std::fs::write(&path, line).unwrap();
    let entry = benchmark("healthbench");
    let samples = load(&entry, Some(&path)).unwrap().samples.to_vec();
    (entry, samples)
}

#[test]
fn wrong_grades_are_told_with_their_line() {
    let (entry, samples) = one_sample(
        r#"[{"criterion": "says hello", "points": 5}, {"criterion": "is rude", "points": -3}]"#,
    );
    let told = |grades: Value| graded(&entry, &samples, &[json!({ "id": "x", "grades": grades })]);
    let one = |which: Value, verdict: Value| json!({ "criterion": which, "verdict": verdict });
    let ok = |first: Value, second: Value| {
        told(json!([one(first, json!(true)), one(second, json!(false))]))
    };
    for (first, second) in
        [(json!(0), json!(1)), (json!(1), json!(2)), (json!("says hello"), json!("is rude"))]
    {
        assert_eq!(ok(first, second).unwrap().1.accuracy, Some(1.0));
    }
    let met = told(json!([one(json!(1), json!(true)), one(json!(2), json!(true))])).unwrap();
    assert_eq!(met.0[0].score, 0.4);
    let open = told(json!([one(json!(0), json!(true)), one(json!(1), Value::Null)])).unwrap();
    assert_eq!((open.1.n, open.1.errors), (0, 1));
    for (grades, message) in [
        (json!([]), "there are 0 grades for 2 criteria"),
        (
            json!([one(json!(0), json!(true)), one(json!(0), json!(true))]),
            "two grades are of the same criterion",
        ),
        (
            json!([one(json!(0), json!(true)), one(json!(7), json!(true))]),
            "of none of the 2 criteria",
        ),
        (
            json!([one(json!(0), json!(true)), one(json!("else"), json!(true))]),
            "of none of the 2 criteria",
        ),
        (
            json!([one(json!(0), json!("yes")), one(json!(1), json!(true))]),
            "is `yes`, not true or false",
        ),
        (json!([{ "verdict": true }, { "verdict": true }]), "a grade names no `criterion`"),
        (json!("all"), "`grades` is not a list"),
        (
            json!([one(json!(0.5), json!(true)), one(json!(1), json!(true))]),
            "`grades` is not a list",
        ),
    ] {
        let e = told(grades).unwrap_err();
        assert!(e.starts_with("lines:1: ") && e.contains(message) && e.contains("hint: "), "{e}");
    }
    let e = graded(&entry, &samples, &[json!({ "id": "x", "completion": "hello" })]).unwrap_err();
    assert!(e.contains("the line has no `grades`"), "{e}");
}

#[test]
fn places_of_criteria_say_where_they_count_from() {
    let (entry, samples) = one_sample(r#"[{"criterion": "a", "points": 5}]"#);
    for place in [0, 1] {
        let grade = Grade {
            criterion: Some(Which::Place(place)),
            verdict: Verdict::Met(true),
            ..Grade::default()
        };
        let reply = Reply { grades: &[grade], ..Reply::default() };
        let Ok(Outcome::Graded(graded)) = score(&entry.value.scorer, &reply, &samples[0]) else {
            panic!()
        };
        assert_eq!(graded.score, 1.0);
    }
}

#[test]
fn data_that_do_not_fit_are_told() {
    let entry = benchmark("arenahardwriting");
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let told = |dir: &Path| {
        load(&entry, Some(dir)).map(|d| d.samples[0].target.clone()).map_err(|e| e.to_string())
    };
    write("question.jsonl", "{\"uid\": \"a\", \"prompt\": \"hm\"}\n");
    assert!(told(dir.path()).unwrap_err().contains("model_answer/Qwen3-1.7B.jsonl"));
    let answers = "model_answer/Qwen3-1.7B.jsonl";
    write(answers, "{\"uid\": \"b\", \"messages\": [{\"content\": {\"answer\": \"B\"}}]}\n");
    assert!(told(dir.path()).unwrap_err().contains("no reply of Qwen3-1.7B to the sample a"));
    write(answers, "{\"uid\": \"a\", \"messages\": []}\n");
    assert!(told(dir.path()).unwrap_err().contains("Qwen3-1.7B.jsonl:1: "));
    write(answers, "{\"uid\": \"a\", \"messages\": [{\"content\": {\"answer\": \"B\\n\"}}]}\n");
    assert_eq!(told(dir.path()).unwrap(), "B\n");
    let e = load(&entry, None).unwrap_err().to_string();
    assert!(e.contains("github.com/aisa-group/PostTrainBench") && e.contains("--data PATH"), "{e}");
}
