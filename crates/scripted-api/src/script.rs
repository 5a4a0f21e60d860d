//! What the model does: a turn, and the script that chooses it.

use std::time::Duration;

use serde_json::Value;

use crate::conversation::Conversation;
use crate::fault::Fault;

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A shell command, through whatever tool the agent declares for that.
    Shell(String),
    /// Any tool with any input, declared or not.
    Tool(String, Value),
}

/// What the model does when it is its turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Turn {
    /// Says something and ends its work.
    Text(String),
    /// Runs a shell command.
    Run(String),
    /// Calls several tools at once.
    Tools(Vec<Call>),
    /// Says something first, and then does this.
    Says(String, Box<Turn>),
    /// Thinks first, and then does this.
    Thinks(String, Box<Turn>),
    /// Waits before it begins, and between each two pieces of what is streamed.
    Slow(Duration, Duration, Box<Turn>),
    /// Fails, whenever it is asked.
    Fault(Fault),
    /// Fails as often as told in one and the same conversation, and then does this.
    Fails(usize, Fault, Box<Turn>),
}

impl Turn {
    /// Says something and ends its work.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Runs a shell command.
    pub fn run(command: impl Into<String>) -> Self {
        Self::Run(command.into())
    }

    /// Runs several shell commands at once.
    pub fn run_all<C: Into<String>>(commands: impl IntoIterator<Item = C>) -> Self {
        Self::Tools(commands.into_iter().map(|c| Call::Shell(c.into())).collect())
    }

    /// The same, after these words.
    #[must_use]
    pub fn saying(self, words: impl Into<String>) -> Self {
        Self::Says(words.into(), Box::new(self))
    }

    /// The same, after this thought.
    #[must_use]
    pub fn thinking(self, thought: impl Into<String>) -> Self {
        Self::Thinks(thought.into(), Box::new(self))
    }

    /// The same, so long after being asked, and with such pauses in the stream.
    #[must_use]
    pub fn slowly(self, before: Duration, between: Duration) -> Self {
        Self::Slow(before, between, Box::new(self))
    }

    /// The same, after so many failures.
    #[must_use]
    pub fn failing(self, times: usize, fault: Fault) -> Self {
        Self::Fails(times, fault, Box::new(self))
    }
}

type Choice = dyn Fn(&Conversation) -> Turn + Send + Sync;

/// Chooses the model's turns.
pub struct Script {
    choice: Box<Choice>,
    asides: bool,
}

impl Script {
    /// Plays these turns, the first to a conversation without any turn of the model, the next to one that has one,
    /// and so on, also when a session goes on with a new prompt; afterwards it says `done`.
    pub fn turns(turns: impl IntoIterator<Item = Turn>) -> Self {
        let turns: Vec<Turn> = turns.into_iter().collect();
        Self::by(move |c| turns.get(c.turn).cloned().unwrap_or_else(|| Turn::text("done")))
    }

    /// Asks a function. It sees the agent's own work alone: errands beside it are answered with something that fits.
    pub fn by(choice: impl Fn(&Conversation) -> Turn + Send + Sync + 'static) -> Self {
        Self { choice: Box::new(choice), asides: false }
    }

    /// Asks a function about each request, also about those without a shell tool.
    pub fn by_all(choice: impl Fn(&Conversation) -> Turn + Send + Sync + 'static) -> Self {
        Self { choice: Box::new(choice), asides: true }
    }

    /// The turn, or none where something that fits will do.
    pub(crate) fn turn(&self, conversation: &Conversation) -> Option<Turn> {
        (self.asides || !conversation.is_aside()).then(|| (self.choice)(conversation))
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("asides", &self.asides).finish_non_exhaustive()
    }
}
