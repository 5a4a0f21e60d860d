//! Making a stranger's text harmless, and short.

use std::borrow::Cow;

use crate::text::Text;

/// How much of a text is shown: half of it from the head, half from the tail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) bytes: usize,
    pub(crate) lines: usize,
}

/// A text without its middle.
#[derive(Debug, PartialEq)]
pub(crate) struct Short {
    pub(crate) head: String,
    /// Bytes between head and tail, about; 0 when the head is all.
    pub(crate) left_out: usize,
    pub(crate) tail: String,
}

/// Cuts the middle out of a text that is too long or has too many lines.
pub(crate) fn shorten(text: &Text<'_>, limits: Limits) -> Short {
    let half = limits.bytes / 2;
    let ends = text.ends(half, half);
    let lines = limits.lines / 2;
    if ends.left_out == 0 {
        let whole = &*ends.head;
        if whole.lines().nth(limits.lines).is_none() {
            return Short { head: whole.to_owned(), left_out: 0, tail: String::new() };
        }
        let (head, tail) = (first_lines(whole, lines), last_lines(whole, lines));
        let left_out = whole.len() - head.len() - tail.len();
        return Short { head: head.to_owned(), left_out, tail: tail.to_owned() };
    }
    let (head, tail) = (first_lines(&ends.head, lines), last_lines(&ends.tail, lines));
    let cut = ends.head.len() - head.len() + ends.tail.len() - tail.len();
    let left_out = ends.left_out + cut;
    Short { head: head.to_owned(), left_out, tail: tail.to_owned() }
}

fn first_lines(text: &str, n: usize) -> &str {
    match n.checked_sub(1).and_then(|n| text.match_indices('\n').nth(n)) {
        Some((at, _)) => &text[..=at],
        None => text,
    }
}

fn last_lines(text: &str, n: usize) -> &str {
    let body = text.strip_suffix('\n').unwrap_or(text);
    match n.checked_sub(1).and_then(|n| body.rmatch_indices('\n').nth(n)) {
        Some((at, _)) => &text[at + 1..],
        None => text,
    }
}

/// A text in which nothing acts: control characters, terminal escapes and marks that turn the direction of writing
/// are shown. Lines stay lines.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    let (bytes, mut made, mut from, mut at) = (text.as_bytes(), String::new(), 0, 0);
    let harmless = |b: &u8| matches!(b, b' '..=b'~' | b'\n' | b'\t');
    while let Some(n) = bytes[at..].iter().position(|b| !harmless(b)) {
        at += n;
        let Some(c) = text[at..].chars().next() else { break };
        if acts(c) {
            made.push_str(&text[from..at]);
            from = at + c.len_utf8();
            let next = bytes.get(from);
            show(&mut made, c, next == Some(&b'\n'));
        }
        at += c.len_utf8();
    }
    if from == 0 {
        return Cow::Borrowed(text);
    }
    made.push_str(&text[from..]);
    Cow::Owned(made)
}

/// Writes what stands for a character that acts. `ends`: it is the last one of its line.
fn show(to: &mut String, c: char, ends: bool) {
    match c {
        '\r' if ends => {}
        '\r' => to.push_str("␍\n"),
        '\u{0}'..='\u{1f}' => to.push(char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}')),
        '\u{7f}' => to.push('␡'),
        c => to.push_str(&format!("\\u{{{:04x}}}", c as u32)),
    }
}

/// Whether a character does more than to be seen.
fn acts(c: char) -> bool {
    match c {
        '\n' | '\t' => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{61c}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        c => c.is_control(),
    }
}

/// A fence that is longer than every run of backticks within.
pub(crate) fn fence(code: &str) -> String {
    let (mut longest, mut run, mut last) = (0usize, 0usize, None);
    for at in memchr::memchr_iter(b'`', code.as_bytes()) {
        run = if last.is_some_and(|last| last + 1 == at) { run + 1 } else { 1 };
        (longest, last) = (longest.max(run), Some(at));
    }
    "`".repeat(longest.max(2) + 1)
}

/// A short text on one line, with nothing that Markdown or HTML would take for its own.
pub(crate) fn inline(text: &str, markdown: bool) -> String {
    let short = shorten(&Text::Plain(text), Limits { bytes: 400, lines: 2 });
    let joined = match short.left_out {
        0 => short.head,
        _ => format!("{}…{}", short.head, short.tail),
    };
    let mut made = String::new();
    for c in visible(&joined).chars() {
        match c {
            '\n' | '\t' => made.push(' '),
            c if !markdown => made.push(c),
            c => escaped(&mut made, c),
        }
    }
    made
}

