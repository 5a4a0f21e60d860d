//! What a reply says, without what was thought first.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::is_space;

/// A block of thought as the reference takes it out of a reply, attributes included.
static THOUGHT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let attributes = r#"(?:\s+signature="[^"]*")?(?:\s+redacted="true")?\s*"#;
    Regex::new(&format!("(?s)<think{attributes}>.*?</think>")).ok()
});

/// A reply without its first block of thought, and then without surrounding white space; a reply that has no such
/// block as it is. A block that is not closed is no block.
pub(super) fn said(text: &str) -> Cow<'_, str> {
    let Some(block) = THOUGHT.as_ref().and_then(|thought| thought.find(text)) else {
        return Cow::Borrowed(text);
    };
    let (before, after) = (&text[..block.start()], &text[block.end()..]);
    if before.trim_matches(is_space).is_empty() {
        return Cow::Borrowed(after.trim_matches(is_space));
    }
    Cow::Owned(format!("{before}{after}").trim_matches(is_space).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_whole_block_goes() {
        let cases = [
            ("<think>a</think>\n b\n", "b"),
            ("x <think>\n</think> y <think>z</think>", "x  y <think>z</think>"),
            ("<think signature=\"s\" redacted=\"true\">a</think>b", "b"),
            ("<think>a\n b\n", "<think>a\n b\n"),
            ("a</think> b ", "a</think> b "),
            ("<thinking>a</think> b", "<thinking>a</think> b"),
            (" a ", " a "),
        ];
        for (text, expected) in cases {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
