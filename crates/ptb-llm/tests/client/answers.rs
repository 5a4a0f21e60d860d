//! Replies: what is sent, what is read, what is asked for again.

use std::time::Duration;

use ptb_llm::testing::{Act, ChatRequest, GraderServer};
use ptb_llm::{Call, Finish, LlmError, Options, Usage};
use serde_json::json;

use super::{Asker, KEY, call, model, options};

#[tokio::test]
async fn a_call_is_sent_as_it_is_and_its_reply_read() {
    let counted = Usage { input: 1000, cached_input: 600, output: 50, reasoning: 40 };
    let server = GraderServer::start(move |_| Act::Counted("7".to_owned(), counted));
    let asker = Asker::of(&server);
    let wanted = Call { effort: Some("low".to_owned()), temperature: Some(0.5), ..call("q?") };
    let answer = asker.call(&wanted, |t| t.parse::<u8>().map_err(|e| e.to_string())).await.unwrap();
    assert_eq!((answer.value, answer.cached, answer.key.len()), (7, false, 64));
    assert_eq!((&answer.reply.finish, answer.reply.usage), (&Finish::Stop, counted));
    assert_eq!(answer.reply.model.as_deref(), Some("gpt-5-mini"));
    let cost = (400.0 + 600.0 * 0.5 + 50.0 * 10.0) / 1e6;
    assert!((answer.reply.cost.unwrap() - cost).abs() < 1e-12);
    let [request]: [ChatRequest; 1] = server.requests().try_into().unwrap();
    assert_eq!(request.authorization, Some(format!("Bearer {KEY}")));
    let want = json!({
        "model": "gpt-5-mini",
        "messages": [{"role": "system", "content": "You grade."}, {"role": "user", "content": "q?"}],
        "max_completion_tokens": 100, "reasoning_effort": "low", "temperature": 0.5,
    });
    assert_eq!(request.body, want);
    let totals = asker.client.totals();
    assert_eq!((totals.answers, totals.requests, totals.retries, totals.invalid), (1, 1, 0, 0));
    assert_eq!((totals.usage, totals.cost), (counted, answer.reply.cost));
    let text = serde_json::to_string(&totals).unwrap();
    assert_eq!(serde_json::from_str::<ptb_llm::Totals>(&text).unwrap(), totals);
}

#[tokio::test]
async fn what_is_not_wanted_is_not_sent_and_parts_are_joined() {
    let server = GraderServer::start(|_| Act::Parts(vec!["ye".to_owned(), "s".to_owned()]));
    let mut model = model(&server);
    (model.key, model.price) = (None, None);
    model.url.push_str("/chat/completions");
    let asker = Asker::new(model, options(), None);
    assert_eq!(asker.ask("q?").await.unwrap().value, "yes");
    let [request]: [ChatRequest; 1] = server.requests().try_into().unwrap();
    assert_eq!(request.authorization, None);
    let keys: Vec<_> = request.body.as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys, ["model", "messages", "max_completion_tokens"]);
    assert_eq!(asker.client.totals().cost, None);
}

/// All that fails on its way is sent again, at once or after what the server wants, and is no invalid reply.
#[tokio::test]
async fn every_failure_that_may_pass_is_waited_out() {
    let busy = |status, wait: &str| {
        Act::Status(status, vec![("retry-after".to_owned(), wait.to_owned())], String::new())
    };
    for failure in [
        Act::Html,
        Act::HalfJson,
        Act::CloseMidBody,
        Act::ErrorIn200,
        Act::Huge(9 << 20),
        Act::Json(json!({})),
        Act::Json(json!("x")),
        Act::Status(200, vec![("content-encoding".to_owned(), "gzip".to_owned())], "{}".to_owned()),
        Act::error(408, "too slow"),
        Act::error(425, "too early"),
        Act::error(429, "slow down"),
        busy(429, "86400"),
        busy(503, "Wed, 21 Oct 2099 07:28:00 GMT"),
        busy(503, "soon"),
        Act::error(500, "oops"),
        Act::error(502, "<html>"),
        Act::error(529, "overloaded"),
        Act::Hang(Duration::from_millis(1)),
    ] {
        let act = failure.clone();
        let server = GraderServer::start(move |request| match request.before {
            0..5 => act.clone(),
            _ => Act::Text("fine".to_owned()),
        });
        let asker = Asker::of(&server);
        let answer = asker.ask("q?").await;
        assert_eq!(answer.unwrap().value, "fine", "{failure:?}");
        let totals = asker.client.totals();
        assert_eq!((totals.requests, totals.retries, totals.invalid), (6, 5, 0), "{failure:?}");
        // Two failures in a row and nobody answered: the user hears why nothing goes on, and when it does.
        let told = asker.told();
        assert!(told[0].contains("does not answer ("), "{told:?}");
        assert!(told.last().unwrap().contains("answers again after"), "{told:?}");
    }
}

/// A server that says nothing at all is asked again when the time of a request is over.
#[tokio::test]
async fn a_request_that_hangs_is_given_up() {
    let server = GraderServer::start(|request| match request.before {
        0 => Act::Hang(Duration::from_secs(600)),
        _ => Act::Text("fine".to_owned()),
    });
    let time = Duration::from_millis(500);
    let asker = Asker::new(model(&server), Options { request_time: time, ..options() }, None);
    assert_eq!(asker.ask("q?").await.unwrap().value, "fine");
    assert_eq!(asker.client.totals().retries, 1);
}

