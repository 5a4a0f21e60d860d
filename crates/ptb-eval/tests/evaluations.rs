//! Evaluations against a scripted server that misbehaves: nothing is lost, nothing is asked twice, and a
//! failure of the server is never a wrong answer.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Mutex;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use common::{Server, completion, evaluate, serve, spec};
use futures::future::BoxFuture;
use ptb_core::registry::{Benchmark, Entry, Registry, ToolForm};
use ptb_eval::{EvalError, EvalSpec, Given, Prepared, Serve, Told, rescore};
use ptb_infer::{Running, StartError};
use ptb_model::{RandomModel, random_model};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn trouble_that_passes_costs_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (server, engine) = serve(|n, _| match n % 4 {
        1 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")], "slow down").into_response(),
        2 => (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        _ => completion("ANSWER: 7"),
    })
    .await;
    let evaluation = evaluate(spec(home.path(), 5), Some(&engine)).await.unwrap();
    assert_eq!((evaluation.metrics.n, evaluation.metrics.errors), (5, 0));
    assert_eq!(evaluation.samples.len(), 5);
    // Ten answers came; each request had a seed of its own.
    let bodies = server.bodies.lock().unwrap();
    let seeds: HashSet<u64> = bodies.iter().filter_map(|b| b["seed"].as_u64()).collect();
    assert_eq!(seeds.len(), 10);
    assert!(bodies.iter().all(|b| b["prompt"].is_array()), "prompts go as token ids");
}

#[tokio::test]
async fn what_is_answered_is_never_asked_again() {
    let home = tempfile::tempdir().unwrap();
    // The first eight requests (one tries the manner) are answered, then the server refuses for good.
    let (_, broken) = serve(|n, _| match n {
        0..8 => completion("ANSWER: 7"),
        _ => (StatusCode::BAD_REQUEST, "no more").into_response(),
    })
    .await;
    let e = evaluate(spec(home.path(), 8), Some(&broken)).await.unwrap_err();
    assert!(
        matches!(e, EvalError::Engine(_)) && e.kind() != ptb_core::failure::FailureKind::Agent,
        "{e}"
    );
    let kept = 16 - Prepared::new(spec(home.path(), 8)).unwrap().missing();
    assert!((1..=7).contains(&kept), "{kept} kept");

    let (server, engine) = serve(|_, _| completion("ANSWER: 7")).await;
    let evaluation = evaluate(spec(home.path(), 8), Some(&engine)).await.unwrap();
    assert_eq!(server.bodies.lock().unwrap().len(), 1 + 16 - kept);
    // A third time no engine is needed, and everything is the same.
    assert_eq!(evaluate(spec(home.path(), 8), None).await.unwrap(), evaluation);
    let registry = Registry::load(&[]).unwrap();
    let (_, again) = rescore(
        registry.benchmark("arithmetic").unwrap(),
        ToolForm::Hermes,
        None,
        &home.path().join("eval"),
    )
    .unwrap();
    assert_eq!(again, evaluation.metrics);
}

#[tokio::test]
async fn other_weights_sampling_limits_or_prompts_are_other_completions() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(|_, _| completion("ANSWER: 7")).await;
    evaluate(spec(home.path(), 2), Some(&engine)).await.unwrap();
    let missing = |change: &dyn Fn(&mut EvalSpec)| {
        let copy = tempfile::tempdir().unwrap();
        for seed in ["1", "2"] {
            std::fs::create_dir_all(copy.path().join(seed)).unwrap();
            let file = format!("{seed}/samples.jsonl");
            std::fs::copy(home.path().join("eval").join(&file), copy.path().join(&file)).unwrap();
        }
        let mut spec = EvalSpec { out: copy.path().to_owned(), ..spec(home.path(), 2) };
        change(&mut spec);
        Prepared::new(spec).unwrap().missing()
    };
    let other = home.path().join("other");
    random_model(&other, &RandomModel::mini(2)).unwrap();
    let warmer = home.path().join("warmer");
    random_model(&warmer, &RandomModel::mini(1)).unwrap();
    std::fs::write(warmer.join("generation_config.json"), r#"{"temperature": 0.3}"#).unwrap();
    assert_eq!(missing(&|_| {}), 0);
    assert_eq!(missing(&|s| s.model_dir = other.clone()), 4);
    assert_eq!(missing(&|s| s.model_dir = warmer.clone()), 4);
    assert_eq!(missing(&|s| s.max_tokens = 17), 4);
    assert_eq!(missing(&|s| s.benchmark.value.prompt.messages[0].content.push('!')), 4);
    assert_eq!(missing(&|s| s.seeds = vec![2, 3]), 2);
    assert_eq!(missing(&|s| s.limit = Some(3)), 2);
    // What an evaluation does not use is found again.
    assert_eq!(Prepared::new(spec(home.path(), 1)).unwrap().missing(), 0);
    let cooler = EvalSpec { max_tokens: 17, ..spec(home.path(), 2) };
    assert_eq!(Prepared::new(cooler).unwrap().missing(), 4);
    assert_eq!(Prepared::new(spec(home.path(), 2)).unwrap().missing(), 0);
    let seed = home.path().join("eval/1");
    let (samples, other) = (seed.join("samples.jsonl"), seed.join("other.jsonl"));
    std::fs::rename(&samples, &other).unwrap();
    let foreign = std::fs::read_to_string(&other).unwrap().replace("\"key\":\"", "\"key\":\"x");
    std::fs::write(&samples, foreign).unwrap();
    assert_eq!(Prepared::new(spec(home.path(), 2)).unwrap().missing(), 0);
    assert!(!std::fs::read_to_string(&samples).unwrap().contains("\"key\":\"x"));
}

