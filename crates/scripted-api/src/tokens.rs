//! Tokens by kind: made up from lengths, so that the same conversation always costs the same.

use std::ops::AddAssign;

use serde::Serialize;

use crate::conversation::{Conversation, Protocol};

/// Tokens of one request or of many. No token is counted under two kinds of input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Input that was neither read from a cache nor written to one.
    pub input: u64,
    /// Input read from a cache.
    pub cached: u64,
    /// Input written to a cache of five minutes (Anthropic).
    pub cache_write_5m: u64,
    /// Input written to a cache of one hour (Anthropic).
    pub cache_write_1h: u64,
    /// Output, what was thought included.
    pub output: u64,
    /// Of the output, what was thought; 0 where the protocol does not tell it (Anthropic).
    pub reasoning: u64,
}

impl Tokens {
    /// All input.
    pub fn all_input(&self) -> u64 {
        self.input + self.cached + self.cache_write_5m + self.cache_write_1h
    }

    /// What a conversation and its reply cost: a token for every four bytes; all before the model's last turn was
    /// cached; Anthropic writes most of the rest to a cache, a quarter of that for an hour.
    pub(crate) fn of(conversation: &Conversation, output_bytes: usize, thought: usize) -> Self {
        let new = 11 + conversation.new_bytes / 4;
        let cached = conversation.old_bytes / 4;
        let count = |bytes: usize| bytes.div_ceil(4) as u64;
        let reasoning = count(thought);
        let output = 3 + count(output_bytes) + reasoning;
        if conversation.protocol != Protocol::Messages {
            return Self { input: new, cached, output, reasoning, ..Self::default() };
        }
        let input = new.min(7);
        let cache_write_1h = (new - input) / 4;
        let cache_write_5m = new - input - cache_write_1h;
        Self { input, cached, cache_write_5m, cache_write_1h, output, reasoning: 0 }
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.cache_write_5m += other.cache_write_5m;
        self.cache_write_1h += other.cache_write_1h;
        self.output += other.output;
        self.reasoning += other.reasoning;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_counted_under_one_kind() {
        for protocol in [Protocol::Messages, Protocol::Chat] {
            let mut conversation = Conversation::new(protocol);
            conversation.add_bytes(4000, true);
            conversation.add_bytes(400, false);
            let tokens = Tokens::of(&conversation, 40, 20);
            assert_eq!((tokens.all_input(), tokens.cached, tokens.output), (1111, 1000, 18));
            let messages = protocol == Protocol::Messages;
            assert_eq!(tokens.cache_write_1h > 0, messages);
            assert_eq!(tokens.reasoning, if messages { 0 } else { 5 });
        }
    }
}
