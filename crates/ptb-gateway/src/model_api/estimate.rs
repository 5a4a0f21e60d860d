//! What a request may use, read off it before it is sent: what it likely uses, and the most that it can.

use ptb_llm::Price;
use ptb_llm::protocol::{Body, Protocol, Tokens};

/// Tokens that a request likely generates, at most.
const LIKELY_OUTPUT: u64 = 1_000;
/// Tokens that a request may generate that does not say how many: no allowed model gives more at once.
const UNTOLD_OUTPUT: u64 = 128_000;
/// Tokens of a prompt that a request likely has, at most: what is larger is pictures.
const LIKELY_INPUT: u64 = 200_000;
/// Tokens of a prompt that a request can have: no allowed model reads more at once.
const MOST_INPUT: u64 = 1_000_000;
const LIKELY_BYTES_PER_TOKEN: u64 = 4;
const LEAST_BYTES_PER_TOKEN: u64 = 2;
/// Answers that a request may ask for whose number is no number.
const UNTOLD_ANSWERS: u64 = 128;
/// Fields by which a prompt is larger at the provider than it is here.
const KEPT_THERE: [&str; 4] = ["previous_response_id", "conversation", "prompt", "cachedContent"];

/// Tokens and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Amount {
    pub(super) usd: f64,
    pub(super) tokens: u64,
}

/// What a request may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wants {
    likely: Tokens,
    most: Tokens,
}

impl Wants {
    /// Of a request to generate whose body has so many bytes.
    pub(super) fn of(protocol: Protocol, fields: &Body<'_>, bytes: usize) -> Self {
        let bytes = bytes as u64;
        let (output, answers) = generated(protocol, fields);
        let most = output.saturating_mul(answers);
        // No scaffold asks for several answers: whoever does has no leniency.
        let likely = if answers > 1 { most } else { output.min(LIKELY_OUTPUT) };
        let kept = KEPT_THERE
            .iter()
            .any(|name| fields.field(name).is_some_and(|value| value.get() != "null"));
        let input = if kept { MOST_INPUT } else { (bytes / LEAST_BYTES_PER_TOKEN).min(MOST_INPUT) };
        let tokens = |input, output| Tokens { input, output, ..Tokens::default() };
        Self {
            likely: tokens((bytes / LIKELY_BYTES_PER_TOKEN).min(LIKELY_INPUT), likely),
            most: tokens(input, most),
        }
    }

    /// What it likely uses, at the list price without any cache.
    pub(super) fn likely(&self, price: Option<Price>) -> Amount {
        let usd = price.map_or(0.0, |price| price.of_tokens(&self.likely));
        Amount { usd, tokens: self.likely.all() }
    }

    /// The most that it can use, the prompt at the dearest of its prices.
    pub(super) fn most(&self, price: Option<Price>) -> Amount {
        let usd = price.map_or(0.0, |price| {
            let writes = [price.cache_write_5m, price.cache_write_1h].into_iter().flatten();
            let input = writes.fold(price.input, f64::max);
            (self.most.input as f64 * input + self.most.output as f64 * price.output) / 1e6
        });
        Amount { usd, tokens: self.most.all() }
    }
}