#[tokio::test]
async fn invalid_replies_are_asked_for_again_and_paid_for() {
    for (invalid, why) in [
        (Act::NullContent, "the reply is empty"),
        (Act::Text(" \n".to_owned()), "the reply is empty"),
        (Act::Refusal("I cannot".to_owned()), "refused: I cannot"),
        (Act::Filtered, "filter"),
        (Act::Length("yes, bec".to_owned()), "cut at the limit"),
        (Act::EmptyChoices, "no choice"),
        (Act::Text("maybe".to_owned()), "neither yes nor no"),
        (
            Act::Status(
                400,
                vec![],
                json!({"error": {"code": "content_filter", "message": "x"}}).to_string(),
            ),
            "took the prompt away: x",
        ),
    ] {
        let act = invalid.clone();
        let server = GraderServer::start(move |request| match request.said("user").as_str() {
            "once" if request.before > 0 => Act::Text("yes".to_owned()),
            _ => act.clone(),
        });
        let asker = Asker::of(&server);
        let read = |text: &str| match text {
            "yes" => Ok(true),
            "no" => Ok(false),
            _ => Err("neither yes nor no".to_owned()),
        };
        let answer = asker.call(&call("once"), read).await.unwrap();
        assert!(answer.value, "{invalid:?}");
        let e = asker.call(&call("always"), read).await.unwrap_err();
        let LlmError::Invalid { tries: 3, reason, .. } = &e else { panic!("{invalid:?}: {e}") };
        assert!(reason.contains(why), "{invalid:?}: {reason}");
        assert!(e.to_string().contains("hint: ") && !e.ends_all(), "{e}");
        let totals = asker.client.totals();
        assert_eq!((totals.requests, totals.retries, totals.invalid), (5, 0, 4), "{invalid:?}");
        let paid = matches!(totals.cost, Some(cost) if cost > answer.reply.cost.unwrap());
        assert!(paid || matches!(invalid, Act::Status(..)), "{invalid:?}: {totals:?}");
        assert!(asker.told().is_empty());
    }
}

/// A server that takes only what it knows, as several do.
fn picky(unknown: &'static [&'static str]) -> GraderServer {
    GraderServer::start(move |request| {
        match unknown.iter().find(|name| request.body.get(**name).is_some()) {
            Some(name) => {
                Act::error(400, &format!("Unsupported parameter: '{name}' is not supported"))
            }
            None => Act::Text("fine".to_owned()),
        }
    })
}

#[tokio::test]
async fn a_servers_dialect_is_found_out_once_and_told_once() {
    let server = picky(&["max_completion_tokens", "temperature", "reasoning_effort"]);
    let asker = Asker::of(&server);
    let wanted =
        |q: &str| Call { effort: Some("low".to_owned()), temperature: Some(0.5), ..call(q) };
    for question in ["a", "b", "c"] {
        asker.call(&wanted(question), |_| Ok(())).await.unwrap();
    }
    assert_eq!(server.count(), 4 + 1 + 1);
    let last = server.requests().pop().unwrap().body;
    let keys: Vec<_> = last.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        (keys, &last["max_tokens"]),
        (vec!["model".into(), "messages".into(), "max_tokens".into()], &json!(100))
    );
    let told = asker.told();
    assert_eq!(told.len(), 3, "{told:?}");
    for (line, word) in
        told.iter().zip(["`max_tokens` is sent", "`temperature`", "`reasoning_effort`"])
    {
        assert!(line.contains(word) && line.contains("Unsupported parameter"), "{line}");
    }
    // Not retries: nothing failed on its way.
    assert_eq!(asker.client.totals().retries, 0);
}

#[tokio::test]
async fn a_rejection_that_no_dialect_mends_is_told_as_it_was_and_changes_nothing() {
    let server = GraderServer::start(|request| match &request.body["max_completion_tokens"] {
        limit if limit.as_u64().is_none() => Act::error(400, "use max_completion_tokens"),
        limit if limit.as_u64() > Some(1000) => {
            Act::error(400, "max_completion_tokens is too large")
        }
        _ => Act::Text("fine".to_owned()),
    });
    let asker = Asker::of(&server);
    let large = Call { max_tokens: 5000, ..call("q?") };
    let e = asker.call(&large, |_| Ok(())).await.unwrap_err();
    assert!(matches!(e, LlmError::Rejected { status: 400, .. }) && !e.ends_all(), "{e}");
    assert!(e.to_string().contains("max_completion_tokens is too large\nhint: "), "{e}");
    asker.ask("q?").await.unwrap();
    assert!(asker.told().is_empty() && server.count() == 3);
}

#[tokio::test]
async fn no_more_requests_are_in_flight_than_wanted() {
    let wait = Duration::from_millis(20);
    let server =
        GraderServer::start(move |_| Act::After(wait, Box::new(Act::Text("x".to_owned()))));
    let asker = Asker::of(&server);
    let questions: Vec<String> = (0..64).map(|n| n.to_string()).collect();
    let all = futures::future::join_all(questions.iter().map(|q| asker.ask(q))).await;
    assert!(all.iter().all(Result::is_ok) && server.count() == 64);
    assert!((2..=8).contains(&server.most_at_once()), "{}", server.most_at_once());
}