fn escaped(to: &mut String, c: char) {
    match c {
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '&' => to.push_str("&amp;"),
        // Within a word an underscore is one.
        '_' if to.ends_with(char::is_alphanumeric) => to.push(c),
        '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '$' => {
            to.push('\\');
            to.push(c);
        }
        c => to.push(c),
    }
}

/// Writes words: for Markdown as a quotation in which they stand as they were typed, for a terminal indented.
/// `start`: whether a line begins here; it is kept for words that come in pieces.
pub(crate) fn quoted(to: &mut String, words: &str, markdown: bool, start: &mut bool) {
    let words = visible(words);
    for (n, line) in words.split('\n').enumerate() {
        if n > 0 {
            // Two spaces end a line without beginning a paragraph.
            to.push_str(match (markdown, *start) {
                (true, true) => ">\n",
                (true, false) => "  \n",
                (false, _) => "\n",
            });
            *start = true;
        }
        let mut indented = *start;
        if *start && !line.is_empty() {
            to.push_str(if markdown { "> " } else { "  " });
        }
        for (at, c) in line.chars().enumerate() {
            let first = *start;
            *start = false;
            match c {
                _ if !markdown => to.push(c),
                // Spaces at the front would make a block of code.
                ' ' if indented => to.push('\u{a0}'),
                '\t' => to.push_str("\u{a0}\u{a0}\u{a0}\u{a0}"),
                '-' | '+' | '=' | ':' if indented => {
                    to.push('\\');
                    to.push(c);
                }
                '.' | ')'
                    if line.as_bytes()[..at.min(line.len())].iter().all(u8::is_ascii_digit)
                        && !first =>
                {
                    to.push('\\');
                    to.push(c);
                }
                c => escaped(to, c),
            }
            indented &= c == ' ' || c == '\t';
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_acts() {
        assert_eq!(
            visible("a\u{1b}[31mb\u{7}\r\nc\rd\u{202e}e\u{9b}f\u{0}"),
            "a␛[31mb␇\nc␍\nd\\u{202e}e\\u{009b}f␀"
        );
        assert_eq!(fence("a ```` b ``` c"), "`````");
        assert_eq!(fence(""), "```");
        assert_eq!(inline("<b>\n# `x` [y](z)", true), "&lt;b&gt; \\# \\`x\\` \\[y\\](z)");
    }

    #[test]
    fn words_stay_in_their_quotation() {
        let mut page = String::new();
        quoted(&mut page, "- a\n\n    <script>\n12. x\n```\n===", true, &mut true);
        let wanted = "> \\- a  \n>\n> \u{a0}\u{a0}\u{a0}\u{a0}&lt;script&gt;  \n> 12\\. x  \n> \\`\\`\\`  \n> \\===";
        assert_eq!(page, wanted);
    }

    #[test]
    fn words_in_pieces_are_one_text() {
        let (mut page, mut start) = (String::new(), true);
        for piece in ["Hel", "lo\n", "- you", "\n\n", "end"] {
            quoted(&mut page, piece, true, &mut start);
        }
        assert_eq!(page, "> Hello  \n> \\- you  \n>\n> end");
    }

    #[test]
    fn the_middle_is_left_out() {
        let text: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let short = shorten(&Text::Plain(&text), Limits { bytes: 10_000, lines: 4 });
        assert_eq!((&*short.head, &*short.tail), ("line 0\nline 1\n", "line 98\nline 99\n"));
        assert_eq!(short.head.len() + short.left_out + short.tail.len(), text.len());
        let short =
            shorten(&Text::Plain("äöü".repeat(100).as_str()), Limits { bytes: 9, lines: 4 });
        assert_eq!((&*short.head, &*short.tail), ("äö", "öü"));
    }

    proptest! {
        #[test]
        fn every_line_is_quoted(words in proptest::collection::vec("(\\PC|[\n\t `<>*-]){0,40}", 1..5)) {
            let (mut page, mut start) = (String::new(), true);
            for piece in &words {
                quoted(&mut page, piece, true, &mut start);
            }
            prop_assert!(page.is_empty() || page.lines().all(|line| line.starts_with("> ") || line == ">"), "{page:?}");
            prop_assert!(!page.replace("> ", "").contains('<'));
        }
    }
}
