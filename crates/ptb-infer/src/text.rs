//! From tokens to text, piece by piece: characters that span tokens, stop strings that span both.

use std::sync::Arc;

use ptb_model::Tokenizer;

/// A character of UTF-8 has at most this many bytes, and a token has at least one.
const LONGEST: usize = 4;
/// Tokens that may wait for the rest of a character before settled ones are cut off.
const PENDING: usize = 8;

/// The text of a growing answer.
pub(crate) struct TextStream {
    tokenizer: Arc<Tokenizer>,
    stops: Vec<String>,
    skip_special: bool,
    ids: Vec<u32>,
    /// `ids[context..pending]` is already in `text`; it is decoded again, as some decoders treat the first
    /// token of a text differently.
    context: usize,
    pending: usize,
    text: String,
    /// Bytes of `text` handed out.
    given: usize,
    stopped: bool,
    ended: bool,
}

impl TextStream {
    pub(crate) fn new(tokenizer: Arc<Tokenizer>, stops: Vec<String>, skip_special: bool) -> Self {
        Self {
            tokenizer,
            stops,
            skip_special,
            ids: Vec::new(),
            context: 0,
            pending: 0,
            text: String::new(),
            given: 0,
            stopped: false,
            ended: false,
        }
    }

    /// Adds a token; true when a stop string is complete. The text then ends before it.
    pub(crate) fn push(&mut self, token: u32) -> bool {
        self.ids.push(token);
        let known = self.decode(self.context, self.pending);
        let all = self.decode(self.context, self.ids.len());
        if all.ends_with(char::REPLACEMENT_CHARACTER) {
            if self.ids.len() - self.pending > PENDING {
                self.settle();
            }
            return self.stopped;
        }
        if let Some(new) = all.get(known.len()..) {
            self.append(new);
        }
        self.context = self.pending;
        self.pending = self.ids.len();
        self.stopped
    }

    /// Takes over the settled part of many tokens that form no character (noise of a weak model): where
    /// two halves decode to the same text as the whole, later bytes cannot change the first half.
    fn settle(&mut self) {
        let (from, end) = (self.pending, self.ids.len());
        let whole = self.decode(from, end);
        for cut in (from + 1..=end - LONGEST).rev() {
            let first = self.decode(from, cut);
            if whole.strip_prefix(&first) == Some(&self.decode(cut, end)) {
                self.append(&first);
                (self.context, self.pending) = (cut, cut);
                return;
            }
        }
    }

    fn decode(&self, from: usize, to: usize) -> String {
        match self.ids.get(from..to) {
            Some([]) | None => String::new(),
            Some(ids) => self.tokenizer.decode(ids, self.skip_special),
        }
    }

    fn append(&mut self, new: &str) {
        if self.stopped {
            return;
        }
        // A stop string may have begun in what was there before.
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let mut from = self.text.len().saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        self.text.push_str(new);
        let tail = &self.text[from..];
        if let Some(at) = self.stops.iter().filter_map(|s| tail.find(s.as_str())).min() {
            self.text.truncate(from + at);
            self.stopped = true;
        }
    }

    /// New text that no stop string can take back any more.
    pub(crate) fn take(&mut self) -> String {
        let mut end = self.text.len();
        if !self.stopped && !self.ended {
            let held = |stop: &String| {
                let ends =
                    |n: &usize| stop.is_char_boundary(*n) && self.text.ends_with(&stop[..*n]);
                (1..stop.len()).rev().find(ends).unwrap_or(0)
            };
            end -= self.stops.iter().map(held).max().unwrap_or(0);
        }
        let new = self.text.get(self.given..end).unwrap_or_default().to_owned();
        self.given += new.len();
        new
    }

    /// Ends the text: bytes that never became a character become U+FFFD.
    pub(crate) fn finish(&mut self) -> &str {
        let known = self.decode(self.context, self.pending);
        let all = self.decode(self.context, self.ids.len());
        if let Some(new) = all.get(known.len()..) {
            self.append(new);
        }
        self.context = self.ids.len();
        self.pending = self.ids.len();
        self.ended = true;
        &self.text
    }

    /// True when a stop string has ended the text.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ptb_model::{ModelDir, RandomModel, random_model};
    use std::sync::LazyLock;

    /// One token for each byte, so every character beyond ASCII spans tokens.
    static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let home = tempfile::tempdir().unwrap();
        random_model(home.path(), &RandomModel::mini(1)).unwrap();
        Arc::new(Tokenizer::read(&ModelDir::open(home.path()).unwrap()).unwrap())
    });

    fn stream(stops: &[&str]) -> TextStream {
        let stops = stops.iter().map(|s| (*s).to_owned()).collect();
        TextStream::new(Arc::clone(&TOKENIZER), stops, true)
    }

    /// Pieces as a client sees them, the whole text, and whether it was stopped.
    fn feed(stops: &[&str], bytes: &[u8]) -> (Vec<String>, String, bool) {
        let mut stream = stream(stops);
        let mut pieces = Vec::new();
        for byte in bytes {
            let stopped = stream.push(u32::from(*byte));
            pieces.push(stream.take());
            if stopped {
                break;
            }
        }
        let text = stream.finish().to_owned();
        pieces.push(stream.take());
        (pieces, text, stream.stopped())
    }

    #[test]
    fn characters_appear_whole() {
        let (pieces, text, _) = feed(&[], "aé€😀z".as_bytes());
        assert_eq!(text, "aé€😀z");
        let shown: Vec<&str> =
            pieces.iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
        assert_eq!(shown, ["a", "é", "€", "😀", "z"]);
    }

    #[test]
    fn stop_strings_are_found_across_tokens_and_held_back() {
        let (pieces, text, stopped) = feed(&["\n\nQ:", "€!"], "an answer\n\nQ: more".as_bytes());
        assert_eq!((text.as_str(), stopped), ("an answer", true));
        assert_eq!(pieces.concat(), "an answer", "no part of the stop string was shown");
        assert_eq!(feed(&["€!"], "5 €!".as_bytes()).1, "5 ");
        assert_eq!(feed(&["ab", "b"], b"xab").1, "x", "the earlier one counts");
        let (_, text, stopped) = feed(&["\n\nQ:"], b"an answer\n\nQ");
        assert_eq!((text.as_str(), stopped), ("an answer\n\nQ", false));
    }

    #[test]
    fn special_tokens_are_left_out_and_tool_calls_are_not() {
        let mut stream = stream(&[]);
        for token in [65, 257, 270, 66, 258] {
            stream.push(token);
        }
        assert_eq!(stream.finish(), "A<tool_call>B");
    }

    proptest! {
        #[test]
        fn any_bytes_give_the_text_of_the_whole(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), 0x80_u8..0xc0, 0xe0_u8..0xf5, Just(b'a')], 0..80,
        )) {
            let (pieces, text, _) = feed(&[], &bytes);
            let expected = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(&text, &expected);
            prop_assert_eq!(pieces.concat(), expected);
        }

        #[test]
        fn stopping_equals_cutting_the_whole(text in "[ab€]{0,30}", stop in "[ab€]{1,4}") {
            let cut = text.find(&stop).map_or(text.as_str(), |at| &text[..at]).to_owned();
            let (pieces, ours, stopped) = feed(&[&stop], text.as_bytes());
            prop_assert_eq!(&ours, &cut);
            prop_assert_eq!(pieces.concat(), cut);
            prop_assert_eq!(stopped, text.contains(&stop));
        }
    }
}
