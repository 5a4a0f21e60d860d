//! The key is sent to the server and found nowhere else.

use std::io::Write;
use std::sync::{Arc, Mutex};

use ptb_llm::testing::{Act, GraderServer};
use ptb_llm::{Cache, Client, LlmError, Options};
use tracing_subscriber::fmt::MakeWriter;

use super::{Asker, KEY, model, options};

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logged {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_message_log_or_file_shows_the_key() {
    let logged = Logged::default();
    let level = tracing_subscriber::filter::LevelFilter::TRACE;
    let subscriber =
        tracing_subscriber::fmt().with_max_level(level).with_writer(logged.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("answers.jsonl");
    let echo = format!("your key is {KEY}");
    let pages = |status| Act::Status(status, vec![], format!("<p>{KEY}</p>"));
    for act in [
        Act::Text(echo.clone()),
        Act::Refusal(echo.clone()),
        Act::error(401, &echo),
        Act::error(400, &echo),
        Act::error(402, &echo),
        Act::error(400, &format!("{echo} temperature")),
        pages(200),
        pages(503),
        pages(404),
        Act::Redirect(format!("http://other/?key={KEY}")),
        Act::Json(serde_json::json!({"error": {"message": echo, "code": 500}})),
    ] {
        let acted = act.clone();
        let server = GraderServer::start(move |_| acted.clone());
        let patience = std::time::Duration::from_millis(20);
        let cache = Some(Cache::open(&path).unwrap());
        let asker = Asker::new(model(&server), Options { patience, ..options() }, cache);
        let end = asker.ask("q?").await;
        let said = match &end {
            Ok(answer) => answer.value.clone(),
            Err(e) => e.to_string(),
        };
        assert!(said.contains("***"), "{act:?}: {said}");
        let all = format!("{end:?} {said} {:?} {:?}", asker.told(), asker.client);
        assert!(!all.contains(KEY), "{act:?}: {all}");
        assert_eq!(server.requests()[0].authorization, Some(format!("Bearer {KEY}")));
    }
    assert!(!std::fs::read_to_string(&path).unwrap().contains(KEY));
    let logged = logged.0.lock().unwrap();
    assert!(!logged.is_empty() && !String::from_utf8_lossy(&logged).contains(KEY));
}

#[tokio::test]
async fn a_key_that_is_not_let_in_is_known_before_anything_is_asked() {
    for (status, refused) in [(200, false), (404, false), (403, false), (401, true), (402, true)] {
        let server = GraderServer::start(|_| Act::Text("yes".into())).with_models(status);
        let client = Client::new(model(&server), options(), None).unwrap();
        let told = client.knock().await;
        assert_eq!(told.is_err(), refused, "{status}: {told:?}");
        assert_eq!(server.count(), 0, "it asks for nothing that costs");
        let kind = matches!(told, Err(LlmError::Refused { .. } | LlmError::Credit { .. }));
        assert_eq!(kind, refused, "{status}: {told:?}");
    }
    let server = GraderServer::start(|_| Act::Text("yes".into()));
    server.stop();
    let client = Client::new(model(&server), options(), None).unwrap();
    assert!(matches!(client.knock().await, Err(LlmError::Failing { .. })));
}
