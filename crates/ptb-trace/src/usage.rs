//! Tokens by kind, with the same meaning for every provider.

use serde::{Deserialize, Serialize};

/// Tokens of one or more requests.
///
/// Anthropic's `input_tokens` leaves out what was read from or written to the cache, OpenAI's and Gemini's include it;
/// Gemini's thoughts stand beside its candidates. Here the wholes include their parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Of the prompt, whatever its price.
    pub input: u64,
    /// Of the prompt, those read from the cache.
    pub cached_input: u64,
    /// Of the prompt, those written to a cache of five minutes, or of a time that was not told.
    pub cache_write_5m: u64,
    /// Of the prompt, those written to a cache of one hour.
    pub cache_write_1h: u64,
    /// Generated, those of reasoning included.
    pub output: u64,
    /// Generated as reasoning, where it is told.
    pub reasoning: u64,
}

impl Usage {
    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// Whether no kind is less than in `other`.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.kinds().into_iter().zip(other.kinds()).all(|(mine, theirs)| mine >= theirs)
    }

    /// What was used since an earlier time.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            input: self.input.saturating_sub(earlier.input),
            cached_input: self.cached_input.saturating_sub(earlier.cached_input),
            cache_write_5m: self.cache_write_5m.saturating_sub(earlier.cache_write_5m),
            cache_write_1h: self.cache_write_1h.saturating_sub(earlier.cache_write_1h),
            output: self.output.saturating_sub(earlier.output),
            reasoning: self.reasoning.saturating_sub(earlier.reasoning),
        }
    }

    fn kinds(&self) -> [u64; 6] {
        [
            self.input,
            self.cached_input,
            self.cache_write_5m,
            self.cache_write_1h,
            self.output,
            self.reasoning,
        ]
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.cached_input = self.cached_input.saturating_add(more.cached_input);
        self.cache_write_5m = self.cache_write_5m.saturating_add(more.cache_write_5m);
        self.cache_write_1h = self.cache_write_1h.saturating_add(more.cache_write_1h);
        self.output = self.output.saturating_add(more.output);
        self.reasoning = self.reasoning.saturating_add(more.reasoning);
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(mut self, more: Self) -> Self {
        self += more;
        self
    }
}
