//! One line of data as it is written.

use serde::{Deserialize, Serialize};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the chat.
    System,
    /// The one who asks.
    User,
    /// The model: what it says is learnt.
    Assistant,
}

impl Role {
    /// As it is written in the chat format.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// An example in one of the three forms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A chat, with at least one turn of the assistant.
    Chat {
        /// The turns.
        messages: Vec<Message>,
    },
    /// Raw text whose second part is learnt.
    Completion {
        /// What stands before.
        prompt: String,
        /// What is learnt.
        completion: String,
    },
    /// Raw text that is learnt.
    Text {
        /// The text.
        text: String,
    },
}

#[derive(Deserialize)]
struct Raw {
    messages: Option<Vec<Message>>,
    prompt: Option<String>,
    completion: Option<String>,
    text: Option<String>,
}

impl Record {
    /// A chat of one question and its reply.
    pub fn question(question: impl Into<String>, reply: impl Into<String>) -> Self {
        let message = |role, content| Message { role, content };
        let messages =
            vec![message(Role::User, question.into()), message(Role::Assistant, reply.into())];
        Self::Chat { messages }
    }

    /// Reads a line. Further keys are passed over; keys of two forms together are a fault.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(line).map_err(|e| {
            // There is one line only, and its number in the file is told already.
            let text = e.to_string().replace(" at line 1 column ", " at column ");
            shorten(&text)
        })?;
        match raw {
            Raw { messages: Some(messages), prompt: None, completion: None, text: None } => {
                if !messages.iter().any(|m| m.role == Role::Assistant) {
                    return Err(
                        "no message is the assistant's, so there is nothing to learn".into()
                    );
                }
                Ok(Self::Chat { messages })
            }
            Raw {
                messages: None,
                prompt: Some(prompt),
                completion: Some(completion),
                text: None,
            } => Ok(Self::Completion { prompt, completion }),
            Raw { messages: None, prompt: None, completion: None, text: Some(text) } => {
                Ok(Self::Text { text })
            }
            Raw { messages: None, prompt: None, completion: None, text: None } => {
                Err("neither `messages`, `prompt` and `completion`, nor `text` is there".into())
            }
            Raw { messages: None, text: None, prompt: Some(_), completion: None } => {
                Err("`prompt` has no `completion`".into())
            }
            Raw { messages: None, text: None, prompt: None, completion: Some(_) } => {
                Err("`completion` has no `prompt`".into())
            }
            _ => Err("give either `messages`, or `prompt` and `completion`, or `text`".into()),
        }
    }
}

/// A library's words about a hostile line, fit for a terminal.
fn shorten(text: &str) -> String {
    let clean: String = text.chars().take(200).flat_map(printable).collect();
    if text.chars().count() > 200 { clean + "..." } else { clean }
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let (escaped, plain) =
        if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(plain)
}