/// The most tokens that each answer may have, and how many answers there may be.
///
/// A limit counts if it has its protocol's name, for others may be passed over; then the largest of all counts.
fn generated(protocol: Protocol, fields: &Body<'_>) -> (u64, u64) {
    const ALL: [&str; 4] =
        ["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"];
    let own: &[&str] = match protocol {
        Protocol::Anthropic => &ALL[..1],
        Protocol::Chat => &ALL[..2],
        Protocol::Responses => &ALL[2..3],
        Protocol::Gemini => &ALL[2..],
    };
    let settings = ["generationConfig", "generation_config"];
    let settings = settings.iter().find_map(|name| fields.field(name));
    let settings = settings.and_then(|value| Body::parse(value.get().as_bytes()).ok());
    let nested = settings.unwrap_or_default();
    let place = if protocol == Protocol::Gemini { &nested } else { fields };
    let told = own.iter().any(|name| place.number(name).is_some());
    let all = ALL.iter().flat_map(|name| [fields.number(name), nested.number(name)]).flatten();
    let output = all.chain((!told).then_some(UNTOLD_OUTPUT)).max().unwrap_or(UNTOLD_OUTPUT);
    let many = ["n", "best_of", "candidateCount", "candidate_count"];
    let answers = many
        .iter()
        .flat_map(|name| [fields.field(name), nested.field(name)])
        .flatten()
        .filter(|value| value.get() != "null")
        .map(|value| serde_json::from_str(value.get()).unwrap_or(UNTOLD_ANSWERS));
    (output, answers.max().unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(protocol: Protocol, body: &str) -> (u64, u64) {
        let fields = Body::parse(body.as_bytes()).unwrap();
        let wants = Wants::of(protocol, &fields, 4000);
        assert_eq!(wants.likely.input, 1000);
        (wants.likely.output, wants.most.output)
    }

    #[test]
    fn a_request_may_generate_what_it_says_and_no_less_than_its_provider_hears() {
        use Protocol::{Anthropic, Chat, Gemini, Responses};
        for (protocol, body, want) in [
            (Anthropic, r#"{"max_tokens": 64000}"#, (1000, 64_000)),
            (Anthropic, r#"{"max_tokens": 1}"#, (1, 1)),
            (Anthropic, r#"{"max_tokens": 1, "max_output_tokens": 5}"#, (5, 5)),
            // What another protocol's provider listens to limits nothing here.
            (Anthropic, r#"{"max_output_tokens": 1}"#, (1000, UNTOLD_OUTPUT)),
            (Responses, r#"{"max_tokens": 1}"#, (1000, UNTOLD_OUTPUT)),
            (Responses, r#"{"max_output_tokens": 7, "n": null}"#, (7, 7)),
            (Responses, r#"{"max_output_tokens": 1.5}"#, (1000, UNTOLD_OUTPUT)),
            (Chat, r#"{"max_tokens": 1, "max_completion_tokens": 900}"#, (900, 900)),
            (Chat, r#"{"max_tokens": 500, "n": 10}"#, (5000, 5000)),
            (Chat, r#"{"max_tokens": 2, "n": "x"}"#, (256, 256)),
            (Chat, r#"{"max_tokens": 2, "n": 18446744073709551615}"#, (u64::MAX, u64::MAX)),
            (
                Gemini,
                r#"{"generationConfig": {"maxOutputTokens": 8, "candidateCount": 2}}"#,
                (16, 16),
            ),
            (
                Gemini,
                r#"{"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9}}"#,
                (1000, UNTOLD_OUTPUT),
            ),
            (Gemini, r#"{"maxOutputTokens": 1}"#, (1000, UNTOLD_OUTPUT)),
            (Gemini, "{}", (1000, UNTOLD_OUTPUT)),
        ] {
            assert_eq!(wants(protocol, body), want, "{body}");
        }
    }

    #[test]
    fn a_prompt_that_is_kept_at_the_provider_may_be_of_any_length() {
        for (body, input) in [
            (r#"{"previous_response_id": "resp_1"}"#, MOST_INPUT),
            (r#"{"previous_response_id": null}"#, 5),
        ] {
            let fields = Body::parse(body.as_bytes()).unwrap();
            assert_eq!(Wants::of(Protocol::Responses, &fields, 10).most.input, input);
        }
        let price = ptb_llm::Prices::built_in().unwrap().of("claude-opus-4-6");
        let fields = Body::parse(br#"{"max_tokens": 100000}"#).unwrap();
        let wants = Wants::of(Protocol::Anthropic, &fields, 400_000);
        // 200,000 written into a cache for an hour, 100,000 generated.
        assert!((wants.most(price).usd - (2.0 + 2.5)).abs() < 1e-9);
        assert!((wants.likely(price).usd - (0.5 + 0.025)).abs() < 1e-9);
    }
}
