//! Reads a chat completion. Whatever is not plainly an answer is told apart by what helps: asking again (a reply
//! that is none) or sending again (no reply at all).

use serde_json::Value;

use super::fault::shown;
use crate::{Finish, Usage};

/// What was in a well-formed answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Got {
    /// The text, or why there is none.
    pub(crate) text: Result<String, String>,
    pub(crate) finish: Finish,
    /// `None` where the server counts no tokens.
    pub(crate) usage: Option<Usage>,
    pub(crate) model: Option<String>,
}

impl Got {
    /// What a provider's filter gives that will not have the prompt: nothing, at no cost.
    pub(crate) fn filtered(message: &str) -> Self {
        let text = Err(format!("the provider's filter took the prompt away: {message}"));
        Self { text, finish: Finish::Filtered, usage: Some(Usage::default()), model: None }
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn read(answer: &Value) -> Result<Self, String> {
        let choices = answer["choices"].as_array().ok_or("it has no choices")?;
        let usage = usage(&answer["usage"]);
        let model = answer["model"].as_str().map(|name| name.chars().take(200).collect());
        let Some(choice) = choices.first() else {
            let text = Err("the reply is empty: it has no choice".to_owned());
            return Ok(Self { text, finish: Finish::Other(String::new()), usage, model });
        };
        let finish = match choice["finish_reason"].as_str() {
            Some("stop" | "end_turn" | "eos") => Finish::Stop,
            Some("length" | "max_tokens") => Finish::Length,
            Some("content_filter") => Finish::Filtered,
            other => Finish::Other(other.unwrap_or("unknown").chars().take(100).collect()),
        };
        Ok(Self { text: text(&choice["message"], &finish), finish, usage, model })
    }
}

/// The text of a message that can be an answer, or why it cannot.
fn text(message: &Value, finish: &Finish) -> Result<String, String> {
    let text = match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter(|part| part["type"] == "text");
            texts.filter_map(|part| part["text"].as_str()).collect()
        }
        _ => String::new(),
    };
    match (finish, message["refusal"].as_str()) {
        (_, Some(refusal)) if text.trim().is_empty() => {
            Err(format!("the model refused: {}", shown(refusal.as_bytes())))
        }
        (Finish::Length, _) => Err("the reply was cut at the limit of tokens".to_owned()),
        (Finish::Filtered, _) => Err("the provider's filter took the reply away".to_owned()),
        _ if text.trim().is_empty() => Err("the reply is empty".to_owned()),
        _ => Ok(text),
    }
}

fn usage(usage: &Value) -> Option<Usage> {
    // Counts are added up later, and no real one comes near this bound.
    let bounded = |count: &Value| count.as_u64().map(|n| n.min(u32::MAX.into()));
    let input = bounded(&usage["prompt_tokens"])?;
    let output = bounded(&usage["completion_tokens"]).unwrap_or(0);
    // Some servers count reasoning in the total alone.
    let rest = bounded(&usage["total_tokens"]).map_or(0, |total| total.saturating_sub(input));
    let cached = bounded(&usage["prompt_tokens_details"]["cached_tokens"]).unwrap_or(0);
    let reasoning = bounded(&usage["completion_tokens_details"]["reasoning_tokens"]);
    Some(Usage {
        input,
        cached_input: cached.min(input),
        output: output.max(rest),
        reasoning: reasoning.unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reply(message: &Value, finish: &Value) -> Value {
        json!({"choices": [{"message": message, "finish_reason": finish}]})
    }

    #[test]
    fn texts_are_read_in_both_forms() {
        let plain = Got::read(&reply(&json!({"content": "yes"}), &json!("stop"))).unwrap();
        assert_eq!((plain.text.unwrap().as_str(), plain.finish), ("yes", Finish::Stop));
        let parts = json!({"content": [{"type": "text", "text": "ye"}, {"type": "thinking", "text": "?"},
            {"type": "text", "text": "s"}, 5]});
        assert_eq!(Got::read(&reply(&parts, &Value::Null)).unwrap().text.unwrap(), "yes");
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (message, finish, why) in [
            (
                json!({"content": null, "refusal": "I cannot\nhelp"}),
                json!("stop"),
                "refused: I cannot help",
            ),
            (json!({"content": null}), json!("stop"), "empty"),
            (json!({"content": " \n"}), json!("stop"), "empty"),
            (json!({"content": 5}), json!("stop"), "empty"),
            (json!("x"), json!("stop"), "empty"),
            (json!({"content": "yes, be"}), json!("length"), "cut at the limit"),
            (json!({"content": "yes"}), json!("content_filter"), "filter"),
            (json!({"content": null, "tool_calls": [{}]}), json!("tool_calls"), "empty"),
        ] {
            let e = Got::read(&reply(&message, &finish)).unwrap().text.unwrap_err();
            assert!(e.contains(why), "{message}: {e}");
        }
        assert!(
            Got::read(&json!({"choices": []})).unwrap().text.unwrap_err().contains("no choice")
        );
        for broken in [json!({}), json!([]), json!(null), json!({"choices": "x"})] {
            assert!(Got::read(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn tokens_are_counted_as_servers_count_them() {
        let read = |u: Value| usage(&u);
        let full = json!({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 40}});
        let want = Usage { input: 100, cached_input: 64, output: 50, reasoning: 40 };
        assert_eq!(read(full), Some(want));
        let hidden = json!({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150});
        assert_eq!(read(hidden).unwrap().output, 50);
        assert_eq!(read(Value::Null), None);
        assert_eq!(read(json!({"prompt_tokens": -5})), None);
        let absurd = json!({"prompt_tokens": u64::MAX, "completion_tokens": u64::MAX,
            "prompt_tokens_details": {"cached_tokens": u64::MAX}});
        let most = u64::from(u32::MAX);
        let want = Usage { input: most, cached_input: most, output: most, reasoning: 0 };
        assert_eq!(read(absurd), Some(want));
    }
}
