//! Failures that do not pass: told at once, with what to do, and for all calls that would fare no better.

use std::time::Duration;

use futures::future::join_all;
use ptb_core::failure::FailureKind;
use ptb_llm::testing::{Act, GraderServer};
use ptb_llm::{Client, LlmError, Options};
use serde_json::json;

use super::{Asker, call, model, options};

/// One is answered so; the others hang for longer than any test may last.
fn one(act: Act) -> GraderServer {
    GraderServer::start(move |request| match request.said("user").as_str() {
        "this" => Act::After(Duration::from_millis(100), Box::new(act.clone())),
        _ => Act::Hang(Duration::from_secs(3600)),
    })
}

#[tokio::test]
async fn a_refused_key_and_an_empty_account_end_all_calls_at_once() {
    let quota =
        json!({"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}});
    for (act, word) in [
        (
            Act::error(401, "Incorrect API key provided"),
            "refuses the key (status 401): Incorrect API key",
        ),
        (
            Act::error(403, "not for you"),
            "hint: check the key in the environment variable PTB_GRADER_KEY",
        ),
        (Act::error(402, "Insufficient Balance"), "is out of credit (status 402)"),
        (Act::Status(429, vec![], quota.to_string()), "hint: top it up"),
    ] {
        let server = one(act);
        let asker = Asker::of(&server);
        for e in join_all(["a", "this", "b"].map(|q| asker.ask(q)))
            .await
            .into_iter()
            .map(Result::unwrap_err)
        {
            assert!(e.to_string().contains(word), "{e}");
            assert!(e.ends_all() && e.kind() == Some(FailureKind::Provider), "{e:?}");
        }
        asker.ask("c").await.unwrap_err();
        assert_eq!((server.count(), asker.client.totals().retries), (3, 0));
    }
}

#[tokio::test]
async fn what_is_rejected_ends_that_call_alone() {
    for (act, word) in [
        (Act::error(404, "The model `gpt-9` does not exist"), "check the model's name"),
        (Act::error(400, "too long"), "status 400): too long"),
        (Act::error(422, "no"), "rejects the request (status 422)"),
        (Act::error(413, ""), "too long for this server"),
    ] {
        let server = GraderServer::start(move |request| match request.said("user").as_str() {
            "this" => act.clone(),
            _ => Act::Text("fine".to_owned()),
        });
        let asker = Asker::of(&server);
        let e = asker.ask("this").await.unwrap_err();
        assert!(matches!(e, LlmError::Rejected { .. }) && e.to_string().contains(word), "{e}");
        asker.ask("other").await.unwrap();
        assert_eq!(server.count(), 2);
    }
}

#[tokio::test]
async fn nobody_but_the_named_server_gets_prompt_or_key() {
    let other = GraderServer::start(|_| Act::Text("stolen".to_owned()));
    let to = format!("{}/chat/completions", other.url());
    let server = GraderServer::start(move |_| Act::Redirect(to.clone()));
    let e = Asker::of(&server).ask("q?").await.unwrap_err();
    assert!(matches!(e, LlmError::Redirected { status: 302, .. }), "{e}");
    assert!(e.to_string().contains(&other.url()), "{e}");
    assert_eq!((server.count(), other.count()), (1, 0));
}

#[tokio::test]
async fn cancelling_ends_requests_and_pauses() {
    let server = one(Act::Html);
    let asker = Asker::of(&server);
    let cancel = async {
        while server.count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asker.cancel.cancel();
    };
    let (all, ()) = tokio::join!(join_all(["a", "b"].map(|q| asker.ask(q))), cancel);
    for e in all.into_iter().map(Result::unwrap_err) {
        assert!(matches!(e, LlmError::Cancelled), "{e}");
    }
    assert!(matches!(asker.ask("c").await, Err(LlmError::Cancelled)));
    assert_eq!(server.count(), 2);
}

#[test]
fn what_cannot_be_asked_is_told_before_it_is() {
    let server = GraderServer::start(|_| Act::Html);
    let mut unknown = model(&server);
    unknown.price = None;
    let limited = Options { spend_limit: Some(1.0), ..options() };
    let e = Client::new(unknown, limited, None).unwrap_err();
    assert!(e.to_string().contains("no price of gpt-5-mini is known") && e.kind().is_none(), "{e}");
    let mut nowhere = model(&server);
    nowhere.url = "api.openai.com".to_owned();
    let e = Client::new(nowhere, options(), None).unwrap_err();
    assert!(matches!(e, LlmError::Url { .. }) && e.to_string().contains("hint: "), "{e}");
}

/// Set for the test below, which runs in a process of its own: a proxy where nobody is.
#[test]
fn a_proxy_of_the_environment_is_not_asked_for_loopback() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "ends::loopback_is_reached"]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:1");
    }
    let out = command.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn loopback_is_reached() {
    let server = GraderServer::start(|_| Act::Text("fine".to_owned()));
    let patience = Duration::from_millis(50);
    for host in ["127.0.0.1", "localhost"] {
        let mut model = model(&server);
        model.url = model.url.replace("127.0.0.1", host);
        let asker = Asker::new(model, Options { patience, ..options() }, None);
        asker.call(&call("q?"), |_| Ok(())).await.unwrap();
    }
}
