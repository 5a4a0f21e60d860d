//! Vocabularies and merges: the long parts of a tokenizer, read as a stream within bounds.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::file::quoted;

/// Several times what the largest known vocabularies and lists of merges have.
const MOST: usize = 1 << 21;

/// Tokens by text.
pub(super) type Ids = HashMap<String, u64>;

/// The tokens of a model.
#[derive(Debug)]
pub(super) enum Vocabulary {
    /// By text, as word and byte-pair models have them.
    Ids(Ids),
    /// In order, each with its score, as unigram models have them.
    Scored(Listed),
}

/// A long list, known by its length and the hash of its entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) length: usize,
    digest: Vec<u8>,
}

/// Adds entries to a [`Listed`].
#[derive(Default)]
struct Hashing {
    length: usize,
    hasher: Sha256,
}

impl Hashing {
    fn add<E: Error>(&mut self, first: &[u8], second: &[u8]) -> Result<(), E> {
        self.length += 1;
        if self.length > MOST {
            return Err(E::custom(format!("more than {MOST} entries")));
        }
        for part in [first, second] {
            self.hasher.update((part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
        Ok(())
    }

    fn done(self) -> Listed {
        Listed { length: self.length, digest: self.hasher.finalize().to_vec() }
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vocabulary")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut ids = Ids::new();
                while let Some((token, id)) = map.next_entry()? {
                    if ids.insert(token, id).is_some() {
                        return Err(A::Error::custom("a token is given twice"));
                    }
                    if ids.len() > MOST {
                        return Err(A::Error::custom(format!("more than {MOST} tokens")));
                    }
                }
                Ok(Vocabulary::Ids(ids))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Hashing::default();
                while let Some((token, score)) = seq.next_element::<(String, f64)>()? {
                    all.add(token.as_bytes(), &score.to_le_bytes())?;
                }
                Ok(Vocabulary::Scored(all.done()))
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

/// The merges of a byte-pair model, in order. Each is a pair of texts, or both in one, a space between.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merges(pub(super) Listed);

impl Merges {
    /// `merges.txt`: a line for each, a comment with the version before them.
    pub(super) fn from_lines(text: &str) -> Result<Self, String> {
        let mut all = Hashing::default();
        let version = usize::from(text.starts_with("#version"));
        for line in text.lines().skip(version).filter(|line| !line.is_empty()) {
            let (a, b) = pair(line).ok_or("a line is no pair of texts")?;
            all.add::<serde_json::Error>(a.as_bytes(), b.as_bytes()).map_err(|e| e.to_string())?;
        }
        Ok(Self(all.done()))
    }
}

fn pair(text: &str) -> Option<(&str, &str)> {
    text.split_once(' ').filter(|(_, second)| !second.contains(' '))
}

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut all = Hashing::default();
                while let Some(Merge(a, b)) = seq.next_element()? {
                    all.add(a.as_bytes(), b.as_bytes())?;
                }
                Ok(Merges(all.done()))
            }
        }
        deserializer.deserialize_seq(Pairs)
    }
}

struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                let (a, b) = pair(text).ok_or_else(|| E::custom("a merge is no pair of texts"))?;
                Ok(Merge(a.to_owned(), b.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                match (seq.next_element()?, seq.next_element()?, seq.next_element::<String>()?) {
                    (Some(a), Some(b), None) => Ok(Merge(a, b)),
                    _ => Err(A::Error::custom("a merge is no pair of texts")),
                }
            }
        }
        deserializer.deserialize_any(Pair)
    }
}

/// How tokens differ: how many more, missing, changed, with one of each as an example.
pub(super) fn tally<'a, T: PartialEq + 'a>(
    what: &str,
    own: impl Iterator<Item = (&'a str, &'a T)>,
    base: impl Iterator<Item = (&'a str, &'a T)>,
) -> Option<String> {
    let mut base: HashMap<&str, &T> = base.collect();
    let (mut more, mut changed) = (Vec::new(), Vec::new());
    for (token, value) in own {
        match base.remove(token) {
            None => more.push(token),
            Some(expected) if expected != value => changed.push(token),
            Some(_) => {}
        }
    }
    let missing = base.into_keys().collect();
    let kinds = [("more", more), ("missing", missing), ("changed", changed)];
    let told: Vec<String> = kinds
        .into_iter()
        .filter_map(|(kind, tokens)| {
            let example = tokens.iter().min()?;
            Some(format!("{} {kind} (as {})", tokens.len(), quoted(example)))
        })
        .collect();
    (!told.is_empty()).then(|| format!("{what}: {}", told.join(" and ")))
}

impl Vocabulary {
    pub(super) fn difference(&self, base: &Self) -> Option<String> {
        let what = "tokens";
        match (self, base) {
            (Self::Ids(own), Self::Ids(base)) => tally(
                what,
                own.iter().map(|(t, id)| (t.as_str(), id)),
                base.iter().map(|(t, id)| (t.as_str(), id)),
            ),
            (Self::Scored(own), Self::Scored(base)) if own == base => None,
            _ => Some("another list of tokens".to_owned()),
        }
    }

    /// The id of a token, where tokens have one of their own.
    pub(super) fn id(&self, token: &str) -> Option<u64> {
        match self {
            Self::Ids(ids) => ids.get(token).copied(),
            Self::Scored(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merges(json: &str) -> Result<Merges, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn merges_are_the_same_in_each_form() {
        let pairs = merges("[[\"a\", \"b\"], [\"ab\", \"é\"]]").unwrap();
        assert_eq!(pairs, merges("[\"a b\", \"ab é\"]").unwrap());
        assert_eq!(pairs, Merges::from_lines("#version: 0.2\na b\nab é\n").unwrap());
        assert_eq!(pairs, Merges::from_lines("a b\nab é").unwrap());
        // A first merge may begin with that sign.
        assert_ne!(pairs, Merges::from_lines("# #\na b\nab é").unwrap());
        for other in
            ["[[\"ab\", \"é\"], [\"a\", \"b\"]]", "[[\"a\", \"b\"]]", "[[\"a\", \"bab\"]]", "[]"]
        {
            assert_ne!(pairs, merges(other).unwrap(), "{other}");
        }
        for wrong in
            ["[\"ab\"]", "[\"a b c\"]", "[[\"a\"]]", "[[\"a\", \"b\", \"c\"]]", "[1]", "{}"]
        {
            assert!(merges(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn endless_lists_are_refused() {
        let many = format!("[{}\"a b\"]", "\"a b\",".repeat(MOST));
        assert!(merges(&many).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn differences_are_counted_with_an_example() {
        let of = |json: &str| serde_json::from_str::<Vocabulary>(json).unwrap();
        let base = of("{\"a\": 0, \"b\": 1, \"c\": 2}");
        assert_eq!(base.difference(&of("{\"c\": 2, \"b\": 1, \"a\": 0}")), None);
        assert_eq!(
            of("{\"a\": 0, \"b\": 2, \"x\": 1, \"d\": 3}").difference(&base).unwrap(),
            "tokens: 2 more (as `d`) and 1 missing (as `c`) and 1 changed (as `b`)"
        );
        let scored = of("[[\"a\", -1.5]]");
        assert_eq!(scored.difference(&of("[ [\"a\",-1.5] ]")), None);
        assert!(scored.difference(&of("[[\"a\", -1.25]]")).is_some());
        assert!(scored.difference(&base).is_some());
    }
}
