//! The paths of the four protocols. What is not here does not exist.

use super::Protocol;

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// To have the model answer.
    Generate,
    /// To count a prompt's tokens.
    Count,
    /// To list models, or to look at one.
    Models,
}

/// A known path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// In which protocol.
    pub protocol: Protocol,
    /// What for.
    pub operation: Operation,
    /// The model, where the path names it.
    pub model: Option<String>,
    /// Whether the path says that the answer streams (Gemini alone; the others say it in the body).
    pub streams: bool,
}

impl Route {
    /// The route of a request, among those of `protocols`. `/v1/models` belongs to several protocols: the first of
    /// `protocols` that has it tells in which form its errors are.
    pub fn of(method: &str, path: &str, protocols: &[Protocol]) -> Option<Self> {
        let named = |wanted: Protocol| protocols.iter().copied().find(|p| *p == wanted);
        let by_body = |protocol, operation| {
            let protocol = named(protocol)?;
            Some(Self { protocol, operation, model: None, streams: false })
        };
        match (method, path) {
            ("POST", "/v1/messages") => by_body(Protocol::Anthropic, Operation::Generate),
            ("POST", "/v1/messages/count_tokens") => by_body(Protocol::Anthropic, Operation::Count),
            ("POST", "/v1/responses") => by_body(Protocol::Responses, Operation::Generate),
            ("POST", "/v1/chat/completions") => by_body(Protocol::Chat, Operation::Generate),
            ("GET" | "POST", _) => Self::below(method, path, protocols),
            _ => None,
        }
    }

    /// Routes with a model's name in the path.
    fn below(method: &str, path: &str, protocols: &[Protocol]) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let (version, models, rest) = (parts.next()?, parts.next()?, parts.next());
        if models != "models" || parts.next().is_some() {
            return None;
        }
        let gemini = protocols.contains(&Protocol::Gemini);
        let other = protocols.iter().copied().find(|p| *p != Protocol::Gemini);
        let protocol = match version {
            "v1" => other.or(gemini.then_some(Protocol::Gemini)),
            "v1beta" | "v1alpha" if gemini => Some(Protocol::Gemini),
            _ => None,
        };
        let Some(rest) = rest else {
            let operation = Operation::Models;
            return (method == "GET").then_some(Self {
                protocol: protocol?,
                operation,
                model: None,
                streams: false,
            });
        };
        let (model, verb) = match rest.split_once(':') {
            Some((model, verb)) if gemini => (model, Some(verb)),
            _ => (rest, None),
        };
        let protocol = if verb.is_some() { Protocol::Gemini } else { protocol? };
        if !(version == "v1" || protocol == Protocol::Gemini) || !is_name(model) {
            return None;
        }
        let (operation, streams) = match (method, verb) {
            ("GET", None) => (Operation::Models, false),
            ("POST", Some("generateContent")) => (Operation::Generate, false),
            ("POST", Some("streamGenerateContent")) => (Operation::Generate, true),
            ("POST", Some("countTokens")) => (Operation::Count, false),
            _ => return None,
        };
        let known = matches!(version, "v1" | "v1beta" | "v1alpha");
        known.then(|| Self { protocol, operation, model: Some(model.to_owned()), streams })
    }

    /// The protocol that a path which leads nowhere most likely meant, for the form of the error.
    pub fn nearest(path: &str, protocols: &[Protocol]) -> Protocol {
        let meant = if path.starts_with("/v1/messages") {
            Some(Protocol::Anthropic)
        } else if path.starts_with("/v1/responses") {
            Some(Protocol::Responses)
        } else if path.starts_with("/v1/chat") {
            Some(Protocol::Chat)
        } else if path.starts_with("/v1beta") || path.starts_with("/v1alpha") {
            Some(Protocol::Gemini)
        } else {
            None
        };
        meant.or(protocols.first().copied()).unwrap_or(Protocol::Chat)
    }
}

/// Names that mean one thing in a path, whoever reads it: no slash, no escape.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    (1..=200).contains(&text.len())
        && text.bytes().all(plain)
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_paths_are_found_and_no_others() {
        use Operation::{Count, Generate, Models};
        use Protocol::{Anthropic, Chat, Gemini, Responses};
        let all = [Anthropic, Responses, Chat, Gemini];
        let found = |method: &str, path: &str, protocols: &[Protocol]| {
            Route::of(method, path, protocols)
                .map(|r| (r.protocol, r.operation, r.model.unwrap_or_default(), r.streams))
        };
        let is = |protocol, operation, model: &str, streams| {
            Some((protocol, operation, model.to_owned(), streams))
        };
        for (method, path, want) in [
            ("POST", "/v1/messages", is(Anthropic, Generate, "", false)),
            ("POST", "/v1/messages/count_tokens", is(Anthropic, Count, "", false)),
            ("POST", "/v1/responses", is(Responses, Generate, "", false)),
            ("POST", "/v1/chat/completions", is(Chat, Generate, "", false)),
            ("GET", "/v1/models", is(Anthropic, Models, "", false)),
            ("GET", "/v1/models/gpt-5", is(Anthropic, Models, "gpt-5", false)),
            ("GET", "/v1beta/models", is(Gemini, Models, "", false)),
            ("POST", "/v1beta/models/g-2.5:generateContent", is(Gemini, Generate, "g-2.5", false)),
            ("POST", "/v1/models/g:streamGenerateContent", is(Gemini, Generate, "g", true)),
            ("POST", "/v1alpha/models/g:countTokens", is(Gemini, Count, "g", false)),
        ] {
            assert_eq!(found(method, path, &all), want, "{method} {path}");
        }
        assert_eq!(found("GET", "/v1/models", &[Gemini]), is(Gemini, Models, "", false));
        assert_eq!(found("GET", "/v1/models", &[Gemini, Chat]), is(Chat, Models, "", false));
        for (method, path) in [
            ("GET", "/v1/messages"),
            ("POST", "/v1/messages/"),
            ("POST", "//v1/messages"),
            ("POST", "/v1/../v1/messages"),
            ("POST", "/v1/messages/batches"),
            ("POST", "/v1/files"),
            ("POST", "/v1/models/gpt-5"),
            ("DELETE", "/v1/models/gpt-5"),
            ("GET", "/v1/models/.."),
            ("GET", "/v1/models/a/b"),
            ("GET", "/v1/models/"),
            ("GET", "/v2/models"),
            ("POST", "/v1beta/models/g%2f:generateContent"),
            ("POST", "/v1beta/models/g:generateContent:x"),
            ("POST", "/v1beta/models/..:generateContent"),
            ("POST", "/v9/models/g:generateContent"),
            ("POST", "/v1beta/cachedContents"),
            ("GET", "/"),
            ("GET", ""),
        ] {
            assert_eq!(found(method, path, &all), None, "{method} {path}");
        }
        // What a provider does not speak is not there.
        assert_eq!(found("POST", "/v1/messages", &[Chat]), None);
        assert_eq!(found("POST", "/v1beta/models/g:generateContent", &[Chat]), None);
        assert_eq!(found("GET", "/v1beta/models", &[Anthropic]), None);
    }
}
