//! Text of others made fit for a terminal.

/// Escapes what a terminal does not show as it is: controls but line ends, and characters that reorder or hide
/// others.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Controls, marks of direction, and characters without width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// At most `width` characters, on one line.
pub(crate) fn shortened(text: &str, width: usize) -> String {
    let short: String = text.chars().take(width).collect();
    let clean = printable(&short).replace('\n', "\\n");
    if text.chars().nth(width).is_some() { clean + "..." } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_deceive_is_escaped() {
        assert_eq!(
            printable("a\u{202e}b\u{1b}[2J\n\u{9b}é\u{200d}"),
            "a\\u{202e}b\\u{1b}[2J\n\\u{9b}é\\u{200d}"
        );
        assert_eq!(shortened("a\nbc", 4), "a\\nbc");
        assert_eq!(shortened("a\nbcd", 4), "a\\nbc...");
    }
}
