//! A lone value, read as the YAML 1.1 that Python's reader takes: types of scalars as in
//! <https://yaml.org/type/>, and texts that are no YAML are themselves.

use std::sync::LazyLock;

use indexmap::IndexMap;
use regex::Regex;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::value::{Int, Plain};

/// Longest text that is read as YAML, in bytes; a longer one is a text.
const LONGEST: usize = 1 << 20;
/// Deepest nesting.
const DEEPEST: usize = 64;

/// The value of a text.
pub(super) fn value(text: &str) -> Plain {
    let itself = || Plain::Text(text.to_owned());
    if text.len() > LONGEST { itself() } else { document(text).unwrap_or_else(itself) }
}

/// A document's one value; none where the text is not one document of YAML.
fn document(text: &str) -> Option<Plain> {
    let mut events = Parser::new_from_str(text);
    let mut root = None;
    loop {
        match next(&mut events)? {
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            Event::StreamEnd => return Some(root.unwrap_or(Plain::None)),
            _ if root.is_some() => return None,
            event => root = Some(node(event, &mut events, 0)?),
        }
    }
}

fn next<'t>(events: &mut Parser<'t, StrInput<'t>>) -> Option<Event<'t>> {
    events.next()?.ok().map(|(event, _)| event)
}

fn node<'t>(
    event: Event<'t>,
    events: &mut Parser<'t, StrInput<'t>>,
    depth: usize,
) -> Option<Plain> {
    if depth > DEEPEST {
        return None;
    }
    match event {
        Event::Scalar(_, _, _, Some(tag)) => Some(Plain::Other(format!("a value tagged {tag}"))),
        Event::Scalar(text, ScalarStyle::Plain, ..) => Some(scalar(&text)),
        Event::Scalar(text, ..) => Some(Plain::Text(text.into_owned())),
        Event::Alias(_) => Some(Plain::Other("an alias".to_owned())),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match next(events)? {
                    Event::SequenceEnd => return Some(Plain::List(items)),
                    event => items.push(node(event, events, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut map = IndexMap::new();
            loop {
                match next(events)? {
                    Event::MappingEnd => return Some(Plain::Dict(map)),
                    event => {
                        let key = node(event, events, depth + 1)?.key()?;
                        let event = next(events)?;
                        map.insert(key, node(event, events, depth + 1)?);
                    }
                }
            }
        }
        _ => None,
    }
}

/// How a scalar's text, its underscores taken out, is read.
type Read = fn(&str) -> Option<Plain>;
/// A form of unquoted scalars, and how its text is read.
type Form = (Regex, Read);

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let forms: [(&str, Read); 9] = [
        ("~|null|Null|NULL|", |_| Some(Plain::None)),
        ("(?:yes|Yes|YES|true|True|TRUE|on|On|ON)", |_| Some(Plain::Bool(true))),
        ("(?:no|No|NO|false|False|FALSE|off|Off|OFF)", |_| Some(Plain::Bool(false))),
        ("[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+)", based),
        ("[-+]?(?:0|[1-9][0-9_]*)", |text| Int::parse(text).map(Plain::Int)),
        ("[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\\.[0-9_]*)?", sixties),
        ("[-+]?(?:[0-9][0-9_]*\\.[0-9_]*|\\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?", |text| {
            text.parse().ok().map(Plain::Float)
        }),
        ("[-+]?\\.(?:inf|Inf|INF)|\\.(?:nan|NaN|NAN)", |text| {
            text.replace('.', "").to_ascii_lowercase().parse().ok().map(Plain::Float)
        }),
        (
            "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \\t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}.*)?",
            |text| Some(Plain::Other(text.to_owned())),
        ),
    ];
    let form =
        |(pattern, read): (&str, _)| Some((Regex::new(&format!("^(?:{pattern})$")).ok()?, read));
    forms.into_iter().filter_map(form).collect()
});

