//! `tokenizer.json`: the rules that make token ids of a text, in a form in which equal rules are equal.
//!
//! Format: the `tokenizers` library. Left out is what has no influence on ids: layout and order of keys,
//! padding and truncation (the harness switches both off), `special` marks of added tokens, `trim_offsets`
//! and a byte-level decoder's options (the library writes them differently from version to version).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::json::{Object, TREE};
use super::vocabulary::{Merges, Vocabulary, tally};

/// Longest list of added tokens, in bytes: several times the longest known one.
const ADDED: usize = 16 << 20;

/// Steps by key, with the name that they have in facts.
const STEPS: [(&str, &str); 4] = [
    ("normalizer", "another normalizer"),
    ("pre_tokenizer", "another pre-tokenizer"),
    ("post_processor", "another post-processor"),
    ("decoder", "another decoder"),
];

/// The rules of a tokenizer.
#[derive(Debug)]
pub(super) struct Rules {
    /// In the order of [`STEPS`].
    steps: Vec<Value>,
    /// What the model says beside its tokens and merges.
    model: Map<String, Value>,
    pub(super) vocabulary: Vocabulary,
    pub(super) merges: Merges,
    added: BTreeMap<String, Added>,
}

#[derive(Deserialize)]
struct Written {
    id: u64,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
}

/// An added token: its id, and how it is found in a text.
#[derive(Debug, PartialEq, Eq)]
struct Added {
    id: u64,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
}

impl Rules {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file = Object::parse(bytes)?;
        let step = |(key, _): &(&str, _)| {
            let value: Value = file.get(key, TREE)?.unwrap_or_default();
            Ok(canonical(key, value))
        };
        let steps = STEPS.iter().map(step).collect::<Result<_, String>>()?;
        let model: Object<'_> = file.get("model", usize::MAX)?.ok_or("`model` is missing")?;
        let list: Vec<Written> = file.get("added_tokens", ADDED)?.unwrap_or_default();
        let added = list.into_iter().map(|w| {
            let normalized = w.normalized.unwrap_or(!w.special);
            let Written { id, single_word, lstrip, rstrip, .. } = w;
            (w.content, Added { id, single_word, lstrip, rstrip, normalized })
        });
        Ok(Self {
            steps,
            vocabulary: model.get("vocab", usize::MAX)?.ok_or("`vocab` is missing")?,
            merges: model.get("merges", usize::MAX)?.unwrap_or_default(),
            model: settings(&model)?,
            added: added.collect(),
        })
    }

    /// What is other than in `base`, in words.
    pub(super) fn differences(&self, base: &Self) -> Vec<String> {
        let mut found: Vec<String> = STEPS
            .iter()
            .zip(self.steps.iter().zip(&base.steps))
            .filter(|(_, (own, base))| own != base)
            .map(|((_, words), _)| (*words).to_owned())
            .collect();
        if self.model != base.model {
            found.push("another kind of model".to_owned());
        }
        found.extend(self.vocabulary.difference(&base.vocabulary));
        if self.merges != base.merges {
            let (own, base) = (self.merges.0.length, base.merges.0.length);
            found.push(match own == base {
                true => "other merges".to_owned(),
                false => format!("{own} merges instead of {base}"),
            });
        }
        found.extend(tally(
            "added tokens",
            self.added.iter().map(|(token, added)| (token.as_str(), added)),
            base.added.iter().map(|(token, added)| (token.as_str(), added)),
        ));
        found
    }

    /// The id of a token, added or of the vocabulary.
    pub(super) fn id(&self, token: &str) -> Option<u64> {
        self.added.get(token).map(|a| a.id).or_else(|| self.vocabulary.id(token))
    }

    /// Whether the post-processor puts tokens around a text.
    pub(super) fn adds_tokens(&self) -> bool {
        self.steps.get(2).is_some_and(|step| !step.is_null())
    }
}

/// Settings of a model; what is empty or false is as good as absent.
fn settings(model: &Object<'_>) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    for key in model.keys().filter(|key| !matches!(*key, "vocab" | "merges")) {
        let value: Value = model.get(key, TREE)?.unwrap_or_default();
        if !matches!(&value, Value::Null | Value::Bool(false)) && value != "" {
            found.insert(key.to_owned(), value);
        }
    }
    Ok(found)
}

/// A step with what has no influence on ids left out; null where nothing is left.
fn canonical(place: &str, mut value: Value) -> Value {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or_default();
    match (kind, place) {
        ("Sequence", _) => {
            let lists = ["normalizers", "pretokenizers", "processors", "decoders"];
            let list = lists.iter().find_map(|key| value.get(key)?.as_array()).cloned();
            let steps = list.unwrap_or_default().into_iter().map(|step| canonical(place, step));
            let mut steps: Vec<Value> = steps.filter(|step| !step.is_null()).collect();
            match steps.len() {
                0 => Value::Null,
                1 => steps.swap_remove(0),
                _ => json!({ "steps": steps }),
            }
        }
        ("ByteLevel", "post_processor") => Value::Null,
        ("ByteLevel", "decoder") => json!({ "type": "ByteLevel" }),
        ("ByteLevel", _) => {
            value.as_object_mut().map(|options| options.remove("trim_offsets"));
            value
        }
        ("TemplateProcessing", _) => template(&value),
        _ => value,
    }
}

/// What a template puts around a single text, as ids; null where that is nothing.
fn template(value: &Value) -> Value {
    let pieces = value["single"].as_array().cloned().unwrap_or_default();
    let ids =
        |name: &Value| value["special_tokens"][name.as_str().unwrap_or_default()]["ids"].clone();
    let pieces: Vec<Value> = pieces
        .iter()
        .map(|piece| match piece.get("SpecialToken") {
            Some(token) => ids(&token["id"]),
            None => Value::Null,
        })
        .collect();
    match pieces.iter().all(Value::is_null) {
        true => Value::Null,
        false => json!({ "single": pieces }),
    }
}
