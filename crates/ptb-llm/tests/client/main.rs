//! The client against a server that misbehaves in every way: what passes is waited out, what does not is told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall say where")]

mod answers;
mod cache;
mod ends;
mod keys;
mod outages;
mod spending;

use std::sync::Mutex;
use std::time::Duration;

use ptb_llm::testing::GraderServer;
use ptb_llm::{Answer, Cache, Call, Client, Key, LlmError, Message, Model, Options, Price};
use tokio_util::sync::CancellationToken;

pub(crate) const KEY: &str = "sk-test-0123456789";

pub(crate) fn model(server: &GraderServer) -> Model {
    Model {
        url: server.url(),
        name: "gpt-5-mini".to_owned(),
        key: Some(Key::new(KEY).unwrap()),
        price: Some(Price {
            input: 1.0,
            cached_input: 0.5,
            output: 10.0,
            cache_write_5m: None,
            cache_write_1h: None,
        }),
    }
}

/// Pauses that a test can wait for, and patience that it never uses up.
pub(crate) fn options() -> Options {
    Options {
        connections: 8,
        request_time: Duration::from_secs(60),
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(20),
        ..Options::default()
    }
}

pub(crate) fn call(question: &str) -> Call {
    let messages = vec![Message::system("You grade."), Message::user(question)];
    Call { messages, max_tokens: 100, effort: None, temperature: None }
}

/// A client with what it told.
pub(crate) struct Asker {
    pub(crate) client: Client,
    told: Mutex<Vec<String>>,
    pub(crate) cancel: CancellationToken,
}

impl Asker {
    pub(crate) fn new(model: Model, options: Options, cache: Option<Cache>) -> Self {
        let client = Client::new(model, options, cache).unwrap();
        Self { client, told: Mutex::default(), cancel: CancellationToken::new() }
    }

    pub(crate) fn of(server: &GraderServer) -> Self {
        Self::new(model(server), options(), None)
    }

    /// Asks for any text, three times at most.
    pub(crate) async fn ask(&self, question: &str) -> Result<Answer<String>, LlmError> {
        self.call(&call(question), |text| Ok(text.to_owned())).await
    }

    pub(crate) async fn call<T>(
        &self,
        call: &Call,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Answer<T>, LlmError> {
        let tell = |line| self.told.lock().unwrap().push(line);
        self.client.ask(call, 3, read, &tell, &self.cancel).await
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}
