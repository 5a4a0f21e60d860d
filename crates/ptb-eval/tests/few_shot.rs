//! How a few-shot baseline is asked: what goes out, what is recorded, when completions are used again.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::path::Path;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use common::{Server, completion, evaluate, serve_at};
use ptb_core::registry::{Asking, Benchmark, PromptForm, Registry};
use ptb_eval::{EvalError, EvalSpec, Prepared};
use ptb_infer::Running;
use ptb_model::{RandomModel, random_model};
use serde_json::{Value, json};

/// A server that takes token ids or not; `manner` is put behind its address.
async fn serve(takes_ids: bool, manner: &str) -> (Arc<Server>, Running) {
    let answer = move |_, body: &Value| match body["prompt"].is_array() && !takes_ids {
        true => (StatusCode::BAD_REQUEST, "prompt must be a string").into_response(),
        false => completion(" 7"),
    };
    serve_at(manner, answer).await
}

/// Three questions, two examples; the base model's own sampling is greedy.
fn spec(home: &Path) -> EvalSpec {
    let registry = Registry::load(&[]).unwrap();
    let model = home.join("model");
    if !model.exists() {
        random_model(&model, &RandomModel::mini(1)).unwrap();
        let own = r#"{"do_sample": false, "temperature": 0.0, "top_k": 20}"#;
        std::fs::write(model.join("generation_config.json"), own).unwrap();
        let line =
            |n: u32| format!("{}\n", json!({ "question": format!("1+{n}?"), "answer": n + 1 }));
        std::fs::write(home.join("test.jsonl"), (1..4).map(line).collect::<String>()).unwrap();
        std::fs::write(home.join("train.jsonl"), (7..9).map(line).collect::<String>()).unwrap();
    }
    let mut benchmark = registry.benchmark("arithmetic").unwrap().clone();
    benchmark.value.data.answer_after = None;
    benchmark.value.few_shot = Some(
        serde_json::from_value(json!({
            "text": "{{ examples }}\n\nQ: {{ question }}\nA:",
            "stop": ["\nQ:", "\n\n"],
            "examples": { "rows": [1, 0], "example": "Q: {{ question }}\nA: {{ target }}" },
        }))
        .unwrap(),
    );
    EvalSpec {
        benchmark,
        data: Some(home.to_owned()),
        grading: None,
        asking: registry.agent("few-shot").unwrap().value.asking(),
        seeds: vec![1],
        limit: None,
        ..common::spec(home, 3)
    }
}

#[tokio::test]
async fn plain_text_sampling_and_ends_are_sent_and_recorded() {
    let home = tempfile::tempdir().unwrap();
    let (server, engine) = serve(false, "").await;
    let evaluation = evaluate(spec(home.path()), Some(&engine)).await.unwrap();
    let mut bodies = server.bodies.lock().unwrap();
    // The first request tries whether ids are taken.
    bodies.retain(|body| body["prompt"].is_string());
    assert_eq!(bodies.len(), 3);
    let text = |n: u32| format!("Q: 1+8?\nA: 9\n\nQ: 1+7?\nA: 8\n\nQ: 1+{n}?\nA:");
    let mut prompts: Vec<&str> = bodies.iter().map(|b| b["prompt"].as_str().unwrap()).collect();
    prompts.sort_unstable();
    assert_eq!(prompts, [text(1), text(2), text(3)]);
    for body in bodies.iter() {
        assert_eq!(body["stop"], json!(["\nQ:", "\n\n"]));
        // What the baseline does not set stays the model's own.
        assert_eq!((&body["temperature"], &body["top_p"]), (&json!(0.6), &json!(0.95)));
        assert_eq!(body["top_k"], json!(20));
    }
    assert_eq!(evaluation.samples[0].prompt, text(1));
    let recorded = &evaluation.metrics.sampling;
    let expected = json!({
        "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.0, "repetition_penalty": 1.0,
        "max_tokens": 16, "stop": ["\nQ:", "\n\n"], "prompt": "few-shot", "tokenizer": "base",
    });
    assert_eq!(*recorded, expected);
}

#[tokio::test]
async fn ids_are_those_of_the_plain_text_after_what_begins_every_sequence() {
    let home = tempfile::tempdir().unwrap();
    let (server, engine) = serve(true, "").await;
    let mut spec = spec(home.path());
    spec.limit = Some(1);
    spec.chat.bos_token = "<|endoftext|>".to_owned();
    let dir = ptb_model::ModelDir::open(&spec.model_dir).unwrap();
    let tokenizer = ptb_model::Tokenizer::read(&dir).unwrap();
    let evaluation = evaluate(spec, Some(&engine)).await.unwrap();
    let prompt = &evaluation.samples[0].prompt;
    assert!(prompt.starts_with("<|endoftext|>Q: 1+8?"), "{prompt}");
    let ids = tokenizer.encode(prompt, false).unwrap();
    let end = tokenizer.encode("<|endoftext|>", false).unwrap();
    assert_eq!((end.len(), &ids[..1]), (1, &end[..]));
    let bodies = server.bodies.lock().unwrap();
    assert_eq!(bodies.last().unwrap()["prompt"], json!(ids));
}

#[tokio::test]
async fn completions_are_used_again_for_the_same_asking_alone() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(false, "").await;
    evaluate(spec(home.path()), Some(&engine)).await.unwrap();
    let missing = |change: &dyn Fn(&mut EvalSpec)| {
        let mut spec = spec(home.path());
        change(&mut spec);
        Prepared::new(spec).unwrap().missing()
    };
    fn table(spec: &mut EvalSpec) -> &mut ptb_core::registry::FewShotPrompt {
        let Benchmark { few_shot, .. } = &mut spec.benchmark.value;
        few_shot.as_mut().unwrap()
    }
    assert_eq!(missing(&|_| {}), 0);
    assert_eq!(missing(&|s| s.asking = Asking::default()), 3);
    assert_eq!(missing(&|s| s.asking.prompt = PromptForm::Chat), 3);
    assert_eq!(missing(&|s| s.asking.sampling.temperature = Some(0.7)), 3);
    assert_eq!(missing(&|s| s.asking.sampling.top_p = None), 3);
    assert_eq!(missing(&|s| s.asking.sampling.top_k = Some(21)), 3);
    assert_eq!(missing(&|s| table(s).stop.truncate(1)), 3);
    assert_eq!(missing(&|s| table(s).examples.rows.reverse()), 3);
    assert_eq!(missing(&|s| table(s).text.push(' ')), 3);
    // Chat messages are nothing that it is asked with.
    assert_eq!(missing(&|s| s.benchmark.value.prompt.messages[0].content.push('!')), 0);
    assert_eq!(missing(&|_| {}), 0);
}

#[tokio::test]
async fn an_engine_that_only_chats_is_refused_before_it_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let (server, engine) = serve(true, "?chat").await;
    let e = evaluate(spec(home.path()), Some(&engine)).await.unwrap_err();
    assert!(matches!(e, EvalError::ChatOnly) && e.to_string().contains("without `?chat`"), "{e}");
    assert_ne!(e.kind(), ptb_core::failure::FailureKind::Agent);
    assert!(server.bodies.lock().unwrap().is_empty());
}

#[test]
fn a_benchmark_without_the_table_is_told() {
    let home = tempfile::tempdir().unwrap();
    let mut spec = spec(home.path());
    spec.benchmark.value.few_shot = None;
    let e = Prepared::new(spec).unwrap_err();
    assert!(matches!(e, EvalError::Task(_)) && e.to_string().contains("[few_shot]"), "{e}");
}
