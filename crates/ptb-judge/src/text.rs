//! Text that an agent wrote, made safe to show: nothing in it moves a cursor or turns a line around.

/// `text` with control characters, line separators and marks of writing direction as `\u{..}`, so that
/// what a reader sees is what is there.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible_order(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Unicode's `Bidi_Control` characters (UAX 9) and its two line separators.
fn is_invisible_order(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_be_seen_is_escaped() {
        assert_eq!(plain("naïve 模型 \"q\" \\ 🦀"), "naïve 模型 \"q\" \\ 🦀");
        assert_eq!(plain("a\u{1b}[2J\n\u{7f}\u{85}"), r"a\u{1b}[2J\u{a}\u{7f}\u{85}");
        assert_eq!(
            plain("\u{202a}x\u{202e}\u{2066}\u{2069}"),
            r"\u{202a}x\u{202e}\u{2066}\u{2069}"
        );
    }
}
