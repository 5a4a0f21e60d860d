//! A step while it is still growing.

use jiff::Timestamp;

use crate::text::JsonText;
use crate::usage::Usage;

/// Whose step it is. Each lane grows one step at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The agent's, or a sub-agent's: named by the call that started it.
    Thread(Option<String>),
    /// Results whose step is already written.
    Late,
    /// Lines that are none of the format's.
    Stray,
    /// What the scaffold says about itself.
    Note,
}

/// Who speaks, in ATIF's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    System,
    User,
    Agent,
}

/// A step that is not written yet.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: u64,
    pub(crate) lane: Lane,
    pub(crate) source: Source,
    /// The scaffold's id of the message.
    pub(crate) message_id: String,
    pub(crate) time: Option<Timestamp>,
    pub(crate) model: Option<String>,
    pub(crate) text: JsonText,
    pub(crate) reasoning: JsonText,
    pub(crate) calls: Vec<Call>,
    pub(crate) results: Vec<Answer>,
    pub(crate) usage: Option<Usage>,
    pub(crate) cost: Option<f64>,
    /// Lines that it holds: unknown, broken, of the error stream.
    pub(crate) strays: [u64; 3],
    /// Whether nothing more belongs to it but results of its calls.
    pub(crate) done: bool,
    /// Calls without a result.
    pub(crate) unanswered: usize,
    /// Bytes that it holds, about.
    pub(crate) held: usize,
}

/// A tool call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    /// A JSON object.
    pub(crate) arguments: String,
    pub(crate) answered: bool,
}

/// A tool's result.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) call: String,
    pub(crate) content: JsonText,
    pub(crate) exit_code: Option<i64>,
    pub(crate) failed: bool,
    /// The step of the call, when that is another one.
    pub(crate) of_step: Option<u64>,
}

impl Step {
    pub(crate) fn new(id: u64, lane: Lane, source: Source, time: Option<Timestamp>) -> Self {
        Self {
            id,
            lane,
            source,
            time,
            message_id: String::new(),
            model: None,
            text: JsonText::default(),
            reasoning: JsonText::default(),
            calls: Vec::new(),
            results: Vec::new(),
            usage: None,
            cost: None,
            strays: [0; 3],
            done: false,
            unanswered: 0,
            held: 256,
        }
    }

    /// Whether it can be written: nothing more can come.
    pub(crate) fn is_whole(&self) -> bool {
        self.done && self.unanswered == 0
    }
}
