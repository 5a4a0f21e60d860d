//! Google's generateContent: each piece of a stream counts from the beginning
//! (<https://ai.google.dev/api/generate-content#UsageMetadata>).

use serde_json::Value;

use super::meter::{Answered, believed, count, word};
use super::{Said, Tokens};

/// One piece of a stream, or a whole answer.
pub(super) fn piece(answered: &mut Answered, json: &Value) {
    answered.model = word(json, "modelVersion").or(answered.model.take());
    if !json["error"].is_null() {
        answered.error = Some(Said::from_json(json));
    }
    let mut candidates = json["candidates"].as_array().into_iter().flatten();
    answered.finished |= candidates.any(|c| c["finishReason"].is_string())
        // A prompt that is blocked has no candidate: this is its end.
        || json["promptFeedback"]["blockReason"].is_string();
    let usage = &json["usageMetadata"];
    answered.tier = word(usage, "trafficType").or(answered.tier.take());
    if believed(answered, usage, &["promptTokenCount", "candidatesTokenCount"]) {
        let detail = |key: &str| count(usage, &[key]).unwrap_or(0);
        let thoughts = detail("thoughtsTokenCount");
        let input = detail("promptTokenCount").saturating_add(detail("toolUsePromptTokenCount"));
        answered.tokens = Some(Tokens {
            input,
            cached_input: detail("cachedContentTokenCount").min(input),
            output: detail("candidatesTokenCount").saturating_add(thoughts),
            reasoning: thoughts,
            ..Tokens::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Meter, Protocol};
    use super::*;

    const FIRST: &str = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":1},"modelVersion":"gemini-2.5-pro"}"#;
    const LAST: &str = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":60,"toolUsePromptTokenCount":5,"candidatesTokenCount":20,"thoughtsTokenCount":30,"totalTokenCount":155}}"#;

    #[test]
    fn thoughts_stand_beside_candidates() {
        let want =
            Tokens { input: 105, cached_input: 60, output: 50, reasoning: 30, ..Tokens::default() };
        let mut stream = Meter::new(Protocol::Gemini, true);
        stream.push(format!("data: {FIRST}\r\n\r\n").as_bytes());
        assert_eq!(stream.answered().tokens.unwrap().output, 1);
        assert!(!stream.answered().finished);
        stream.push(format!("data: {LAST}\r\n\r\n").as_bytes());
        let mut list = Meter::new(Protocol::Gemini, false);
        list.whole(format!("[{FIRST},\n{LAST}]").as_bytes());
        for meter in [stream, list] {
            assert_eq!(meter.answered().tokens, Some(want));
            assert_eq!(meter.answered().model.as_deref(), Some("gemini-2.5-pro"));
            assert!(meter.answered().finished);
        }
    }
}
