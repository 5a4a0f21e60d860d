//! The wire formats that scaffolds speak: which paths there are, what a request asks for, what an answer cost, how an
//! error is told.
//!
//! Four protocols: Anthropic's Messages (<https://platform.claude.com/docs/en/api/messages>), OpenAI's Responses and
//! Chat Completions (<https://platform.openai.com/docs/api-reference>), Google's generateContent
//! (<https://ai.google.dev/api/generate-content>). One file each knows where its usage and errors stand; what differs
//! between them ends here. Everything that is read came from an agent or a server: unknown things are passed over,
//! nothing is trusted to have the form that it should.

mod anthropic;
mod body;
mod chat;
mod error;
mod fault;
mod gemini;
mod meter;
mod model;
mod reach;
mod responses;
mod route;
mod sse;
mod tokens;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use body::{Body, BodyFault, elements, same_key, text, too_deep};
pub use error::{ErrorReply, Refused};
pub use fault::{ProviderFault, Said};
pub use meter::{Answered, Meter};
pub use model::same_model;
pub use reach::{Stripped, ToolUse, fetched_urls, reaching_fields, server_tools, strip, uses};
pub use route::{Operation, Route};
pub use sse::{Event, SseParser};
pub use tokens::Tokens;

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Anthropic's Messages.
    Anthropic,
    /// OpenAI's Responses.
    Responses,
    /// OpenAI's Chat Completions.
    Chat,
    /// Google's generateContent.
    Gemini,
}

impl Protocol {
    /// Its word in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::Responses => "responses",
            Self::Chat => "chat",
            Self::Gemini => "gemini",
        }
    }

    /// The names of a request's fields that hold the system prompt.
    pub fn system_fields(self) -> &'static [&'static str] {
        match self {
            Self::Anthropic => &["system"],
            Self::Responses => &["instructions"],
            Self::Chat => &[],
            Self::Gemini => &["systemInstruction", "system_instruction"],
        }
    }

    /// The names of a request's fields that are lists of the conversation's pieces.
    pub fn conversation_fields(self) -> &'static [&'static str] {
        match self {
            Self::Anthropic | Self::Chat => &["messages"],
            Self::Responses => &["input"],
            Self::Gemini => &["contents"],
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