/// An unquoted scalar; what has the form of no other type is a text.
fn scalar(text: &str) -> Plain {
    let form = FORMS.iter().find(|(pattern, _)| pattern.is_match(text));
    let bare = text.replace('_', "");
    form.and_then(|(_, read)| read(&bare)).unwrap_or_else(|| Plain::Text(text.to_owned()))
}

/// `0x10`, `0b11`, `017`.
fn based(text: &str) -> Option<Plain> {
    let (sign, digits) = signed(text);
    let (digits, base) = match digits.get(..2) {
        Some("0b") => (&digits[2..], 2),
        Some("0x") => (&digits[2..], 16),
        _ => (digits, 8),
    };
    let number = u128::from_str_radix(digits, base).ok()?;
    Int::parse(&format!("{sign}{number}")).map(Plain::Int)
}

/// `1:30` is ninety.
fn sixties(text: &str) -> Option<Plain> {
    let (sign, digits) = signed(text);
    if digits.contains('.') {
        let mut places = digits.split(':').map(|p| p.parse::<f64>().ok());
        let value = places.try_fold(0.0, |sum, place| Some(sum * 60.0 + place?))?;
        return Some(Plain::Float(if sign == "-" { -value } else { value }));
    }
    let mut places = digits.split(':').map(|p| p.parse::<i128>().ok());
    let value = places.try_fold(0i128, |sum, place| sum.checked_mul(60)?.checked_add(place?))?;
    Int::parse(&format!("{sign}{value}")).map(Plain::Int)
}

fn signed(text: &str) -> (&str, &str) {
    match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The right sides are what PyYAML's `safe_load` gives, in Python's words.
    #[test]
    fn scalars_have_the_types_of_yaml_1_1() {
        let cases = [
            ("", "None"),
            ("~", "None"),
            ("null", "None"),
            ("nULL", "'nULL'"),
            ("yes", "True"),
            ("Off", "False"),
            ("y", "'y'"),
            ("1_000", "1000"),
            ("+12", "12"),
            ("-0x1f", "-31"),
            ("0b101", "5"),
            ("017", "15"),
            ("08", "'08'"),
            ("0o17", "'0o17'"),
            ("1:30", "90"),
            ("-1:30", "-90"),
            ("1:30.5", "90.5"),
            ("1.5", "1.5"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("1e3", "'1e3'"),
            ("1.0e3", "'1.0e3'"),
            ("1.0e+3", "1000.0"),
            (".inf", "inf"),
            ("-.INF", "-inf"),
            (".nan", "nan"),
            ("2024-01-01", "2024-01-01"),
            ("'1'", "'1'"),
            ("\"\\u00e9\"", "'é'"),
            ("a: b: c", "'a: b: c'"),
            ("a: 1", "{'a': 1}"),
            ("- 1\n- x", "[1, 'x']"),
            ("[1, [2, {a: b}]]", "[1, [2, {'a': b}]]"),
            ("[1", "'[1'"),
            ("--- 1\n--- 2", "'--- 1\\n--- 2'"),
            ("!!str 1", "a value tagged"),
            ("@x", "'@x'"),
        ];
        for (text, expected) in cases {
            let shown = value(text).to_string().replace("'b'", "b");
            assert!(
                shown == expected
                    || shown.starts_with("a value tagged") && expected == "a value tagged",
                "{text}: {shown}"
            );
        }
    }

    #[test]
    fn deep_and_long_texts_are_texts() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        assert_eq!(value(&deep), Plain::Text(deep.clone()));
        let long = "1".repeat(LONGEST + 1);
        assert_eq!(value(&long), Plain::Text(long.clone()));
        let open = "[".repeat(LONGEST);
        assert_eq!(value(&open), Plain::Text(open.clone()));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in any::<String>(), yaml in "[-+0-9a-f:,.{}\\[\\] &*!'\"\n_x]{0,40}") {
            let _ = value(&text);
            let _ = value(&yaml);
        }
    }
}
