//! What the lines of every format are turned into. Everything is borrowed from the line.

use crate::summary::{ApiTrouble, Ended};
use crate::text::Text;
use crate::usage::Usage;

/// One fact from a line.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// The time that the line gives for itself.
    At(jiff::Timestamp),
    /// A session began or goes on.
    Session { id: Option<&'a str>, model: Option<&'a str>, version: Option<&'a str> },
    /// The agent said, thought or asked for something.
    Agent(Turn<'a>, Part<'a>),
    /// What a message cost. Told again for the same message it replaces what was told.
    Cost(Turn<'a>, Usage, Option<f64>),
    /// What came of a call.
    Outcome(Outcome<'a>),
    /// Somebody else spoke to the agent.
    User { thread: Option<&'a str>, text: Text<'a> },
    /// Something that the scaffold did by itself.
    Notice(Text<'a>),
    /// The API failed.
    Trouble(ApiTrouble),
    /// All tokens and dollars up to here by the scaffold's own account; replaces earlier totals.
    Totals(Usage, Option<f64>),
    /// The scaffold's last word.
    End(Ended),
}

/// Whose words they are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turn<'a> {
    /// The message: everything of one message is one step.
    pub(crate) message: &'a str,
    /// The call that started the sub-agent; none for the agent itself.
    pub(crate) thread: Option<&'a str>,
    /// Who answered.
    pub(crate) model: Option<&'a str>,
    /// Whether the scaffold speaks in the model's place.
    pub(crate) made_up: bool,
}

/// A piece of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part<'a> {
    /// Words. `joined`: they continue the last ones without a new line.
    Text { text: Text<'a>, joined: bool },
    /// Reasoning or its summary.
    Reasoning(Text<'a>),
    /// A tool call. The arguments are JSON of any kind.
    Call { id: &'a str, name: &'a str, arguments: &'a str },
}

/// A tool's result.
#[derive(Debug, Default)]
pub(crate) struct Outcome<'a> {
    pub(crate) call: &'a str,
    /// Its pieces, each on its own line.
    pub(crate) content: Vec<Text<'a>>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) failed: bool,
}
