//! What was paid for is kept, by content, and only what is valid.

use ptb_llm::testing::{Act, GraderServer};
use ptb_llm::{Cache, Call, LlmError, Role};

use super::{Asker, call, model, options};

#[tokio::test]
async fn the_same_call_is_paid_for_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let server = GraderServer::start(|request| Act::Text(request.number.to_string()));
    let open = || Asker::new(model(&server), options(), Some(Cache::open(&path).unwrap()));
    let asker = open();
    let first = asker.ask("q?").await.unwrap();
    let second = asker.ask("q?").await.unwrap();
    assert_eq!((first.cached, second.cached, &first.key), (false, true, &second.key));
    assert_eq!(first.reply, second.reply);
    let totals = asker.client.totals();
    assert_eq!((totals.answers, totals.cached, totals.requests), (2, 1, 1));
    assert_eq!(totals.cost, first.reply.cost);
    drop(asker);
    // In another process, with the server gone.
    server.stop();
    let asker = open();
    let third = asker.ask("q?").await.unwrap();
    assert_eq!((third.value, third.cached, third.reply), (first.value, true, first.reply));
    assert_eq!(asker.client.totals().cost, Some(0.0));
    server.restart();
    // Whatever is different is another call.
    let base = call("q?");
    let mut roles = base.clone();
    roles.messages[0].role = Role::User;
    let calls = [
        Call { max_tokens: 101, ..base.clone() },
        Call { effort: Some("low".to_owned()), ..base.clone() },
        Call { temperature: Some(0.0), ..base.clone() },
        call("q!"),
        roles,
    ];
    for call in &calls {
        let answer = asker.call(call, |_| Ok(())).await.unwrap();
        assert!(!answer.cached && answer.key != first.key, "{call:?}");
    }
    let mut other = model(&server);
    other.name = "gpt-5".to_owned();
    let other = Asker::new(other, options(), Some(Cache::open(&path).unwrap()));
    assert!(!other.ask("q?").await.unwrap().cached);
    assert_eq!(Cache::open(&path).unwrap().len(), 7);
}

#[tokio::test]
async fn invalid_replies_are_not_kept_and_kept_ones_are_read_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let server = GraderServer::start(|request| Act::Text(format!("answer {}", request.number)));
    let asker = Asker::new(model(&server), options(), Some(Cache::open(&path).unwrap()));
    let wants = |want: &'static str| {
        move |text: &str| (text == want).then_some(()).ok_or_else(|| format!("it is not {want}"))
    };
    let e = asker.call(&call("q?"), wants("answer 99")).await.unwrap_err();
    assert!(matches!(e, LlmError::Invalid { .. }), "{e}");
    assert!(Cache::open(&path).unwrap().is_empty());
    asker.call(&call("q?"), wants("answer 3")).await.unwrap();
    assert!(asker.call(&call("q?"), wants("answer 3")).await.unwrap().cached);
    // Who reads more strictly than before asks again, and that answer is the one that counts.
    assert!(!asker.call(&call("q?"), wants("answer 4")).await.unwrap().cached);
    let again = Asker::new(model(&server), options(), Some(Cache::open(&path).unwrap()));
    assert!(again.call(&call("q?"), wants("answer 4")).await.unwrap().cached);
}

/// An end for all calls is none for what was paid for before.
#[tokio::test]
async fn kept_answers_outlive_the_server_and_damage_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let server = GraderServer::start(|request| match request.said("user").as_str() {
        "bad" => Act::error(401, "no"),
        _ => Act::Text("fine".to_owned()),
    });
    let asker = Asker::new(model(&server), options(), Some(Cache::open(&path).unwrap()));
    asker.ask("good").await.unwrap();
    asker.ask("bad").await.unwrap_err();
    assert!(asker.ask("good").await.unwrap().cached);
    asker.cancel.cancel();
    assert!(asker.ask("good").await.unwrap().cached);
    drop(asker);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.insert_str(0, "{\"schema\":1,\"key\":\n");
    std::fs::write(&path, text).unwrap();
    let asker = Asker::new(model(&server), options(), Some(Cache::open(&path).unwrap()));
    assert!(asker.ask("good").await.unwrap().cached);
    let told = asker.told();
    assert!(told.len() == 1 && told[0].contains("line 1 is damaged"), "{told:?}");
}
