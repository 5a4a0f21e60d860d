//! A spending limit is never passed, however many ask at once.

use std::time::Duration;

use futures::future::join_all;
use ptb_llm::testing::{Act, GraderServer};
use ptb_llm::{Call, LlmError, Options, Usage};
use serde_json::json;

use super::{Asker, call, model, options};

/// A reply that takes long enough for others to be in flight meanwhile.
fn slow(reply: Act) -> Act {
    Act::After(Duration::from_millis(10), Box::new(reply))
}

/// With the tests' price and limit of tokens a reply costs at most 0.001 USD beside its prompt.
fn limited(server: &GraderServer, limit: f64) -> Asker {
    Asker::new(model(server), Options { spend_limit: Some(limit), ..options() }, None)
}

#[tokio::test]
async fn nobody_spends_more_than_the_limit() {
    // Dear ones: all that they may cost.
    let dear = Usage { input: 100, cached_input: 0, output: 100, reasoning: 0 };
    let server = GraderServer::start(move |_| slow(Act::Counted("x".to_owned(), dear)));
    let asker = limited(&server, 0.0205);
    let questions: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let all = join_all(questions.iter().map(|q| asker.ask(q))).await;
    let answered = all.iter().filter(|a| a.is_ok()).count();
    let totals = asker.client.totals();
    assert_eq!((answered, server.count() as u64), (18, totals.answers));
    assert!(totals.cost.unwrap() <= 0.0205);
    for e in all.into_iter().filter_map(Result::err) {
        let LlmError::Spent { limit, spent, next } = e else { panic!("{e}") };
        assert!(limit == 0.0205 && spent + next > limit && spent <= limit, "{spent} {next}");
        let said = e.to_string();
        assert!(
            said.contains("of 0.0205 USD are spent") && said.contains("hint: raise the limit"),
            "{said}"
        );
    }
}

/// What replies leave over of what was set aside for them is for others.
#[tokio::test]
async fn cheap_replies_leave_room_for_more() {
    let cheap = Usage { input: 10, cached_input: 0, output: 1, reasoning: 0 };
    let server = GraderServer::start(move |_| slow(Act::Counted("x".to_owned(), cheap)));
    let asker = limited(&server, 0.003);
    let questions: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let all = join_all(questions.iter().map(|q| asker.ask(q))).await;
    assert!(
        all.iter().all(Result::is_ok) && server.most_at_once() <= 2,
        "{}",
        server.most_at_once()
    );
    assert!((asker.client.totals().cost.unwrap() - 64.0 * 20.0 / 1e6).abs() < 1e-9);
}

#[tokio::test]
async fn invalid_replies_and_uncounted_ones_are_paid_from_the_limit_too() {
    let choices = json!([{"message": {"content": "x"}, "finish_reason": "stop"}]);
    let server = GraderServer::start(move |_| Act::Json(json!({"choices": choices})));
    let asker = limited(&server, 0.002);
    let answer = asker.ask("a").await.unwrap();
    assert_eq!((answer.reply.cost, answer.reply.usage), (None, Usage::default()));
    // Nobody counted: it may have cost all that was set aside.
    assert!(asker.client.totals().cost.unwrap() > 0.001);
    assert!(matches!(asker.ask("b").await, Err(LlmError::Spent { .. })));
    let server = GraderServer::start(|_| Act::Length("x".repeat(400)));
    let asker = limited(&server, 0.0025);
    let wanted = Call { max_tokens: 100, ..call("q?") };
    let e = asker.call(&wanted, |_| Ok(())).await.unwrap_err();
    assert!(matches!(e, LlmError::Spent { .. }), "{e}");
    assert_eq!(asker.client.totals().invalid, 2);
}
