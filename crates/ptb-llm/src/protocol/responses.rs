//! OpenAI's Responses: everything is counted in the event that ends the answer
//! (<https://platform.openai.com/docs/api-reference/responses-streaming>).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::meter::{Answered, believed, count};
use super::{Event, Said, Tokens};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// The parts of an answer that are looked at: instructions and tools, which stand in it too, are passed over unread.
#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    service_tier: Value,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    error: Value,
}

#[derive(Deserialize)]
struct Ending {
    response: Reply,
}

/// Events that are looked into.
const TELLING: [&str; 4] =
    ["response.completed", "response.incomplete", "response.failed", "error"];

/// One event of a stream. Its name is its data's type; most are pieces of text, which need not be looked into.
pub(super) fn event(answered: &mut Answered, Event { name, data }: Event<'_>) {
    if name.is_some_and(|name| !TELLING.contains(&name)) {
        return;
    }
    let Ok(Head { kind }) = serde_json::from_str(data) else { return };
    match kind.as_ref() {
        "response.completed" | "response.incomplete" | "response.failed" => {
            if let Ok(Ending { response }) = serde_json::from_str(data) {
                reply(answered, &response);
            }
            answered.finished |= kind != "response.failed";
        }
        "error" => {
            if let Ok(json) = serde_json::from_str::<Value>(data) {
                answered.error = Some(Said::from_json(&json));
            }
        }
        _ => {}
    }
}

/// A whole answer.
pub(super) fn whole(answered: &mut Answered, json: &Value) {
    if let Ok(json) = Reply::deserialize(json) {
        reply(answered, &json);
        answered.finished = matches!(json.status.as_str(), Some("completed" | "incomplete"));
    }
}

fn reply(answered: &mut Answered, reply: &Reply) {
    let text = |value: &Value| value.as_str().map(|t| t.chars().take(200).collect::<String>());
    answered.model = text(&reply.model).or(answered.model.take());
    answered.tier = text(&reply.service_tier).or(answered.tier.take());
    if reply.error.is_object() {
        answered.error = Some(Said::from_json(&reply.error));
    }
    if believed(answered, &reply.usage, &["input_tokens", "output_tokens"]) {
        let detail = |path: &[&str]| count(&reply.usage, path).unwrap_or(0);
        let input = detail(&["input_tokens"]);
        answered.tokens = Some(Tokens {
            input,
            cached_input: detail(&["input_tokens_details", "cached_tokens"]).min(input),
            output: detail(&["output_tokens"]),
            reasoning: detail(&["output_tokens_details", "reasoning_tokens"]),
            ..Tokens::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meter, Protocol, ProviderFault};
    use super::*;

    const USAGE: &str = r#""usage":{"input_tokens":100,"input_tokens_details":{"cached_tokens":64},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":150}"#;

    fn stream(events: &[String]) -> Meter {
        let mut meter = Meter::new(Protocol::Responses, true);
        for data in events {
            meter.push(format!("data: {data}\n\n").as_bytes());
        }
        meter
    }

    #[test]
    fn the_end_tells_all() {
        let created =
            r#"{"type":"response.created","response":{"model":"gpt-5","usage":null}}"#.to_owned();
        let end = format!(
            r#"{{"type":"response.completed","response":{{"model":"gpt-5-2025-08-07","service_tier":"default","status":"completed",{USAGE}}}}}"#
        );
        let meter = stream(&[created.clone(), end]);
        let want =
            Tokens { input: 100, cached_input: 64, output: 50, reasoning: 40, ..Tokens::default() };
        assert_eq!(meter.answered().tokens, Some(want));
        assert_eq!(meter.answered().model.as_deref(), Some("gpt-5-2025-08-07"));
        assert!(meter.answered().finished);
        let cut = stream(&[created]);
        assert!(!cut.answered().finished && cut.answered().tokens.is_none());
        let mut whole = Meter::new(Protocol::Responses, false);
        whole.whole(
            format!(r#"{{"model":"gpt-5","status":"completed","error":null,{USAGE}}}"#).as_bytes(),
        );
        assert_eq!(whole.answered().tokens, Some(want));
        assert!(whole.answered().finished && whole.answered().error.is_none());
    }

    #[test]
    fn failures_within_a_stream_are_seen() {
        let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}}"#;
        let meter = stream(&[failed.to_owned()]);
        assert!(!meter.answered().finished);
        assert_eq!(meter.answered().error.as_ref().unwrap().fault(), Some(ProviderFault::Outage));
        let meter =
            stream(&[r#"{"type":"error","code":"insufficient_quota","message":"x"}"#.to_owned()]);
        assert_eq!(meter.answered().error.as_ref().unwrap().fault(), Some(ProviderFault::Credit));
    }
}
