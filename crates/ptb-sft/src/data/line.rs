//! One line of data as it is written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::text::shortened;

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

/// A JSON object. What is derived would take arrays as well, by the order of fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

#[derive(Deserialize)]
struct Raw {
    messages: Option<Vec<Object<Message>>>,
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
        let Object(raw): Object<Raw> = serde_json::from_slice(line).map_err(|e| {
            // There is one line only, and its number in the file is told already.
            shortened(&e.to_string().replace(" at line 1 column ", " at column "), 200)
        })?;
        match raw {
            Raw { messages: Some(messages), prompt: None, completion: None, text: None } => {
                let messages: Vec<Message> = messages.into_iter().map(|Object(m)| m).collect();
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