#[tokio::test]
async fn a_malformed_answer_is_an_error_and_not_a_wrong_answer() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(|_, _| Json(json!({ "choices": [] })).into_response()).await;
    let e = evaluate(spec(home.path(), 2), Some(&engine)).await.unwrap_err();
    assert!(matches!(e, EvalError::Engine(_)), "{e}");
    assert!(!home.path().join("eval/metrics.json").exists());
}

#[tokio::test]
async fn a_server_that_takes_no_ids_gets_text() {
    let home = tempfile::tempdir().unwrap();
    let (server, engine) = serve(|_, body| match &body["prompt"] {
        Value::String(_) => completion("ANSWER: 7"),
        _ => (StatusCode::BAD_REQUEST, "prompt must be a string").into_response(),
    })
    .await;
    evaluate(spec(home.path(), 1), Some(&engine)).await.unwrap();
    let bodies = server.bodies.lock().unwrap();
    let prompt = bodies.last().unwrap()["prompt"].as_str().unwrap();
    assert!(
        prompt.starts_with("<|im_start|>user\n") && prompt.ends_with("<|im_start|>assistant\n"),
        "{prompt}"
    );
}

#[tokio::test]
async fn a_context_too_short_for_the_prompt_is_the_models_fault() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(|_, _| completion("1")).await;
    let spec = spec(home.path(), 1);
    let config = spec.model_dir.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut value: Value = serde_json::from_str(&text).unwrap();
    value["max_position_embeddings"] = 8.into();
    std::fs::write(&config, value.to_string()).unwrap();
    let e = evaluate(spec, Some(&engine)).await.unwrap_err();
    assert!(matches!(e, EvalError::Model(_)), "{e}");
    assert_eq!(e.kind(), ptb_core::failure::FailureKind::Agent);
}

#[tokio::test]
async fn a_stop_keeps_what_is_there() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(|_, _| completion("ANSWER: 7")).await;
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let tell = move |told| match told {
        Told::Count { done: 3, .. } => stop.cancel(),
        Told::Count { .. } | Told::Verdicts { .. } | Told::Said(_) => {}
    };
    let prepared = Prepared::new(spec(home.path(), 8)).unwrap();
    let e = prepared.evaluate(&mut Given(Some(&engine)), &tell, &cancel).await.unwrap_err();
    assert!(matches!(e, EvalError::Cancelled), "{e}");
    assert!(Prepared::new(spec(home.path(), 8)).unwrap().missing() <= 13);
}

/// What a struggling server or its proxy says in place of an answer.
fn trouble(kind: usize) -> Response {
    let failing = |status: StatusCode| (status, [("retry-after", "0")], "later").into_response();
    match kind {
        0 => failing(StatusCode::TOO_MANY_REQUESTS),
        1 => failing(StatusCode::BAD_GATEWAY),
        2 => "<html><body>Please wait</body></html>".into_response(),
        3 => "{\"choices\": [{\"text\": \"ANSW".into_response(),
        4 => Json(json!({ "error": { "message": "overloaded" } })).into_response(),
        _ => {
            let broken = [Ok("{\"choices\""), Err(std::io::Error::other("closed"))];
            axum::body::Body::from_stream(futures::stream::iter(broken)).into_response()
        }
    }
}

