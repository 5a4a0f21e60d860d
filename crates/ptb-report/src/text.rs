//! Text that is safe to show, and numbers as people read them. Names and reasons come from agents and
//! must not move a cursor, break a table or start a formula.

/// Longest text shown in one cell or line of a table, in characters.
pub const MAX_SHOWN: usize = 200;

/// Text for a terminal: escape sequences are gone, so are control characters and the invisible ones that
/// reorder or hide text; white space is a single space.
pub fn clean(text: &str) -> String {
    let stripped = strip_ansi_escapes::strip_str(text.replace(['\n', '\r', '\t'], " "));
    let spaced: String = stripped
        .chars()
        .filter(|c| !is_hidden(*c))
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .collect();
    spaced.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A line for a terminal, its spacing kept: no escape sequences, no control or hidden characters.
pub fn harmless(line: &str) -> String {
    strip_ansi_escapes::strip_str(line).chars().filter(|c| *c == '\t' || !is_hidden(*c)).collect()
}

/// [`clean`] text of at most `limit` characters; a cut one ends in `…`.
pub fn shown(text: &str, limit: usize) -> String {
    // A cap before cleaning keeps hostile megabytes cheap; escape sequences may use it up, not exceed it.
    let head: String = text.chars().take(limit.saturating_mul(16)).collect();
    let clean = clean(&head);
    let cut = head.len() < text.len();
    if clean.chars().count() <= limit && !cut {
        return clean;
    }
    let mut short: String = clean.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Control characters, and characters that are not seen but change what is: zero width, direction,
/// separators, tags (Unicode general categories Cc and Cf, as far as they occur).
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A score as a percentage with one decimal: `0.2316` is `23.2`.
pub fn percent(score: f64) -> String {
    format!("{:.1}", score * 100.0)
}

/// Seconds as H:MM:SS, rounded to the second: the fixed form of a table's column.
pub fn hms(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// Seconds as people read a clock, rounded to the second: M:SS below an hour, H:MM:SS from there. The form
/// of every time in running text.
pub fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    if s < 3600 { format!("{}:{:02}", s / 60, s % 60) } else { hms(seconds) }
}

/// How many columns of a terminal a text without control characters takes.
pub fn columns(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// A text of at most so many columns; a cut one ends in `…` where there is room for that.
pub fn cut(text: &str, limit: usize) -> String {
    if columns(text) <= limit {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut room = limit.saturating_sub(1);
    for c in text.chars() {
        let width = columns(c.encode_utf8(&mut [0; 4]));
        if width > room {
            break;
        }
        room -= width;
        short.push(c);
    }
    if limit > 0 {
        short.push('…');
    }
    short
}

/// Wraps a line at word borders, later lines indented by two blanks more than the first. `width` is the
/// screen's, in columns; absent means no limit. Words are never broken: paths and commands are copied.
pub fn wrap(line: &str, width: Option<u16>) -> String {
    let Some(width) = width else { return line.to_owned() };
    let words = line.trim_start_matches(' ');
    let indent = &line[..line.len() - words.len()];
    let hanging = format!("{indent}  ");
    let options = textwrap::Options::new(width.into())
        .initial_indent(indent)
        .subsequent_indent(&hanging)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit);
    textwrap::fill(words, options)
}

/// A whole number with commas between thousands.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// An amount of money: two decimals, four where it is below a tenth.
pub fn money(amount: f64) -> String {
    let decimals = if amount > 0.0 && amount < 0.1 { 4 } else { 2 };
    format!("{amount:.decimals$}")
}

/// [`money`] in US dollars.
pub fn usd(amount: f64) -> String {
    format!("{} USD", money(amount))
}

/// A number of tokens in a table's column: `812`, `45.2k`, `3.1M`, `1.2G`.
pub fn short(n: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(size, _)| n >= *size) {
        Some((size, unit)) => format!("{:.1}{unit}", n / size),
        None => format!("{n:.0}"),
    }
}

/// `1 run`, `2 runs`.
pub fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_controls_and_tricks_are_gone() {
        for (hostile, safe) in [
            ("plain name", "plain name"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}]0;title\u{7}x", "x"),
            ("\u{1b}]8;;http://evil\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link"),
            ("a\u{8}\u{8}b\u{7f}\0c", "abc"),
            ("line\r\nbreak\tand  more ", "line break and more"),
            ("\u{9b}31mx", "31mx"),
            ("pay\u{202e}load\u{2066}\u{200b}", "payload"),
            ("a\u{2028}b", "ab"),
            ("größe 数", "größe 数"),
        ] {
            assert_eq!(clean(hostile), safe, "{hostile:?}");
        }
    }

    #[test]
    fn long_text_is_cut_where_it_shows() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown(&"\u{1b}[0m".repeat(1000), 6), "…");
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!(percent(0.2316289994386348), "23.2");
        assert_eq!(hms(0.0), "0:00:00");
        assert_eq!(hms(34781.6), "9:39:42");
        assert_eq!(hms(-3.0), "0:00:00");
        for (seconds, text) in [
            (0.0, "0:00"),
            (9.6, "0:10"),
            (3599.4, "59:59"),
            (3599.6, "1:00:00"),
            (36000.0, "10:00:00"),
        ] {
            assert_eq!(clock(seconds), text);
        }
        assert_eq!(
            [number(0), number(999), number(1000), number(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([usd(0.0), usd(0.0123), usd(12.345)], ["0.00 USD", "0.0123 USD", "12.35 USD"]);
        assert_eq!(
            [short(812.4), short(45_210.0), short(3.1e6), short(1.25e9)],
            ["812", "45.2k", "3.1M", "1.2G"]
        );
        assert_eq!((count(1, "run"), count(2, "run")), ("1 run".to_owned(), "2 runs".to_owned()));
    }

    #[test]
    fn lines_wrap_between_words_only() {
        let path = "/a/long/path/that-has-hyphens/and-is-wider-than-the-screen";
        let text = format!("  see {path}: it failed twice");
        assert_eq!(wrap(&text, Some(20)), format!("  see\n    {path}:\n    it failed twice"));
        assert_eq!(wrap(&text, None), text);
        assert_eq!(wrap("", Some(20)), "");
    }

    #[test]
    fn columns_are_counted_not_characters() {
        assert_eq!((columns("数 x"), columns("größe")), (4, 5));
        assert_eq!(cut("数数数", 4), "数…");
        assert_eq!(cut("数数数", 6), "数数数");
        assert_eq!((cut("abc", 1), cut("abc", 0)), ("…".to_owned(), String::new()));
    }

    proptest! {
        #[test]
        fn a_cut_text_fits(text in "\\PC*", limit in 0usize..40) {
            prop_assert!(columns(&cut(&clean(&text), limit)) <= limit);
        }

        #[test]
        fn nothing_unsafe_is_left(text in "\\PC*|[\\x00-\\xff]{0,80}") {
            let clean = clean(&text);
            prop_assert!(clean.chars().all(|c| !c.is_control()));
            prop_assert_eq!(super::clean(&clean), clean);
        }
    }
}
