//! Which names of parameters a server takes. It is found out by being rejected: what a rejection names is written
//! otherwise or left out, and what is answered then is the server's dialect from now on.

use serde_json::{Value, json};

use crate::Call;

/// How requests are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dialect {
    /// `max_tokens` in place of `max_completion_tokens`.
    old_limit: bool,
    no_temperature: bool,
    no_effort: bool,
}

impl Dialect {
    /// A request's body.
    pub(crate) fn body(self, model: &str, call: &Call) -> Value {
        let limit = if self.old_limit { "max_tokens" } else { "max_completion_tokens" };
        let mut body = json!({ "model": model, "messages": call.messages, limit: call.max_tokens });
        if let Some(effort) = call.effort.as_ref().filter(|_| !self.no_effort) {
            body["reasoning_effort"] = json!(effort);
        }
        if let Some(temperature) = call.temperature.filter(|_| !self.no_temperature) {
            body["temperature"] = json!(temperature);
        }
        body
    }

    /// Another way to write the call, for a server that rejected this one with that message; `None` where the
    /// message is about something else.
    pub(crate) fn other(self, call: &Call, message: &str) -> Option<Self> {
        let names = |word: &str| message.contains(word);
        if names("max_completion_tokens") && !self.old_limit {
            return Some(Self { old_limit: true, ..self });
        }
        if names("reasoning_effort") && call.effort.is_some() && !self.no_effort {
            return Some(Self { no_effort: true, ..self });
        }
        if names("temperature") && call.temperature.is_some() && !self.no_temperature {
            return Some(Self { no_temperature: true, ..self });
        }
        None
    }

    /// Both servers' wishes.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            old_limit: self.old_limit || other.old_limit,
            no_temperature: self.no_temperature || other.no_temperature,
            no_effort: self.no_effort || other.no_effort,
        }
    }

    /// What changes for the user between this dialect and the next, in words.
    pub(crate) fn changes(self, next: Self) -> Vec<&'static str> {
        let mut changes = Vec::new();
        if next.old_limit && !self.old_limit {
            changes.push("takes no `max_completion_tokens`; `max_tokens` is sent from now on");
        }
        if next.no_temperature && !self.no_temperature {
            changes.push("rejects the `temperature`; it is left out from now on");
        }
        if next.no_effort && !self.no_effort {
            changes.push("rejects the `reasoning_effort`; it is left out from now on");
        }
        changes
    }
}