#[tokio::test]
async fn a_fifth_of_requests_failing_in_six_ways_changes_no_number() {
    let (calm, rough) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Half of the questions are answered right.
    let said = |body: &Value| {
        completion(["ANSWER: 7", "ANSWER: 8"][body["seed"].as_u64().unwrap() as usize % 2])
    };
    let ask = move |_, body: &Value| match body["seed"].is_u64() {
        true => said(body),
        false => completion("1"),
    };
    let (_, engine) = serve(ask).await;
    let expected = evaluate(spec(calm.path(), 24), Some(&engine)).await.unwrap();
    let (server, engine) = serve(move |n, body| match n % 5 {
        4 => trouble(n / 5 % 6),
        _ => ask(n, body),
    })
    .await;
    let found = evaluate(spec(rough.path(), 24), Some(&engine)).await.unwrap();
    assert_eq!(found, expected);
    let bytes = |home: &Path| std::fs::read(home.join("eval/metrics.json")).unwrap();
    assert_eq!(bytes(rough.path()), bytes(calm.path()));
    assert!(server.bodies.lock().unwrap().len() >= 58, "there was trouble");
}

/// Engines that are given one after the other.
struct Engines {
    all: Vec<Running>,
    given: usize,
    given_up: usize,
}

impl Serve for Engines {
    fn name(&self) -> &str {
        "scripted"
    }

    fn engine(&mut self) -> BoxFuture<'_, Result<&Running, StartError>> {
        self.given += 1;
        let which = self.given_up.min(self.all.len() - 1);
        Box::pin(async move { Ok(&self.all[which]) })
    }

    fn give_up(&mut self) -> BoxFuture<'_, ()> {
        self.given_up += 1;
        Box::pin(async {})
    }

    fn starts(&self) -> bool {
        true
    }
}

fn refused() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, [("retry-after", "0")], "gone").into_response()
}

#[tokio::test]
async fn a_fresh_engine_is_asked_for_the_missing_alone_and_in_the_end_for_less() {
    let home = tempfile::tempdir().unwrap();
    let (first, one) = serve(|n, _| if n < 6 { completion("ANSWER: 7") } else { refused() }).await;
    // It can do short answers only.
    let (second, two) = serve(|_, body| match body["max_tokens"].as_u64() {
        Some(9..) => refused(),
        _ => completion("ANSWER: 7"),
    })
    .await;
    let mut spec = EvalSpec { max_connections: 1, ..spec(home.path(), 8) };
    spec.benchmark.value.evaluate.ladder = vec![8, 4];
    let mut engines = Engines { all: vec![one, two], given: 0, given_up: 0 };
    let said = Mutex::new(Vec::new());
    let tell = |told| match told {
        Told::Said(line) => said.lock().unwrap().push(line),
        Told::Count { .. } | Told::Verdicts { .. } => {}
    };
    let prepared = Prepared::new(spec).unwrap();
    let evaluation = prepared.evaluate(&mut engines, &tell, &CancellationToken::new()).await;
    let metrics = evaluation.unwrap().metrics;
    // Five answers of the first (it was also asked how it takes prompts), then three more tries of the second in vain.
    assert_eq!((metrics.n, metrics.reduced, engines.given, engines.given_up), (8, 11, 5, 4));
    let mut said = said.into_inner().unwrap();
    // The first failure of each pass is told as well.
    assert_eq!(
        said.iter().filter(|line| line.ends_with("trying again, and so for others")).count(),
        4
    );
    said.retain(|line| line.contains("are missing after"));
    assert!(said.len() == 4 && said[3].contains("11 completions are missing"), "{said:?}");
    assert!(said[3].contains("at most 8 tokens"), "{said:?}");
    let seeds = |server: &Server| -> HashSet<u64> {
        let bodies = server.bodies.lock().unwrap();
        bodies.iter().filter_map(|b| b["seed"].as_u64()).collect()
    };
    assert_eq!(seeds(&first).intersection(&seeds(&second)).count(), 1, "only the one that failed");
    assert_eq!(
        rescore(&prepared_benchmark(), ToolForm::Hermes, None, &home.path().join("eval"))
            .unwrap()
            .1,
        metrics
    );
}

#[tokio::test]
async fn an_engine_that_never_serves_ends_in_its_own_words() {
    let home = tempfile::tempdir().unwrap();
    let (_, engine) = serve(|_, _| refused()).await;
    let mut engines = Engines { all: vec![engine], given: 0, given_up: 0 };
    let prepared = Prepared::new(spec(home.path(), 2)).unwrap();
    let e = prepared.evaluate(&mut engines, &|_| {}, &CancellationToken::new()).await.unwrap_err();
    assert!(e.to_string().contains("gone"), "{e}");
    assert_eq!((engines.given, e.kind()), (4, ptb_core::failure::FailureKind::Harness));
}

fn prepared_benchmark() -> Entry<Benchmark> {
    Registry::load(&[]).unwrap().benchmark("arithmetic").unwrap().clone()
}
