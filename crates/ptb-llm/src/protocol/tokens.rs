//! Tokens by kind, counted alike whatever the protocol.

use serde::{Deserialize, Serialize};

use crate::Usage;

/// Tokens of one answer or of many. One definition for all protocols:
///
/// | field | Anthropic | OpenAI Responses (Chat) | Gemini |
/// | --- | --- | --- | --- |
/// | `input` | `input_tokens` + `cache_read_input_tokens` + `cache_creation_input_tokens` | `input_tokens` (`prompt_tokens`) | `promptTokenCount` + `toolUsePromptTokenCount` |
/// | `cached_input` | `cache_read_input_tokens` | `input_tokens_details.cached_tokens` (`prompt_tokens_details.cached_tokens`) | `cachedContentTokenCount` |
/// | `cache_write_5m` | `cache_creation.ephemeral_5m_input_tokens`, else all of `cache_creation_input_tokens` | none | none |
/// | `cache_write_1h` | `cache_creation.ephemeral_1h_input_tokens` | none | none |
/// | `output` | `output_tokens` | `output_tokens` (`completion_tokens`) | `candidatesTokenCount` + `thoughtsTokenCount` |
/// | `reasoning` | told by few models, `output_tokens_details` | `output_tokens_details.reasoning_tokens` (`completion_tokens_details.reasoning_tokens`) | `thoughtsTokenCount` |
///
/// Sources: Anthropic's `input_tokens` is what is neither read from nor written to the cache
/// (<https://platform.claude.com/docs/en/build-with-claude/prompt-caching>, "tracking cache performance"); OpenAI's
/// counts all of the prompt, the cached part as a detail (<https://platform.openai.com/docs/guides/prompt-caching>);
/// Gemini's prompt count includes what is cached, its thoughts stand beside its candidates
/// (<https://ai.google.dev/api/generate-content#UsageMetadata>).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// All of the prompt: what was read from a cache and what was written into one included.
    pub input: u64,
    /// Of the prompt, read from a cache.
    pub cached_input: u64,
    /// Of the prompt, written into a cache for five minutes.
    pub cache_write_5m: u64,
    /// Of the prompt, written into a cache for an hour.
    pub cache_write_1h: u64,
    /// All that was generated, reasoning included.
    pub output: u64,
    /// Of the generated, reasoning, as far as it is told.
    pub reasoning: u64,
}

impl Tokens {
    /// Of the prompt, neither read from a cache nor written into one. Never below zero, whatever a server counts.
    pub fn fresh_input(&self) -> u64 {
        let kept = self.cached_input.saturating_add(self.cache_write_5m);
        self.input.saturating_sub(kept.saturating_add(self.cache_write_1h))
    }

    /// Prompt and generated together: what a limit on tokens counts.
    pub fn all(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.cache_write_5m = self.cache_write_5m.saturating_add(more.cache_write_5m);
        self.cache_write_1h = self.cache_write_1h.saturating_add(more.cache_write_1h);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input: usage.input,
            // More cached than read is a server's mistake.
            cached_input: usage.cached_input.min(usage.input),
            output: usage.output,
            reasoning: usage.reasoning,
            ..Self::default()
        }
    }
}
