//! JSON of agents: objects whose values stay text until they are asked for, each within a bound, so that
//! a small file cannot become a large tree in memory.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Longest value that becomes a tree.
pub(super) const TREE: usize = 1 << 20;

/// An object, its values unread. A key that is given twice is an error, because programs do not agree
/// on which of the two counts.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|e| fault(&e))
    }

    /// The value of a key; none where it is absent or null.
    pub(super) fn get<T: Deserialize<'a>>(
        &self,
        key: &str,
        limit: usize,
    ) -> Result<Option<T>, String> {
        let Some(raw) = self.0.get(key) else { return Ok(None) };
        let length = raw.get().len();
        if length > limit {
            return Err(format!("`{key}` is {length} bytes long and may be at most {limit}"));
        }
        serde_json::from_str(raw.get()).map_err(|e| format!("`{key}`: {}", fault(&e)))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    if all.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key is given twice"));
                    }
                }
                Ok(Object(all))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A parser's message. It may quote the file at any length.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_when_asked_for_and_within_their_bound() {
        let deep =
            format!("{{\"a\": 1, \"b\": null, \"deep\": {}}}", "[".repeat(9) + &"]".repeat(9));
        let object = Object::parse(deep.as_bytes()).unwrap();
        assert_eq!(object.get::<u32>("a", 8), Ok(Some(1)));
        assert_eq!(object.get::<u32>("b", 8), Ok(None));
        assert_eq!(object.get::<u32>("c", 8), Ok(None));
        let told = object.get::<serde_json::Value>("deep", 8).unwrap_err();
        assert_eq!(told, "`deep` is 18 bytes long and may be at most 8");
        let wrong = format!("{{\"a\": \"{}\"}}", "x".repeat(1000));
        let told = Object::parse(wrong.as_bytes()).unwrap().get::<Vec<u8>>("a", 2000).unwrap_err();
        assert!(told.chars().count() < 200, "{told}");
    }

    #[test]
    fn what_is_no_object_is_a_fault() {
        for text in ["", "[]", "{", "{\"a\": 1, \"a\": 1}", "{\"a\": \"\u{fffd}"] {
            assert!(Object::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Object::parse(b"{\"a\": \"\xff\"}").is_err());
        let deep = "[".repeat(1 << 20);
        assert!(Object::parse(format!("{{\"a\": {deep}").as_bytes()).is_err());
        let closed = format!("{{\"a\": {}{}}}", "[".repeat(2000), "]".repeat(2000));
        let object = Object::parse(closed.as_bytes()).unwrap();
        assert!(object.get::<serde_json::Value>("a", TREE).unwrap_err().contains("recursion"));
    }
}
