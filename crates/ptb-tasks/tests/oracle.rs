//! Verdicts, prompts and renderings equal to those of the reference software.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics, and says why it skips"
)]

use ptb_core::registry::{Registry, Role, Scorer};
use ptb_tasks::chat::{ChatTemplate, RenderRequest};
use ptb_tasks::data;
use ptb_tasks::data::Sample;
use ptb_tasks::prompt::Prompter;
use ptb_tasks::score::{Graded, Reply, score};
use serde_json::{Map, Value};

mod support;
use support::{rows, shared};

/// The grade of a text against a target.
fn graded(scorer: &Scorer, text: &str, target: &str) -> Graded {
    let sample = Sample { target: target.to_owned(), ..Sample::default() };
    score(scorer, &Reply::text(text), &sample).unwrap().graded().unwrap()
}

fn scorer_of(benchmark: &str) -> Scorer {
    Registry::load(&[]).unwrap().benchmark(benchmark).unwrap().value.scorer.clone()
}

fn numeric_verdicts(file: &str, scorer: &Scorer, at_least: usize) {
    let Some(rows) = rows(file) else { return };
    assert!(rows.len() >= at_least, "{} rows", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let (completion, target) =
            (row["completion"].as_str().unwrap(), row["target"].as_str().unwrap());
        let graded = graded(scorer, completion, target);
        if (graded.score == 1.0) != row["correct_fixed"].as_bool().unwrap() {
            wrong.push(format!("{}: {completion:?} against {target}: {graded:?}", row["id"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn gsm8k_verdicts_equal_the_reference() {
    numeric_verdicts("oracle/numeric_gsm8k.jsonl", &scorer_of("gsm8k"), 178);
}

#[test]
fn aime_verdicts_equal_the_reference() {
    numeric_verdicts("oracle/numeric_aime2025.jsonl", &scorer_of("aime2025"), 63);
}

/// Renders every row of one template, `(rows, differences)`.
fn renderings(template: &str, of: &str) -> Option<(usize, Vec<String>)> {
    let rows = rows("oracle/chat_render.jsonl")?;
    let registry = Registry::load(&[]).unwrap();
    let ours = ChatTemplate::new(&registry.chat_template(template).unwrap().value).unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|r| r["template"] == of).collect();
    let differences = rows.iter().filter_map(|row| difference(&ours, row)).collect();
    Some((rows.len(), differences))
}

fn difference(template: &ChatTemplate, row: &Value) -> Option<String> {
    let rendered = template.render(&RenderRequest {
        messages: row["messages"].as_array().unwrap(),
        tools: row["tools"].as_array().map(Vec::as_slice),
        kwargs: row["kwargs"].as_object().unwrap(),
        bos_token: row["bos_token"].as_str().unwrap_or(""),
        date: row["strftime_now_fixed"].as_str().unwrap().parse().unwrap(),
        add_generation_prompt: false,
    });
    let what = format!("{} {}", row["conversation"], row["kwargs"]);
    match (row["rendered"].as_str(), rendered) {
        (Some(expected), Ok(text)) if text == expected => None,
        (Some(expected), Ok(text)) => {
            Some(format!("{what}:\n  ours  {text:?}\n  theirs {expected:?}"))
        }
        (Some(_), Err(e)) => Some(format!("{what}: {e}")),
        (None, Ok(text)) => Some(format!("{what}: rendered {text:?} where the reference refuses")),
        (None, Err(_)) => None,
    }
}

fn renders_alike(template: &str, of: &str, at_least: usize) {
    let Some((count, differences)) = renderings(template, of) else { return };
    assert!(count >= at_least, "{count} rows");
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn qwen3_renders_as_the_reference() {
    renders_alike("qwen3", "qwen3.jinja", 60);
}

#[test]
fn smollm3_renders_as_the_reference() {
    renders_alike("smollm", "smollm.jinja", 60);
}

#[test]
fn gemma3_renders_as_the_reference() {
    renders_alike("gemma3", "gemma3.jinja", 20);
}

#[test]
fn gemma3_with_tools_renders_as_the_reference() {
    renders_alike("gemma3_tool_calling", "gemma3_tool_calling.jinja", 20);
}

/// The few-shot part word for word (its words are the data's); of the rest, roles and answer form.
#[test]
fn gsm8k_prompts_have_the_reference_structure() {
    let Some(rows) = rows("oracle/prompts.jsonl") else { return };
    let Some(folder) = shared("data/gsm8k") else { return };
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("gsm8k").unwrap();
    let dataset = data::load(benchmark, Some(&folder)).unwrap();
    let prompter = Prompter::new(benchmark, &dataset).unwrap();
    let rows: Vec<&Value> = rows.iter().filter(|r| r["benchmark"] == "gsm8k").collect();
    assert!(rows.len() >= 5);
    for row in rows {
        let line = row["sample_id"].as_u64().unwrap() as usize;
        let sample = &dataset.samples[line - 1];
        assert_eq!((sample.line, sample.id.as_str()), (line, line.to_string().as_str()));
        assert_eq!(sample.target, row["target"].as_str().unwrap());
        assert_eq!(sample.question, row["sample_input"].as_str().unwrap());
        let messages = prompter.messages(sample).unwrap();
        assert_eq!(messages.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::System, Role::User]);
        assert_eq!(messages[0].content, row["messages"][0]["content"].as_str().unwrap());
        let (ours, theirs) =
            (&messages[1].content, row["messages"][1]["content"].as_str().unwrap());
        for shape in [
            format!("\n\n{}\n\n", sample.question),
            "ANSWER: ".to_owned(),
            "\n\nReasoning:".to_owned(),
        ] {
            assert!(ours.contains(&shape) && theirs.contains(&shape), "{shape}");
        }
        assert!(ours.ends_with("Reasoning:") && theirs.ends_with("Reasoning:"));
        assert_eq!(
            benchmark.value.generation.max_tokens,
            row["config"]["max_tokens"].as_u64().unwrap() as u32
        );
    }
}

#[test]
fn gsm8k_few_shot_rows_are_the_reference_rows() {
    let Some(path) = shared("oracle/gsm8k_fewshot.json") else { return };
    let Some(folder) = shared("data/gsm8k") else { return };
    let reference: Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("gsm8k").unwrap();
    let rows = &benchmark.value.prompt.few_shot.as_ref().unwrap().rows;
    let indices: Vec<u64> = rows.iter().map(|r| *r as u64).collect();
    assert_eq!(serde_json::to_value(indices).unwrap(), reference["indices"]);
    let dataset = data::load(benchmark, Some(&folder)).unwrap();
    let train = dataset.train().unwrap();
    assert_eq!(train.len() as u64, reference["n_train"].as_u64().unwrap());
    let questions: Vec<&str> = rows.iter().map(|r| train[*r].question.as_str()).collect();
    assert_eq!(serde_json::to_value(questions).unwrap(), reference["questions"]);
}

/// All 1319 questions load, render in the Qwen3 format whole, and every target can be compared with.
#[test]
fn every_gsm8k_question_is_asked_whole() {
    let Some(folder) = shared("data/gsm8k") else { return };
    let registry = Registry::load(&[]).unwrap();
    let benchmark = registry.benchmark("gsm8k").unwrap();
    let dataset = data::load(benchmark, Some(&folder)).unwrap();
    assert_eq!(dataset.samples.len(), 1319);
    assert_eq!(dataset.sha256, "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14");
    let prompter = Prompter::new(benchmark, &dataset).unwrap();
    let template = ChatTemplate::new(&registry.chat_template("qwen3").unwrap().value).unwrap();
    for sample in dataset.samples.iter() {
        let messages = prompter.messages(sample).unwrap();
        let values: Vec<Value> =
            messages.iter().map(|m| serde_json::to_value(m).unwrap()).collect();
        let text = template
            .render(&RenderRequest {
                messages: &values,
                tools: None,
                kwargs: &Map::new(),
                bos_token: "",
                date: "2026-01-15".parse().unwrap(),
                add_generation_prompt: true,
            })
            .unwrap();
        let expected = format!(
            "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
            messages[0].content, messages[1].content
        );
        assert_eq!(text, expected);
        let right = format!("so it is\nANSWER: {}", sample.target);
        assert_eq!(graded(&benchmark.value.scorer, &right, &sample.target).score, 1.0);
    }
}
