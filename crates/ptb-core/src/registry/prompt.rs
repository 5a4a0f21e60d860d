//! `prompts/<id>.toml`: what a language model that grades is told.

use serde::{Deserialize, Serialize};

use super::benchmark::Message;

/// What a grader is told. Templates are minijinja; which variables they see is said where they are filled in
/// (`docs/graders.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraderPrompt {
    /// What it is for, for people.
    pub description: String,
    /// The messages, in order.
    pub messages: Vec<Message>,
}

impl GraderPrompt {
    pub(super) fn fault(&self) -> Option<(&'static str, String, String)> {
        self.messages.is_empty().then(|| {
            let hint = "add [[messages]] with `role` and `content`".to_owned();
            ("", "the prompt has no messages".to_owned(), hint)
        })
    }
}
