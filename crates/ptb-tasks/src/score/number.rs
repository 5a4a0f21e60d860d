//! Numbers as they are written: read from one word, compared exactly by value. Never through floating point,
//! where 18.0000000000000001 would be 18.

use std::fmt;

use super::numerals::{self, Chinese};

/// Longest word that is read as a number, in bytes; longer ones are no answer to anything.
const LONGEST_WORD: usize = 4096;

/// A decimal number: sign, whole digits without leading zeros, decimals without trailing zeros. Equal values
/// have equal parts, so `==` compares by value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Number {
    negative: bool,
    whole: String,
    decimals: String,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.decimals.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{}", self.whole, self.decimals)
    }
}

/// What a text says last that looks like a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LastNumber {
    /// No word of it is made of numerals.
    None,
    /// The last word that is made of numerals makes no number (`1.2.3`, `½½`).
    Unreadable(String),
    /// A number.
    Value(Number),
}

/// The last number of a text. A word (between white space) is one when, without currency signs, thousands
/// separators and emphasis, and without points that no digit follows, it consists of numerals and points, after
/// at most one hyphen-minus. A word with anything else glued to it (`18%`, `x=18`, `18th`) is not one.
pub(super) fn last_number(text: &str) -> LastNumber {
    for word in text.rsplit(super::is_space) {
        let bare = strip_signs(word);
        let body = bare.strip_prefix('-').unwrap_or(&bare);
        let numerals = body.chars().filter(|c| *c != '.').collect::<Vec<_>>();
        if numerals.is_empty() || !numerals.iter().all(|c| numerals::is_numeric(*c)) {
            continue;
        }
        return match read(&bare) {
            Some(number) => LastNumber::Value(number),
            None => LastNumber::Unreadable(bare),
        };
    }
    LastNumber::None
}

/// A reference answer: one word, currency signs and thousands separators allowed.
pub(super) fn whole_text(text: &str) -> Option<Number> {
    let text = text.trim();
    if text.contains(char::is_whitespace) {
        return None;
    }
    read(&strip_signs(text))
}

/// A word without dollar, pound and euro signs, commas, asterisks, underscores, and points before a non-digit.
fn strip_signs(word: &str) -> String {
    let kept: Vec<char> = word.chars().filter(|c| !"$£€,*_".contains(*c)).collect();
    let followed = |i: usize| kept.get(i + 1).is_some_and(|c| numerals::digit(*c).is_some());
    kept.iter().enumerate().filter(|(i, c)| **c != '.' || followed(*i)).map(|(_, c)| *c).collect()
}

/// Reads a bare word: `-3`, `.5`, `018`, `18½`, `9²`, `七十`, `Ⅻ`.
fn read(word: &str) -> Option<Number> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let (negative, body) = match word.strip_prefix('-') {
        Some(body) => (true, body),
        None => (false, word),
    };
    let base_end = body.trim_end_matches(|c| numerals::superscript(c).is_some()).len();
    let (base, exponent) = body.split_at(base_end);
    let (whole, decimals) = read_base(base)?;
    let (whole, decimals) = match exponent {
        "" => (whole, decimals),
        exponent => power(&whole, &decimals, exponent)?,
    };
    Some(canonical(negative, &whole, &decimals))
}

fn canonical(negative: bool, whole: &str, decimals: &str) -> Number {
    let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let zero = whole.is_empty() && decimals.is_empty();
    let whole = if whole.is_empty() { "0" } else { whole };
    Number { negative: negative && !zero, whole: whole.to_owned(), decimals: decimals.to_owned() }
}

/// The digits before and behind the point.
fn read_base(base: &str) -> Option<(String, String)> {
    let last = base.chars().next_back()?;
    if let Some(decimals) = numerals::fraction(last) {
        let head = &base[..base.len() - last.len_utf8()];
        let whole = if head.is_empty() { String::new() } else { read_whole(head)? };
        return decimals.map(|d| (whole, d.to_owned()));
    }
    match base.split_once('.') {
        None => Some((read_whole(base)?, String::new())),
        Some(("", decimals)) => Some((String::new(), ascii_digits(decimals)?)),
        Some((whole, decimals)) => Some((ascii_digits(whole)?, ascii_digits(decimals)?)),
    }
}

fn read_whole(text: &str) -> Option<String> {
    ascii_digits(text).or_else(|| read_chinese(text)).or_else(|| {
        let mut chars = text.chars();
        let only = chars.next().filter(|_| chars.next().is_none())?;
        numerals::symbol(only).map(|n| n.to_string())
    })
}

/// Digits of any script as ASCII digits; at least one.
fn ascii_digits(text: &str) -> Option<String> {
    let digits: Option<String> =
        text.chars().map(|c| numerals::digit(c).and_then(|d| char::from_digit(d, 10))).collect();
    digits.filter(|d| !d.is_empty())
}

