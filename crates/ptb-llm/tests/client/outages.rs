//! Outages: all wait together, one asks, and all go on or all end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join, join_all};
use ptb_llm::testing::{Act, GraderServer};
use ptb_llm::{LlmError, Options};

use super::{Asker, model, options};

fn fine() -> GraderServer {
    GraderServer::start(|request| Act::Text(format!("to {}", request.said("user"))))
}

/// Waits until something was told that holds `word`.
async fn told(asker: &Asker, word: &str) {
    while !asker.told().iter().any(|line| line.contains(word)) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_server_that_goes_away_and_comes_back_loses_no_call() {
    let server = fine();
    let asker = Asker::of(&server);
    asker.ask("before").await.unwrap();
    server.stop();
    let questions: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let all = join_all(questions.iter().map(|q| asker.ask(q)));
    let back = async {
        told(&asker, "does not answer").await;
        assert_eq!(server.count(), 1);
        server.restart();
    };
    let (all, ()) = join(all, back).await;
    for (question, answer) in questions.iter().zip(all) {
        assert_eq!(answer.unwrap().value, format!("to {question}"));
    }
    // Each was answered once: a request that reached nobody was not counted by anybody.
    assert_eq!(server.count(), 31);
    let told = asker.told();
    let host = asker.client.host();
    let begins = format!("the grader at {host} does not answer (");
    assert!(
        told[0].starts_with(&begins)
            && told[0].contains("; asked again in 1 s; given up after 30 min"),
        "{told:?}"
    );
    assert!(!told[0].contains("never answered"), "{told:?}");
    let again = format!("the grader at {host} answers again after ");
    assert_eq!(told.iter().filter(|line| line.starts_with(&again)).count(), 1, "{told:?}");
}

#[tokio::test]
async fn in_an_outage_one_probes_for_all() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let server = GraderServer::start(move |_| match is_up.load(Ordering::SeqCst) {
        true => Act::Text("fine".to_owned()),
        false => Act::After(Duration::from_millis(5), Box::new(Act::error(503, "no room"))),
    });
    let asker = Asker::of(&server);
    let questions: Vec<String> = (0..30).map(|n| n.to_string()).collect();
    let all = join_all(questions.iter().map(|q| asker.ask(q)));
    let watch = async {
        told(&asker, "does not answer (status 503: no room)").await;
        // Those that were in flight when it began come back; from then on there is one probe after the other.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while server.at_once() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let before = server.count();
        while server.count() < before + 10 {
            assert!(server.at_once() <= 1, "{}", server.at_once());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        up.store(true, Ordering::SeqCst);
    };
    let (all, ()) = join(all, watch).await;
    assert!(all.iter().all(Result::is_ok));
    assert!(asker.told()[0].contains("never answered yet"), "{:?}", asker.told());
    assert_eq!(server.count() as u64 - 30, asker.client.totals().retries);
}

#[tokio::test]
async fn patience_ends_for_all_calls_and_those_to_come() {
    let server = fine();
    let patience = Duration::from_millis(300);
    let asker = Asker::new(model(&server), Options { patience, ..options() }, None);
    server.stop();
    let all = join_all(["a", "b", "c"].map(|q| asker.ask(q))).await;
    for e in all.into_iter().map(Result::unwrap_err) {
        assert!(matches!(e, LlmError::Down { .. }) && e.ends_all(), "{e}");
        assert!(
            e.to_string().contains("has answered nothing for 0 s (")
                && e.to_string().contains("hint: "),
            "{e}"
        );
    }
    server.restart();
    assert!(matches!(asker.ask("d").await.unwrap_err(), LlmError::Down { .. }));
    assert_eq!(server.count(), 0);
}

/// A request that the server cannot bear ends alone: others go on meanwhile.
#[tokio::test]
async fn one_request_that_always_fails_is_no_outage() {
    let server = GraderServer::start(|request| match request.said("user").as_str() {
        "poison" => Act::error(500, "out of memory"),
        _ => Act::Text("fine".to_owned()),
    });
    let asker = Asker::of(&server);
    let over = AtomicBool::new(false);
    let poison = async {
        let e = asker.ask("poison").await.unwrap_err();
        over.store(true, Ordering::SeqCst);
        e
    };
    let others = async {
        while !over.load(Ordering::SeqCst) {
            asker.ask("fine").await.unwrap();
        }
    };
    let (e, ()) = join(poison, others).await;
    assert!(matches!(&e, LlmError::Failing { .. }) && !e.ends_all(), "{e}");
    assert!(e.to_string().contains("status 500: out of memory"), "{e}");
    asker.ask("fine").await.unwrap();
}

/// A server that bears four requests at once, and says so: all are answered, by fewer at once.
#[tokio::test]
async fn a_busy_server_is_asked_less() {
    let busy = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let in_hands = Arc::clone(&busy);
    let server = GraderServer::start(move |_| match in_hands.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => Act::error(429, "slow down"),
        _ => Act::Text("fine".to_owned()),
    });
    let asker = Asker::of(&server);
    let questions: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let all = join_all(questions.iter().map(|q| asker.ask(q))).await;
    assert!(all.iter().all(Result::is_ok), "{:?}", asker.told());
    let totals = asker.client.totals();
    assert_eq!((totals.answers, totals.retries), (100, server.count() as u64 - 100));
}
