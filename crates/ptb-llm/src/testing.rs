//! A scripted server of chat completions on loopback, which misbehaves as it is told. For tests alone.

use std::time::Duration;

use serde_json::Value;

use crate::Usage;

/// A request as the server got it.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// Its number, from 0.
    pub number: usize,
    /// How many requests with the same messages came before.
    pub before: usize,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The body.
    pub body: Value,
}

impl ChatRequest {
    /// All that was said in one role (`system`, `user`, `assistant`), joined by empty lines.
    pub fn said(&self, role: &str) -> String {
        let messages = self.body["messages"].as_array().into_iter().flatten();
        let said = messages.filter(|m| m["role"] == role).filter_map(|m| m["content"].as_str());
        said.collect::<Vec<_>>().join("\n\n")
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub enum Act {
    /// Replies, with counts of tokens made up from lengths.
    Text(String),
    /// Replies, with these counts of tokens.
    Counted(String, Usage),
    /// Replies with a list of parts as content.
    Parts(Vec<String>),
    /// Replies with status 200 and this body.
    Json(Value),
    /// Replies with a status, headers and a body.
    Status(u16, Vec<(String, String)>, String),
    /// A proxy's page, with status 200.
    Html,
    /// The first half of a reply, and a proper end.
    HalfJson,
    /// The first half of a reply; then the connection breaks.
    CloseMidBody,
    /// The connection breaks at once.
    Close,
    /// Says nothing for so long, then breaks the connection.
    Hang(Duration),
    /// After so long does something else.
    After(Duration, Box<Act>),
    /// Status 200 with an `error` in the body.
    ErrorIn200,
    /// A reply without choices.
    EmptyChoices,
    /// A reply whose content is null.
    NullContent,
    /// A refusal in place of content.
    Refusal(String),
    /// An empty text, with `content_filter`.
    Filtered,
    /// A text cut at the limit.
    Length(String),
    /// A body of so many bytes.
    Huge(usize),
    /// Sends elsewhere.
    Redirect(String),
}

/// The server. It runs in a thread of its own and ends when it is dropped.
#[derive(Debug)]
pub struct GraderServer {
    port: u16,
}

impl GraderServer {
    /// Starts a server that does what `script` says.
    pub fn start(script: impl Fn(&ChatRequest) -> Act + Send + Sync + 'static) -> Self {
        drop(script);
        Self { port: 0 }
    }

    /// The root of its API.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        Vec::new()
    }

    /// How many requests there were.
    pub fn count(&self) -> usize {
        self.requests().len()
    }

    /// Most requests that were in the server's hands at once.
    pub fn most_at_once(&self) -> usize {
        0
    }

    /// Breaks all connections and takes no more, until [`Self::restart`].
    pub fn stop(&self) {}

    /// Serves again, on the same port.
    pub fn restart(&self) {}
}