/// Chinese numerals: digit by digit (二〇二五), or with units (三千七百万八十).
fn read_chinese(text: &str) -> Option<String> {
    let parts: Vec<Chinese> = text.chars().map(numerals::chinese).collect::<Option<_>>()?;
    if parts.iter().all(|p| matches!(p, Chinese::Digit(_))) {
        let digits = parts
            .iter()
            .map(|p| if let Chinese::Digit(d) = p { d.to_string() } else { String::new() });
        return Some(digits.collect());
    }
    let (mut total, mut section, mut number) = (0u64, 0u64, None::<u64>);
    for part in parts {
        match part {
            Chinese::Digit(d) => number = Some(d),
            Chinese::Tens(t) => section = section.checked_add(t)?,
            Chinese::Unit(u) => {
                section = section.checked_add(number.take().unwrap_or(1).checked_mul(u)?)?;
            }
            Chinese::Myriad(m) => {
                let count = section.checked_add(number.take().unwrap_or(0))?;
                total = total.checked_add(count.checked_mul(m)?)?;
                section = 0;
            }
        }
    }
    Some(total.checked_add(section)?.checked_add(number.unwrap_or(0))?.to_string())
}

/// `(whole.decimals)^exponent`, where it stays below 2^128.
fn power(whole: &str, decimals: &str, exponent: &str) -> Option<(String, String)> {
    let digit = |c| numerals::superscript(c).and_then(|d| char::from_digit(d, 10));
    let exponent: u32 = exponent.chars().map(digit).collect::<Option<String>>()?.parse().ok()?;
    let mantissa: u128 = format!("{whole}{decimals}").parse().ok()?;
    let places = decimals.len().checked_mul(exponent as usize).filter(|p| *p <= LONGEST_WORD)?;
    let digits = format!("{:0>width$}", mantissa.checked_pow(exponent)?, width = places + 1);
    let (whole, decimals) = digits.split_at(digits.len() - places);
    Some((whole.to_owned(), decimals.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Option<String> {
        match last_number(text) {
            LastNumber::Value(n) => Some(n.to_string()),
            _ => None,
        }
    }

    #[test]
    fn written_forms_have_one_value() {
        let cases = [
            ("018", "18"),
            ("-0", "0"),
            ("-0.50", "-0.5"),
            (".5", "0.5"),
            ("$1,234.50", "1234.5"),
            ("-$3", "-3"),
            ("$-3", "-3"),
            ("18½", "18.5"),
            ("½", "0.5"),
            ("9²", "81"),
            ("1.5²", "2.25"),
            ("0.1³", "0.001"),
            ("10⁰", "1"),
            ("七十", "70"),
            ("拾捌", "18"),
            ("三千七百万八十", "37000080"),
            ("二〇二五", "2025"),
            ("廿三", "23"),
            ("١٨", "18"),
            ("Ⅻ", "12"),
            ("⑱", "18"),
            ("340282366920938463463374607431768211456", "340282366920938463463374607431768211456"),
        ];
        for (text, value) in cases {
            assert_eq!(shown(text).as_deref(), Some(value), "{text}");
        }
    }

    #[test]
    fn what_makes_no_number_is_not_read() {
        for text in ["½½", "⅓", "1.2.3", ".10.00.50", "10⁹⁹⁹", "35²13", "²", "3七", "½5", "ⅫⅫ"]
        {
            assert!(matches!(last_number(text), LastNumber::Unreadable(_)), "{text}");
        }
        for text in [
            "",
            " ",
            "-",
            ".",
            "--3",
            "+3",
            "18%",
            "18th",
            "x=18",
            "\\boxed{18}",
            "18\u{200b}",
            "…",
        ] {
            assert_eq!(last_number(text), LastNumber::None, "{text}");
        }
        assert_eq!(whole_text("18 19"), None);
        assert_eq!(last_number(&"9".repeat(5000)), LastNumber::Unreadable("9".repeat(5000)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "\\PC*") {
            let _ = last_number(&text);
            let _ = whole_text(&text);
        }

        #[test]
        fn numerals_in_any_order_are_read_without_harm(
            text in "[-0-9.²⁹½⅓七十零万兆廿Ⅻ①٣$,*_ ]{0,40}"
        ) {
            if let LastNumber::Value(n) = last_number(&text) {
                prop_assert_eq!(last_number(&n.to_string()), LastNumber::Value(n));
            }
        }

        #[test]
        fn integers_equal_themselves_alone(a in any::<i64>(), b in any::<i64>()) {
            let (x, y) = (whole_text(&a.to_string()).unwrap(), whole_text(&format!("{b}.000")).unwrap());
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.to_string(), a.to_string());
        }
    }
}
