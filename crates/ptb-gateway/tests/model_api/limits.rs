//! What may be asked and used up.

use std::sync::Arc;
use std::time::Duration;

use ptb_gateway::{GatewayError, Limits, Used};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::provider::{Answer, Provider, Step};
use crate::support::{
    ANTHROPIC_COST, Api, OPUS, anthropic_events, messages, of_kind, serve, setup,
};

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_not_allowed_are_refused_in_each_protocols_form() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let api = Api::new(&provider);
    let other = json!({"model": "gpt-5-mini", "input": "x", "messages": []});
    for (path, status, at, kind) in [
        ("/v1/messages", 403, "/error/type", "permission_error"),
        ("/v1/messages/count_tokens", 403, "/error/type", "permission_error"),
        ("/v1/responses", 400, "/error/code", "model_not_allowed"),
        ("/v1/chat/completions", 403, "/error/code", "model_not_allowed"),
        (
            "/v1beta/models/gemini-3.5-flash:generateContent",
            403,
            "/error/status",
            "PERMISSION_DENIED",
        ),
    ] {
        let body = if path.contains("beta") { json!({"contents": []}) } else { other.clone() };
        let response = api.post(path, &body).send().await.unwrap();
        assert_eq!(response.headers()["x-should-retry"], "false");
        assert_eq!(response.status(), status, "{path}");
        let error: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(error.pointer(at), Some(&json!(kind)), "{path}: {error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("is not allowed in this run; allowed: claude-opus-4-6, gpt-5"),
            "{message}"
        );
    }
    // In other ways to name a model.
    for body in [
        json!({"model": OPUS, "models": [OPUS, "gpt-5-mini"], "messages": []}),
        json!({"model": format!("{OPUS}:online"), "messages": []}),
        json!({"model": OPUS, "messages": [], "background": true}),
    ] {
        assert_eq!(api.ask("/v1/chat/completions", &body).await.0, 403, "{body}");
    }
    for body in [
        r#"{"model": "claude-opus-4-6", "model": "gpt-5-mini", "messages": []}"#,
        r#"{"model": "claude-opus-4-6", "Model": "gpt-5-mini", "messages": []}"#,
        r#"{"model": ["claude-opus-4-6"], "messages": []}"#,
        r#"{"messages": []}"#,
    ] {
        let request = api.client.post(api.url("/v1/messages")).body(body);
        assert_eq!(request.send().await.unwrap().status(), 400, "{body}");
    }
    let two = json!({"model": "gpt-5", "contents": []});
    assert_eq!(api.ask("/v1/models/gemini-2.5-pro:generateContent", &two).await.0, 400);
    assert!(provider.seen().is_empty(), "nothing of it reached the provider");
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.refused, totals.generations), (13, 0));
    let refused = of_kind(&record, "response");
    assert_eq!(refused.len(), 13);
    assert!(refused.iter().all(|line| line["end"] == "refused"));
    assert_eq!(refused[0]["refused"], "not-allowed");
    // What was asked is on record, also where it could be read in two ways.
    let asked = of_kind(&record, "request");
    assert_eq!(asked[0]["body"]["model"], "gpt-5-mini");
    assert_eq!(asked[8]["body"]["model"], "gpt-5-mini");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_not_known_do_not_exist() {
    let provider = Provider::start(|_| Answer::json(200, "{}")).await;
    let api = Api::new(&provider);
    for (path, at, kind) in [
        ("/v1/messages/batches", "/error/type", "not_found_error"),
        ("/v1/responses/resp_1/cancel", "/error/code", "not_found"),
        ("/v1beta/cachedContents", "/error/status", "NOT_FOUND"),
        ("/v1/files", "/error/type", "not_found_error"),
        ("/", "/error/type", "not_found_error"),
    ] {
        let (status, text) = api.ask(path, &json!({"model": OPUS})).await;
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, error.pointer(at)), (404, Some(&json!(kind))), "{path}");
    }
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.refused, provider.seen().len()), (5, 0));
    assert_eq!(of_kind(&record, "request")[3]["path"], "/v1/files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spending_limit_ends_the_spending() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    // Two answers fit; what is left is less than the estimate for a third, of 100 generated tokens (0.0025 USD) and more.
    let limit = 0.03 + 2.0 * ANTHROPIC_COST + 0.002;
    let api = Api::with(&provider, |setup| {
        let used = Used { usd: 0.03, tokens: 0 };
        setup.limits = Limits { usd: Some(limit), tokens: None, used };
    });
    for _ in 0..2 {
        assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
    }
    assert_eq!(api.running.limit_reached(), None);
    let (status, text) = api.ask("/v1/messages", &messages("x")).await;
    assert_eq!(status, 400);
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(error["error"]["type"], "invalid_request_error");
    assert!(
        error["error"]["message"].as_str().unwrap().starts_with("the spending limit of this run")
    );
    let body = json!({"model": "gpt-5", "input": "x", "max_output_tokens": 1000});
    let (_, text) = api.ask("/v1/responses", &body).await;
    assert!(text.contains(r#""code":"insufficient_quota""#), "{text}");
    let reached = api.running.limit_reached().expect("a limit refused the last request");
    assert_eq!(reached.limit, ptb_core::run::ApiLimit::Spending);
    assert!(reached.message.starts_with("the spending limit of this run"), "{reached:?}");
    // Counting costs nothing.
    let count = json!({"model": OPUS, "messages": []});
    assert_eq!(api.ask("/v1/messages/count_tokens", &count).await.0, 200);
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.generations, totals.over_limit, totals.refused), (2, 2, 2));
    assert!((totals.cost_usd.unwrap() - 2.0 * ANTHROPIC_COST).abs() < 1e-12);
    assert_eq!(of_kind(&record, "response")[2]["refused"], "limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_counts_towards_a_limit() {
    let go = Arc::new(Notify::new());
    let held = Arc::clone(&go);
    let provider = Provider::start(move |_| {
        let mut steps: Vec<Step> = anthropic_events().into_iter().map(Step::Send).collect();
        steps.insert(1, Step::Await(Arc::clone(&held)));
        Answer::stream(steps)
    })
    .await;
    // Each request may use 100 generated tokens and about 120 of prompt: a third waits, with all that it may use, for one
    // of the first two to end.
    let api = Api::with(&provider, |setup| {
        setup.limits = Limits { usd: None, tokens: Some(600), used: Used { usd: 0.0, tokens: 60 } };
        setup.bounds.turn_time = Duration::from_millis(100);
    });
    let first = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    let second = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let third = api.post("/v1/messages", &messages("x")).send().await.unwrap();
    assert_eq!(third.status(), 503);
    assert_eq!(third.headers()["x-should-retry"], "true");
    assert!(third.text().await.unwrap().contains("this run is near its limit"));
    go.notify_one();
    go.notify_one();
    drop((first, second));
    let (totals, record, _) = api.stop().await;
    assert_eq!((totals.over_limit, totals.refused), (0, 1));
    assert_eq!(of_kind(&record, "response")[0]["refused"], "busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_requests_pass_a_limit_by_no_more_than_one() {
    // Each answer costs 0.1 USD: 4,000 tokens of the 8,000 that are allowed.
    let provider = Provider::start(|_| {
        let text = anthropic_events().concat().replace(":77}", ":4000}");
        Answer::stream(vec![Step::Sleep(Duration::from_millis(20)), Step::Send(text)])
    })
    .await;
    let api = Api::with(&provider, |setup| {
        setup.limits = Limits { usd: Some(1.0), tokens: None, used: Used::default() };
    });
    let mut body = messages("x");
    body["max_tokens"] = json!(8000);
    let asked = (0..60).map(|_| api.ask("/v1/messages", &body));
    let answers = futures::future::join_all(asked).await;
    let count = |wanted: u16| answers.iter().filter(|(status, _)| *status == wanted).count();
    let (served, refused) = (count(200), count(400));
    assert_eq!(served + refused, 60);
    let (totals, ..) = api.stop().await;
    let cost = totals.cost_usd.unwrap();
    let each = cost / served as f64;
    assert!((0.1..0.11).contains(&each), "{each}");
    assert!(cost > 1.0 - each && cost < 1.0 + each, "{served} served for {cost}");
    assert_eq!(totals.over_limit, refused as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_before_the_bill_does_not_help() {
    let provider = Provider::start(|_| Answer::stream(vec![Step::Hang])).await;
    let api = Api::with(&provider, |setup| {
        setup.limits = Limits { usd: None, tokens: Some(400), used: Used::default() };
    });
    let mut answered = 0;
    for n in 1..=3 {
        let response = api.post("/v1/messages", &messages("x")).send().await.unwrap();
        answered += u32::from(response.status() == 200);
        drop(response);
        let ended = || {
            let totals = api.running.totals();
            totals.uncounted + totals.over_limit == n
        };
        crate::support::until("the books to be closed", ended).await;
    }
    assert_eq!(answered, 2, "the third would go beyond the limit");
    let (totals, ..) = api.stop().await;
    assert_eq!((totals.uncounted, totals.tokens.all()), (2, 0));
    assert!(totals.estimated_tokens > 200 && totals.estimated_usd > 0.0);
    assert_eq!(
        (totals.cost_usd, totals.known_cost_usd),
        (None, 0.0),
        "it is not known, not nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_that_is_none_is_estimated_and_its_cost_unknown() {
    for usage in
        [r#"{"input_tokens": -5, "output_tokens": -5}"#, r#"{"output_tokens": "77"}"#, "{}", "null"]
    {
        let text = "z".repeat(4000);
        let body = format!(
            r#"{{"model": "{OPUS}", "stop_reason": "end_turn", "text": "{text}", "usage": {usage}}}"#
        );
        let provider = Provider::start(move |_| Answer::json(200, &body)).await;
        let api = Api::with(&provider, |setup| {
            setup.limits = Limits { usd: Some(0.05), tokens: None, used: Used::default() };
        });
        // What was seen, 1,000 tokens and more, costs 0.025: a third does not fit.
        for status in [200, 200, 400] {
            assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, status, "{usage}");
        }
        let (totals, ..) = api.stop().await;
        assert_eq!(
            (totals.uncounted, totals.cost_usd, totals.tokens.all()),
            (2, None, 0),
            "{usage}"
        );
        assert!(totals.estimated_usd > 0.05 && totals.models[OPUS].cost_usd.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_price_is_not_nothing() {
    let provider = Provider::start(|_| Answer::events(&anthropic_events())).await;
    let folder = tempfile::tempdir().unwrap();
    let mut priceless = setup(&provider.url(), folder.path());
    priceless.models.main = "claude-unheard-of".to_owned();
    priceless.limits.usd = Some(1.0);
    let e = serve(priceless).err().unwrap();
    assert!(matches!(&e, GatewayError::NoPrice { model } if model == "claude-unheard-of"), "{e}");

    let tiered = Provider::start(|_| {
        let text = anthropic_events().concat().replace("standard", "priority");
        Answer::events(&[text])
    })
    .await;
    for provider in [&provider, &tiered] {
        let api = Api::with(provider, |setup| {
            if provider.address != tiered.address {
                setup.prices = ptb_llm::Prices::default();
            }
        });
        assert_eq!(api.ask("/v1/messages", &messages("x")).await.0, 200);
        let (totals, record, _) = api.stop().await;
        assert_eq!((totals.cost_usd, totals.unpriced), (None, 1));
        assert_eq!(totals.models["claude-opus-4-6-20260101"].cost_usd, None);
        let answer = of_kind(&record, "response")[0];
        assert!(answer["cost_usd"].is_null() && answer["usage"]["output"] == 77);
    }
}
