//! Plain values, compared as Python compares them.

use std::fmt;

use indexmap::IndexMap;
use jiter::JsonValue;
use serde_json::Value;

use crate::chat::python;

/// A value of a call: what JSON and Python literals can say. Tuples are lists, because JSON has no other word
/// for them.
#[derive(Debug, Clone)]
pub(super) enum Plain {
    None,
    Bool(bool),
    /// A whole number of any size.
    Int(Int),
    Float(f64),
    Text(String),
    List(Vec<Plain>),
    Dict(IndexMap<Key, Plain>),
    /// A value that equals no literal: a date, an alias.
    Other(String),
}

/// A whole number: a minus sign where it is below zero, digits without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Int(String);

/// What a dict's value is found by. Equal numbers are one key, whatever their type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    None,
    Whole(Int),
    /// A number that is not whole, by its bits.
    Fraction(u64),
    Text(String),
}

impl Int {
    /// From decimal digits, a sign before them.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (sign, digits) = match text.as_bytes().first()? {
            b'-' => ("-", &text[1..]),
            b'+' => ("", &text[1..]),
            _ => ("", text),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(match digits.trim_start_matches('0') {
            "" => Self("0".to_owned()),
            digits => Self(format!("{sign}{digits}")),
        })
    }

    /// The whole number that a float is; its decimal digits are exact.
    fn of_float(x: f64) -> Option<Self> {
        if x.is_finite() && x.fract() == 0.0 { Self::parse(&format!("{x:.0}")) } else { None }
    }

    pub(super) fn negated(self) -> Self {
        match self.0.strip_prefix('-') {
            Some(digits) => Self(digits.to_owned()),
            None if self.0 == "0" => self,
            None => Self(format!("-{}", self.0)),
        }
    }
}

impl From<i64> for Int {
    fn from(n: i64) -> Self {
        Self(n.to_string())
    }
}

impl Plain {
    /// The whole number that a boolean, an integer or a float equals.
    fn whole(&self) -> Option<Int> {
        match self {
            Self::Bool(b) => Some(Int::from(i64::from(*b))),
            Self::Int(n) => Some(n.clone()),
            Self::Float(x) => Int::of_float(*x),
            _ => None,
        }
    }

    /// The value as a dict's key; none for those that cannot be one.
    pub(super) fn key(self) -> Option<Key> {
        if let Some(n) = self.whole() {
            return Some(Key::Whole(n));
        }
        match self {
            Self::None => Some(Key::None),
            Self::Float(x) => Some(Key::Fraction(x.to_bits())),
            Self::Text(text) => Some(Key::Text(text)),
            _ => None,
        }
    }

    /// A JSON value. Numbers that JSON's reader has rounded stay rounded.
    pub(super) fn of_json(value: &Value) -> Self {
        match value {
            Value::Null => Self::None,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => match Int::parse(&n.to_string()) {
                Some(int) => Self::Int(int),
                None => Self::Float(n.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::of_json).collect()),
            Value::Object(map) => Self::Dict(
                map.iter().map(|(k, v)| (Key::Text(k.clone()), Self::of_json(v))).collect(),
            ),
        }
    }

    /// A JSON value as Python's reader has it: whole numbers of any size, `NaN`, infinities.
    pub(super) fn of_python_json(value: &JsonValue<'_>) -> Self {
        match value {
            JsonValue::Null => Self::None,
            JsonValue::Bool(b) => Self::Bool(*b),
            JsonValue::Int(n) => Self::Int(Int::from(*n)),
            JsonValue::BigInt(n) => match Int::parse(&n.to_string()) {
                Some(int) => Self::Int(int),
                None => Self::Other(n.to_string()),
            },
            JsonValue::Float(x) => Self::Float(*x),
            JsonValue::Str(text) => Self::Text(text.clone().into_owned()),
            JsonValue::Array(items) => Self::List(items.iter().map(Self::of_python_json).collect()),
            JsonValue::Object(map) => {
                let entry = |(k, v): &(_, JsonValue<'_>)| {
                    let key: &std::borrow::Cow<'_, str> = k;
                    (Key::Text(key.clone().into_owned()), Self::of_python_json(v))
                };
                Self::Dict(map.iter().map(entry).collect())
            }
        }
    }
}

/// Python's `==` for plain values.
impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Dict(a), Self::Dict(b)) => a == b,
            _ => self.whole().is_some_and(|n| other.whole() == Some(n)),
        }
    }
}

/// `repr(value)`.
impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(b) => f.write_str(if *b { "True" } else { "False" }),
            Self::Int(n) => f.write_str(&n.0),
            Self::Float(x) if x.is_nan() => f.write_str("nan"),
            Self::Float(x) => python::write_float(f, *x),
            Self::Text(text) => python::quoted(f, text),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Dict(map) => {
                f.write_str("{")?;
                for (i, (key, value)) in map.iter().enumerate() {
                    write!(f, "{}{key}: {value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Whole(n) => f.write_str(&n.0),
            Self::Fraction(bits) => python::write_float(f, f64::from_bits(*bits)),
            Self::Text(text) => python::quoted(f, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn equal(a: &Value, b: &Value) -> bool {
        Plain::of_json(a) == Plain::of_json(b)
    }

    /// Each line is what `a == b` says in Python.
    #[test]
    fn equality_is_pythons() {
        let cases = [
            (json!(1), json!(1.0), true),
            (json!(true), json!(1), true),
            (json!(false), json!(0.0), true),
            (json!(true), json!(2), false),
            (json!(-0.0), json!(0), true),
            (json!("1"), json!(1), false),
            (json!(null), json!(0), false),
            (json!(null), json!(""), false),
            (json!([]), json!({}), false),
            (json!([1, 2]), json!([2, 1]), false),
            (json!([1, [2.0]]), json!([true, [2]]), true),
            (json!({"a": 1, "b": 2}), json!({"b": 2.0, "a": 1}), true),
            (json!({"a": 1}), json!({"a": 1, "b": null}), false),
            (json!(9007199254740993_i64), json!(9007199254740992.0), false),
            (json!(9007199254740992_i64), json!(9007199254740992.0), true),
            (json!(18446744073709551615_u64), json!(18446744073709551616.0), false),
            (json!(0.1), json!(0.1000000000000001), false),
            (json!("Ä"), json!("A\u{308}"), false),
        ];
        for (a, b, expected) in cases {
            assert_eq!(equal(&a, &b), expected, "{a} == {b}");
            assert_eq!(equal(&b, &a), expected, "{b} == {a}");
        }
        let nan = Plain::Float(f64::NAN);
        assert!(nan != nan.clone() && Plain::Float(f64::INFINITY) == Plain::Float(f64::INFINITY));
        let other = Plain::Other("x".to_owned());
        assert!(other != other.clone());
    }

    #[test]
    fn values_are_told_as_python_tells_them() {
        let value = json!({"a": [1, 2.0, true, null, "it's"], "b": {}});
        assert_eq!(
            Plain::of_json(&value).to_string(),
            r#"{'a': [1, 2.0, True, None, "it's"], 'b': {}}"#
        );
        assert_eq!(Int::parse("-000").unwrap().negated().0, "0");
        assert_eq!(Int::parse("007").unwrap().negated().0, "-7");
    }
}
