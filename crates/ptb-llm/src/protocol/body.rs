//! A request's body, looked at without being rewritten: its fields as they stand.
//!
//! What two readers could understand differently is refused: a field that is there twice, in whatever spelling, would
//! let a request show one model to us and another to the provider.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use memchr::memchr2;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The deepest nesting that is let through; readers elsewhere give up at 128.
const DEEPEST: usize = 120;
/// The most elements of a list: a conversation has some thousands.
const MOST: usize = 65_536;
/// The most fields of a request.
const MOST_FIELDS: usize = 256;

/// Why a body is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// Not a JSON object.
    #[error("the request's body is not a JSON object: {0}")]
    NotObject(String),
    /// Too deep to be read safely.
    #[error("the request's body is nested deeper than {DEEPEST} levels")]
    Deep,
}

/// The fields of a request.
#[derive(Debug, Clone, Default)]
pub struct Body<'a> {
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Body<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no JSON object in UTF-8, has a field twice (also as `modelName` and `model_name`), too many, or too
    /// deep ones.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BodyFault> {
        let not = |e: &dyn fmt::Display| BodyFault::NotObject(e.to_string());
        if too_deep(bytes) {
            return Err(BodyFault::Deep);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| not(&e))?;
        let Fields(fields) = serde_json::from_str(text).map_err(|e| not(&e))?;
        Ok(Self { fields })
    }

    /// A field as it stands.
    pub fn field(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| *value)
    }

    /// All fields, in their order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    /// A field that is a text.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        text(self.field(name)?)
    }

    /// Whether a field is `true`.
    pub fn is_true(&self, name: &str) -> bool {
        self.field(name).is_some_and(|value| value.get() == "true")
    }

    /// A field that is a whole number.
    pub fn number(&self, name: &str) -> Option<u64> {
        serde_json::from_str(self.field(name)?.get()).ok()
    }
}

/// A value that is a text.
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|Text(text)| text)
}

/// The elements of a list as they stand; `None` where it is no list, or one of more than 65,536 elements.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str::<Elements<'_>>(value.get()).ok().map(|Elements(elements)| elements)
}

/// Whether two fields are one to a lenient reader: case and underscores aside.
pub fn same_key(a: &str, b: &str) -> bool {
    bare(a) == bare(b)
}

fn bare(name: &str) -> String {
    name.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).collect()
}

#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut fields, mut seen) = (Vec::new(), HashSet::new());
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &RawValue>()? {
                    if !seen.insert(bare(&name)) {
                        let name: String = name.chars().take(60).collect();
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    if fields.len() == MOST_FIELDS {
                        return Err(A::Error::custom("it has too many fields"));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&RawValue>()? {
                    if elements.len() == MOST {
                        return Err(A::Error::custom("it has too many elements"));
                    }
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

/// Whether brackets nest deeper than 120 levels; strings are jumped over. On what is no JSON it says something,
/// harmlessly.
pub fn too_deep(bytes: &[u8]) -> bool {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&b) = bytes.get(at) {
        at += 1;
        match b {
            b'{' | b'[' => {
                depth += 1;
                if depth > DEEPEST {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                let rest = bytes.get(at..).unwrap_or_default();
                match memchr2(b'"', b'\\', rest) {
                    Some(found) if rest[found] == b'"' => {
                        at += found + 1;
                        break;
                    }
                    Some(found) => at += found + 2,
                    None => return false,
                }
            },
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_read_as_they_stand() {
        let body = Body::parse(
            br#" {"mod\u0065l": "a\nb", "n": 1.50, "stream": true, "messages": [ {"x": 1}, 2 ]} "#,
        );
        let body = body.unwrap();
        assert_eq!(body.text("model").unwrap(), "a\nb");
        assert_eq!(body.field("n").unwrap().get(), "1.50");
        assert!(body.is_true("stream") && !body.is_true("n"));
        let list: Vec<&str> =
            elements(body.field("messages").unwrap()).unwrap().iter().map(|e| e.get()).collect();
        assert_eq!(list, ["{\"x\": 1}", "2"]);
        assert!(elements(body.field("n").unwrap()).is_none());
        assert_eq!(body.fields().count(), 4);
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for bad in [
            r#"{"model": "a", "model": "b"}"#,
            r#"{"model": "a", "mod\u0065l": "b"}"#,
            r#"{"model": "a", "Model": "b"}"#,
            r#"{"systemInstruction": 1, "system_instruction": 2}"#,
        ] {
            let e = Body::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(e.contains("is there twice"), "{bad}: {e}");
        }
        for bad in [&b"[]"[..], b"", b"{", b"{\"a\": \xff}", b"{} {}", b"nul"] {
            assert!(matches!(Body::parse(bad), Err(BodyFault::NotObject(_))), "{bad:?}");
        }
        let deep = |n: usize| format!("{{\"a\": {}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Body::parse(deep(119).as_bytes()).is_ok());
        assert_eq!(Body::parse(deep(120).as_bytes()).unwrap_err(), BodyFault::Deep);
        assert_eq!(Body::parse(deep(10_000_000).as_bytes()).unwrap_err(), BodyFault::Deep);
        let brackets_in_text = format!("{{\"a\": \"{}\\\"[[\"}}", "[".repeat(500));
        assert!(Body::parse(brackets_in_text.as_bytes()).is_ok());
        let many = format!("{{\"a\": [{}1]}}", "1,".repeat(MOST));
        assert!(elements(Body::parse(many.as_bytes()).unwrap().field("a").unwrap()).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Body::parse(&bytes);
        }
    }
}
